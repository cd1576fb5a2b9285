"""Compares two implementations: what becomes of each invariant, and which numbers moved, by how much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np

from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.comparing.numbers import part_of, size_of
from detr_conformance.comparing.recorder import Asked, Call, Recorder
from detr_conformance.comparing.silence import notices
from detr_conformance.encoding.places import Place
from detr_conformance.judging.fitting import Unfit, judge_vector
from detr_conformance.judging.judge import judge, not_asked
from detr_conformance.judging.reduction import may_be_drawn, reduction
from detr_conformance.judging.search import search_case
from detr_conformance.vectors.vector import counterexample_document, from_document
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.values import AnyNumbers

MOST_TRIES = 100
"""How many cases are asked, at most, to find the smallest one that tells two implementations apart."""


class Change(str, Enum):
    """What becomes of an invariant from the first implementation to the second."""

    MENDED = "mended"
    BROKEN = "broken"
    WRONG_IN_BOTH = "wrong in both"
    LOST = "no longer judged"
    GAINED = "judged anew"
    NONE = "as before"

    def __str__(self) -> str:
        return self.value

    @property
    def fails(self) -> bool:
        """Whether the second is worse than the first."""
        return self in (Change.BROKEN, Change.LOST)


class Right(str, Enum):
    """Who is right where numbers moved."""

    BOTH = "right in both"
    SECOND = "right in the second"
    FIRST = "right in the first"
    NEITHER = "wrong in both"
    SILENT = "the norm is silent"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Compared:
    """An invariant, and what was found of it for the first implementation and for the second."""

    first: Judgement
    second: Judgement
    change: Change


@dataclass
class Distance:
    """In how many of the calls numbers differ, and by how much at most.

    absolute, relative: NaN where shapes differ, or one is finite and the other is not.
    """

    calls: int = 0
    differing: int = 0
    absolute: float = 0.0
    relative: float = 0.0

    def take(self, apart: tuple[float, float] | None) -> None:
        """Counts a call, and how far apart its numbers are, None where they are alike."""
        self.calls += 1
        if apart is not None:
            self.differing += 1
            self.absolute, self.relative = _greatest(self.absolute, apart[0]), _greatest(self.relative, apart[1])


@dataclass(eq=False)
class Moved:
    """Numbers of one name that differ, by dtype, and who is right.

    accused: the invariants that saw them and do not hold for one of the two. case: the vector of the smallest case that
    was found to tell the two apart, in plain data.
    """

    component: str
    part: str
    dtypes: dict[str, Distance] = field(default_factory=lambda: defaultdict(Distance))
    accused: set[str] = field(default_factory=set)
    right: Right = Right.BOTH
    case: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two implementations of one dialect were found to have in common."""

    first: str
    second: str
    profile: str
    invariants: tuple[Compared, ...]
    calls: int
    moved: tuple[Moved, ...]

    @property
    def is_worse(self) -> bool:
        """Whether an invariant holds for the first alone."""
        return any(item.change.fails for item in self.invariants)


@dataclass(frozen=True, eq=False)
class _Pair:
    """The same case, asked of both, and a call that both answered."""

    asked: Asked
    first: Call
    second: Call


def compared(
    first: Implementation,
    second: Implementation,
    invariants: Sequence[Invariant],
    *,
    examples: int,
    seed: int,
    device: str,
    smallest: bool = True,
    progress: Callable[[], object] = lambda: None,
) -> Comparison:
    """The comparison of two implementations of one dialect, by the cases of these invariants.

    smallest: whether the cases that tell them apart are made smaller, for which both are called in turns. progress:
    called after each judgement, of which there are two for each invariant.
    """
    both = first, second = _with_common_dtypes(first, second)
    how: Any = {"examples": examples, "seed": seed, "device": device}
    judged: list[list[tuple[Recorder, Judgement]]] = [[], []]
    for known, implementation in zip(judged, both, strict=True):
        for invariant in invariants:
            known.append(_judged(invariant, implementation, how))
            progress()
    found, pairs = [], []
    for invariant, (one, of_first), (other, of_second) in zip(invariants, *judged, strict=True):
        judgements = _asked_of_both(invariant, both, [of_first, of_second], device)
        found.append(Compared(judgements[0], judgements[1], _change(*judgements)))
        pairs += _pairs(one, other)
    moved = _moved(pairs, {item.first.id: item for item in found})
    for item, example in moved:
        case = _reduced(item.part, example.asked, both, device) if smallest else example.asked.case
        item.case = counterexample_document(example.asked.invariant, case, seed)
        item.right = _right(item, found, invariants, first, device)
    items = tuple(item for item, _ in moved)
    _follow(items)
    return Comparison(first.name, second.name, second.profile.name, tuple(found), len(pairs), items)


