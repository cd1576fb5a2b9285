"""Kernels on CUDA by way of CuPy: compiled when first asked for, and launched on torch's current stream.

CuPy keeps what it compiled on disk for the next process. Host and device are never made to wait for each other here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

WARP = 32

# As on the host, each operation rounds: a product that is not rounded before it is added makes 1 of equal boxes' IoU
# something else.
COMPILER_OPTIONS = ("--std=c++17", "--fmad=false")


def reason_unavailable() -> str | None:
    """Return what is missing for kernels, and what to do about it, or None."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    try:
        cupy()
    except ImportError as error:
        return f"CuPy cannot be imported ({error}); install detr-spec[cuda12] or detr-spec[cuda13]"
    return None


def run_on(device: torch.device) -> bool:
    """Return whether there are kernels for tensors of a device; on CUDA without CuPy that is said, once."""
    return device.type == "cuda" and _usable()


@cache
def _usable() -> bool:
    reason = reason_unavailable()
    if reason is not None:
        warnings.warn(f"no kernels for CUDA: {reason}; torch computes the costs, the host the assignment", stacklevel=2)
    return reason is None


@cache
def kernels(sources: tuple[Path, ...], names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the named kernels, as C++ calls them, of source files that are compiled as one.

    Each is a RawKernel of CuPy's, which loads itself and has its attributes on each device that is current in its use.
    """
    code = "\n".join(source.read_text() for source in sources)
    module = cupy().RawModule(code=code, options=COMPILER_OPTIONS, name_expressions=list(names))
    return tuple(module.get_function(name) for name in names)


@contextmanager
def on_current_stream(device: torch.device) -> Iterator[None]:
    """Let kernels be launched on torch's current stream of the device."""
    # What torch's own compiled code asks: an object of the stream would cost as much as a launch.
    address = torch._C._cuda_getCurrentRawStream(device.index)
    with cupy().cuda.Device(device.index), _stream(address, device.index):
        yield


@dataclass(frozen=True)
class _Address:
    """A stream that somebody else has made, as CUDA's protocol for streams tells it."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


@cache
def _stream(address: int, device_index: int) -> Any:
    """Return CuPy's object for the stream at an address."""
    streams = cupy().cuda
    if hasattr(streams.Stream, "from_external"):
        return streams.Stream.from_external(_Address(address))
    # CuPy 13.
    return streams.ExternalStream(address, device_index)


def by_value(structure: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a structure in memory as an argument of a kernel, which is given it by value.

    Its fields are left out, as CuPy would list them at each launch.
    """
    return structure.view(f"V{structure.nbytes}")


@cache
def cupy() -> Any:
    """Return the module CuPy; raises ImportError."""
    return import_module("cupy")
