"""The model's invariants hold for right detectors, however written, and each finds its planted defects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from judging import Failing, judged, own_invariants, share_fired
from subjects import move_biases_and_norms
from torch import Tensor, nn

import detr_reference as reference
from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS, SmallBackbone
from detr_reference import Backbone, ImageBatch, Transformer, group_norm, pad_images
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profiles import DEFORMABLE, DETR

EXAMPLES = 20
MODEL_IDS = [item.id for item in own_invariants("model")]


def implementation(
    factory: Callable[[Configuration], Any], *dtypes: str, reach: int | None = SmallBackbone.reach
) -> Implementation:
    limits = Limits(dtypes=dtypes or ("float32", "float64"))
    return torch_implementation(name="subject", profile=DETR, model=factory, backbone_reach=reach, limits=limits)


class Subject(reference.DETR):
    """The reference's detector, with places where a defect can be put."""

    def __init__(self, configuration: Configuration, backbone: nn.Module | None = None) -> None:
        transformer = Transformer(configuration.hidden_dim, 2, 1, configuration.decoder_layers, 16)
        no_object = configuration.profile.has_no_object
        super().__init__(
            backbone or SmallBackbone(), transformer, configuration.num_classes, num_queries=4, no_object=no_object
        )
        move_biases_and_norms(self)


# Right detectors


@pytest.mark.parametrize("id", MODEL_IDS)
@pytest.mark.parametrize("subject", IMPLEMENTATIONS, ids=lambda subject: subject.profile.name)
def test_holds_and_fires_on_the_reference(id: str, subject: Implementation) -> None:
    assert share_fired(id, subject, 4 * EXAMPLES) == 1


def with_batch_norm(configuration: Configuration) -> Subject:
    return Subject(configuration, Backbone("resnet18", 2))


def with_group_norm(configuration: Configuration) -> Subject:
    return Subject(configuration, Backbone("resnet18", 1, group_norm))


