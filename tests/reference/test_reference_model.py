"""Batches of images, the backbone, and DETR from images to predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_reference import (
    DETR,
    Backbone,
    HungarianMatcher,
    SetCriterion,
    Transformer,
    build_detr,
    build_weight_dict,
    group_norm,
    pad_images,
    resize_padding,
)

CLASSES, QUERIES = 3, 6


def small(**parameters: Any) -> DETR:
    torch.manual_seed(0)
    sizes = {"hidden_dim": 16, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 3, "feedforward_dim": 16}
    backbone = {"backbone": "resnet18", "last_stage": 2, "norm_layer": group_norm}
    return build_detr(CLASSES, QUERIES, **{**sizes, **backbone, "dropout": 0.0, **parameters}).eval()


def images(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


# Batches


def test_images_are_padded_right_and_below() -> None:
    given = images((2, 5), (4, 3))
    batch = pad_images(given)
    assert batch.pixels.shape == (2, 3, 4, 5)
    assert batch.padding.shape == (2, 4, 5)
    for image, pixels, padding in zip(given, batch.pixels, batch.padding, strict=True):
        height, width = image.shape[1:]
        assert torch.equal(pixels[:, :height, :width], image)
        assert not padding[:height, :width].any()
        assert padding[height:].all()
        assert padding[:, width:].all()
        assert (pixels[:, padding] == 0).all()


def test_images_of_one_size_have_no_padding() -> None:
    assert not pad_images(images((4, 5), (4, 5))).padding.any()


def test_images_that_make_no_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        pad_images([])
    for wrong in (torch.rand(4, 5), torch.rand(1, 4, 5), torch.rand(3, 0, 5)):
        with pytest.raises(ValueError, match=r"images\[1\]"):
            pad_images([torch.rand(3, 4, 5), wrong])


def test_the_mask_at_the_size_of_the_features() -> None:
    padding = torch.ones(1, 8, 12, dtype=torch.bool)
    padding[0, :5, :4] = False
    expected = torch.tensor([[[False, True, True], [False, True, True]]])
    assert torch.equal(resize_padding(padding, 2, 3), expected)
    assert torch.equal(resize_padding(padding, 8, 12), padding)


def test_an_image_of_one_pixel_keeps_a_position() -> None:
    padding = pad_images(images((1, 1), (33, 47))).padding
    assert not resize_padding(padding, 2, 3)[0, 0, 0]


# Backbone


@pytest.mark.parametrize(("name", "channels"), [("resnet18", 64), ("resnet34", 64), ("resnet50", 256)])
@pytest.mark.parametrize("stage", [1, 4])
def test_the_backbone_says_its_channels_and_stride(name: str, channels: int, stage: int) -> None:
    backbone = Backbone(name, stage).eval()
    features = backbone(torch.rand(1, 3, 65, 96))
    assert backbone.num_channels == channels * 2 ** (stage - 1)
    assert features.shape == (1, backbone.num_channels, -(-65 // backbone.stride), -(-96 // backbone.stride))


def test_the_norm_can_be_chosen() -> None:
    kinds = {type(module) for module in Backbone("resnet18", 2, group_norm).modules()}
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm2d not in kinds


@pytest.mark.parametrize(("arguments", "match"), [(("vgg",), "unknown backbone"), (("resnet18", 5), "last_stage")])
def test_backbones_that_do_not_exist_are_refused(arguments: tuple[Any, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Backbone(*arguments)


# DETR


@pytest.mark.parametrize(("no_object", "columns"), [(True, CLASSES + 1), (False, CLASSES)])
def test_outputs(no_object: bool, columns: int) -> None:
    outputs = small(no_object=no_object)(images((40, 56), (33, 24)))
    assert len(outputs["aux_outputs"]) == 2
    for layer in (outputs, *outputs["aux_outputs"]):
        assert layer["pred_logits"].shape == (2, QUERIES, columns)
        assert layer["pred_boxes"].shape == (2, QUERIES, 4)
        assert ((layer["pred_boxes"] >= 0) & (layer["pred_boxes"] <= 1)).all()


def test_without_auxiliary_losses_the_same_main_output() -> None:
    given = images((40, 56))
    with_auxiliary, without = small()(given), small(aux_loss=False)(given)
    assert set(without) == {"pred_logits", "pred_boxes"}
    assert torch.equal(with_auxiliary["pred_logits"], without["pred_logits"])


def test_a_list_of_images_is_the_batch_of_them() -> None:
    given, model = images((40, 56), (33, 24)), small()
    assert torch.equal(model(given)["pred_boxes"], model(pad_images(given))["pred_boxes"])


def test_permuting_the_images_permutes_the_predictions() -> None:
    first, second = images((40, 56), (33, 24))
    model = small().double()
    there, back = model([first.double(), second.double()]), model([second.double(), first.double()])
    torch.testing.assert_close(there["pred_logits"], back["pred_logits"].flip(0))


def test_the_heads_can_be_reached() -> None:
    model = small()
    assert model.class_embed.out_features == CLASSES + 1
    assert len(model.bbox_embed.layers) == 3


def test_any_backbone_that_says_its_channels() -> None:
    backbone = nn.Conv2d(3, 5, kernel_size=8, stride=8)
    backbone.num_channels = 5
    outputs = DETR(backbone, Transformer(8, 2, 1, 1, 8), CLASSES, QUERIES)(images((16, 24)))
    assert outputs["pred_boxes"].shape == (1, QUERIES, 4)


def test_the_model_of_the_paper_is_the_default() -> None:
    model = build_detr(91)
    transformer = model.transformer
    assert model.backbone.num_channels == 2048
    assert (len(transformer.encoder.layers), len(transformer.decoder.layers), transformer.hidden_dim) == (6, 6, 256)
    assert model.query_embed.weight.shape == (100, 256)


def test_a_model_without_queries_or_intermediate_states_is_refused() -> None:
    backbone = Backbone("resnet18", 1)
    with pytest.raises(ValueError, match="num_queries"):
        DETR(backbone, Transformer(8, 2, 1, 1, 8), CLASSES, 0)
    with pytest.raises(ValueError, match="return_intermediate"):
        DETR(backbone, Transformer(8, 2, 1, 1, 8, return_intermediate=False), CLASSES, QUERIES)


def test_a_few_steps_of_training_lower_the_loss() -> None:
    model = small().train()
    weights = build_weight_dict(decoder_layers=3)
    criterion = SetCriterion(CLASSES, HungarianMatcher(1, 5, 2), weights, 0.1, ["labels", "boxes"])
    targets = [
        {"labels": torch.tensor([1]), "boxes": torch.tensor([[0.4, 0.5, 0.3, 0.4]])},
        {"labels": torch.tensor([0, 2]), "boxes": torch.tensor([[0.2, 0.3, 0.2, 0.2], [0.7, 0.6, 0.3, 0.5]])},
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(20):
        losses = criterion(model(images((40, 56), (33, 24))), targets)
        total = sum(losses[key] * weight for key, weight in weights.items())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.85 * totals[0]
