"""Vectors put to an implementation: whether it can be asked at all, and what its answer is worth."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any

from detr_conformance.base.errors import one_line
from detr_conformance.base.isolation import MOMENT, restoring_component
from detr_conformance.base.verdict import Judgement
from detr_conformance.judging.judge import DEFAULT_DEVICE, blank_judgement, concluded, with_passed
from detr_conformance.judging.search import search_case
from detr_conformance.judging.variety import Variety
from detr_conformance.testee.ended import Ended
from detr_conformance.testee.stopwatch import Stopwatch
from detr_conformance.vectors.vector import Vector
from detr_spec.calls import CALLS, PLAIN
from detr_spec.cases import Case, CostCase
from detr_spec.configuration import PARTS, number_of
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.values import InvalidValue
from detr_spec.violation import Raised, RankFailure, Violation


class Unfit(Exception):
    """A vector cannot be asked of an implementation, or an invariant not of a vector; the message says why."""


def fitted(
    vector: Vector,
    implementation: Implementation,
    device: str = DEFAULT_DEVICE,
    *,
    undeclared_dtypes: bool = False,
) -> Case:
    """The vector's case in the implementation's own profile, on a device.

    undeclared_dtypes: it is to be in a dtype that the implementation does not declare, instead of one that it does.

    Raises `Unfit` where the profile has other parts, other constants in them or another matching scope, and where the
    limits exclude the case: its dtype, the way of its call, a number of its configuration, its shapes.
    """
    case, limits = vector.case, implementation.limits.of(vector.component)
    own = case.configuration
    if own.profile.activation != implementation.profile.activation:
        raise Unfit(
            f"it is of profile {own.profile.name}, {own.profile.activation}, and "
            f"{implementation.name} of {implementation.profile.name}, {implementation.profile.activation}"
        )
    for part in PARTS:
        names = [getattr(profile, part).name for profile in (own.profile, implementation.profile)]
        if names[0] != names[1]:
            raise Unfit(f"its {part} is {names[0]}, and that of {implementation.name} is {names[1]}")
        _require_own_constants(part, vector, implementation)
    if own.profile.matching != implementation.profile.matching:
        raise Unfit(f"it is of profile {own.profile.name}, which matches other queries and targets with each other")
    if (own.dtype in limits.dtypes) is undeclared_dtypes:
        raise Unfit(f"it is in {own.dtype}, and {implementation.name} computes in {', '.join(limits.dtypes)}")
    if own.call not in (PLAIN, *limits.calls):
        raise Unfit(f"it is called {CALLS[own.call]}, and {implementation.name} is not")
    for name, value in limits.fixed.items():
        if number_of(own, name) != value:
            raise Unfit(f"{name} is {number_of(own, name):g} in it, and always {value:g} in {implementation.name}")
    if limits.equal_shapes and isinstance(case, CostCase) and len({cost.shape for cost in case.costs}) > 1:
        raise Unfit(f"its matrices differ in shape, and {implementation.name} takes those of one shape")
    configuration = replace(own, profile=implementation.profile, device=device, fixed=tuple(sorted(limits.fixed)))
    try:
        fitting: Case = replace(case, configuration=configuration)
    except InvalidValue as error:
        raise Unfit(str(error)) from error
    return fitting


def _require_own_constants(part: str, vector: Vector, implementation: Implementation) -> None:
    """Raises `Unfit` for a number of a part that no case varies, and that the implementation has another of."""
    theirs, own = getattr(vector.case.configuration, part), getattr(implementation.profile, part)
    for name in own.numbers.keys() - own.drawn.keys():
        if theirs.numbers[name] != own.numbers[name]:
            raise Unfit(
                f"{part}.{name} is {theirs.numbers[name]:g} in it, and {own.numbers[name]:g} in {implementation.name}"
            )


def judge_vector(
    invariant: Invariant,
    implementation: Implementation,
    vector: Vector,
    device: str = DEFAULT_DEVICE,
    variety: Variety | None = None,
) -> Judgement:
    """The judgement of an invariant on an implementation that rests on one vector alone.

    variety: sees what is answered, too.

    The implementation provides the invariant's component, and the invariant applies to its profile. Raises `Unfit` as
    `fitted` does, and where the invariant itself cannot cope with the case.
    """
    case: Any = fitted(vector, implementation, device, undeclared_dtypes=invariant.undeclared_dtypes)
    MOMENT.judgement += 1
    start = perf_counter()
    stopwatch = Stopwatch()
    component = stopwatch.watched(restoring_component(implementation, invariant.component))
    if variety is not None:
        component = variety.watched(component)
    try:
        found = search_case(invariant, component, case)
    except Ended as ended:
        return blank_judgement(invariant, ended.verdict, ended.message)
    if found.failure is not None and not isinstance(found.failure, (Violation, Raised, RankFailure)):
        raise Unfit(f"{invariant.id} cannot be asked of it: {one_line(found.failure)}") from found.failure
    judgement = with_passed(concluded(invariant, found, vector.provenance.seed), invariant, component, found)
    seconds = perf_counter() - start
    return replace(judgement, seconds=seconds, implementation_seconds=stopwatch.seconds)
