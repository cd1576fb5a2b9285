"""The assignment on CUDA: all problems in one launch of the kernel in `lsap.cu`, by way of CuPy.

Costs and assignment stay on the device, and the host waits for nothing. The kernel is compiled when a dtype and a shape
of blocks are first met, which takes about a second. Costs of at least as many targets as queries are copied once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .kernels import WARP, cupy, kernels, on_current_stream

SOURCE = Path(__file__).with_name("lsap.cu")

# As in the kernel.
MOST_THREADS = 512
MOST_COLUMNS = 4096
SOLVED, INVALID_COST, INFEASIBLE, INVALID_SIZE = 0, 1, 2, 3

# So many loads of a thread are under way at once, and so few warps have to meet at each step.
COLUMNS_WORTH_A_THREAD = 4
SHARED_BYTES_OF_ANY_KERNEL = 48 * 1024
BYTES_OF_TILE = (WARP * (WARP + 1) - 1) * 8


def solve(cost: Tensor, sizes: Tensor, *, check: bool = False) -> Tensor:
    """Return the query of each target, int64 [P, T] on the device of the costs, at least total cost in each problem.

    cost: float32 or float64 on a CUDA device, [P, T, Q], of which the first n rows of a problem count. sizes: integers
    [P] on the same device, n of each problem. Targets without a query and rows beyond n have -1. Of several best
    assignments it is the one that `scipy.optimize.linear_sum_assignment` finds in the costs [Q, n].

    The kernel is launched on torch's current stream and the host does not wait, unless `check` is true. Costs that
    are +inf forbid a pair. A problem with a cost of NaN or -inf, one that +inf leaves no assignment, and one with a
    size beyond T have -1 everywhere.

    Raises ValueError on tensors of another shape, dtype or device, and on more targets or queries than the kernel or
    the device has room for; with `check` also on problems without an answer. Raises ImportError without CuPy.
    """
    if cost.device.type != "cuda":
        raise ValueError(f"the costs are on {cost.device}; this solver takes them on a CUDA device")
    query_of_target, statuses = solve_unchecked(cost, sizes)
    if check:
        _check(statuses)
    return query_of_target


def solve_unchecked(cost: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `solve` does, and beside it the status of each problem, int32 [P], which nobody has looked at."""
    if cost.dim() != 3 or sizes.shape != cost.shape[:1]:
        raise ValueError(f"costs are {list(cost.shape)} and sizes {list(sizes.shape)}; give [P, T, Q] and [P]")
    if cost.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"costs are {cost.dtype}; convert them by .float() or .double()")
    if sizes.is_floating_point() or sizes.device != cost.device:
        raise ValueError(f"sizes are {sizes.dtype} on {sizes.device}; give integers on {cost.device}")
    problems, targets, queries = cost.shape
    if max(targets, queries) > MOST_COLUMNS:
        raise ValueError(
            f"the queries are {queries} in number, and the targets {targets}; "
            f"this solver takes at most {MOST_COLUMNS} of either, the one for the CPU any number"
        )
    query_of_target = torch.empty((problems, targets), dtype=torch.int64, device=cost.device)
    statuses = torch.empty(problems, dtype=torch.int32, device=cost.device)
    if problems:
        _launch(cost.contiguous(), sizes.to(torch.int64).contiguous(), query_of_target, statuses)
    return query_of_target, statuses


def block_shape(targets: int, queries: int) -> tuple[int, int]:
    """Return the threads of a block and the columns a thread for problems of so many targets and queries."""
    columns = max(targets, queries, 1)
    threads = WARP
    while threads < MOST_THREADS and threads * COLUMNS_WORTH_A_THREAD < columns:
        threads *= 2
    return threads, -(-columns // threads)


def shared_bytes(threads: int, targets: int, queries: int) -> int:
    """Return the bytes of shared memory that a block needs, as the kernel divides them up."""
    candidate, price, index = 16, 8, 4
    rows, columns = min(targets, queries), max(targets, queries)
    of_search = 2 * (threads // WARP) * candidate + rows * (price + index) + columns * 2 * index + index
    return max(of_search, BYTES_OF_TILE if targets >= queries else 0)


def _launch(cost: Tensor, sizes: Tensor, query_of_target: Tensor, statuses: Tensor) -> None:
    """Start the kernel on torch's current stream, with contiguous tensors of the types that it takes."""
    problems, targets, queries = cost.shape
    threads, columns_per_thread = block_shape(targets, queries)
    bytes_needed = shared_bytes(threads, targets, queries)
    cost_type = "float" if cost.dtype == torch.float32 else "double"
    # Of a problem with as many targets as queries the queries are the rows, whose costs are to lie side by side.
    turned = torch.empty_like(cost) if targets >= queries else None
    with on_current_stream(cost.device):
        (kernel,) = kernels((SOURCE,), (f"solve<{cost_type}, {threads}, {columns_per_thread}>",))
        if bytes_needed > SHARED_BYTES_OF_ANY_KERNEL:
            _allow_shared_bytes(kernel, cost.device, bytes_needed)
        cost_at, sizes_at, query_at, status_at = (x.data_ptr() for x in (cost, sizes, query_of_target, statuses))
        turned_at = 0 if turned is None else turned.data_ptr()
        arguments = (cost_at, turned_at, sizes_at, np.int32(targets), np.int32(queries), query_at, status_at)
        kernel((problems,), (threads,), arguments, shared_mem=bytes_needed)


def _allow_shared_bytes(kernel: Any, device: torch.device, bytes_needed: int) -> None:
    limit = cupy().cuda.Device(device.index).attributes["MaxSharedMemoryPerBlockOptin"]
    if bytes_needed > limit:
        raise ValueError(
            f"problems of this size take {bytes_needed} bytes of shared memory, and the device has {limit} for a block;"
            " give fewer targets or queries, or solve on the CPU"
        )
    if kernel.max_dynamic_shared_size_bytes < bytes_needed:
        kernel.max_dynamic_shared_size_bytes = bytes_needed


def _check(statuses: Tensor) -> None:
    words = {
        INVALID_COST: "has a cost that is NaN or -inf",
        INFEASIBLE: "has no assignment without a cost of +inf",
        INVALID_SIZE: "has a size that is negative or more than the rows of the costs",
    }
    for problem, status in enumerate(statuses.tolist()):
        if status in words:
            raise ValueError(f"problem {problem} {words[status]}")
