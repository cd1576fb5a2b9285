"""The invariants of predictions that stand apart: right criteria are never accused, defects by their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from judging import Failing, share_fired_where_it_applies
from subjects import Factory, Losses, hidden, softmax, subject
from torch import Tensor

from detr_conformance.implementations.declared.criterion import DeclaredCriterion, DeclaredLosses
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import SetCriterion
from detr_spec.apart import denoising_groups, denoising_matchings, targets_of
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.invariants import find_invariants
from detr_spec.profile import DenoisingRules, Keys, LossRules, MatchingScope, Profile, replace
from detr_spec.profiles import D_FINE, DEFORMABLE, DETR
from detr_spec.strategies.apart import denoising_fits
from detr_spec.terms import CrossEntropy
from detr_spec.values import InvalidValue, Outputs, Target

ENCODER, DENOISING = "auxiliary.encoder-losses", "auxiliary.denoising-losses"
ENCODER_APART, DENOISING_APART = "auxiliary.encoder-outputs-apart", "auxiliary.denoising-outputs-apart"
ENCODER_SLOPES, DENOISING_SLOPES = "gradients.encoder-losses", "gradients.denoising-losses"
WEIGHED, CONNECTED = "criterion.every-term-weighted", "criterion.losses-with-gradient"
INITIAL, INITIAL_APART = "auxiliary.initial-losses", "auxiliary.initial-outputs-apart"
INITIAL_SLOPES, UNITED = "gradients.initial-losses", "auxiliary.united-pairs"
ABSENT, RANKS = "auxiliary.absent-denoising", "distributed.denoising-losses"
EVALUATED = "auxiliary.denoising-in-evaluation"
OF_LOSSES = (ENCODER, DENOISING, ABSENT, EVALUATED, RANKS)
OF_INITIAL = (INITIAL, INITIAL_APART, INITIAL_SLOPES, UNITED)
IDS = (*OF_LOSSES, *OF_INITIAL, ENCODER_APART, DENOISING_APART, ENCODER_SLOPES, DENOISING_SLOPES, WEIGHED, CONNECTED)
INVARIANTS = tuple(item for name in IDS for item in find_invariants(name))
EXAMPLES = 15
FEWER = 10

KEYS = Keys(encoder_loss="{loss}_enc", denoising_loss="{loss}_dn")
DINO_KEYS = Keys(
    encoder_loss="{loss}_interm",
    denoising="output_known_lbs_bboxes",
    denoising_groups="num_dn_group",
    denoising_loss="{loss}_dn",
    denoising_auxiliary_loss="{loss}_dn_{layer}",
    box_centre="loss_xy",
    box_size="loss_hw",
)
RT_DETR_KEYS = Keys(
    auxiliary_loss="{loss}_aux_{layer}",
    encoder="enc_aux_outputs",
    encoder_loss="{loss}_enc_{number}",
    denoising="dn_aux_outputs",
    denoising_loss="{loss}_dn_{layer}",
    denoising_auxiliary_loss="{loss}_dn_{layer}",
    total="loss",
)
SUMMED_KEYS = Keys(
    auxiliary_loss="{loss}_aux",
    encoder_loss="{loss}_{layer}",
    denoising_loss="{loss}_dn",
    denoising_auxiliary_loss="{loss}_aux_dn",
)
TWO_STAGE = {
    "detr": replace(DETR, keys=KEYS),
    "deformable": replace(
        DEFORMABLE,
        keys=KEYS,
        encoder_labels="zero",
        denominator="matches",
        denoising=DenoisingRules(denominator="all-groups"),
    ),
    "dino": replace(
        DEFORMABLE,
        keys=DINO_KEYS,
        denoising=DenoisingRules(layout="within-meta", absent="zeros", evaluation="absent"),
    ),
    "rt-detr": replace(
        DEFORMABLE, keys=RT_DETR_KEYS, losses=LossRules(weighted=True), denoising=DenoisingRules(layout="listed")
    ),
    "united": D_FINE,
    "total": replace(
        DETR,
        keys=Keys(encoder_loss="{loss}_enc", initial_loss="{loss}_pre", total="loss"),
        matching=MatchingScope(box_pairs="all-predictions"),
    ),
    "summed": replace(
        DETR,
        keys=SUMMED_KEYS,
        losses=LossRules(shared="mean"),
        matching=MatchingScope(groups=2, box_pairs="all-layers"),
        denoising=DenoisingRules(denominator="one-group", absent="zeros"),
    ),
}


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_references_and_is_no_empty_word(invariant: Invariant) -> None:
    for reference in IMPLEMENTATIONS:
        share = share_fired_where_it_applies(invariant.id, reference, FEWER)
        assert share is None or share > 0.2
    for profile in TWO_STAGE.values():
        share = share_fired_where_it_applies(invariant.id, declared_implementation(profile), FEWER)
        assert share is None or share > 0.2


def test_a_criterion_that_hides_its_matching_is_not_accused(failing: Failing) -> None:
    assert failing(subject(hidden(DeclaredCriterion), TWO_STAGE["detr"]), IDS, FEWER) == set()


def changed(name: str, change: Callable[..., Any]) -> Factory:
    """A right criterion, but for one method of the losses inside it."""

    def build(configuration: Configuration) -> DeclaredCriterion:
        built = DeclaredCriterion(configuration)
        setattr(built.criterion, name, lambda *given: change(built.criterion, *given))
        return built

    return build


def of_encoder(change: Callable[[Losses], Losses]) -> Factory:
    """A criterion with other losses of the encoder."""
    return changed("_encoder_losses", lambda own, *given: change(DeclaredLosses._encoder_losses(own, *given)))


def of_denoising(change: Callable[[Losses], Losses]) -> Factory:
    """A criterion with other losses of denoising queries."""
    return changed("_denoising_losses", lambda own, *given: change(DeclaredLosses._denoising_losses(own, *given)))


def given_otherwise(change: Callable[[Any], Any]) -> Factory:
    """A criterion whose losses are of other outputs."""
    return changed("forward", lambda own, outputs, targets: DeclaredLosses.forward(own, change(outputs), targets))


def without_earlier_layers(outputs: Any) -> Any:
    return outputs | {"dn_outputs": outputs["dn_outputs"][-1:]}


def first_prediction_of_all(name: str) -> Callable[[Any], Any]:
    """All predictions that stand apart are the first of them."""
    return lambda outputs: outputs | {name: outputs[name][:1] * len(outputs[name])} if name in outputs else outputs


def with_boxes(count: Callable[[DeclaredLosses, Any, Any, int], float]) -> Factory:
    """A criterion whose denoising losses are divided by something else."""
    return changed("_denoising_boxes", count)


def own_boxes(own: DeclaredLosses, outputs: Any, targets: Any, groups: int) -> float:
    """The boxes of the rank alone."""
    DeclaredLosses._denoising_boxes(own, outputs, targets, groups)
    return float(max(groups * sum(len(target["labels"]) for target in targets), 1))


def boxes_of_queries(own: DeclaredLosses, outputs: Any, targets: Any, groups: int) -> float:
    """The groups of the decoder's queries divide the losses of denoising ones."""
    return own.num_boxes(outputs, targets) * groups