def _with_common_dtypes(*both: Implementation) -> tuple[Implementation, ...]:
    """The implementations, limited to the dtypes that all declare, so that they are asked the same.

    Raises `UsageError` where they have none in common.
    """
    common = {}
    for component in both[0].components:
        declared = [item.limits.of(component).dtypes for item in both]
        common[component] = tuple(dtype for dtype in declared[0] if all(dtype in other for other in declared))
        if not common[component]:
            raise UsageError(f"{' and '.join(item.name for item in both)} declare no dtype of {component} in common")
    return tuple(replace(item, limits=item.limits.with_dtypes(common)) for item in both)


def _follow(moved: Sequence[Moved]) -> None:
    """Says of numbers of auxiliary layers what is said of those of the last one, where that is known."""
    known = {item.part: item for item in moved if item.accused}
    for item in moved:
        last = known.get(item.part.removesuffix("_i"))
        if last is not None and not item.accused:
            item.right = last.right


def _judged(invariant: Invariant, implementation: Implementation, how: Any) -> tuple[Recorder, Judgement]:
    recorder = Recorder()
    if not_asked(invariant, implementation) is not None:
        return recorder, judge(invariant, implementation, **how)
    watched = recorder.watching(implementation, invariant.component)
    return recorder, judge(recorder.noting(invariant), watched, **how)


def _asked_of_both(
    invariant: Invariant, both: Sequence[Implementation], judgements: Sequence[Judgement], device: str
) -> list[Judgement]:
    """The judgements, where the case that one fails is put to the other too."""
    result = list(judgements)
    for place, judgement in enumerate(judgements):
        other = judgements[1 - place]
        document = judgement.counterexample and judgement.counterexample.vector
        if judgement.verdict.fails and document is not None and other.verdict is Verdict.HOLDS:
            vector = from_document(document, Place("the counterexample"))
            try:
                again = judge_vector(invariant, both[1 - place], vector, device)
            except Unfit:
                continue
            if again.verdict.fails:
                result[1 - place] = again
    return result


def _change(first: Judgement, second: Judgement) -> Change:
    known = (Verdict.HOLDS, Verdict.VACUOUS)
    if first.verdict.fails and second.verdict.fails:
        return Change.WRONG_IN_BOTH
    if second.verdict.fails:
        return Change.BROKEN
    if first.verdict.fails:
        return Change.MENDED if second.verdict is Verdict.HOLDS else Change.LOST
    if (first.verdict in known) is (second.verdict in known):
        return Change.NONE
    return Change.LOST if first.verdict in known else Change.GAINED


def _pairs(first: Recorder, second: Recorder) -> list[_Pair]:
    """The calls that both answered, case by case: the cases are the same until one of the two fails."""
    found = []
    for one, other in zip(first.asked, second.asked, strict=False):
        answered = {call.question: call for call in other.calls}
        found += [_Pair(one, call, answered[call.question]) for call in one.calls if call.question in answered]
    return found


