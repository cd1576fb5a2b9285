"""Runs the invariants of `detr_spec` against implementations, judges them and reports."""
