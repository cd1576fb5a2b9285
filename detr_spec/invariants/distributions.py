"""Invariants of losses of the distributions that edges are read from. norm §12, C2 and G1."""

from __future__ import annotations

from detr_spec.cases import SetCase
from detr_spec.implementation import Criterion, Factory, Gradients
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import ORDINARY_REGIMES, judged
from detr_spec.invariants.gradient_answers import judged_layers, require_zero
from detr_spec.reported import weight_table
from detr_spec.strategies import edge_terms, set_cases, with_edges
from detr_spec.violation import premise

CASES = with_edges(set_cases(regimes=ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)))


@invariant(
    "criterion.distribution-values",
    number="C2",
    formula="each loss of distributions of edges = its definition under the pairs of box losses, where a layer has it",
    source="norm §12; Peng et al. 2024, D-FINE, section 4.1",
    breaks=(
        "bins off by one; shares exchanged; distances beyond the ends; the IoU left out; another layer's IoU; a "
        "teacher that is not the last layer"
    ),
    cases=CASES,
    applies=lambda profile: bool(edge_terms(profile)),
    rarity=3,
)
def distribution_values(component: Factory[Criterion], case: SetCase) -> None:
    """Each loss of the distributions of edges is there in every layer that has it, and equals its definition.

    Boxes are read from these distributions, so a wrong share moves every edge.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    names = case.configuration.moving("edges")
    reported = [(name, layer) for name in names for layer in answer.layers if answer.reports(name, layer)]
    premise(bool(reported), "no layer's loss is reported by itself")
    for name, layer in reported:
        answer.term(name, layer).require_definition()


@invariant(
    "gradients.distributions",
    number="G1",
    formula="∂loss/∂l = the definition's slope, and ∂loss/∂z = ∂loss/∂b̂ = 0, for each loss of distributions of edges",
    source="norm §12; Peng et al. 2024, D-FINE, section 4.1",
    breaks=(
        "an IoU or shares with a gradient; distributions that are detached, or trained where nothing is matched; a "
        "teacher that learns from its pupils"
    ),
    cases=CASES,
    applies=lambda profile: bool(edge_terms(profile)),
    rarity=3,
)
def distribution_slopes(component: Factory[Gradients], case: SetCase) -> None:
    """The gradient of each loss of distributions is the slope of its definition, and moves them alone.

    What weighs a pair says how good its box is, and is not to be learnt.
    """
    configuration = case.configuration
    known = []
    for name in filter(lambda own: weight_table(configuration, {own: 1.0}), configuration.moving("edges")):
        for layer in judged_layers(component, case, {name: 1.0}):
            require_zero(f"{name} moves the logits of {layer.name}", layer.gradient.logits)
            require_zero(f"{name} moves the boxes of {layer.name}", layer.gradient.boxes)
            known.append(layer.require_edge_slopes())
    premise(any(known), "rounding in the dtype may move every gradient without bound")
