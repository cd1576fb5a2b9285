"""Judges one implementation by one invariant, or by a recorded case."""
