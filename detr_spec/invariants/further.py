"""Invariants of the losses that a dialect has beside the usual ones: each is what its formula says. norm §4, C2, G1."""

from __future__ import annotations

from detr_spec.cases import SetCase
from detr_spec.implementation import Criterion, Factory, Gradients
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import ORDINARY_REGIMES, judged
from detr_spec.invariants.gradient_answers import judged_layers
from detr_spec.invariants.gradients import UNMET_CASES
from detr_spec.profile import FurtherLoss, Profile
from detr_spec.strategies import set_cases
from detr_spec.violation import premise


def _has_some(profile: Profile) -> bool:
    """Whether the dialect has such losses, but those of edges, which have invariants of their own."""
    return any(further.term.moves != "edges" for further in profile.further_losses)


def _asked(case: SetCase) -> list[FurtherLoss]:
    """The further losses of which a case has the predictions."""
    return [further for further in case.configuration.profile.further_losses if further.key in case.configuration.terms]


@invariant(
    "criterion.further-values",
    number="C2",
    formula="each loss that the dialect has beside the usual ones = its definition, in every layer",
    source="the dialect's own definition",
    breaks="a loss of other pairs or with another normaliser; one that auxiliary layers lack",
    cases=set_cases(regimes=ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=_has_some,
)
def further_values(component: Factory[Criterion], case: SetCase) -> None:
    """Further losses of a dialect equal their definitions under the criterion's matching.

    A further loss can be as wrong as a usual one.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    for further in _asked(case):
        for layer in answer.layers:
            answer.term(further.key, layer).require_definition()


@invariant(
    "gradients.further-losses",
    number="G1",
    formula="∂loss/∂z and ∂loss/∂b̂ = the slopes of the definition, for each loss beside the usual ones",
    source="the dialect's own definition",
    breaks="a part that is detached where the definition is not, or the reverse; a wrong normaliser",
    cases=UNMET_CASES,
    applies=_has_some,
)
def further_losses(component: Factory[Gradients], case: SetCase) -> None:
    """The gradients of further losses are the slopes of their definitions.

    Each is trained with like any other.
    """
    for further in _asked(case):
        layers = judged_layers(component, case, {further.key: 1.0})
        known = [(layer.require_logit_slopes(), layer.require_box_slopes()) for layer in layers]
        premise(any(map(any, known)), "rounding in the dtype may move every gradient without bound")
