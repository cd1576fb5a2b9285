"""What each dtype gives where an invariant is violated, since a search ends with the first one in which it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.causes.asking import Asking, OutOfTime
from detr_conformance.testee.ended import Ended
from detr_spec.invariants import find_invariants

CASES = 5
"""Cases of each dtype in which nothing has failed yet."""


def by_dtype(judgements: Sequence[Judgement], asking: Asking) -> Mapping[str, Mapping[str, str]]:
    """What each dtype gives of those that fail, by their ids, where dtypes differ; what is known in time."""
    found: dict[str, Mapping[str, str]] = {}
    try:
        for judgement in judgements:
            if judgement.verdict in (Verdict.VIOLATED, Verdict.ERROR):
                answers = _answers(judgement, asking)
                if len(set(answers.values())) > 1:
                    found[judgement.id] = answers
    except (OutOfTime, Ended):
        pass
    return found


def _answers(judgement: Judgement, asking: Asking) -> Mapping[str, str]:
    """What each dtype gives; no dtype in which no case met the premise."""
    (invariant,) = find_invariants(judgement.id)
    answers = {
        dtype: asking.in_dtype(invariant, CASES, dtype)
        for dtype in asking.implementation.limits.of(invariant.component).usual_dtypes
    }
    return {dtype: answer for dtype, answer in answers.items() if answer}
