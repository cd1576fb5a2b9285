"""Judges an invariant that a ledger speaks about: its vectors first, then what lies beyond its conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.by_vectors import summed
from detr_conformance.judging.fitting import Unfit, judge_vector
from detr_conformance.judging.judge import (
    DEFAULT_DEVICE,
    DEFAULT_EXAMPLES,
    DEFAULT_SEED,
    Tell,
    blank_judgement,
    judge,
    not_asked,
)
from detr_conformance.ledger.entries import Entry
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant

FAILED = (Verdict.VIOLATED, Verdict.ERROR)
"""What a vector of a ledger is expected to give: an implementation that raises does not do what it must, either."""


def judge_listed(
    invariant: Invariant,
    implementation: Implementation,
    entries: Sequence[Entry] = (),
    *,
    examples: int = DEFAULT_EXAMPLES,
    seed: int = DEFAULT_SEED,
    device: str = DEFAULT_DEVICE,
    database: tuple[str, ...] = (),
    tell: Tell | None = None,
    judge: Callable[..., Judgement] = judge,
) -> Judgement:
    """The judgement of `judge`, given the ledger's entries about this invariant of this implementation on the device.

    Each entry's vector is replayed. One that no longer fails makes it *unexpectedly holds*. Where all fail, the dtypes
    that no entry lists are searched as ever, and what is violated there is *violated*; else it is an *expected
    violation*. tell: as for `judge`. judge: what judges without a ledger.
    """
    how: Any = {"examples": examples, "seed": seed, "device": device, "database": database}
    if not entries or not_asked(invariant, implementation) is not None:
        return judge(invariant, implementation, tell=tell, **how)
    replays = [replayed(entry, invariant, implementation, device) for entry in entries]
    gone = [(entry, replay) for entry, replay in zip(entries, replays, strict=True) if replay.verdict not in FAILED]
    if gone:
        return _unexpected(gone)
    expected = replace(
        replays[0],
        verdict=Verdict.EXPECTED_VIOLATION,
        why_expected="; ".join(f"{entry.reason}{entry.told_conditions}" for entry in entries),
        entries=tuple(entry.place for entry in entries),
    )
    beyond = unlisted_dtypes(invariant, implementation, entries)
    if not beyond:
        return summed(expected, [expected, *replays[1:]])

    def with_rest(rest: Judgement) -> Judgement:
        shown = _beyond(rest, entries) if rest.verdict.fails else expected
        return summed(shown, [expected, *replays[1:], rest])

    def tell_with_rest(rest: Judgement) -> None:
        if tell is not None:
            tell(with_rest(rest))

    narrowed = replace(implementation, limits=implementation.limits.with_dtypes({invariant.component: beyond}))
    return with_rest(judge(invariant, narrowed, tell=tell_with_rest, **how))


def replayed(entry: Entry, invariant: Invariant, implementation: Implementation, device: str) -> Judgement:
    """The judgement that rests on an entry's vector alone; vacuous, and why, where the vector does not fit."""
    assert entry.vector is not None
    try:
        return judge_vector(invariant, implementation, entry.vector, device)
    except Unfit as error:
        return blank_judgement(invariant, Verdict.VACUOUS, f"the vector does not fit: {error}")


def unlisted_dtypes(invariant: Invariant, implementation: Implementation, entries: Sequence[Entry]) -> tuple[str, ...]:
    """The dtypes of the implementation that no entry is about."""
    dtypes = implementation.limits.of(invariant.component).dtypes
    listed = {dtype for entry in entries for dtype in entry.of_dtypes(dtypes)}
    return tuple(dtype for dtype in dtypes if dtype not in listed)


def _unexpected(gone: Sequence[tuple[Entry, Judgement]]) -> Judgement:
    parts = []
    for entry, replay in gone:
        why = f", {replay.message}" if replay.message else ""
        parts.append(f"{entry.place}: the vector of this entry is violated no longer{why}; {entry.reason}")
    return replace(
        gone[0][1],
        verdict=Verdict.UNEXPECTEDLY_HOLDS,
        message="; ".join(parts),
        entries=tuple(entry.place for entry, _ in gone),
    )


def _beyond(rest: Judgement, entries: Sequence[Entry]) -> Judgement:
    listed = ", ".join(dict.fromkeys(dtype for entry in entries for dtype in entry.dtypes))
    return replace(rest, message=f"beyond {entries[0].place}, which lists {listed} alone: {rest.message}")
