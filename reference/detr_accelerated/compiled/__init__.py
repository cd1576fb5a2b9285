"""What numba compiles, where it is installed, and how it is called."""
