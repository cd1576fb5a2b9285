"""What several groups of invariants need: valid matchings, costs of a case, cases whose optimum is unique."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from detr_spec.calls import EVALUATED
from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration, with_numbers
from detr_spec.matching.assignment import minimum_total, optimality, solve, total_allowance, unique_optimum
from detr_spec.matching.costs import image_costs
from detr_spec.profile import Profile
from detr_spec.scope import Problem, joined, part_of, problems
from detr_spec.tolerance import Interval
from detr_spec.values import Answer, Floats, Integers, Matching, Outputs, Targets, Value
from detr_spec.violation import NotProvided, Raised, Violation, premise, require, require_equal


def require_valid(what: str, matching: Matching, rows: int, columns: int) -> None:
    """Raises `Violation` unless the pairs are min(rows, columns) distinct integer pairs in range."""
    for side, indices, size in (("first", matching.queries, rows), ("second", matching.targets, columns)):
        kind = indices.dtype.kind
        require(
            kind in "iu" or indices.size == 0,
            f"{what}: the {side} indices are no integers",
            expected="int64",
            got=str(indices.dtype),
        )
        count = min(rows, columns)
        require_equal(f"{what}: a wrong number of pairs", len(indices), count)
        numbers = [int(index) for index in indices]
        require(len(set(numbers)) == count, f"{what}: the {side} indices repeat", expected="distinct", got=numbers)
        require(
            all(0 <= index < size for index in numbers),
            f"{what}: the {side} indices leave their range",
            expected=f"0 … {size - 1}",
            got=numbers,
        )


def require_valid_matching(
    what: str, matching: Matching, queries: int, targets: int, configuration: Configuration
) -> None:
    """Raises `Violation` unless the pairs of an image are those of valid assignments, one of each of its problems."""
    scope = configuration.scope
    if scope.groups * scope.repeats == 1:
        require_valid(what, matching, queries, targets)
        return
    whole = problems(queries, targets, scope)
    for side, indices, size in (("first", matching.queries, queries), ("second", matching.targets, targets)):
        numbers = [int(index) for index in indices]
        message, expected = f"{what}: the {side} indices leave their range", f"0 … {size - 1}"
        require(all(0 <= index < size for index in numbers), message, expected=expected, got=numbers)
    for number, problem in enumerate(whole):
        name = f"{what}, group {number}" if len(whole) > 1 else what
        require_valid(name, part_of(matching, problem), len(problem.queries), len(problem.targets))


def require_optimal(what: str, matching: Matching, cost: Floats | Interval, solver_dtype: str) -> None:
    """Raises `Violation` unless the matching is valid and optimal for some costs in their range.

    Ends the check where a range is unbounded, as those of quotients and logarithms may be in narrow dtypes.
    """
    require_valid(what, matching, *cost.shape)
    _require_least_cost(what, matching, cost, solver_dtype)


def _require_least_cost(
    what: str, matching: Matching, cost: Floats | Interval, solver_dtype: str, copies: int = 1
) -> None:
    """As `require_optimal`, of a valid matching. copies: how many columns in turn are one and the same."""
    if isinstance(cost, Interval):
        known = np.isfinite(cost.lower).all() and np.isfinite(cost.upper).all()
        premise(bool(known), f"the costs can be anything when they are computed in {cost.dtype}")
    judged = optimality(matching, cost, solver_dtype, copies)
    if not judged.holds:
        exact = cost.value if isinstance(cost, Interval) else cost
        best, least = unique_optimum(exact, copies=copies), minimum_total(exact)
        total = float(exact[matching.queries, matching.targets].sum())
        # The most favourable costs in their range decide; the exact ones, which are shown, may differ by so much more.
        favour = (total - least) - (judged.total - judged.bound) if isinstance(cost, Interval) else 0.0
        raise Violation(
            f"{what}: a cheaper assignment exists",
            expected=least,
            got=total,
            allowance=judged.allowance + favour,
            cost=exact,
            pairs=matching.pairs(),
            **({} if best is None else {"optimal_pairs": best.pairs()}),
        )


def require_optimal_matchings(
    what: str, matchings: Sequence[Matching], layer: Outputs, targets: Targets, configuration: Configuration
) -> None:
    """Raises `Violation` unless each image's matching of one decoder layer is valid and optimal."""
    for image, (matching, cost) in enumerate(zip(matchings, image_costs(layer, targets, configuration), strict=True)):
        require_valid_matching(f"{what}, image {image}", matching, len(cost), cost.shape[1], configuration)
        for problem, part, own in parts_of(matching, cost, configuration):
            _require_least_cost(f"{what}, image {image}", part, own, configuration.dtype, problem.repeats)