def under_the_union(own: DeclaredLosses, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
    """The decoder's pairs of all layers, as far as they are there, stand for the pairs of denoising queries."""
    own._union = [(queries[:1], objects[:1]) for queries, objects in pairs]
    losses = DeclaredLosses._denoising_losses(own, outputs, targets, pairs, num_boxes)
    own._union = None
    return losses


class TotalWithoutDenoising(DeclaredCriterion):
    """The losses of denoising queries are reported, and left out of the total."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"loss": losses["loss"] - sum(loss for key, loss in losses.items() if "_dn_" in key)}


class WithoutZeros(DeclaredCriterion):
    """No loss is reported without denoising queries."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses if outputs["dn_meta"] else {key: loss for key, loss in losses.items() if "_dn" not in key}


class TrainsInEvaluation(DeclaredCriterion):
    """Denoising queries have the losses of training in evaluation too."""

    def train(self, mode: bool = True) -> Any:
        return super().train(True)


class WithoutDenoisingInEvaluation(DeclaredCriterion):
    """In evaluation denoising queries have no losses."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses if self.training else {key: loss for key, loss in losses.items() if "_dn" not in key}


class OnesForZeros(DeclaredCriterion):
    """Without denoising queries their losses are 1."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses if outputs["dn_meta"] else {key: loss + 1.0 * ("_dn" in key) for key, loss in losses.items()}


def constant(number: float) -> Callable[[Losses], Losses]:
    """All losses are one number, with a gradient of zeros."""
    return lambda losses: {name: 0 * loss + number for name, loss in losses.items()}


def without(left_out: str) -> Callable[[Losses], Losses]:
    return lambda losses: {name: loss for name, loss in losses.items() if name != left_out}


def detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}


