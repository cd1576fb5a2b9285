"""Matching and losses on CUDA, in kernels that CuPy compiles."""
