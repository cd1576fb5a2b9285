"""Arithmetic in one thread, for processes of which several run at once."""

from __future__ import annotations

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Variables of the environment, to be set before what does arithmetic is imported."""