def parts_of(
    matching: Matching, cost: Interval, configuration: Configuration
) -> Iterator[tuple[Problem, Matching, Interval]]:
    """Each problem of an image, the part of a valid matching that is of it, and its costs."""
    for problem in problems(len(cost), cost.shape[1], configuration.scope):
        yield problem, part_of(matching, problem), costs_of(problem, cost)


def costs_of(problem: Problem, cost: Interval) -> Interval:
    """The costs of a problem's queries and targets, from those of its image."""
    return cost[problem.queries][:, problem.targets]


def unique_matchings(layer: Outputs, targets: Targets, configuration: Configuration) -> tuple[Matching, ...]:
    """Each image's optimal matching in one layer; ends the check unless each is unique by a margin."""
    return unique_optima(image_costs(layer, targets, configuration), configuration)


def unique_optima(costs: Sequence[Interval], configuration: Configuration) -> tuple[Matching, ...]:
    """The optimal matching of each image's costs; ends the check unless each is unique by a margin."""
    return tuple(_unique_of_image(cost, configuration) for cost in costs)


def _unique_of_image(cost: Interval, configuration: Configuration) -> Matching:
    whole = problems(len(cost), cost.shape[1], configuration.scope)
    found = [unique_optimum(costs_of(problem, cost), configuration.dtype, problem.repeats) for problem in whole]
    premise(all(item is not None for item in found), "an image has several matchings that are as good")
    return joined([item for item in found if item is not None], whole)


def same_pairs(first: Matching, second: Matching) -> bool:
    """Whether two matchings pair the same queries and targets, in whatever order."""
    return sorted(first.pairs()) == sorted(second.pairs())


def require_unchanged(answer: Answer[Value], what: str = "the call") -> None:
    """Raises `Violation` if the call changed its inputs, `NotProvided` where that cannot be seen."""
    if answer.observation.mutated is None:
        raise NotProvided("changes of the inputs cannot be seen")
    mutated = list(answer.observation.mutated)
    require(not mutated, f"{what} changed its inputs: {', '.join(mutated)}", expected=[], got=mutated)


def require_no_gradient(answer: Answer[Value], what: str) -> None:
    """Raises `Violation` if a part of the answer carries a gradient, `NotProvided` where none can be seen."""
    if not answer.observation.differentiable:
        raise NotProvided("gradients cannot be seen")
    attached = sorted(answer.observation.attached)
    require(not attached, f"{what} carry a gradient: {', '.join(attached)}", expected=[], got=attached)


def require_evaluation(configuration: Configuration) -> None:
    """Raises `NotProvided` where the implementation is not called as in evaluation."""
    if configuration.call not in EVALUATED:
        raise NotProvided("the implementation is not called as in evaluation")