class PaddedToAMultiple(Subject):
    """Pads each batch to a multiple of 32, as some detectors do."""

    def forward(self, images: Any) -> Any:
        height, width = (-(-max(image.shape[axis] for image in images) // 32) * 32 for axis in (1, 2))
        pixels = images[0].new_zeros(len(images), 3, height, width)
        padding = torch.ones(len(images), height, width, dtype=torch.bool)
        for place, image in enumerate(images):
            pixels[place, :, : image.shape[1], : image.shape[2]] = image
            padding[place, : image.shape[1], : image.shape[2]] = False
        return super().forward(ImageBatch(pixels, padding))


class HeadsOfLayers(nn.ModuleList):
    """The heads of each decoder layer, by its place."""

    def forward(self, hidden: Tensor) -> Any:
        layers = [heads(states[None]) for heads, states in zip(self, hidden, strict=True)]
        keys = ("pred_logits", "pred_boxes")
        return {**layers[-1], "aux_outputs": [{key: layer[key] for key in keys} for layer in layers[:-1]]}


class OwnHeads(Subject):
    """Each decoder layer has heads of its own."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.heads: Any = HeadsOfLayers(deepcopy(self.heads) for _ in range(configuration.decoder_layers))
        for layer, heads in enumerate(self.heads):
            heads.class_embed.bias.data += layer


RIGHT: dict[Callable[[Configuration], Any], int | None] = {
    Subject: SmallBackbone.reach,
    with_batch_norm: 64,  # a receptive field of 99 pixels
    with_group_norm: None,
    PaddedToAMultiple: SmallBackbone.reach,
    OwnHeads: SmallBackbone.reach,
}
"""Detectors, and how far the backbone of each sees; a group norm sees everything."""


@pytest.mark.thorough
@pytest.mark.parametrize("kind", RIGHT)
def test_right_detectors_of_other_kinds_are_not_accused(kind: Callable[[Configuration], Any], failing: Failing) -> None:
    assert failing(implementation(kind, reach=RIGHT[kind]), examples=10) == set()


def test_padding_is_not_judged_where_nobody_says_how_far_the_backbone_sees() -> None:
    judgement = judged("model.padding-ignored", implementation(Subject, reach=None), EXAMPLES)
    assert judgement.verdict is Verdict.NOT_PROVIDED


LAYERS = "model.every-layer-as-if-last"


def told(subject: Implementation) -> str:
    """Why the order of the layers is not judged."""
    judgement = judged(LAYERS, subject, 4)
    assert judgement.verdict is Verdict.NOT_PROVIDED
    return judgement.message


def test_a_function_is_not_cut() -> None:
    assert "cannot be cut" in told(implementation(lambda c: Subject(c).to(getattr(torch, c.dtype)).eval().forward))


def test_a_model_of_as_many_layers_whatever_is_asked_is_not_cut() -> None:
    subject = implementation(lambda configuration: Subject(replace(configuration, decoder_layers=3)))
    fixed = replace(subject, limits=replace(subject.limits, fixed={"decoder_layers": 3}))
    assert "cannot vary decoder_layers" in told(fixed)


def test_a_model_whose_proposals_have_the_head_after_the_last_is_not_cut() -> None:
    class HeadsAndProposals(HeadsOfLayers):
        def forward(self, hidden: Tensor) -> Any:
            *layers, proposals = self
            found = proposals(torch.ones_like(hidden[:1]))
            return {**HeadsOfLayers(layers)(hidden + found["pred_boxes"].mean()), "enc_outputs": found}

    class TwoStage(OwnHeads):
        def __init__(self, configuration: Configuration) -> None:
            super().__init__(replace(configuration, decoder_layers=configuration.decoder_layers + 1))
            del self.transformer.decoder.layers[-1]
            self.heads = HeadsAndProposals(self.heads)

    assert "the encoder predicts too" in told(implementation(TwoStage))


def test_right_in_narrow_dtypes(failing: Failing) -> None:
    assert failing(implementation(Subject, "float16", "bfloat16", "autocast")) == set()


# Planted defects


class OneColumnLess(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        return {**outputs, "pred_logits": outputs["pred_logits"][..., 1:]}


class QueriesBeforeImages(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        layers = [
            {key: layer[key].transpose(0, 1) for key in ("pred_logits", "pred_boxes")}
            for layer in (*outputs["aux_outputs"], outputs)
        ]
        return {**layers[-1], "aux_outputs": layers[:-1]}


class NoSigmoid(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        return {**outputs, "pred_boxes": outputs["pred_boxes"].logit()}


class AllLayersAuxiliary(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        last = {key: outputs[key] for key in ("pred_logits", "pred_boxes")}
        return {**outputs, "aux_outputs": [*outputs["aux_outputs"], last]}


class NoAuxiliary(Subject):
    def forward(self, images: Any) -> Any:
        return {**super().forward(images), "aux_outputs": []}


class ByImageIndex(Subject):
    def forward(self, images: Sequence[Tensor]) -> Any:
        return super().forward([image * (1 + 0.1 * place) for place, image in enumerate(images)])


class SortedBySize(Subject):
    """The outputs are in the order of the images' sizes."""

    def forward(self, images: Sequence[Tensor]) -> Any:
        return super().forward(sorted(images, key=lambda image: image.numel()))


class BatchStatistics(Subject):
    """Normalises with the batch's statistics, in evaluation too."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.norm = nn.BatchNorm2d(configuration.hidden_dim, track_running_stats=False)
        self.projection = nn.Sequential(self.projection, self.norm)


class StatisticsUpdated(BatchStatistics):
    """Updates its running statistics in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        self.seen += 0.01
        return {**outputs, "pred_logits": outputs["pred_logits"] + self.seen}


class DropoutLeftOn(Subject):
    def train(self, mode: bool = True) -> DropoutLeftOn:
        return super().train(True)


class NormalisedInPlace(Subject):
    def forward(self, images: Any) -> Any:
        for image in images:
            image.sub_(0.5)
        return super().forward(images)


class PaddingIgnored(Subject):
    """Makes no mask: the decoder attends to the padding as to the image."""

    def forward(self, images: Any) -> Any:
        pixels = pad_images(images).pixels
        return super().forward(ImageBatch(pixels, torch.zeros_like(pixels[:, 0], dtype=torch.bool)))


class NotANumber(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        return {**outputs, "pred_logits": outputs["pred_logits"] * torch.nan}


class AuxiliaryReversed(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        return {**outputs, "aux_outputs": outputs["aux_outputs"][::-1]}


class FirstLayerForLast(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        layers = [*outputs.pop("aux_outputs"), outputs]
        return {**layers[0], "aux_outputs": layers[1:]}


class LayerBeforeTheLastForLast(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        return {**outputs, **(outputs["aux_outputs"] or [{}])[-1]}


class BoxesOfTheNextLayer(Subject):
    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        layers = [*outputs["aux_outputs"], outputs]
        for layer, following in pairwise(layers):
            layer["pred_boxes"] = following["pred_boxes"]
        return outputs


class ByStride(Subject):
    """Depends on how the images lie in memory."""

    def forward(self, images: Any) -> Any:
        outputs = super().forward(images)
        return {**outputs, "pred_logits": outputs["pred_logits"] * (1 + images[0].stride(0))}


DEFECTS: dict[type[Subject], list[str]] = {
    ByStride: ["ways-of-calling"],
    OneColumnLess: ["shapes"],
    QueriesBeforeImages: ["shapes"],
    NotANumber: ["shapes"],
    NoSigmoid: ["boxes-in-unit-range"],
    AllLayersAuxiliary: ["auxiliary-layers"],
    NoAuxiliary: ["auxiliary-layers"],
    AuxiliaryReversed: ["every-layer-as-if-last"],
    FirstLayerForLast: ["every-layer-as-if-last"],
    LayerBeforeTheLastForLast: ["every-layer-as-if-last"],
    BoxesOfTheNextLayer: ["every-layer-as-if-last"],
    ByImageIndex: ["image-order", "image-twice"],
    SortedBySize: ["image-order"],
    BatchStatistics: ["largest-image-alone", "padding-ignored"],
    PaddingIgnored: ["padding-ignored"],
    StatisticsUpdated: ["repeatable"],
    DropoutLeftOn: ["repeatable"],
    NormalisedInPlace: ["inputs-unchanged"],
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_planted_defect_is_found(defect: type[Subject], failing: Failing) -> None:
    expected = {f"model.{name}" for name in DEFECTS[defect]}
    assert failing(implementation(defect), expected) == expected


def test_every_invariant_finds_a_defect() -> None:
    assert {f"model.{name}" for names in DEFECTS.values() for name in names} == set(MODEL_IDS)


def test_a_sigmoid_profile_has_no_extra_column(failing: Failing) -> None:
    def with_no_object(configuration: Configuration) -> reference.DETR:
        transformer = Transformer(configuration.hidden_dim, 2, 1, configuration.decoder_layers, 16)
        return reference.DETR(SmallBackbone(), transformer, configuration.num_classes, num_queries=4)

    subject = torch_implementation(name="subject", profile=DEFORMABLE, model=with_no_object)
    assert "model.shapes" in failing(subject, ["model.shapes"])
