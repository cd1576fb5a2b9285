"""Matching: which queries may have which targets, what a pair costs, and which assignment costs least."""
