"""What worker processes are asked: what there is at an address, and to judge it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from detr_conformance.base.cause import Explained
from detr_conformance.base.verdict import Judgement
from detr_conformance.causes.explaining import explained
from detr_conformance.implementations.resolve import resolve
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.judging import judge_listed
from detr_conformance.processes import serving
from detr_conformance.testee.bounds import set_bounds
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariants import find_invariants

Bounds = tuple[float, int]
"""The seconds of a judgement, and the MiB of the processes that are started for implementations."""


def described(bounds: Bounds, address: str) -> tuple[Implementation, ...]:
    """The implementations at an address in a form that can be sent: their components cannot be built."""
    set_bounds(*bounds)
    serving.ready()

    def sendable(item: Implementation) -> Implementation:
        absent: dict[str, Any] = dict.fromkeys(item.components, _elsewhere)
        return replace(item, **absent)

    return tuple(map(sendable, _resolved(address)))


def _elsewhere(configuration: Configuration) -> Any:
    raise NotImplementedError(f"the component for {configuration} is in a worker process")


def judge_at(
    bounds: Bounds, address: str, place: int, id: str, entries: Sequence[Entry], how: dict[str, Any]
) -> Judgement:
    """The judgement of the invariant of that id on the implementation at that place of an address.

    how: the examples, the seed, the device and the database, as for `judge`.
    """
    set_bounds(*bounds)
    (invariant,) = find_invariants(id)
    implementation = _resolved(address)[place]
    serving.ready()
    return judge_listed(invariant, implementation, entries, tell=serving.tell, **how)


def explained_at(
    bounds: Bounds, address: str, place: int, judgements: Sequence[Judgement], how: dict[str, Any]
) -> Explained:
    """What would explain the violations among the judgements on the implementation at that place of an address.

    how: the seed, the device and the seconds, as for `explained`.
    """
    set_bounds(*bounds)
    implementation = _resolved(address)[place]
    serving.ready()
    return explained(implementation, judgements, **how)


@cache
def _resolved(address: str) -> tuple[Implementation, ...]:
    before = len(sys.modules)
    found = resolve(address)
    if len(sys.modules) > before:
        # What is imported stays: a collector that looks through it again and again takes a tenth of the time.
        gc.freeze()
    return found
