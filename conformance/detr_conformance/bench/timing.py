"""Contestants timed in turns: one run of each, then one of each again, within a time for each."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch

LEAST_RUNS = 2

STEP = "step"
PROCESSOR = "processor"
"""The processor time of a step, of all threads together: what it takes no matter who else computes meanwhile."""

Run = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Runs:
    """The runs of one contestant: by kind of time, the seconds of each run in order."""

    seconds: Mapping[str, tuple[float, ...]]

    @property
    def count(self) -> int:
        """The number of runs."""
        return len(next(iter(self.seconds.values())))

    def medians(self) -> dict[str, float]:
        """The median seconds of each kind."""
        return {kind: median(values) for kind, values in self.seconds.items()}

    def fastest(self) -> dict[str, float]:
        """The least seconds of each kind."""
        return {kind: min(values) for kind, values in self.seconds.items()}


def timed(call: Callable[[], object], device: torch.device) -> Run:
    """A run of a call on a device, which gives its seconds, on CUDA once all that was launched is done."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def run() -> dict[str, float]:
        start, processor = now(), time.process_time()
        call()
        return {STEP: now() - start, PROCESSOR: time.process_time() - processor}

    return run


def in_turns(
    runs: Mapping[str, Run], repeats: int, budget: float, now: Callable[[], float] = time.perf_counter
) -> dict[str, Runs]:
    """The runs of each contestant, at most `repeats`; one that has taken `budget` seconds in all stops before.

    Every contestant runs twice at least. Who begins a round changes from round to round.
    """
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in runs}
    spent = dict.fromkeys(runs, 0.0)
    names = list(runs)
    for number in range(repeats):
        gc.collect()
        gc.disable()
        try:
            for name in _rotated(names, number):
                if number < LEAST_RUNS or spent[name] < budget:
                    start = now()
                    found[name].append(runs[name]())
                    spent[name] += now() - start
        finally:
            gc.enable()
    return {name: _collected(values) for name, values in found.items()}


def _rotated(names: Sequence[str], number: int) -> list[str]:
    place = number % max(len(names), 1)
    return [*names[place:], *names[:place]]


def _collected(values: Sequence[Mapping[str, float]]) -> Runs:
    return Runs({kind: tuple(run[kind] for run in values) for kind in values[0]})
