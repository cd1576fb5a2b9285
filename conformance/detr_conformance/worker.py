"""What a worker process does. No more is imported at its top, so that settings precede what they set."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from detr_conformance.one_thread import ONE_THREAD

if TYPE_CHECKING:
    from detr_conformance.ledger.entries import Entry
    from detr_conformance.verdict import Judgement
    from detr_spec.configuration import Configuration
    from detr_spec.implementation import Implementation


def start(addresses: Sequence[str], bounds: tuple[float, int] | None = None) -> None:
    """Prepares a worker: one thread for arithmetic, and all imports before the first time limit runs.

    bounds: seconds and MiB for the processes that it starts for implementations, which start when they are asked for.
    Whatever it writes goes to standard error, also from below Python, so that it does not mix with a report.
    """
    os.dup2(2, 1)
    os.environ.update(ONE_THREAD)
    from detr_conformance.testee.bounds import set_bounds  # noqa: PLC0415
    from detr_conformance.testee.names import is_testee  # noqa: PLC0415

    if bounds is not None:
        set_bounds(*bounds)
    for address in addresses:
        if is_testee(address):
            continue
        # A failure comes again, and is told, when the address is asked for.
        with contextlib.suppress(Exception):
            _resolved(address)
    # What is imported by now stays: a collector that looks through it again and again takes a tenth of the time.
    gc.freeze()


def described(address: str) -> tuple[Implementation, ...]:
    """The implementations at an address in a form that can be sent: their components cannot be built."""
    from dataclasses import replace  # noqa: PLC0415

    def sendable(item: Implementation) -> Implementation:
        absent: dict[str, Any] = dict.fromkeys(item.components, _elsewhere)
        return replace(item, **absent)

    return tuple(map(sendable, _resolved(address)))


def _elsewhere(configuration: Configuration) -> Any:
    raise NotImplementedError(f"the component for {configuration} is in a worker process")


def judge_at(
    address: str,
    place: int,
    id: str,
    entries: Sequence[Entry],
    examples: int,
    seed: int,
    device: str,
    database: tuple[str, ...] = (),
) -> Judgement:
    """The judgement of the invariant of that id on the implementation at that place of an address."""
    from detr_conformance.ledger.judging import judge_listed  # noqa: PLC0415
    from detr_spec.invariant import find_invariants  # noqa: PLC0415

    (invariant,) = find_invariants(id)
    implementation = _resolved(address)[place]
    how: Any = {"examples": examples, "seed": seed, "device": device, "database": database}
    try:
        return judge_listed(invariant, implementation, entries, **how)
    except KeyboardInterrupt as error:
        # Workers ignore interrupts, so this one is the implementation's own, and ends nothing but its judgement.
        raise RuntimeError("the implementation raised KeyboardInterrupt") from error


@cache
def _resolved(address: str) -> tuple[Implementation, ...]:
    from detr_conformance.resolve import resolve  # noqa: PLC0415

    return resolve(address)
