"""Judges in seconds: by a kept vector of each invariant, and a few of them by fresh cases as well."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.by_vectors import judge_vectors, summed, telling
from detr_conformance.judging.judge import blank_judgement, judge
from detr_conformance.ledger.judging import judge_listed
from detr_conformance.running.judges import Judgements, Task, ThisProcess
from detr_conformance.vectors.exporting import set_text
from detr_conformance.vectors.reading import vectors_in
from detr_conformance.vectors.vector import Vector
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant

LONG = 20
"""What takes as long as more than so many ordinary cases is left out."""

FRESH = 24
"""How many invariants of an implementation are asked about fresh cases too; the seed says which."""


class Quick(ThisProcess):
    """Judges one task after the other in this process, where what hangs or dies ends all.

    Each invariant is judged by the longest vector of the kept set that names it, in the implementation's dialect; some
    of those that hold, and those without a vector, as a check does, on `examples` fresh cases.
    """

    def judged(
        self, tasks: Sequence[Task], *, examples: int, seed: int, device: str, database: tuple[str, ...] = ()
    ) -> Judgements:
        """The judgement of each task with its place, in order."""
        fresh = set(random.Random(seed).sample(range(len(tasks)), min(FRESH, len(tasks))))
        how: dict[str, Any] = {"examples": examples, "seed": seed, "device": device, "database": database}
        for place, (subject, invariant, entries) in enumerate(tasks):
            judged = partial(_judged, afresh=place in fresh)
            yield place, judge_listed(invariant, subject.implementation, entries, judge=judged, **how)


def _judged(invariant: Invariant, implementation: Implementation, *, afresh: bool, **how: Any) -> Judgement:
    if invariant.cost > LONG:
        return blank_judgement(invariant, Verdict.VACUOUS, "left out of a quick look, as it takes long")
    vector = _longest(implementation.profile.name, invariant.component).get(invariant.id)
    if vector is None:
        return judge(invariant, implementation, **how)
    replayed = judge_vectors(invariant, implementation, [vector], how["device"])
    if replayed.examples and (replayed.verdict.fails or not afresh):
        return replayed
    both = [replayed, judge(invariant, implementation, **how)]
    return summed(telling(both), both)


@cache
def _longest(profile: str, component: str) -> dict[str, Vector]:
    """The longest vector of the kept set, which shows most, for each invariant of a component in a dialect, by id."""
    named = f'"name":"{profile}"'
    lines = sorted((line for line in set_text(component).splitlines() if named in line), key=len, reverse=True)
    found: dict[str, Vector] = {}
    for placed in vectors_in("\n".join(lines), component) if lines else ():
        if placed.vector.case.configuration.profile.name == profile:
            for name in placed.vector.invariants:
                found.setdefault(name, placed.vector)
    return found
