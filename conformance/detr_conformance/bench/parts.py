"""How long a step takes, and each part of it: cost, assignment, losses, backward."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from detr_conformance.bench.contestant import Place, Step

PARTS = ("cost", "assignment", "losses", "backward")
STEP = "step"
PROCESSOR = "processor"
"""The processor time of a step, of all threads together: what it takes no matter who else computes meanwhile."""


class PartClock:
    """The seconds spent in watched functions, by part; what an inner one takes is not the outer one's."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def watched(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, whose calls are timed."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start = self.now()
            try:
                return function(*arguments, **named)
            finally:
                taken = self.now() - start
                self.seconds[part] = self.seconds.get(part, 0.0) + taken - self._inner.pop()
                self._inner[-1] += taken

        return call

    @contextmanager
    def watching(self, places: Sequence[Place]) -> Iterator[None]:
        """The places replaced by functions that are timed, and put back."""
        replaced = []
        try:
            for place in places:
                owner = place.resolve()
                original = getattr(owner, place.attribute)
                replaced.append((owner, place.attribute, original))
                setattr(owner, place.attribute, self.watched(original, place.part))
            yield
        finally:
            for owner, attribute, original in reversed(replaced):
                setattr(owner, attribute, original)


def clock_of(device: torch.device) -> Callable[[], float]:
    """The time in seconds, on CUDA once all that was launched is done."""
    if device.type != "cuda":
        return time.perf_counter

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def timed_step(step: Step, weights: Mapping[str, float]) -> dict[str, float]:
    """The seconds of a step and of each of its parts, if there are places where these are spent.

    On the CPU one run gives all; on CUDA, where to look at the parts means to wait for each, the step has a run of its
    own.
    """
    if not step.places:
        return _whole(step, weights)
    if step.device.type == "cpu":
        return _parts(step, weights)
    whole = _whole(step, weights)
    return _parts(step, weights) | whole


def _whole(step: Step, weights: Mapping[str, float]) -> dict[str, float]:
    now = clock_of(step.device)
    step.forget_gradients()
    start, processor = now(), time.process_time()
    step.run(weights)
    return {STEP: now() - start, PROCESSOR: time.process_time() - processor}


def _parts(step: Step, weights: Mapping[str, float]) -> dict[str, float]:
    now = clock_of(step.device)
    step.forget_gradients()
    clock = PartClock(now)
    with clock.watching(step.places):
        start, processor = now(), time.process_time()
        total = step.total(step.losses(), weights)
        middle = now()
        total.backward()  # type: ignore[no-untyped-call]
        end, processor = now(), time.process_time() - processor
    found = {"cost": 0.0, "assignment": 0.0, **clock.seconds}
    losses = middle - start - sum(found.values())
    return {**found, "losses": losses, "backward": end - middle, STEP: end - start, PROCESSOR: processor}
