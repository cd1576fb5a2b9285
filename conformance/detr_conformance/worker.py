"""What a worker process does. Nothing else is imported at its top, so that settings precede what they set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detr_conformance.verdict import Judgement
    from detr_spec.configuration import Configuration
    from detr_spec.implementation import Implementation

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start(addresses: Sequence[str]) -> None:
    """Prepares a worker: one thread for arithmetic, and all imports before the first time limit runs.

    Whatever it writes goes to standard error, also from below Python, so that it does not mix with a report.
    """
    os.dup2(2, 1)
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    for address in addresses:
        # A failure comes again, and is told, when the address is asked for.
        with contextlib.suppress(Exception):
            _resolved(address)


def described(address: str) -> tuple[Implementation, ...]:
    """The implementations at an address in a form that can be sent: their components cannot be built."""
    from dataclasses import replace  # noqa: PLC0415

    def sendable(item: Implementation) -> Implementation:
        absent: dict[str, Any] = dict.fromkeys(item.components, _elsewhere)
        return replace(item, **absent)

    return tuple(map(sendable, _resolved(address)))


def _elsewhere(configuration: Configuration) -> Any:
    raise NotImplementedError(f"the component for {configuration} is in a worker process")


def judge_at(address: str, place: int, id: str, examples: int, seed: int, device: str) -> Judgement:
    """The judgement of the invariant of that id on the implementation at that place of an address."""
    from detr_conformance.judge import judge  # noqa: PLC0415
    from detr_spec.invariant import find_invariants  # noqa: PLC0415

    (invariant,) = find_invariants(id)
    try:
        return judge(invariant, _resolved(address)[place], examples=examples, seed=seed, device=device)
    except KeyboardInterrupt as error:
        # Workers ignore interrupts, so this one is the implementation's own, and ends nothing but its judgement.
        raise RuntimeError("the implementation raised KeyboardInterrupt") from error


@cache
def _resolved(address: str) -> tuple[Implementation, ...]:
    from detr_conformance.resolve import resolve  # noqa: PLC0415

    return resolve(address)
