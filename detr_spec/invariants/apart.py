"""Invariants of predictions that stand apart: the encoder's own, and those of denoising queries. norm §4, A6 and G1."""

from __future__ import annotations

from dataclasses import replace

from detr_spec.apart import Apart, denoising_targets, encoder_targets, has_losses
from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.gradients import layer_objective
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    Build,
    Judged,
    judged,
    layered_terms,
    require_key,
    require_same_layers,
)
from detr_spec.invariants.gradient_answers import Build as BuildGradients
from detr_spec.invariants.gradient_answers import (
    JudgedLayer,
    layer_names,
    require_layers,
    require_shapes,
    require_zero,
)
from detr_spec.invariants.shared import unique_matchings
from detr_spec.profile import MatchingScope, Profile
from detr_spec.reported import loss_key, without_extra
from detr_spec.strategies import DISTINCT_REGIMES, apart_cases
from detr_spec.values import LayerGradient, Losses, Matching, Outputs, Targets
from detr_spec.violation import NotProvided, PremiseFailed, premise, require

NAMES: dict[Apart, str] = {"encoder": "encoder outputs", "denoising": "denoising outputs"}
"""What they are called in messages."""


def encoder_has_losses(profile: Profile) -> bool:
    """Whether the encoder's own predictions have losses in the dialect."""
    return has_losses(profile, "encoder")


def denoising_has_losses(profile: Profile) -> bool:
    """Whether denoising queries have losses in the dialect."""
    return has_losses(profile, "denoising")


def supervision(case: SetCase, name: Apart) -> tuple[Outputs, Targets, tuple[Matching, ...]]:
    """Predictions that stand apart, and the targets and matchings that they are judged under.

    Ends the check where there are none, and where the encoder's optimum is not unique by a margin.
    """
    outputs: Outputs | None = getattr(case.outputs, name)
    if outputs is None:
        raise PremiseFailed(f"there are no {NAMES[name]}")
    if name == "denoising":
        return outputs, *denoising_targets(outputs, case.targets)
    targets = encoder_targets(case.targets, case.configuration)
    return outputs, targets, unique_matchings(outputs, targets, case.configuration)


def _judged_apart(case: SetCase, name: Apart, losses: Losses) -> Judged:
    outputs, targets, matchings = supervision(case, name)
    return Judged(_scoped(case.configuration, name), outputs, targets, losses, (matchings,))


def _scoped(configuration: Configuration, name: Apart) -> Configuration:
    """The configuration, whose losses of boxes are under the pairs of these predictions; denoising is not matched."""
    profile = configuration.profile
    matching = MatchingScope() if name == "denoising" else replace(profile.matching, box_pairs="layer")
    return replace(configuration, profile=replace(profile, matching=matching))


def _require_apart(component: Build, case: SetCase, name: Apart) -> None:
    """Raises `Violation` unless the decoder's losses are those without these predictions, and others as declared."""
    configuration, targets = case.configuration, case.targets
    decoder = replace(case.outputs, encoder=None, denoising=None)
    before = judged(component, configuration, decoder, targets)
    after = judged(component, configuration, case.outputs, targets)
    added = without_extra(configuration, set(after.losses.values) - set(before.losses.values))
    declared = {
        key for term in layered_terms(configuration) if (key := loss_key(configuration, term, name)) is not None
    }
    foreign = sorted(added - declared)
    require(not foreign, f"{NAMES[name]} add {', '.join(foreign)}", expected=sorted(declared), got=sorted(added))
    require_same_layers(after, before, f"with {NAMES[name]}")