def half_a_slope(losses: Losses) -> Losses:
    """Right values, wrong gradients."""
    return {name: loss.detach() + 0.5 * (loss - loss.detach()) for name, loss in losses.items()}


def matched_with_the_last_layer(own: DeclaredLosses, outputs: Any, targets: Any) -> Losses:
    """The encoder's predictions in the places that the last layer's queries would have."""
    swapped = {name: outputs[name].flip(1) for name in ("pred_logits", "pred_boxes")}
    pairs = own._match(swapped, targets)
    return own._layer_losses(outputs, targets, pairs, own.num_boxes(outputs, targets))


def matched_anew(own: DeclaredLosses, outputs: Any, targets: Any, _: Any, num_boxes: float) -> Losses:
    """Denoising queries are matched by their costs."""
    return own._layer_losses(outputs, targets, own._match(outputs, targets), num_boxes)


def with_classes(own: DeclaredLosses, outputs: Any, targets: Any) -> Losses:
    """The encoder is trained towards the targets' classes, whatever is declared."""
    pairs = own._match(outputs, targets)
    return own._layer_losses(outputs, targets, pairs, own.num_boxes(outputs, targets))


def without_weights(configuration: Configuration) -> DeclaredCriterion:
    """The weights of the losses apart are forgotten."""
    built = DeclaredCriterion(configuration)
    built.weight_dict = {name: weight for name, weight in built.weight_dict.items() if not name.endswith(("enc", "dn"))}
    return built


class EncoderPooled(SetCriterion):
    """Encoder outputs are further queries."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        apart = outputs.get("enc_outputs")
        if apart is not None:
            outputs = dict(outputs)
            for key in ("pred_logits", "pred_boxes"):
                outputs[key] = torch.cat([outputs[key], apart[key]], dim=1)
        return super().forward(outputs, targets)


class EncoderUndeclared(SetCriterion):
    """Encoder outputs have losses, of which the profile knows nothing."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        apart = outputs.get("enc_outputs")
        added = {} if apart is None else super().forward(apart, targets)
        return losses | {f"{name}_enc": loss for name, loss in added.items()}


class DenoisingInMain(SetCriterion):
    """Denoising outputs are pooled with the last layer's for the box losses."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        apart = outputs.get("dn_outputs")
        added = None if apart is None else super().forward(apart, targets)
        return losses if added is None else losses | {"loss_bbox": losses["loss_bbox"] + added["loss_bbox"]}


class InitialAsLayer(SetCriterion):
    """Initial outputs are an auxiliary layer."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        layers = [*outputs.get("aux_outputs", []), *([outputs["pre_outputs"]] if "pre_outputs" in outputs else [])]
        return super().forward({**outputs, "aux_outputs": layers}, targets)


def of_initial(change: Callable[[Losses], Losses]) -> Factory:
    """A criterion with other losses of initial predictions."""

    def losses(own: DeclaredLosses, outputs: Any, targets: Any) -> Losses:
        return change(own._matched_losses(outputs, targets))

    return changed("_initial_losses", losses)


