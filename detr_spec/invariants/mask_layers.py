"""Invariants of the losses of masks in all decoder layers. norm §15, A1 and C2."""

from __future__ import annotations

from detr_spec.cases import SetCase
from detr_spec.implementation import Criterion, Factory
from detr_spec.invariant import invariant
from detr_spec.invariants.auxiliary import reports_each_layer
from detr_spec.invariants.criterion_answers import ORDINARY_REGIMES, judged
from detr_spec.profile import Profile
from detr_spec.strategies import mask_cases


def trains_masks_of_each_layer(profile: Profile) -> bool:
    """Whether each auxiliary layer has losses of masks of its own."""
    return profile.masks.layers == "every" and reports_each_layer(profile)


@invariant(
    "masks.layers",
    number="A1",
    formula="L layers ⇒ for i = 0 … L−2: loss_mask_i and loss_dice_i = their definitions, each under its own matching",
    source="norm §15; Cheng et al. 2022, Mask2Former, section 3.2: each layer's masks are trained",
    breaks="mask losses of the last layer alone; the last layer's masks or pairs in all of them",
    cases=mask_cases(regimes=ORDINARY_REGIMES, layers=(2, 3), targets=(1, 5)),
    cost=2,
    applies=trains_masks_of_each_layer,
)
def masks_of_each_layer(component: Factory[Criterion], case: SetCase) -> None:
    """Where it is declared, each auxiliary layer has losses of its masks, and these equal their definitions.

    A decoder that attends within its own earlier masks learns nothing where these are not trained.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    for name in case.configuration.moving("masks"):
        for layer in answer.layers:
            answer.term(name, layer).require_definition()
