"""detr-spec: what a DETR set-prediction loss must do, as executable invariants. NumPy, SciPy and Hypothesis; no framework."""