def _moved(pairs: Iterable[_Pair], found: Mapping[str, Compared]) -> list[tuple[Moved, _Pair]]:
    """The numbers that differ, by component and name, each with the smallest case in which they do."""
    moved: dict[tuple[str, str], Moved] = {}
    smallest: dict[tuple[str, str], _Pair] = {}
    for pair in pairs:
        invariant, dtype = pair.asked.invariant, pair.asked.case.configuration.dtype
        apart = differences(pair.first.answer, pair.second.answer)
        for part in {part_of(place) for place in (*pair.first.answer, *pair.second.answer)}:
            key = invariant.component, part
            item = moved.setdefault(key, Moved(*key))
            item.dtypes[dtype].take(apart.get(part))
            if part in apart:
                if found[invariant.id].change is not Change.NONE:
                    item.accused.add(invariant.id)
                if key not in smallest or size_of(pair.asked.case) < size_of(smallest[key].asked.case):
                    smallest[key] = pair
    return [(moved[key], example) for key, example in smallest.items()]


def differences(first: Mapping[str, AnyNumbers], second: Mapping[str, AnyNumbers]) -> dict[str, tuple[float, float]]:
    """The parts of two answers that are not alike bit for bit: the largest difference, and the largest relative one.

    Both are NaN where a part is there in one alone, where shapes differ, or where one is finite and the other is not.
    """
    found: dict[str, tuple[float, float]] = {}
    for place in dict.fromkeys((*first, *second)):
        one, other = first.get(place), second.get(place)
        if one is not None and other is not None and _alike(one, other):
            continue
        part = part_of(place)
        absolute, relative = _distance(one, other)
        before = found.get(part, (0.0, 0.0))
        found[part] = _greatest(before[0], absolute), _greatest(before[1], relative)
    return found


def _alike(first: AnyNumbers, second: AnyNumbers) -> bool:
    return first.shape == second.shape and bool(np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))


def _distance(first: AnyNumbers | None, second: AnyNumbers | None) -> tuple[float, float]:
    if first is None or second is None or first.shape != second.shape:
        return np.nan, np.nan
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if (np.isfinite(one) != np.isfinite(other)).any():
        return np.nan, np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.where(np.isfinite(one), np.abs(one - other), 0.0)
        relative = np.where(apart > 0, apart / np.maximum(np.abs(one), np.abs(other)), 0.0)
    return float(apart.max(initial=0.0)), float(relative.max(initial=0.0))


def _greatest(first: float, second: float) -> float:
    return float(np.maximum(first, second))


def _right(
    item: Moved, found: Sequence[Compared], invariants: Sequence[Invariant], first: Implementation, device: str
) -> Right:
    """Who is right about numbers that moved."""
    changes = {entry.change for entry in found if entry.first.id in item.accused}
    if Change.WRONG_IN_BOTH in changes or {Change.MENDED, Change.BROKEN} <= changes:
        return Right.NEITHER
    if Change.BROKEN in changes:
        return Right.FIRST
    if Change.MENDED in changes:
        return Right.SECOND
    holding = [
        invariant
        for invariant, entry in zip(invariants, found, strict=True)
        if invariant.component == item.component and entry.first.verdict is entry.second.verdict is Verdict.HOLDS
    ]
    return Right.BOTH if notices(holding, first, item.part, device) else Right.SILENT


def _reduced(part: str, asked: Asked, both: Sequence[Implementation], device: str) -> Any:
    """What is left of a case that two implementations answer differently, when what that does not need is left out."""
    invariant = asked.invariant
    domain = Domain(both[0].profile, both[0].limits.of(invariant.component), device=device)
    tries = 0

    def differs(case: Any) -> bool:
        nonlocal tries
        tries += 1
        if tries > MOST_TRIES or not may_be_drawn(invariant, domain, asked.case, case):
            return False
        return part in _differing(invariant, both, case)

    return reduction(asked.case, differs)


def _differing(invariant: Invariant, both: Sequence[Implementation], case: Any) -> Mapping[str, tuple[float, float]]:
    """The parts of answers that differ while an invariant is asked about one case."""
    recorders = []
    for implementation in both:
        recorder = Recorder()
        watched = recorder.watching(implementation, invariant.component)
        search_case(recorder.noting(invariant), watched.component(invariant.component), case)
        recorders.append(recorder)
    found: dict[str, tuple[float, float]] = {}
    for pair in _pairs(*recorders):
        found |= differences(pair.first.answer, pair.second.answer)
    return found
