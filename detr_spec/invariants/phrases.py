"""Invariants of texts that end before others of their batch: padding has no part in the losses. norm §16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.implementation import Criterion, Factory, Gradients
from detr_spec.invariant import SHOULD, invariant, judging
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    judged,
    premise_same_matchings,
    require_same_terms,
)
from detr_spec.invariants.gradient_answers import judged_layers, premise_moved, require_zero
from detr_spec.invariants.gradients import CLASSIFICATION
from detr_spec.profile import Profile
from detr_spec.strategies import set_cases
from detr_spec.values import Floats, Outputs
from detr_spec.violation import premise

SOURCE = "norm §16; Liu et al. 2023, Grounding DINO: the text mask says which logits are those of tokens"

HIGHEST = 8.0
"""The logits that padding has here are up to this, either way; every dtype holds them."""


def names_phrases(profile: Profile) -> bool:
    """Whether labels name phrases."""
    return profile.labels == "phrases"


def _with_padding(case: SetCase) -> Outputs:
    """The outputs with logits of padding that are numbers, in every layer; ends the check where there is no padding."""
    tokens, generator = case.outputs.tokens, case.generator("padding")
    premise(tokens is not None and not tokens.all(), "no text ends before the others")

    def logits(layer: Outputs) -> Floats:
        other = np.round(generator.uniform(-HIGHEST, HIGHEST, layer.logits.shape))
        assert layer.tokens is not None
        return np.where(layer.tokens[:, None], layer.logits, other)

    return case.outputs.each(logits=logits)


@invariant(
    "criterion.padding",
    number="C24",
    level=SHOULD,
    formula="z_b,i,τ changes for columns τ that are no tokens ⇒ loss_ce stays",
    source=SOURCE,
    breaks="a text mask that is not applied, as −∞ needs none; a mask of the first image; a loss masked in a mean",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, images=(1, 3), targets=(1, 5)),
    applies=judging("classification", names_phrases),
)
def padding_does_not_matter(component: Factory[Criterion], case: SetCase) -> None:
    """Whatever logits padding has, the classification loss is the same.

    Texts of a batch differ in length, and how the columns behind a text are filled is the model's own affair.
    """
    outputs = _with_padding(case)
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, outputs, case.targets)
    premise_same_matchings(before.last, after.last)
    names = ("classification",)
    require_same_terms(after.terms(names), before.terms(names), "when padding has other logits")


@invariant(
    "gradients.padding",
    number="G12",
    level=SHOULD,
    formula="∂loss_ce/∂z_b,i,τ = 0 for columns τ that are no tokens, whatever their logits",
    source=SOURCE,
    breaks="a text mask that is not applied; one that is applied to the value of the loss alone",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), images=(1, 3), targets=(1, 5)),
    applies=judging("classification", names_phrases),
)
def padding_has_no_gradient(component: Factory[Gradients], case: SetCase) -> None:
    """Logits of padding have no gradient, whatever they are.

    A gradient there moves what the columns are computed from, the embedding of the token that fills a text.
    """
    layers = judged_layers(component, replace(case, outputs=_with_padding(case)), CLASSIFICATION)
    for layer in layers:
        assert layer.layer.tokens is not None
        padding = np.broadcast_to(~layer.layer.tokens[:, None], layer.logits.shape)
        require_zero(f"padding has a gradient in {layer.name}", np.where(padding, layer.logits, 0.0))
    premise_moved("logits", *(layer.gradient for layer in layers))
