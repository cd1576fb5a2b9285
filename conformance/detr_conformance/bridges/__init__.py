"""Bridges between the specification's NumPy values and the frameworks that implementations are written in."""
