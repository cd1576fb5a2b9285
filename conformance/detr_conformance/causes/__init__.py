"""Why findings are there: which declaration, or which defect, would explain several of them at once."""