def of_decoder_alone(own: DeclaredLosses, outputs: Any, targets: Any) -> Any:
    """The union of the pairs of the decoder's layers alone."""
    decoder = {name: layers for name, layers in outputs.items() if name not in ("enc_outputs", "pre_outputs")}
    return type(own)._pairs_of_all_layers(own, decoder, targets)


BOTH_ENCODER, BOTH_DENOISING = {ENCODER, ENCODER_SLOPES}, {DENOISING, DENOISING_SLOPES}
ALL_UNITED = {ENCODER, ENCODER_SLOPES, INITIAL, INITIAL_SLOPES, UNITED}

DEFECTS: dict[str, tuple[Factory, str | None, set[str]]] = {
    "encoder outputs as queries": (softmax(EncoderPooled), None, {ENCODER_APART}),
    "undeclared losses of the encoder": (softmax(EncoderUndeclared), None, {ENCODER_APART}),
    "denoising queries in the main loss": (softmax(DenoisingInMain), None, {DENOISING_APART}),
    "no losses of the encoder": (of_encoder(lambda _: {}), "detr", BOTH_ENCODER),
    "no class loss of the encoder": (of_encoder(without("loss_ce")), "deformable", BOTH_ENCODER),
    "no cardinality error of the encoder": (of_encoder(without("cardinality_error")), "detr", {ENCODER}),
    "the encoder's losses are -42": (of_encoder(constant(-42.0)), "detr", BOTH_ENCODER),
    "the encoder's losses are NaN": (of_encoder(constant(float("nan"))), "deformable", BOTH_ENCODER),
    "the encoder's losses are detached": (of_encoder(detached), "detr", {ENCODER_SLOPES, CONNECTED}),
    "the encoder has half a slope": (of_encoder(half_a_slope), "deformable", {ENCODER_SLOPES}),
    "the encoder in others' places": (changed("_encoder_losses", matched_with_the_last_layer), "detr", BOTH_ENCODER),
    "the encoder learns classes": (changed("_encoder_losses", with_classes), "deformable", BOTH_ENCODER),
    "initial outputs as a layer": (softmax(InitialAsLayer), None, {INITIAL_APART}),
    "no initial losses": (of_initial(lambda _: {}), "united", {INITIAL, INITIAL_SLOPES}),
    "initial losses are detached": (of_initial(detached), "united", {INITIAL_SLOPES, CONNECTED}),
    "a union of the decoder alone": (changed("_pairs_of_all_layers", of_decoder_alone), "united", ALL_UNITED),
    "no denoising losses": (of_denoising(lambda _: {}), "detr", BOTH_DENOISING),
    "no denoising box loss": (of_denoising(without("loss_bbox")), "deformable", BOTH_DENOISING),
    "denoising losses are -42": (of_denoising(constant(-42.0)), "deformable", BOTH_DENOISING),
    "denoising losses are NaN": (of_denoising(constant(float("nan"))), "detr", BOTH_DENOISING),
    "denoising losses are detached": (of_denoising(detached), "deformable", {DENOISING_SLOPES, CONNECTED}),
    "denoising queries are matched": (changed("_denoising_losses", matched_anew), "detr", BOTH_DENOISING),
    "losses apart have no weight": (without_weights, "detr", {WEIGHED}),
    "the encoder's first prediction for all": (
        given_otherwise(first_prediction_of_all("enc_outputs")),
        "rt-detr",
        BOTH_ENCODER,
    ),
    "denoising of the last layer alone": (given_otherwise(without_earlier_layers), "dino", BOTH_DENOISING),
    "the first layer's denoising for all": (
        given_otherwise(first_prediction_of_all("dn_outputs")),
        "rt-detr",
        BOTH_DENOISING,
    ),
    "a total without denoising": (TotalWithoutDenoising, "rt-detr", {DENOISING}),
    "denoising divided by each rank's own boxes": (with_boxes(own_boxes), "dino", {RANKS}),
    "denoising divided by groups of queries": (with_boxes(boxes_of_queries), "summed", {*BOTH_DENOISING, RANKS}),
    "denoising under pairs of all layers": (changed("_denoising_losses", under_the_union), "summed", BOTH_DENOISING),
    "no zeros without denoising": (WithoutZeros, "dino", {ABSENT, RANKS}),
    "denoising in evaluation": (TrainsInEvaluation, "dino", {EVALUATED}),
    "no denoising in evaluation": (WithoutDenoisingInEvaluation, "detr", {EVALUATED}),
    "no metric of denoising queries": (of_denoising(without("loss_hw")), "dino", {DENOISING}),
    "ones without denoising": (OnesForZeros, "summed", {ABSENT, RANKS}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    factory, profile, expected = DEFECTS[name]
    whose = DETR if profile is None else TWO_STAGE[profile]
    assert failing(subject(factory, whose), expected, EXAMPLES) == expected


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, _, expected in DEFECTS.values())) == set(IDS)


