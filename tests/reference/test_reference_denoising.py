"""DAB-DETR, DINO, RT-DETR and H-DETR by hand: epsilons, parts of the L1 loss, proposals, denoising, further queries."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch

from detr_reference.dialects import (
    DABDETRCriterion,
    DABDETRMatcher,
    DINOCriterion,
    DINOMatcher,
    HDETRCriterion,
    HDETRMatcher,
    RTDETRCriterion,
    RTDETRMatcher,
)

LOSSES = ["labels", "boxes", "cardinality"]
TARGET, PREDICTED = [0.5, 0.5, 0.2, 0.4], [0.6, 0.5, 0.2, 0.2]
# The boxes have areas of 0.08 and 0.04, share 0.02, and lie in a box of 0.12.
SHARED, UNION, ENCLOSING = 0.02, 0.10, 0.12
GIOU = SHARED / (UNION + 1e-6) - (ENCLOSING - UNION) / (ENCLOSING + 1e-6)
GIOU_OF_ITSELF = 0.08 / (0.08 + 1e-6)
FOCAL_YES, FOCAL_NO = 0.25 * 0.25 * log(2), 0.75 * 0.25 * log(2)

TARGETS = [{"labels": torch.tensor([0]), "boxes": torch.tensor([TARGET])}]
NOTHING = [{"labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)}]


def layer(*boxes: list[float]) -> dict[str, Any]:
    return {"pred_logits": torch.zeros(1, len(boxes), 1), "pred_boxes": torch.tensor([boxes])}


DENOISED = layer(TARGET, PREDICTED, PREDICTED, TARGET)
"""Two groups, each of a query that is made from the target and one that is not."""


def close(losses: Any, expected: dict[str, float]) -> None:
    assert {name: float(losses[name]) for name in expected} == pytest.approx(expected, abs=1e-5)


def test_dab_detr_divides_by_areas_and_an_epsilon_and_tells_centres_from_sides() -> None:
    criterion = DABDETRCriterion(1, DABDETRMatcher(2, 5, 2), {}, 0.25, LOSSES)
    losses = criterion(layer(PREDICTED), TARGETS)
    expected = {"loss_bbox": 0.3, "loss_xy": 0.1, "loss_hw": 0.2, "loss_giou": 1 - GIOU, "loss_ce": FOCAL_YES}
    close(losses, expected)
    minute = [0.5, 0.5, 1e-3, 1e-3]
    exactly = criterion(layer(minute), [{"labels": torch.tensor([0]), "boxes": torch.tensor([minute])}])
    close(exactly, {"loss_giou": 0.5})


def dino() -> DINOCriterion:
    return DINOCriterion(1, DINOMatcher(2, 5, 2), {}, 0.25, LOSSES)


def test_dino_denoises_without_a_matching_over_all_groups() -> None:
    meta = {"num_dn_group": 2, "pad_size": 4, "output_known_lbs_bboxes": {**DENOISED, "aux_outputs": [DENOISED]}}
    outputs = {**layer(PREDICTED), "aux_outputs": [layer(TARGET)], "dn_meta": meta}
    losses = dino()(outputs, TARGETS)
    expected = {
        "loss_bbox_dn": 0.3 / 2,
        "loss_xy_dn": 0.1 / 2,
        "loss_hw_dn": 0.2 / 2,
        "loss_giou_dn": (2 - GIOU - GIOU_OF_ITSELF) / 2,
        "loss_ce_dn": (2 * FOCAL_YES + 2 * FOCAL_NO) / 2,
    }
    close(losses, expected | {f"{name}_0": value for name, value in expected.items()})
    close(losses, {"loss_bbox": 0.3, "loss_bbox_0": 0.0})


@pytest.mark.parametrize(("targets", "training"), [(NOTHING, True), (TARGETS, False), (NOTHING, False)])
def test_dino_reports_zeros_without_denoising_queries_and_in_evaluation(targets: Any, training: bool) -> None:
    meta = None if targets is NOTHING else {"num_dn_group": 2, "pad_size": 4, "output_known_lbs_bboxes": DENOISED}
    losses = dino().train(training)({**layer(PREDICTED), "aux_outputs": [layer(TARGET)], "dn_meta": meta}, targets)
    names = ("loss_ce", "loss_bbox", "loss_giou", "loss_xy", "loss_hw", "cardinality_error")
    close(losses, {f"{name}{suffix}": 0.0 for name in names for suffix in ("_dn", "_dn_0")})


def test_dino_matches_each_of_the_encoders_proposals() -> None:
    losses = dino()({**layer(TARGET), "interm_outputs": layer(PREDICTED), "enc_outputs": [layer(TARGET)]}, TARGETS)
    close(losses, {"loss_bbox_interm": 0.3, "loss_xy_interm": 0.1, "loss_bbox_enc_0": 0.0, "loss_bbox": 0.0})
    assert "class_error_interm" not in losses


def test_rt_detr_weighs_the_losses_of_proposals_and_of_denoising_queries() -> None:
    matcher = RTDETRMatcher({"cost_class": 2, "cost_bbox": 5, "cost_giou": 2})
    criterion = RTDETRCriterion(matcher, {"loss_vfl": 1, "loss_bbox": 5, "loss_giou": 2}, num_classes=1)
    meta = {"dn_num_group": 2, "dn_positive_idx": [torch.tensor([0, 2])]}
    outputs = {
        **layer(PREDICTED),
        "enc_aux_outputs": [layer(PREDICTED), layer(TARGET)],
        "dn_aux_outputs": [DENOISED],
        "dn_meta": meta,
    }
    losses = criterion(outputs, TARGETS)
    overlap = SHARED / UNION
    close(losses, {"loss_vfl_enc_0": overlap * log(2), "loss_vfl_enc_1": log(2), "loss_bbox_enc_0": 5 * 0.3})
    close(losses, {"loss_vfl_dn_0": ((1 + overlap) * log(2) + 2 * FOCAL_NO) / 2, "loss_bbox_dn_0": 5 * 0.3 / 2})
    nothing = criterion({**layer(PREDICTED), "dn_meta": None}, NOTHING)
    assert set(nothing) == {"loss_vfl", "loss_bbox", "loss_giou"}


def test_h_detr_multiplies_what_it_reports_of_further_queries_and_leaves_them_out_in_evaluation() -> None:
    criterion = HDETRCriterion(1, HDETRMatcher(2, 5, 2), {}, 0.25, LOSSES, k_one2many=1, lambda_one2many=0.5)
    outputs = {**layer(TARGET), **{f"{name}_one2many": value for name, value in layer(PREDICTED).items()}}
    close(
        criterion(outputs, TARGETS), {"loss_bbox": 0.0, "loss_bbox_one2many": 0.15, "loss_ce_one2many": FOCAL_YES / 2}
    )
    assert not [key for key in criterion.eval()(outputs, TARGETS) if "one2many" in key]


def test_h_detr_repeats_the_targets_of_further_queries() -> None:
    criterion = HDETRCriterion(1, HDETRMatcher(2, 5, 2), {}, 0.25, LOSSES, k_one2many=2)
    further = {f"{name}_one2many": value for name, value in layer(PREDICTED, TARGET, [0.1, 0.1, 0.1, 0.1]).items()}
    losses = criterion({**layer(TARGET), **further, "aux_outputs_one2many": [layer(PREDICTED)]}, TARGETS)
    close(losses, {"loss_bbox": 0.0, "loss_ce": FOCAL_YES})
    # Both of the first two further queries have the target, which counts twice; the third has none.
    close(losses, {"loss_bbox_one2many": 0.3 / 2, "loss_ce_one2many": (2 * FOCAL_YES + FOCAL_NO) / 2})
    close(losses, {"loss_bbox_0_one2many": 0.3 / 2, "loss_ce_0_one2many": FOCAL_YES / 2})
    assert "class_error_one2many" in losses
