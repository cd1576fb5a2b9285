"""Invariants of gradients of predictions that stand apart: of the encoder, initial ones, of denoising. norm §4, G1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detr_spec.apart import has_losses
from detr_spec.cases import SetCase
from detr_spec.gradients import layer_objective
from detr_spec.invariant import invariant
from detr_spec.invariants.apart import NAMES, supervised
from detr_spec.invariants.criterion_answers import DISTINCT_ORDINARY_REGIMES, Judged, require_key
from detr_spec.invariants.gradient_answers import (
    Build,
    JudgedLayer,
    require_count,
    require_layers,
    require_shapes,
    require_zero,
)
from detr_spec.invariants.shared import layer_names
from detr_spec.places import APART, DENOISING, Apart, places_of
from detr_spec.reported import weight_table
from detr_spec.strategies import apart_cases, with_edges
from detr_spec.values import LayerGradient, Matching
from detr_spec.violation import NotProvided, premise


def require_slopes(component: Build, case: SetCase, name: Apart) -> None:
    """Raises `Violation` unless the gradient of the weighted losses apart is their slope, and moves nothing else."""
    configuration = case.configuration
    table = weight_table(configuration, configuration.term_weights, name)
    answer = component(configuration)(case.outputs, case.targets, table).value
    for key in table:
        require_key(answer.losses, key)
    require_layers(answer, case.outputs)
    for layer_name, of_layer in zip(layer_names(case.outputs), answer.layers, strict=True):
        require_zero(f"the losses of {NAMES[name]} move logits of {layer_name}", of_layer.logits)
        require_zero(f"the losses of {NAMES[name]} move boxes of {layer_name}", of_layer.boxes)
    for other in APART:
        for of_other in answer.apart[other] if other != name else ():
            require_zero(f"the losses of {NAMES[name]} move logits of {NAMES[other]}", of_other.logits)
            require_zero(f"the losses of {NAMES[name]} move boxes of {NAMES[other]}", of_other.boxes)
    own = supervised(case, name, answer.losses)
    gradients: tuple[LayerGradient, ...] = getattr(answer, name)
    if not gradients:
        raise NotProvided(f"the gradient by {NAMES[name]} cannot be seen")
    require_count(NAMES[name], gradients, own.outputs)
    for layer, gradient in zip(own.outputs.layers, gradients, strict=True):
        require_shapes(NAMES[name], gradient, layer)
    ways = [
        _layers_under(union, own, gradients, table) for union in ([None] if own.union is None else own.explaining())
    ]
    explained = (layers for layers in ways if all(layer.has_slopes_of_pairs for layer in layers))
    judged_layers = next(explained, ways[-1])
    known = [layer.require_logit_slopes() for layer in judged_layers]
    known += [layer.require_box_slopes() for layer in judged_layers]
    known += [layer.require_edge_slopes() for layer in judged_layers if layer.layer.edges is not None]
    premise(any(known), "no gradient is known")


def _layers_under(
    union: Sequence[Matching] | None, own: Judged, gradients: Sequence[LayerGradient], table: Mapping[str, float]
) -> list[JudgedLayer]:
    """The gradients in each layer of predictions apart, whose box losses are under a union of pairs, or their own."""
    assert own.whose != "decoder"
    last, *earlier = places_of(own.whose, len(gradients))
    layers = zip((*earlier, last), own.outputs.layers, gradients, own.matchings, strict=True)
    return [
        JudgedLayer(
            NAMES[own.whose],
            layer,
            gradient,
            layer_objective(own.configuration, (layer, own.targets, matchings), table, place, union, own.beside),
        )
        for place, layer, gradient, matchings in layers
    ]


@invariant(
    "gradients.encoder-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_enc)/∂(z_enc, b̂_enc) = the definition's slope; of every decoder layer 0",
    source="norm §4 and §7; Zhu et al. 2021, section 4.2",
    breaks="losses from a detached copy of the proposals; proposals that are trained through the decoder's boxes",
    cases=apart_cases("encoder", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=lambda profile: has_losses(profile, "encoder"),
)
def encoder_slopes(component: Build, case: SetCase) -> None:
    """The gradient of the encoder's losses with respect to its own predictions is the definition's slope.

    It is all that teaches the encoder to propose; no decoder layer is moved by it.
    """
    require_slopes(component, case, "encoder")


@invariant(
    "gradients.initial-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_pre)/∂(z_pre, b̂_pre) = the definition's slope; of every decoder layer 0",
    source="norm §4 and §7; Peng et al. 2024, D-FINE, section 4.1",
    breaks="losses from a detached copy of the initial boxes; the decoder's boxes moved by them",
    cases=apart_cases("initial", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=lambda profile: has_losses(profile, "initial"),
)
def initial_slopes(component: Build, case: SetCase) -> None:
    """The gradient of the losses of initial predictions with respect to these is the definition's slope.

    The head that makes them is trained by nothing else.
    """
    require_slopes(component, case, "initial")


@invariant(
    "gradients.denoising-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_dn)/∂(z_dn, b̂_dn) = the definition's slope; of every decoder layer 0",
    source="norm §4 and §7; Zhang et al. 2022, DINO, section 3.3",
    breaks="losses from under no_grad; negatives without a gradient; a gradient not divided by the number of groups",
    cases=with_edges(
        apart_cases("denoising", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5))
    ),
    applies=lambda profile: has_losses(profile, "denoising"),
)
def denoising_slopes(component: Build, case: SetCase) -> None:
    """The gradient of the denoising losses with respect to these queries' predictions is the definition's slope.

    There are many more of them than objects, so a wrong factor drowns the other losses.
    """
    for name in DENOISING:
        if case.outputs.apart[name] is not None:
            require_slopes(component, case, name)
