"""Judges an invariant by given vectors, in place of cases that are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.fitting import Unfit, judge_vector
from detr_conformance.judging.judge import ALIKE, DEFAULT_DEVICE, blank_judgement, not_asked
from detr_conformance.judging.variety import Variety
from detr_conformance.vectors.vector import Vector
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant

LAST = (Verdict.NOT_PROVIDED, Verdict.HOLDS, Verdict.VACUOUS)
"""What is said where no vector fails: the first of these that one of them gives."""


def judge_vectors(
    invariant: Invariant, implementation: Implementation, vectors: Sequence[Vector], device: str = DEFAULT_DEVICE
) -> Judgement:
    """The judgement of an invariant on an implementation that rests on those vectors that name it and fit.

    It is that of the first vector that fails; what is not provided for one is not known to hold for all.
    """
    unasked = not_asked(invariant, implementation)
    if unasked is not None:
        return unasked
    variety, judged = Variety(), []
    for vector in vectors:
        if invariant.id in vector.invariants:
            try:
                judged.append(judge_vector(invariant, implementation, vector, device, variety))
            except Unfit:
                continue
    if not judged:
        return blank_judgement(invariant, Verdict.VACUOUS, "no vector asks it")
    found = summed(telling(judged), judged)
    if found.verdict is Verdict.HOLDS and variety.is_lacking(found.fired):
        return replace(found, verdict=Verdict.VACUOUS, message=ALIKE)
    return found


def telling(judged: Sequence[Judgement]) -> Judgement:
    """The judgement that speaks for all."""
    failing = [judgement for judgement in judged if judgement.verdict.fails]
    return failing[0] if failing else min(judged, key=lambda judgement: LAST.index(judgement.verdict))


def summed(judgement: Judgement, parts: Sequence[Judgement]) -> Judgement:
    """The judgement with the cases and times of all parts."""
    dtypes: Counter[str] = Counter()
    for part in parts:
        dtypes.update(part.dtypes)
    return replace(
        judgement,
        examples=sum(part.examples for part in parts),
        fired=sum(part.fired for part in parts),
        dtypes=dict(sorted(dtypes.items())),
        seconds=sum(part.seconds for part in parts),
        implementation_seconds=sum(part.implementation_seconds for part in parts),
    )
