"""How often the host waits for the device in a step on CUDA, as torch's debug mode of synchronisations tells it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from detr_conformance.bench.contestant import Step


def host_waits(step: Step, weights: Mapping[str, float]) -> int:
    """How many operations of match and criterion, forward and backward, make the host wait; 0 is shown by mode "error".

    Raises RuntimeError where mode "warn" counts none and mode "error" finds one.
    """
    count = _counted(step, weights)
    if count == 0:
        with _mode("error"):
            step.run(weights)
    return count


def _counted(step: Step, weights: Mapping[str, float]) -> int:
    with warnings.catch_warnings(record=True) as caught, _mode("warn"):
        warnings.simplefilter("always")
        step.run(weights)
    return sum("synchroniz" in str(warning.message) for warning in caught)


@contextmanager
def _mode(name: str) -> Iterator[None]:
    """Torch's mode for synchronisations, while nothing is under way, and the former one after it."""
    former = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode(name)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(former)
