"""The twin of Grounding DINO, against numbers worked out by hand."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch

from detr_reference.dialects import GroundingDINOCriterion, GroundingDINOMatcher, GroundingDINOPostProcess

LN2, LN3 = log(2.0), log(3.0)
BOX = [0.5, 0.5, 0.5, 0.5]
MAPS = [torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0, 0.0]])]
MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])


def outputs(logits: Any, boxes: Any = None) -> dict[str, Any]:
    """Outputs of two images with texts of two phrases and of one, of three tokens and of four."""
    given = torch.tensor(logits, dtype=torch.float64)
    own = torch.tensor([[BOX] * given.shape[1]] * 2 if boxes is None else boxes, dtype=torch.float64)
    return {"pred_logits": given, "pred_boxes": own, "label_maps": MAPS, "text_mask": MASK}


def target(*labels: int) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([BOX] * len(labels), dtype=torch.float64).reshape(-1, 4)
    return {"labels": torch.tensor(labels, dtype=torch.int64), "boxes": boxes}


def criterion() -> GroundingDINOCriterion:
    return GroundingDINOCriterion(GroundingDINOMatcher(1, 5, 2), {"loss_ce": 2, "loss_bbox": 5, "loss_giou": 2})


def test_the_class_cost_is_the_mean_over_the_tokens_of_a_phrase() -> None:
    """A token of probability 1/2 costs −ln 2/8, one of 3/4 costs −(52 ln 2 + ln 3)/64."""
    logits = torch.tensor([[0.0, LN3, 9.0, -torch.inf]], dtype=torch.float64)
    half, most = -LN2 / 8, -(52 * LN2 + LN3) / 64
    cost = GroundingDINOMatcher().class_cost(logits, MAPS[0])
    assert torch.allclose(cost, torch.tensor([[(half + most) / 2, most]], dtype=torch.float64), atol=1e-7)


def test_each_image_is_matched_by_its_own_map() -> None:
    """Label 0 is two tokens in the first image, and another one in the second, where that query is sure of it."""
    sure, unsure = [4.0, 4.0, -4.0, -torch.inf], [-4.0, -4.0, 4.0, -torch.inf]
    found = GroundingDINOMatcher()(outputs([[sure, unsure], [sure, unsure]]), [target(0), target(0)])
    assert [own.tolist() for own, _ in found] == [[0], [1]]


def test_the_class_loss_is_over_pairs_and_that_of_boxes_over_targets() -> None:
    """All logits are 0: a token that should be said costs ln 2/16, one that should not 3 ln 2/16.

    The first image has 1 query of 3 tokens, matched with 1 of 3 targets, of a phrase of one token. In the second image,
    without targets, no token of 4 is to be said.
    """
    zeros = [[[0.0, 0.0, 0.0, -torch.inf]], [[0.0, 0.0, 0.0, 0.0]]]
    shifted = [[[0.5, 0.5, 0.5, 0.25]], [BOX]]
    losses = criterion()(outputs(zeros, shifted), [target(1, 1, 1), target()])
    assert losses["loss_ce"].item() == pytest.approx((1 + 3 + 3 + 4 * 3) / 16 * LN2, abs=1e-12)
    assert losses["loss_bbox"].item() == pytest.approx(0.25 / 3, abs=1e-12)
    assert losses["loss_hw"].item() == pytest.approx(0.25 / 3, abs=1e-12)
    assert set(losses) == {"loss_ce", "loss_bbox", "loss_giou", "loss_xy", "loss_hw"}


def test_every_token_of_the_phrase_is_to_be_said() -> None:
    zeros = [[[0.0, 0.0, 0.0, -torch.inf]], [[0.0, 0.0, 0.0, 0.0]]]
    losses = criterion()(outputs(zeros), [target(0), target(0)])
    assert losses["loss_ce"].item() == pytest.approx(((2 + 3) + (1 + 9)) / 16 * LN2 / 2, abs=1e-12)


def test_padding_has_no_gradient_and_no_part() -> None:
    values = []
    for padding in (-torch.inf, 3.0):
        given = outputs([[[0.0, 1.0, 2.0, padding]], [[0.0, 1.0, 2.0, 3.0]]])
        given["pred_logits"].requires_grad_()
        loss = criterion()(given, [target(0), target()])["loss_ce"]
        loss.backward()
        gradient = given["pred_logits"].grad
        assert gradient is not None
        assert gradient[0, 0, 3] == 0
        assert (gradient[0, 0, :3] != 0).all()
        values.append(loss.item())
    assert values[0] == values[1]


def test_proposals_and_earlier_layers_have_losses_of_their_own() -> None:
    zeros = [[[0.0, 0.0, 0.0, -torch.inf]], [[0.0, 0.0, 0.0, 0.0]]]
    given = {**outputs(zeros), "aux_outputs": [outputs(zeros)], "interm_outputs": outputs(zeros)}
    losses = criterion()(given, [target(0), target(0)])
    assert {"loss_ce_0", "loss_giou_0", "loss_ce_interm", "loss_xy_interm"} <= set(losses)
    assert losses["loss_ce_0"] == losses["loss_ce"] == losses["loss_ce_interm"]


def test_the_scores_are_those_of_phrases() -> None:
    """Sigmoids of 1/2 and 3/4 have the mean 5/8; the second phrase is the second token alone."""
    given = outputs([[[0.0, LN3, -9.0, -torch.inf]], [[9.0, 9.0, 0.0, 9.0]]])
    first, second = GroundingDINOPostProcess()(given, torch.tensor([[10, 20], [1, 1]]))
    assert first["scores"].tolist() == pytest.approx([0.75, 0.625], abs=1e-12)
    assert first["labels"].tolist() == [1, 0]
    assert first["boxes"].tolist() == [[5.0, 2.5, 15.0, 7.5]] * 2
    assert second["scores"].tolist() == [0.5]
    assert second["labels"].tolist() == [0]


def test_a_label_that_is_no_phrase_of_its_image_is_refused() -> None:
    zeros = outputs([[[0.0, 0.0, 0.0, 0.0]]] * 2)
    with pytest.raises(ValueError, match=r"targets\[1\]\['labels'\] must lie in \[0, 0\], the phrases of its image"):
        GroundingDINOMatcher()(zeros, [target(1), target(1)])
    with pytest.raises(ValueError, match=r"label_maps\[0\] must have shape \[K, 3\]"):
        GroundingDINOMatcher()(outputs([[[0.0, 0.0, 0.0]]] * 2), [target(1), target()])


def test_a_cost_that_is_not_finite_counts_as_0() -> None:
    broken = [[[torch.nan, 0.0, 0.0, 0.0], [-9.0, -9.0, 0.0, 0.0]], [[0.0] * 4] * 2]
    found = GroundingDINOMatcher(1, 0, 0)(outputs(broken), [target(0), target()])
    assert [own.tolist() for own, _ in found] == [[0], []]
