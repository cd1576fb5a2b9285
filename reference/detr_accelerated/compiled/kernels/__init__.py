"""The functions that numba compiles: the one place that imports it."""
