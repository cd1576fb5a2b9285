"""What is left of a failing case when all is left out that its failure does not need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detr_conformance.encoding.plain_data import told
from detr_conformance.judging.parts import parts
from detr_conformance.judging.search import Component, Search, search_case
from detr_spec.invariant import Domain, Invariant
from detr_spec.strategies import Promised
from detr_spec.values import InvalidValue
from detr_spec.violation import Raised, Violation, without_numbers

MANY, SHARES = 64, 16
"""Of what there is more of than this, no less than such a share is left out: what needs so many needs nearly all."""

MOST_CASES = 500
"""How many cases with something left out are run at most."""


def reduce_found(
    invariant: Invariant, domain: Domain, component: Component, found: Search, over: Callable[[], bool]
) -> None:
    """Leaves out of the failing case of a search what it does not need to fail in the same way, whenever it is run.

    What is left follows from the case, so a case that is drawn again, as from a database, is reduced to the same.
    """
    assert found.failure is not None
    kind, drawn, most = kind_of(found.failure), found.failing_case, found.examples + MOST_CASES

    def fails_alike(left: Any) -> bool:
        if over() or found.examples >= most or not may_be_drawn(invariant, domain, drawn, left):
            return False
        for _ in range(2):
            again = search_case(invariant, component, left)
            found.count(again)
            if again.failure is None or kind_of(again.failure) != kind:
                return False
        found.failing_case, found.failure = left, again.failure
        return True

    reduction(drawn, fails_alike)


def reduction(case: Any, suffices: Callable[[Any], bool]) -> Any:
    """What is left of a case, from which nothing more can be left out so that what is left suffices.

    Half of a part is tried first, then ever less, down to single things where there are not many; one part after the
    other, until all of each is needed.
    """
    index = needed = 0
    while needed < len(parts(case)):
        left = _with_less(case, index % len(parts(case)), suffices)
        needed = needed + 1 if left is case else 0
        case, index = left, index + 1
    return case


def _with_less(case: Any, index: int, suffices: Callable[[Any], bool]) -> Any:
    size = _size(case, index)
    step, finest = (size + 1) // 2, 1 if size <= MANY else size // SHARES
    while step >= finest:
        start = 0
        while start < _size(case, index):
            left = without(case, index, start, start + step)
            if left is not None and suffices(left):
                case = left
            else:
                start += step
        step //= 2
    return case


def _size(case: Any, index: int) -> int:
    """How much a part has, which is gone when it has nothing more."""
    of_case = parts(case)
    return of_case[index].size if index < len(of_case) else 0


def without(case: Any, index: int, start: int, stop: int) -> Any:
    """A case without what a part has from start to stop; None where that is no case."""
    part = parts(case)[index]
    try:
        return part.keep([*range(start), *range(stop, part.size)])
    except InvalidValue:
        return None


def may_be_drawn(invariant: Invariant, domain: Domain, drawn: Any, left: Any) -> bool:
    """Whether what is left of a case that was drawn is known to be one that may be drawn, too."""
    return isinstance(invariant.cases, Promised) and invariant.cases.keeps(domain, drawn, left)


def kind_of(failure: Exception) -> tuple[type[Exception], str]:
    """What failures of one kind have in common: their type, and what they say without its numbers."""
    if isinstance(failure, Raised):
        return Raised, without_numbers(told(failure.error))
    return type(failure), without_numbers(failure.message if isinstance(failure, Violation) else told(failure))