@invariant(
    "auxiliary.encoder-outputs-apart",
    number="A6",
    formula="losses of (decoder layers, encoder) = losses of (decoder layers), and loss_enc only where declared",
    source="norm §7, A6; Zhu et al. 2021, section 4.2: the encoder of two-stage models predicts proposals of its own",
    breaks="encoder outputs among the decoder's in the matching (transformers PR 27990); losses added to the main ones",
    cases=apart_cases("encoder", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def encoder_outputs_apart(component: Build, case: SetCase) -> None:
    """Predictions of the encoder change no loss of the decoder's, and have losses of their own only as declared.

    They are proposals of another part of the network; matched with the objects, they would take them away from the
    queries.
    """
    _require_apart(component, case, "encoder")


@invariant(
    "auxiliary.denoising-outputs-apart",
    number="A6",
    formula="losses of (decoder layers, denoising) = losses of (decoder layers), and their own only where declared",
    source="norm §7, A6; Li et al. 2022, DN-DETR: denoising queries have targets that they were made from",
    breaks="the main loss computed over the denoising queries too (transformers PR 48528)",
    cases=apart_cases("denoising", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def denoising_outputs_apart(component: Build, case: SetCase) -> None:
    """Predictions of denoising queries change no loss of the decoder's, and have losses of their own only as declared.

    They are made from the targets, and lie closer to them than anything that was detected.
    """
    _require_apart(component, case, "denoising")


@invariant(
    "auxiliary.encoder-losses",
    number="A6",
    formula="loss_enc = the loss of the encoder's predictions under argmin of their own costs, over the same num_boxes",
    source="norm §4; Zhu et al. 2021, section 4.2",
    breaks="the last layer's matching used; classes of the targets where all are 0; forgotten; divided by the queries",
    cases=apart_cases("encoder", regimes=DISTINCT_REGIMES),
    applies=encoder_has_losses,
)
def encoder_losses(component: Build, case: SetCase) -> None:
    """Each loss of the encoder's own predictions, and their cardinality error, is there and equals its definition.

    They choose the proposals that the decoder starts from, which no other loss trains.
    """
    answer = _judged_apart(case, "encoder", component(case.configuration)(case.outputs, case.targets).value)
    for name in layered_terms(case.configuration):
        if loss_key(case.configuration, name, "encoder") is not None:
            answer.term(name, "encoder").require_definition()


@invariant(
    "auxiliary.denoising-losses",
    number="A6",
    formula="loss_dn = Σ over groups of the loss with query j ↔ target j, over G · num_boxes; the rest is no object",
    source="norm §4; Zhang et al. 2022, DINO, section 3.3",
    breaks="denoising queries matched by cost; negatives trained as objects; not divided by the number of groups",
    cases=apart_cases("denoising", regimes=DISTINCT_ORDINARY_REGIMES, targets=(1, 5)),
    applies=denoising_has_losses,
)
def denoising_losses(component: Build, case: SetCase) -> None:
    """Each loss of the denoising queries is there and equals its definition, each query with its own target.

    Matched anew, a query would be trained towards whatever object its noise has brought it to.
    """
    answer = _judged_apart(case, "denoising", component(case.configuration)(case.outputs, case.targets).value)
    for name in case.configuration.layered:
        answer.term(name, "denoising").require_definition()


def _require_slopes(component: BuildGradients, case: SetCase, name: Apart) -> None:
    """Raises `Violation` unless the gradient of the weighted losses apart is their slope, and moves nothing else."""
    configuration = case.configuration
    weights = {loss_key(configuration, term, name): weight for term, weight in configuration.term_weights.items()}
    weighted = configuration.profile.losses.weighted
    table = {key: 1.0 if weighted else weight for key, weight in weights.items() if key is not None}
    answer = component(configuration)(case.outputs, case.targets, table).value
    for key in table:
        require_key(answer.losses, key)
    require_layers(answer, case.outputs)
    for layer_name, of_layer in zip(layer_names(case.outputs), answer.layers, strict=True):
        require_zero(f"the losses of {NAMES[name]} move logits of {layer_name}", of_layer.logits)
        require_zero(f"the losses of {NAMES[name]} move boxes of {layer_name}", of_layer.boxes)
    outputs, targets, matchings = supervision(case, name)
    gradient: LayerGradient | None = getattr(answer, name)
    if gradient is None:
        raise NotProvided(f"the gradient by {NAMES[name]} cannot be seen")
    require_shapes(NAMES[name], gradient, outputs)
    supervised = layer_objective(_scoped(configuration, name), (outputs, targets, matchings), table, name)
    layer = JudgedLayer(NAMES[name], outputs, gradient, supervised)
    known = layer.require_logit_slopes(), layer.require_box_slopes()
    premise(any(known), "no gradient is known")


@invariant(
    "gradients.encoder-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_enc)/∂(z_enc, b̂_enc) = the definition's slope; of every decoder layer 0",
    source="norm §4 and §7; Zhu et al. 2021, section 4.2",
    breaks="losses from a detached copy of the proposals; proposals that are trained through the decoder's boxes",
    cases=apart_cases("encoder", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=encoder_has_losses,
)
def encoder_slopes(component: BuildGradients, case: SetCase) -> None:
    """The gradient of the encoder's losses with respect to its own predictions is the definition's slope.

    It is all that teaches the encoder to propose; no decoder layer is moved by it.
    """
    _require_slopes(component, case, "encoder")


@invariant(
    "gradients.denoising-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_dn)/∂(z_dn, b̂_dn) = the definition's slope; of every decoder layer 0",
    source="norm §4 and §7; Zhang et al. 2022, DINO, section 3.3",
    breaks="losses from under no_grad; negatives without a gradient; a gradient not divided by the number of groups",
    cases=apart_cases("denoising", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=denoising_has_losses,
)
def denoising_slopes(component: BuildGradients, case: SetCase) -> None:
    """The gradient of the denoising losses with respect to these queries' predictions is the definition's slope.

    They are many times as many as the objects, so that a wrong factor drowns what the other losses say.
    """
    _require_slopes(component, case, "denoising")