def query_order_of(case: SetCase, count: int) -> Integers:
    """An order of so many queries that keeps each in its group; int64 [count]."""
    starts = np.arange(count).reshape(case.configuration.scope.groups, -1)[:, :1]
    return (starts + case.permutation(count // len(starts), "queries")).ravel()


def one_to_one(profile: Profile) -> bool:
    """Whether a matching gives a target one query at most."""
    return profile.matching.is_one_to_one


def by_layer(profile: Profile) -> bool:
    """Whether the losses of a decoder layer depend on that layer alone."""
    return profile.matching.box_pairs == "layer"


def inverse(order: np.ndarray) -> np.ndarray:
    """The permutation that undoes `order`."""
    return np.argsort(order)


def excess_allowance(matching: Matching, cost: Interval) -> float:
    """How far a right matching's total may lie above the least total, both in exact costs.

    A right matching is optimal for some costs in the range: at best its own pairs at their lower ends, and
    the optimum's at their upper ends; a solver's own rounding comes on top.
    """
    best = solve(cost.value)
    own = (cost.value - cost.lower)[matching.queries, matching.targets].sum()
    others = (cost.upper - cost.value)[best.rows, best.columns].sum()
    return float(own + others) + largest_allowance(cost)


def largest_allowance(cost: Interval) -> float:
    """How far above the minimum a right solver's total may be, for any costs in their range."""
    return total_allowance(np.maximum(np.abs(cost.lower), np.abs(cost.upper)), cost.dtype)


def require_same_optimum(
    what: str,
    before: Matching,
    after: Matching,
    cost: Interval,
    configuration: Configuration,
    cost_after: Interval | None = None,
) -> None:
    """Raises `Violation` unless two valid matchings of an image can both be right answers.

    The same pairs always agree. Other pairs agree unless the optimum is unique by a margin, if their totals
    do. `cost_after` is the range of the costs behind the second where they were evaluated from other
    numbers; they may differ from `cost` by what leaves the differences between totals as they are.
    """
    if same_pairs(before, after):
        return
    costs_after = cost if cost_after is None else cost_after
    parts = (parts_of(*part, configuration) for part in ((before, cost), (after, costs_after)))
    for (problem, first, own), (_, second, other) in zip(*parts, strict=True):
        if not same_pairs(first, second):
            _require_same_total(what, (first, second), (own, other), problem.repeats)


def require_same_optima(
    what: str,
    before: Sequence[Matching],
    after: Sequence[Matching],
    costs: Sequence[Interval],
    configuration: Configuration,
    costs_after: Sequence[Interval] | None = None,
) -> None:
    """As `require_same_optimum`, of each image of a batch; what follows them in `after` is not looked at."""
    for image, cost in enumerate(costs):
        cost_after = None if costs_after is None else costs_after[image]
        name = f"image {image}, {what}"
        require_same_optimum(name, before[image], after[image], cost, configuration, cost_after)


def _require_same_total(
    what: str, matchings: tuple[Matching, Matching], ranges: tuple[Interval, Interval], copies: int
) -> None:
    (before, after), cost = matchings, ranges[0]
    pairs = {"expected": before.pairs(), "got": after.pairs()}
    if all(unique_optimum(item, item.dtype, copies) is not None for item in ranges):
        raise Violation(f"{what}: the pairs changed, though only one assignment is optimal", cost=cost.value, **pairs)
    totals = [float(cost.value[matching.queries, matching.targets].sum()) for matching in (before, after)]
    allowance = max(map(excess_allowance, (before, after), ranges))
    require(
        abs(totals[0] - totals[1]) <= allowance,
        f"{what}: the total cost changed",
        allowance=allowance,
        total_before=totals[0],
        total_after=totals[1],
        cost=cost.value,
        **pairs,
    )


def vary(configuration: Configuration, **numbers: float) -> Configuration:
    """The configuration with other numbers, as `with_numbers`; raises `NotProvided` for one that cannot be varied."""
    fixed = sorted(numbers.keys() & set(configuration.fixed))
    if fixed:
        raise NotProvided(f"the implementation cannot vary {', '.join(fixed)}")
    return with_numbers(configuration, numbers)


def with_broken_label(case: SetCase, image: int, label: int, generator: np.random.Generator) -> Targets:
    """The targets, one of an image's with another label, in or out of range; the generator chooses which."""
    labels = case.targets[image].labels.copy()
    labels[generator.integers(len(labels))] = label
    return case.targets_with(image, replace(case.targets[image], labels=labels, broken=True))


def require_refusal(what: str, *, sound: Callable[[], object], broken: Callable[[], object]) -> None:
    """Raises `Violation` unless the broken call raises.

    sound: the call of the same object with the sound neighbour of the broken input, and of another object where the
    building of one is refused. It must be answered before and after, and what it raises is raised: what raises in any
    case, or from the second call on, refuses nothing.
    """
    sound()
    try:
        broken()
    except Raised:
        sound()
        return
    raise Violation(f"{what} was accepted", expected="an exception", got="an answer")


def require_refused(
    what: str,
    component: Callable[[Configuration], Callable[[Outputs, Targets], object]],
    case: SetCase,
    outputs: Outputs | None = None,
    targets: Targets | None = None,
) -> None:
    """As `require_refusal`, of a component of predictions and targets, the case's own or the broken ones given."""
    call = component(case.configuration)
    broken = case.outputs if outputs is None else outputs, case.targets if targets is None else targets
    require_refusal(what, sound=lambda: call(case.outputs, case.targets), broken=lambda: call(*broken))


def without_objects(targets: Targets) -> Targets:
    """The targets of as many images without any object."""
    return tuple(target.take(np.arange(0)) for target in targets)


def layer_names(outputs: Outputs) -> list[str]:
    """What the decoder layers are called in messages, first to last."""
    return [*(f"auxiliary layer {layer}" for layer in range(len(outputs.auxiliary))), "the last layer"]


def named_layers(outputs: Outputs) -> list[tuple[str, Outputs]]:
    """The decoder layers, first to last, each behind its name in messages."""
    return list(zip(layer_names(outputs), outputs.layers, strict=True))


def require_in_unit_range(outputs: Outputs) -> None:
    """Raises `Violation` unless the boxes of every decoder layer lie in [0, 1]."""
    for name, layer in named_layers(outputs):
        outside = layer.boxes[~((layer.boxes >= 0) & (layer.boxes <= 1))]
        require(outside.size == 0, f"the boxes of {name} leave [0, 1]", expected="0 … 1", got=outside[:4].tolist())
