"""The losses on the CPU, in what numba compiles."""
