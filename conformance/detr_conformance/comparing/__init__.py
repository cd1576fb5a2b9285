"""Two implementations asked the same: where they agree bit for bit, what moved, and who is right where they differ."""
