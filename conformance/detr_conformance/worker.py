"""What a worker process does. It imports nothing else at its top, so that the settings come before what they set."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detr_spec.implementation import Implementation

    from detr_conformance.verdict import Judgement

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start(addresses: Sequence[str]) -> None:
    """Prepares a worker: one thread for arithmetic, and the implementations imported before the first time limit runs."""
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    for address in addresses:
        # A failure comes again, and is told, when an invariant is judged.
        with contextlib.suppress(Exception):
            _resolved(address)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def judge_at(address: str, place: int, id: str, examples: int, seed: int) -> Judgement:
    """The judgement of the invariant of that id on the implementation at that place of an address."""
    from detr_spec.invariant import find_invariants  # noqa: PLC0415

    from detr_conformance.judge import judge  # noqa: PLC0415

    (invariant,) = find_invariants(id)
    return judge(invariant, _resolved(address)[place], examples=examples, seed=seed)


@cache
def _resolved(address: str) -> tuple[Implementation, ...]:
    from detr_conformance.resolve import resolve  # noqa: PLC0415

    return resolve(address)
