"""The memory that one step takes at its peak, beyond its inputs and what was there before."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from detr_conformance.base.errors import cause_of_death, one_line
from detr_conformance.bench.batches import make_batch
from detr_conformance.bench.contestant import Contestant, Find, term_weights
from detr_conformance.bench.heads import LEAVES
from detr_conformance.bench.sizes import Size
from detr_conformance.processes.pool import Job, Pool
from detr_conformance.processes.process import Died
from detr_spec.profiles import PROFILES

WARM_UP = Size(2, 10, 8, 3)
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(
    find: Find, size: Size, regime: str, device: str, threads: int, time_limit: float, heads: str = LEAVES
) -> int | str:
    """The peak of a contestant's step in bytes, or why it is not known.

    On the CPU it is that of a process of its own, which has made no other step but a tiny one.
    """
    if torch.device(device).type == "cuda":
        return peak_on_cuda(find, size, regime, device, heads)
    if not sys.platform.startswith("linux"):
        return "known on Linux alone"
    with Pool(1) as pool:
        ((_, outcome),) = pool.outcomes([Job(peak_in_this_process, (find, size, regime, threads, heads), time_limit)])
    if isinstance(outcome.failure, Died):
        return f"its process was ended {cause_of_death(outcome.failure.exit_code)}"
    if outcome.failure is not None:
        return one_line(outcome.failure)
    found: int = outcome.value
    return found


def peak_in_this_process(find: Find, size: Size, regime: str, threads: int, heads: str = LEAVES) -> int:
    """The growth of the resident memory at its highest, in bytes, over what it is before the step."""
    torch.set_num_threads(threads)
    contestant = find()
    with contestant.setting():
        _make_step(contestant, WARM_UP, regime, "cpu", heads)()
        step = _make_step(contestant, size, regime, "cpu", heads)
        _give_back_free_memory()
        RESET.write_text("5")
        before = _status("VmRSS")
        step()
        return _status("VmHWM") - before


def peak_on_cuda(find: Find, size: Size, regime: str, device: str, heads: str = LEAVES) -> int:
    """What torch has allocated at its highest, in bytes, beyond what it has before the step."""
    contestant = find()
    with contestant.setting():
        _make_step(contestant, WARM_UP, regime, device, heads)()
        step = _make_step(contestant, size, regime, device, heads)
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before


def _make_step(contestant: Contestant, size: Size, regime: str, device: str, heads: str) -> Callable[[], object]:
    profile = PROFILES[contestant.profile.name]
    step = contestant.build(make_batch(size, regime, profile, device, heads=heads))
    weights = term_weights(profile)
    return lambda: step.run(weights)


def _give_back_free_memory() -> None:
    """Hands what is free in the heap back to the system, so that a step which uses it again is seen; glibc's alone."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(name: str) -> int:
    """A number of bytes that the kernel tells of this process."""
    match = re.search(rf"^{name}:\s*(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024
