"""Invariants of dialects that match groups of queries, in training alone. norm §3, M23, C23."""

from __future__ import annotations

from detr_spec.calls import EVALUATED
from detr_spec.cases import SetCase
from detr_spec.implementation import Criterion, Factory, Matcher
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    ORDINARY_REGIMES,
    Judged,
    matchings_of,
    require_layer,
)
from detr_spec.invariants.matcher import matched
from detr_spec.invariants.shared import require_evaluation, require_optimal_matchings
from detr_spec.strategies import called_cases, set_cases

EVALUATED_CASES = called_cases(set_cases(regimes=ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)), EVALUATED)


@invariant(
    "matcher.one-group-in-evaluation",
    number="M23",
    formula="in evaluation, M = the one optimal assignment of all queries, |M_b| = min(Q, n_b)",
    source="norm §3; Chen et al. 2023, section 3.2: groups are there in training alone",
    breaks="groups that are split whatever the mode is; the number of groups of training kept in evaluation",
    cases=EVALUATED_CASES,
    applies=lambda profile: profile.matching.groups > 1,
)
def matcher_in_evaluation(component: Factory[Matcher], case: SetCase) -> None:
    """In evaluation the matching is one optimal assignment of all queries, without groups.

    A validation loss under groups belongs to another problem than the one that detections come from.
    """
    require_evaluation(case.configuration)
    matchings = matched(component, case.configuration, case.outputs, case.targets)
    require_optimal_matchings("the matching", matchings, case.outputs.main, case.targets, case.configuration)


@invariant(
    "criterion.one-group-in-evaluation",
    number="C23",
    formula="in evaluation, each loss = its definition under one matching of all queries, num_boxes without groups",
    source="norm §3 and §4; Chen et al. 2023, section 3.2: groups are there in training alone",
    breaks="losses divided by the number of groups in evaluation too; a matcher that is not told of the mode",
    cases=EVALUATED_CASES,
    applies=lambda profile: profile.matching.groups > 1,
)
def criterion_in_evaluation(component: Factory[Criterion], case: SetCase) -> None:
    """In evaluation every loss is that of one matching of all queries, divided by the targets counted once.

    Otherwise training and validation losses in one figure have different scales.
    """
    require_evaluation(case.configuration)
    configuration, outputs, targets = case.configuration, case.outputs, case.targets
    losses = component(configuration)(outputs, targets).value
    answer = Judged(configuration, outputs, targets, losses, matchings_of(losses, configuration, outputs, targets))
    for layer in answer.layers:
        require_layer(answer, layer)
