"""What numba compiles, where it is installed, and the threads in which such functions run: they release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]


@cache
def installed() -> bool:
    """Return whether numba is."""
    return find_spec("numba") is not None


def compiled(module: str, name: str) -> Function | None:
    """Return a function of a module of `kernels`, or None where numba is not installed."""
    return imported(module, name) if installed() else None


@cache
def imported(module: str, name: str) -> Function:
    """Return a function of a module of `kernels`; the first import of numba takes a second."""
    function: Function = getattr(import_module(f".kernels.{module}", __package__), name)
    return function


def compiled_for(tensor: Tensor, module: str, name: str) -> Function | None:
    """Return a function as `compiled` does, or None for a tensor that is not on the CPU."""
    return compiled(module, name) if tensor.device.type == "cpu" else None


def threads_worth(elements: int, least: int) -> int:
    """Return how many threads, of those that torch has, get at least so many of the elements each; 1 or more."""
    return 1 if elements < 2 * least else min(torch.get_num_threads(), elements // least)


def shares(problems: int, threads: int, at_once: int = 1) -> list[slice]:
    """Return which of so many problems each of the threads takes, so many at once at least; no thread is idle."""
    pieces = problems // at_once
    threads = max(min(threads, pieces), 1)
    bounds = [at_once * (pieces * thread // threads) for thread in range(threads + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


def in_threads(threads: int, tasks: Sequence[Callable[[], None]]) -> None:
    """Run the tasks in that many threads, this one included, or in one for each task if there are fewer."""
    threads = max(min(threads, len(tasks)), 1)
    if threads == 1:
        _run(tasks)
        return
    pool = _pool(os.getpid(), threads - 1)
    others = [pool.submit(_run, tasks[first::threads]) for first in range(1, threads)]
    _run(tasks[::threads])
    for other in others:
        other.result()


def _run(tasks: Sequence[Callable[[], None]]) -> None:
    for task in tasks:
        task()


# To start threads takes longer than many a task. They do not survive a fork, and so a process has its own.
@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:  # noqa: ARG001
    return ThreadPoolExecutor(threads, thread_name_prefix="detr_accelerated")
