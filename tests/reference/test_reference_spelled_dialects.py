"""The twins of dialects that differ by their spelling and rules: their losses in numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from detr_reference import dialects

BOX, HALF = [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.25]
"""A box, and the middle half of it: their IoU and GIoU are 1/2, their L1 distance is 1/4."""


def layers(*boxes: list[float], logits: int, count: int = 1) -> tuple[Tensor, Tensor]:
    """Boxes and logits of 0 of one image, the same in so many layers."""
    return torch.tensor([[boxes]] * count), torch.zeros(count, 1, len(boxes), logits)


def concatenated(*boxes: list[float], groups: list[int]) -> dict[str, Any]:
    """Targets of class 0 of a batch, one after another."""
    found = torch.tensor(boxes).reshape(-1, 4)
    return {"cls": torch.zeros(len(boxes), dtype=torch.int64), "bboxes": found, "gt_groups": groups}


def close_to(**losses: float) -> Any:
    return pytest.approx(losses, rel=1e-5)


def test_ultralytics_sums_the_earlier_layers_and_weighs_by_overlap() -> None:
    losses = dialects.UltralyticsDetectionLoss(nc=1)(layers(BOX, logits=1, count=3), concatenated(HALF, groups=[1]))
    # A logit of 0 has a binary cross-entropy of log 2 towards any target; the weight of the pair is its IoU.
    one = {"loss_class": 0.5 * math.log(2), "loss_bbox": 5 * 0.25, "loss_giou": 2 * 0.5}
    shared = {f"{name}_aux": 2 * loss for name, loss in one.items()}
    absent = {f"{name}_dn": 0.0 for name in one | shared}
    assert {name: loss.item() for name, loss in losses.items()} == close_to(**one, **shared, **absent)


def test_ultralytics_weighs_negatives_threefold_in_a_batch_without_targets() -> None:
    criterion = dialects.UltralyticsDetectionLoss(nc=1, aux_loss=False)
    without = criterion(layers(BOX, logits=1), concatenated(groups=[0]))
    beside = criterion(layers(BOX, HALF, logits=1), concatenated(BOX, groups=[1]))
    negative = 0.5**1.5 * math.log(2)
    assert without["loss_class"].item() == pytest.approx(0.75 * negative, rel=1e-5)
    assert beside["loss_class"].item() == pytest.approx(math.log(2) + 0.25 * negative, rel=1e-5)
    assert without["loss_bbox"].item() == without["loss_giou"].item() == 0


def test_ultralytics_counts_targets_of_the_batch() -> None:
    boxes = torch.tensor([[BOX, HALF], [BOX, HALF]])
    targets = concatenated(HALF, BOX, HALF, groups=[1, 2])
    pairs = dialects.UltralyticsMatcher()(
        boxes, torch.zeros(2, 2, 1), targets["bboxes"], targets["cls"], targets["gt_groups"]
    )
    assert [(queries.tolist(), objects.tolist()) for queries, objects in pairs] == [([1], [0]), ([0, 1], [1, 2])]


def test_ultralytics_has_losses_of_denoising_queries_divided_by_their_pairs() -> None:
    criterion = dialects.UltralyticsDetectionLoss(nc=1, aux_loss=False)
    meta = {"dn_pos_idx": [torch.tensor([0, 2])], "dn_num_group": 2}
    losses = criterion(
        layers(BOX, logits=1), concatenated(HALF, groups=[1]), *layers(BOX, HALF, HALF, HALF, logits=1), meta
    )
    # The pairs are BOX and HALF with HALF; queries 1 and 3 are negatives.
    assert losses["loss_bbox_dn"].item() == pytest.approx(5 * 0.25 / 2, rel=1e-5)
    positive, negative = (0.5 + 1) * math.log(2), 2 * 0.25 * 0.5**1.5 * math.log(2)
    assert losses["loss_class_dn"].item() == pytest.approx((positive + negative) / 2, rel=1e-5)


def test_paddle_counts_targets_and_puts_the_weight_of_classes_into_the_mean() -> None:
    logits = torch.tensor([[[[0.0, 0.0], [0.0, math.log(3)]]]]).expand(2, -1, -1, -1)
    boxes, truth = torch.tensor([[[BOX, HALF]]]).expand(2, -1, -1, -1), [torch.tensor([BOX])]
    labels = [torch.zeros(1, 1, dtype=torch.int64)]
    losses = dialects.PaddleDETRLoss(num_classes=1)(boxes, logits, truth, labels)
    # The pair has a loss of log 2 and a weight of 1; the other query, with 3/4 for no object, log 4/3 and 1/10.
    main = {"loss_class": (math.log(2) + 0.1 * math.log(4 / 3)) / 1.1, "loss_bbox": 0.0, "loss_giou": 0.0}
    found = {name: loss.item() for name, loss in losses.items()}
    assert found == pytest.approx(main | {f"{name}_aux": loss for name, loss in main.items()}, rel=1e-5, abs=1e-6)
    heavy = dialects.PaddleDETRLoss(num_classes=1, loss_coeff={"class": 2, "bbox": 5, "giou": 2, "no_object": 0.2})
    assert heavy(boxes, logits, truth, labels)["loss_class"].item() == pytest.approx(main["loss_class"], rel=1e-5)


def test_paddle_divides_by_targets_without_a_query_too() -> None:
    truth, labels = [torch.tensor([HALF, HALF])], [torch.zeros(2, 1, dtype=torch.int64)]
    losses = dialects.PaddleDETRLoss(num_classes=1, aux_loss=False)(*layers(BOX, logits=2), truth, labels)
    assert losses["loss_bbox"].item() == pytest.approx(5 * 0.25 / 2, rel=1e-5)


@pytest.mark.parametrize("matcher", [dialects.UltralyticsMatcher, dialects.PaddleMatcher])
def test_a_matcher_without_weights_is_refused(matcher: Any) -> None:
    with pytest.raises(ValueError, match="all zero; at least one must count"):
        matcher({"class": 0, "bbox": 0, "giou": 0})
