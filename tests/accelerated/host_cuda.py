"""Kernels of CUDA in a library for the host, where every thread of a block is a fibre that an adversary schedules."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detr_accelerated.cuda import solver as cuda_solver

# As in the enumeration of the shim.
ORDERS = ("ascending", "descending", "random warps", "random threads")

OLDER = 750
"""The architecture of a device before Ampere's."""


class Extent(ctypes.Structure):
    """As in `cuda_shim.h`."""

    _fields_ = [("begin", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("is_written", ctypes.c_bool)]

    @staticmethod
    def of(array: np.ndarray, *, is_written: bool) -> Extent:
        """The memory of a contiguous array."""
        return Extent(array.ctypes.data, array.nbytes, is_written)


class Launch(ctypes.Structure):
    """As in `cuda_shim.h`."""

    _fields_ = [
        ("blocks", ctypes.c_int * 2),
        ("threads", ctypes.c_int),
        ("shared_bytes", ctypes.c_size_t),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("memory", ctypes.POINTER(Extent)),
        ("extents", ctypes.c_int),
    ]


def in_memory(argument: object) -> np.ndarray:
    """An argument of a kernel by value, as CuPy hands it on: a Python int in 8 bytes."""
    if isinstance(argument, int):
        return np.array([argument], np.int64)
    assert isinstance(argument, np.int32 | np.ndarray), f"not to be handed on: {argument!r}"
    return np.atleast_1d(argument)


@dataclass(frozen=True)
class Library:
    """The kernels of one library; a misuse of barriers, shuffles or memory raises RuntimeError."""

    path: Path

    def launch(
        self,
        name: str,
        blocks: tuple[int, ...],
        threads: int,
        arguments: tuple,
        shared_bytes: int,
        memory: Iterable[Extent],
        order: str = "random warps",
        seed: int = 0,
    ) -> None:
        """Run a kernel by its name in C++, which has no memory but what it is given."""
        values = [in_memory(argument) for argument in arguments]
        places = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        given = list(memory)
        extents = (Extent * len(given))(*given)
        grid = (ctypes.c_int * 2)(*(*blocks, 1)[:2])
        how = Launch(grid, threads, shared_bytes, ORDERS.index(order), seed, extents, len(given))
        message = ctypes.create_string_buffer(256)
        if ctypes.CDLL(str(self.path)).run_kernel(ctypes.byref(how), name.encode(), places, message):
            raise RuntimeError(message.value.decode())


@dataclass(frozen=True)
class HostKernel:
    """The solver of one library."""

    library: Library

    def __call__(
        self,
        cost: np.ndarray,
        sizes: np.ndarray,
        *,
        threads: int,
        columns_per_thread: int,
        shared_bytes: int | None = None,
        order: str = "random warps",
        seed: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the query of each target, int64 [P, T], and the statuses, int32 [P], from costs [P, T, Q]."""
        problems, targets, queries = cost.shape
        cost, sizes = np.ascontiguousarray(cost), np.ascontiguousarray(sizes, np.int64)
        turned = np.full_like(cost, np.nan)
        # What the kernel does not write stays recognisable.
        found, statuses = np.full((problems, targets), -77, np.int64), np.full(problems, -77, np.int32)
        if shared_bytes is None:
            shared_bytes = cuda_solver.shared_bytes(threads, targets, queries)
        name = f"solve<{'double' if cost.dtype == np.float64 else 'float'}, {threads}, {columns_per_thread}>"
        cost_at, turned_at, *pointers = (array.ctypes.data for array in (cost, turned, sizes, found, statuses))
        turned_at = turned_at if targets >= queries else 0
        arguments = (cost_at, turned_at, pointers[0], np.int32(targets), np.int32(queries), *pointers[1:])
        inputs, outputs = [cost, sizes], [found, statuses]
        if targets >= queries:
            outputs.append(turned)
        memory = [Extent.of(array, is_written=True) for array in inputs]
        memory += [Extent.of(array, is_written=False) for array in outputs]
        self.library.launch(name, (problems,), threads, arguments, shared_bytes, memory, order, seed)
        return found, statuses


BARRIER = "__syncthreads();"
MEMORY_FAULT = r"in block \d+, thread \d+, past line \d+, (reads|writes)"


def without_a_barrier(source: str) -> dict[int, str]:
    """The source without one of its barriers, by the line of that barrier."""
    lines = source.split("\n")
    return {
        number + 1: "\n".join([*lines[:number], line.replace(BARRIER, ""), *lines[number + 1 :]])
        for number, line in enumerate(lines)
        if BARRIER in line
    }
