"""Invariants: testable statements as plain functions, and the register of all of them.

An invariant is a function `(component, case) -> None` that raises `Violation` with the numbers that disagree.
`component` is the factory of the component under test, `configuration -> component`. It knows neither a test
runner nor a report. The first line of its docstring is the statement; what follows says why it matters.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from detr_spec.cases import Case
from detr_spec.implementation import COMPONENTS, Component, Limits
from detr_spec.profile import Profile

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Check = Callable[[Component, Any], None]
"""Called with the component and the case that an invariant is about."""


class Level(str, Enum):
    """How binding an invariant is, in the sense of RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"


MUST, SHOULD = Level.MUST, Level.SHOULD


@dataclass(frozen=True)
class Domain:
    """What may be drawn for an implementation: its profile and its limits, and whether only small cases are wanted.

    device: where the implementation is to compute. dtype: that of all cases; without it, any of the limits'. most: the
    largest number of images, queries and targets of a set, where the invariant allows so few. shared: whether the
    caller adds the queries that a target may have beside its first, and the texts whose phrases labels name.
    """

    profile: Profile
    limits: Limits = field(default_factory=Limits)
    small: bool = False
    device: str = "cpu"
    dtype: str | None = None
    most: int | None = None
    shared: bool = False

    def capped(self, bounds: tuple[int, int]) -> tuple[int, int]:
        """The bounds of a number of images, queries or targets, the upper one lowered to `most` where it can be."""
        low, high = bounds
        return low, high if self.most is None else max(low, min(high, self.most))

    def in_dtypes(self, dtypes: tuple[str, ...]) -> Domain:
        """The same in any of these dtypes, whatever those of the implementation are."""
        return replace(self, limits=replace(self.limits, dtypes=dtypes), dtype=None)


Cases = Callable[[Domain], "SearchStrategy[Case]"]


def every_profile(_: Profile) -> bool:
    """ALL: every dialect."""
    return True


def with_no_object(profile: Profile) -> bool:
    """SM: dialects whose softmax has a no-object class."""
    return profile.has_no_object


def without_no_object(profile: Profile) -> bool:
    """SG: dialects of sigmoids, without a no-object class."""
    return not profile.has_no_object


def with_boxes(profile: Profile) -> bool:
    """Dialects with boxes, and not masks alone."""
    return profile.has_boxes


def judging(name: str, among: Callable[[Profile], bool] = every_profile) -> Callable[[Profile], bool]:
    """Those of these dialects in which a training term, by neutral name, is judged."""
    return lambda profile: among(profile) and profile.judges(name)


@dataclass(frozen=True)
class Invariant:
    """One statement of the norm, and the function that checks it for a case.

    number: its place in the norm's list ("M2"). formula, source and breaks (what typically breaks it) are for readers.
    applies: to which profiles it applies. cases: the strategy that draws cases for it, given a profile and limits.
    """

    id: str
    number: str
    level: Level
    component: str
    statement: str
    why: str
    formula: str
    source: str
    breaks: str
    applies: Callable[[Profile], bool]
    cases: Cases
    check: Check
    cost: float = 1
    """How many ordinary cases one of its cases takes as long as: it gets so many times fewer."""
    rarity: int = 1
    """How many times as many cases it gets: more where what it finds shows in few of them, as the bank of mutants says,
    or where each case asks about one of many ways."""
    undeclared_dtypes: bool = False
    """Whether its cases are in dtypes that the implementation does not declare."""

    def case_count(self, examples: int) -> int:
        """The number of cases it gets when `examples` are asked for: at least one."""
        return self.affordable(examples * self.rarity)

    def affordable(self, cases: int) -> int:
        """How many of its cases take as long as so many ordinary ones: at least one."""
        return max(1, int(cases / self.cost))


REGISTER: dict[str, Invariant] = {}
"""All that were registered so far, by their ids; `detr_spec.invariants` registers those of the norm."""


def invariant(
    id: str,
    *,
    number: str,
    level: Level = MUST,
    formula: str,
    source: str,
    breaks: str,
    cases: Cases,
    applies: Callable[[Profile], bool] = every_profile,
    cost: float = 1,
    rarity: int = 1,
    undeclared_dtypes: bool = False,
) -> Callable[[Check], Check]:
    """Registers a check function as an invariant, with its docstring as statement and reason.

    `id` is `component.name`, where the component is one of `COMPONENTS` or a part of the criterion
    ("auxiliary.…"). Raises `ValueError` for an id that is malformed or taken, a malformed number, and for a
    function without a statement.
    """

    def register(check: Check) -> Check:
        component = id.partition(".")[0]
        component = PARTS.get(component, component)
        if component not in COMPONENTS or not re.fullmatch(r"[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*", id):
            raise ValueError(f"invariant id {id!r} is not of the form component.some-name with a known component")
        if not re.fullmatch(f"[{GROUPS}][1-9][0-9]*", number):
            raise ValueError(f"invariant {id} has number {number!r}; expected one of the norm's list, such as M2")
        if id in REGISTER:
            raise ValueError(f"invariant id {id!r} is taken")
        statement, _, why = inspect.cleandoc(check.__doc__ or "").partition("\n\n")
        if not statement or not why:
            raise ValueError(f"invariant {id} needs a docstring: its statement, an empty line, and why it matters")
        REGISTER[id] = Invariant(
            id, number, level, component, statement.replace("\n", " "), why.replace("\n", " "),
            formula, source, breaks, applies, cases, check, cost, rarity, undeclared_dtypes,
        )  # fmt: skip
        return check

    return register


PARTS = {"auxiliary": "criterion"}
"""Groups of invariants that speak about a part of a component, by the prefix of their ids."""


GROUPS = "BSMCAGPHD"
"""The groups of the norm's list in its order, by the letters of their numbers: boxes, assignment (S), matcher, …"""
