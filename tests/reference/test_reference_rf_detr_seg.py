"""The twin of RF-DETR with segmentation against numbers worked out by hand."""

from __future__ import annotations

from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor

from detr_reference.dialects import RFDETRSegCriterion, RFDETRSegMatcher
from detr_reference.dialects.rf_detr_seg import sampled

MIDDLES = [[0.25, 0.5], [0.75, 0.5]]


def sampler(*lengths: int, device: torch.device | None = None) -> Tensor:
    """Draws the middles of two pixels in turn."""
    points = torch.tensor(MIDDLES, device=device).repeat(lengths[-2], 1)[: lengths[-2]]
    return points.expand(*lengths)


def batch(queries: int = 2) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """Queries of one class in one place; the first has the mask of the only target, its left half."""
    masks = torch.tensor([[4.0, -4.0], *[[-4.0, 4.0]] * (queries - 1)])[None, :, None]
    boxes = torch.tensor([0.5, 0.5, 0.25, 0.25])
    outputs = {
        "pred_logits": torch.zeros(1, queries, 1),
        "pred_boxes": boxes.expand(1, queries, 4),
        "pred_masks": masks,
    }
    truth = torch.tensor([[[True, False]]])
    return outputs, [{"labels": torch.tensor([0]), "boxes": boxes[None], "masks": truth}]


def matcher(**weights: float) -> RFDETRSegMatcher:
    return RFDETRSegMatcher(
        2, 5, 2, mask_point_sample_ratio=1, cost_mask_ce=5, cost_mask_dice=5, sampler=sampler, **weights
    )


def criterion(losses: list[str]) -> RFDETRSegCriterion:
    return RFDETRSegCriterion(1, matcher(), {}, 0.25, losses, 2, mask_point_sample_ratio=1, sampler=sampler)


def test_the_pixels_at_the_edge_go_on() -> None:
    mask = torch.tensor([[[2.0, 6.0]]])
    assert sampled(mask, torch.tensor([[[0.0, 0.5], [0.5, 0.0], [1.0, 1.0]]])).tolist() == [[2.0, 4.0, 6.0]]


def test_the_cost_by_hand() -> None:
    """The box is the target's, and a logit of 0 costs (1/4 − 3/4) · log(2)/4."""
    outputs, (target,) = batch()
    parts = (outputs[name][0] for name in ("pred_logits", "pred_boxes", "pred_masks"))
    cost = matcher().cost_matrix(*parts, target)
    of_box, p = 2 * -0.5 * log(2) / 4 - 2, 1 / (1 + exp(-4))
    first = of_box + 5 * log(1 + exp(-4)) + 5 * (1 - (2 * p + 1) / 3)
    second = of_box + 5 * log(1 + exp(4)) + 5 * (1 - (2 * (1 - p) + 1) / 3)
    assert cost[:, 0].tolist() == pytest.approx([first, second], rel=1e-5)


def test_each_group_is_matched_by_its_masks() -> None:
    outputs, targets = batch(4)
    ((queries, objects),) = matcher()(outputs, targets, group_detr=2)
    assert (queries[0].item(), len(queries), objects.tolist()) == (0, 2, [0, 0])
    assert matcher()(outputs, targets)[0][0].tolist() == [0]


def test_the_losses_of_masks_by_hand() -> None:
    """Of two groups the first has the target's mask, and the second its opposite; num_boxes counts the target twice."""
    outputs, targets = batch()
    losses = criterion(["labels", "boxes", "masks"])(outputs, targets)
    right, wrong = log(1 + exp(-4)), log(1 + exp(4))
    assert losses["loss_mask_ce"].item() == pytest.approx((right + wrong) / 2, rel=1e-5)
    assert losses["loss_bbox"].item() == 0
    assert {name for name in losses if "mask" in name} == {"loss_mask_ce", "loss_mask_dice"}


def test_auxiliary_layers_have_their_own_and_masks_can_be_left_out() -> None:
    outputs, targets = batch()
    earlier = {**outputs, "pred_masks": torch.zeros(1, 2, 1, 2)}
    losses = criterion(["labels", "boxes", "masks"])({**outputs, "aux_outputs": [earlier]}, targets)
    assert losses["loss_mask_ce_0"].item() == pytest.approx(log(2), rel=1e-5)
    assert not any("mask" in name for name in criterion(["labels", "boxes"])(outputs, targets))


def test_what_cannot_be_matched_is_refused() -> None:
    outputs, targets = batch(3)
    with pytest.raises(ValueError, match="not 2 groups"):
        matcher()(outputs, targets, group_detr=2)
    with pytest.raises(ValueError, match="matching cost"):
        matcher()({**outputs, "pred_masks": outputs["pred_masks"] * torch.nan}, targets)
    with pytest.raises(ValueError, match="all cost weights"):
        RFDETRSegMatcher(0, 0, 0, cost_mask_ce=0, cost_mask_dice=0)
