"""Invariants of the matcher: which query is assigned to which target, and what may not influence that. norm §3, M1–M16."""

from __future__ import annotations

from collections.abc import Callable

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Matcher
from detr_spec.invariant import invariant
from detr_spec.invariants.shared import require_optimal_matchings, require_valid
from detr_spec.strategies import set_cases
from detr_spec.violation import require

Build = Callable[[Configuration], Matcher]


@invariant(
    "matcher.valid-pairs",
    number="M1",
    formula="|M_b| = min(Q, n_b); queries and targets distinct and in range",
    source="norm §3; Carion et al. 2020, section 3.1: the assignment is one-to-one",
    breaks="swapped index vectors; indices offset into the concatenated targets; padding matched to queries",
    cases=set_cases(),
)
def valid_pairs(component: Build, case: SetCase) -> None:
    """Each image gets min(Q, n) pairs of distinct queries and distinct targets, all in range.

    A criterion gathers with these indices: a repeated or foreign index trains a query towards the wrong object in silence.
    """
    matchings = component(case.configuration)(case.outputs, case.targets).value
    for image, (matching, target) in enumerate(zip(matchings, case.targets, strict=True)):
        require_valid(f"image {image}", matching, case.outputs.queries, len(target))


@invariant(
    "matcher.int64-indices",
    number="M1",
    formula="dtype(queries) = dtype(targets) = int64",
    source="norm §3: the result is a pair of int64 index vectors",
    breaks="empty images answered with a float tensor; NumPy's platform integer passed through",
    cases=set_cases(),
)
def int64_indices(component: Build, case: SetCase) -> None:
    """The index vectors are int64, for empty images too.

    An empty float tensor cannot index, so the first batch with an empty image stops the training run.
    """
    answer = component(case.configuration)(case.outputs, case.targets)
    for name, dtype in answer.observation.dtypes.items():
        require(dtype == "int64", f"{name} are no int64", expected="int64", got=dtype)


@invariant(
    "matcher.optimal-cost",
    number="M2",
    formula="Σ_(i,j)∈M C_ij = min over assignments, C_ij = λ_class c_ij + λ_bbox ‖b̂_i − b_j‖₁ − λ_giou GIoU(b̂_i, b_j)",
    source="Carion et al. 2020, equation 1; norm §3",
    breaks="a cost term with the wrong sign, weight or box format; greedy matching; costs of another image",
    cases=set_cases(),
)
def optimal_cost(component: Build, case: SetCase) -> None:
    """The total cost of each image's matching is the minimum over all assignments.

    This is what makes the loss a set loss. It is judged by a bound from dual prices, never by comparing indices, so any
    optimal matching is right under ties.
    """
    configuration = case.configuration
    matchings = component(configuration)(case.outputs, case.targets).value
    require_optimal_matchings("the matching", matchings, case.outputs.main, case.targets, configuration)