def boxes(count: int) -> Any:
    return np.full((count, 4), 0.5)


def test_each_group_of_denoising_queries_has_all_targets() -> None:
    targets = (Target(np.array([3, 1]), boxes(2)), Target(np.array([2]), boxes(1)), Target(np.array([]), boxes(0)))
    outputs = Outputs(np.zeros((3, 8, 4)), np.full((3, 8, 4), 0.5))
    assert denoising_groups(outputs, targets) == 2
    assert [matching.pairs() for matching in denoising_matchings(outputs, targets)] == [
        [(0, 0), (1, 1), (4, 0), (5, 1)],
        [(0, 0), (4, 0)],
        [],
    ]
    for count in (6, 2):
        with pytest.raises(InvalidValue, match=f"{count} denoising queries are not groups of 4"):
            denoising_groups(outputs.take(queries=np.arange(count)), targets)
    with pytest.raises(InvalidValue, match="not groups of 0"):
        denoising_groups(outputs, targets[2:] * 3)
    with pytest.raises(InvalidValue, match="not groups of 0"):
        denoising_groups(outputs, ())
    assert not denoising_fits(outputs, (), Configuration(profile=D_FINE))


def test_the_encoder_may_know_no_classes() -> None:
    targets = (Target(np.array([3, 1]), boxes(2)),)

    def labels(profile: Profile) -> list[int]:
        own = targets_of("encoder", targets, Configuration(profile=profile, num_classes=4))
        return [int(label) for label in own[0].labels]

    assert labels(DETR) == [3, 1]
    assert labels(replace(DETR, encoder_labels="zero")) == [0, 0]


def test_losses_by_hand() -> None:
    """One image, one target, one group of two denoising queries: softmax over two columns, logits 0."""
    profile = TWO_STAGE["detr"]
    built = DeclaredCriterion(Configuration(profile=profile, num_classes=1, class_loss=CrossEntropy(eos_coef=0.5)))
    box = torch.tensor([[[0.5, 0.5, 0.5, 0.5]]])
    apart = {"pred_logits": torch.zeros(1, 2, 2), "pred_boxes": box.expand(1, 2, 4) * torch.tensor([[1.0], [0.5]])}
    layer: dict[str, Any] = {"pred_logits": torch.zeros(1, 1, 2), "pred_boxes": box}
    target = {"labels": torch.tensor([0]), "boxes": box[0] * 0.5}
    meta = {"dn_num_group": 1, "pad_size": 2, "dn_positive_idx": [torch.tensor([0])]}
    losses: dict[str, Tensor] = built({**layer, "enc_outputs": apart, "dn_outputs": apart, "dn_meta": meta}, [target])
    # The second query of the encoder has the target's box; of the denoising queries the first is the target's.
    assert float(losses["loss_bbox_enc"]) == 0.0
    assert float(losses["loss_bbox_dn"]) == pytest.approx(1.0)
    assert float(losses["loss_ce_dn"]) == pytest.approx(float(np.log(2)))


def test_implementations_without_losses_apart_are_not_asked() -> None:
    reference: Implementation = IMPLEMENTATIONS[0]
    for name in (ENCODER, DENOISING, ENCODER_SLOPES, DENOISING_SLOPES):
        (invariant,) = find_invariants(name)
        assert not invariant.applies(reference.profile)
