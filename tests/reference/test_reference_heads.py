"""Heads: shapes, the formula of the box head, layers in order, sharing."""

from __future__ import annotations

import pytest
import torch

from detr_reference import MLP, DetectionHeads

HIDDEN = torch.randn(3, 2, 5, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def heads() -> DetectionHeads:
    torch.manual_seed(0)
    return DetectionHeads(hidden_dim=8, num_classes=4)


def test_mlp_has_relu_between_the_layers_and_none_after_the_last() -> None:
    mlp = MLP(1, 1, 1, num_layers=3)
    parameters = {"layers.0": (1.0, 0.0), "layers.1": (2.0, 1.0), "layers.2": (-1.0, 0.5)}
    for name, (weight, bias) in parameters.items():
        state = {"weight": torch.tensor([[weight]]), "bias": torch.tensor([bias])}
        mlp.get_submodule(name).load_state_dict(state)
    assert mlp(torch.tensor([[3.0], [-3.0]])).tolist() == [[-6.5], [-0.5]]


def test_mlp_widths_and_depth() -> None:
    parameters = MLP(3, 5, 2, num_layers=4).state_dict()
    shapes = [tuple(value.shape) for name, value in parameters.items() if name.endswith("weight")]
    assert shapes == [(5, 3), (5, 5), (5, 5), (2, 5)]
    with pytest.raises(ValueError, match="num_layers=0"):
        MLP(3, 5, 2, num_layers=0)


def test_output_is_the_last_layer_and_auxiliary_outputs_are_the_earlier_in_order(
    heads: DetectionHeads,
) -> None:
    outputs = heads(HIDDEN)
    assert outputs["pred_logits"].shape == (2, 5, 5)
    assert outputs["pred_boxes"].shape == (2, 5, 4)
    assert len(outputs["aux_outputs"]) == 2
    for layer, predictions in enumerate([*outputs["aux_outputs"], outputs]):
        alone = heads(HIDDEN[layer : layer + 1])
        assert alone["aux_outputs"] == []
        torch.testing.assert_close(predictions["pred_logits"], alone["pred_logits"])
        torch.testing.assert_close(predictions["pred_boxes"], alone["pred_boxes"])


def test_boxes_are_the_sigmoid_of_the_box_head(heads: DetectionHeads) -> None:
    boxes = heads(HIDDEN)["pred_boxes"]
    torch.testing.assert_close(boxes, 1 / (1 + (-heads.bbox_embed(HIDDEN[-1])).exp()))
    saturated = heads(HIDDEN * 1e6)["pred_boxes"]
    assert ((saturated >= 0) & (saturated <= 1)).all()


def test_options_and_parameter_names() -> None:
    heads = DetectionHeads(8, 4, aux_loss=False, no_object=False)
    outputs = heads(HIDDEN)
    assert set(outputs) == {"pred_logits", "pred_boxes"}
    assert outputs["pred_logits"].shape == (2, 5, 4)
    assert set(heads.state_dict()) == {
        f"{name}.{parameter}"
        for name in ("class_embed", "bbox_embed.layers.0", "bbox_embed.layers.1", "bbox_embed.layers.2")
        for parameter in ("weight", "bias")
    }


@pytest.mark.parametrize("shape", [(2, 5, 8), (0, 2, 5, 8), (3, 2, 5, 7)])
def test_wrong_hidden_states_are_refused(heads: DetectionHeads, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[L, B, Q, 8\]"):
        heads(torch.zeros(shape))
