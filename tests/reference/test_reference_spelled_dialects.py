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


def image(*boxes: list[float]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Targets of class 0, relative boxes as centres and sides, of an image of 100 by 200 pixels, as mmdetection's."""
    centres, sides = torch.tensor(boxes).reshape(-1, 4).split(2, dim=1)
    corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1) * torch.tensor([200.0, 100, 200, 100])
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    return {"labels": labels, "bboxes": corners}, {"img_shape": torch.tensor([100, 200])}


def mmdet(kind: type[dialects.MMDetLoss], boxes: list[list[float]], truth: list[list[float]], columns: int) -> Any:
    """The losses of one head for one image of logits 0 in two layers."""
    instances, meta = image(*truth)
    layer, logits = torch.tensor([boxes]), torch.zeros(1, len(boxes), columns)
    cost = {} if columns == 2 else {"class_cost": dialects.mmdet_focal_cost()}
    losses = kind(1, dialects.MMDetAssigner(**cost))([logits] * 2, [layer] * 2, [instances], [meta])
    return {name: loss.item() for name, loss in losses.items()}


def with_both_layers(losses: dict[str, float]) -> Any:
    return pytest.approx(losses | {f"d0.{name}": loss for name, loss in losses.items()}, rel=1e-5, abs=1e-6)


def test_mmdet_divides_by_pairs_and_by_weights() -> None:
    found = mmdet(dialects.MMDetDETRLoss, [BOX, BOX], [HALF], columns=2)
    assert found == with_both_layers({"loss_cls": math.log(2), "loss_bbox": 5 * 0.25, "loss_iou": 2 * 0.5})
    # Two targets of which one has a query count once.
    crowded = mmdet(dialects.MMDetDETRLoss, [BOX], [HALF, HALF], columns=2)
    assert crowded["loss_bbox"] == pytest.approx(5 * 0.25, rel=1e-5)


def test_mmdet_raises_the_sum_of_weights_to_1() -> None:
    found = mmdet(dialects.MMDetDETRLoss, [BOX], [], columns=2)
    assert found == with_both_layers({"loss_cls": 0.1 * math.log(2), "loss_bbox": 0.0, "loss_iou": 0.0})


def test_mmdet_raises_areas_before_it_subtracts() -> None:
    points = mmdet(dialects.MMDetDETRLoss, [[0.25, 0.25, 0, 0]], [[0.75, 0.75, 0, 0]], columns=2)
    near = mmdet(dialects.MMDetDETRLoss, [[0.25, 0.25, 0, 0]], [[0.25, 0.25, 0, 0]], columns=2)
    # Far points have an enclosing box without points in it, and near ones a GIoU of 0.
    assert points["loss_iou"] == pytest.approx(2 * 2, rel=1e-5)
    assert near["loss_iou"] == pytest.approx(2 * 1, rel=1e-5)


def test_mmdet_divides_the_focal_loss_by_pairs() -> None:
    found = mmdet(dialects.MMDetFocalLoss, [BOX, BOX], [HALF], columns=1)
    assert found["loss_cls"] == pytest.approx((0.25 + 0.75) * 0.25 * math.log(2), rel=1e-5)


def test_co_dino_trains_towards_overlaps() -> None:
    found = mmdet(dialects.CoDINOLoss, [BOX, BOX], [HALF], columns=1)
    # The pair is at its target, 1/2, already; the other logit is 1/2 away from 0.
    assert found["loss_cls"] == pytest.approx(0.25 * math.log(2), rel=1e-5)


def test_co_dino_measures_the_overlap_of_relative_boxes() -> None:
    """A square of half a thousandth is a quarter of the 1e-6 that unions are raised to, and so is its overlap."""
    small = [0.5, 0.5, 0.0005, 0.0005]
    found = mmdet(dialects.CoDINOLoss, [small], [small], columns=1)
    assert found["loss_cls"] == pytest.approx(0.25**2 * math.log(2), rel=1e-3)


def test_mmdet_dino_denoises_with_the_first_queries_and_trains_proposals_with_classes() -> None:
    """A group of two denoising queries, of which the first has the target, then one query of the decoder."""
    instances, meta = image(HALF)
    scores, boxes = torch.zeros(1, 3, 2), torch.tensor([[BOX, HALF, HALF]])
    given = [scores] * 2, [boxes] * 2, [{**instances, "labels": torch.tensor([1])}], [meta]
    proposals = torch.tensor([[[0.0, -20.0]]]), torch.tensor([[HALF]])
    denoising = {"num_denoising_queries": 2, "num_denoising_groups": 1}
    yes, no = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    for kind, expected in ((dialects.MMDetDINOLoss, no + 0.25 * 20), (dialects.MMDetFocalLoss, yes)):
        assigner = dialects.MMDetAssigner(2, 5, 2, dialects.mmdet_focal_cost())
        losses = kind(2, assigner)(*given, *proposals, denoising)
        # Of four logits of denoising queries one is a target's; of two of the proposal one, of either class.
        assert losses["dn_loss_cls"].item() == losses["d0.dn_loss_cls"].item() == pytest.approx(yes + 3 * no)
        assert losses["dn_loss_bbox"].item() == pytest.approx(5 * 0.25)
        assert losses["loss_bbox"].item() == losses["enc_loss_bbox"].item() == pytest.approx(0, abs=1e-6)
        assert losses["enc_loss_cls"].item() == pytest.approx(expected, rel=1e-5)


def test_detections_of_mmdet_end_at_the_edge() -> None:
    outputs = {"pred_logits": torch.zeros(1, 1, 1), "pred_boxes": torch.tensor([[[0.0, 0.5, 0.5, 2.0]]])}
    (found,) = dialects.MMDetPostProcess(5)(outputs, torch.tensor([[100, 200]]))
    assert found["boxes"].tolist() == [[0, 0, 50, 100]]


PADDED = {"labels": torch.tensor([[2, 0], [1, 1]]), "boxes": torch.tensor([[HALF, [0.0] * 4], [HALF, BOX]])}


def test_scenic_matches_padding_last() -> None:
    outputs = {"pred_logits": torch.zeros(2, 2, 3), "pred_boxes": torch.tensor([[BOX, HALF]] * 2)}
    assert dialects.ScenicMatcher()(outputs, PADDED).tolist() == [[[0, 1], [1, 0]], [[0, 1], [1, 0]]]


def test_scenic_has_a_distance_of_corners_and_a_total() -> None:
    outputs = {"pred_logits": torch.zeros(1, 2, 3), "pred_boxes": torch.tensor([[BOX, [0.75, 0.5, 0.5, 0.5]]])}
    targets = {name: part[:1] for name, part in PADDED.items()}
    losses = dialects.ScenicLoss(3, dialects.ScenicMatcher())({**outputs, "aux_outputs": [outputs]}, targets)
    one = {"loss_class": math.log(3), "loss_bbox": 0.25, "loss_giou": 0.5}
    auxiliary = {f"{name}_aux_0": loss for name, loss in one.items()}
    total = 2 * (math.log(3) + 5 * 0.25 + 2 * 0.5)
    found = {name: loss.item() for name, loss in losses.items()}
    assert found == pytest.approx(one | auxiliary | {"total_loss": total}, rel=1e-4)


def test_scenic_weighs_no_object_in_the_first_column() -> None:
    logits = torch.tensor([[[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]]])
    outputs = {"pred_logits": logits, "pred_boxes": torch.tensor([[HALF, BOX]])}
    targets = {name: part[:1] for name, part in PADDED.items()}
    losses = dialects.ScenicLoss(3, dialects.ScenicMatcher())(outputs, targets)
    assert losses["loss_class"].item() == pytest.approx((math.log(3) + 0.1 * math.log(2)) / 1.1, rel=1e-5)


def test_scenic_divides_by_weights_of_at_least_1_and_by_matched_pairs() -> None:
    outputs = {"pred_logits": torch.zeros(1, 1, 3), "pred_boxes": torch.tensor([[[0.75, 0.5, 0.5, 0.5]]])}
    loss = dialects.ScenicLoss(3, dialects.ScenicMatcher())
    none = loss(outputs, {"labels": torch.tensor([[0]]), "boxes": torch.zeros(1, 1, 4)})
    assert none["loss_class"].item() == pytest.approx(0.1 * math.log(3), rel=1e-5)
    three = loss(outputs, {"labels": torch.tensor([[1, 1, 1, 0]]), "boxes": torch.tensor([[HALF] * 3 + [[0.0] * 4]])})
    # Two of the three targets have no query. |0.5 − 0.25| + |0.25 − 0.375| + |1 − 0.75| + |0.75 − 0.625|
    assert three["loss_bbox"].item() == pytest.approx(0.75, rel=1e-5)


@pytest.mark.parametrize("matcher", [dialects.MMDetAssigner, dialects.ScenicMatcher, dialects.TFModelsMatcher])
def test_a_matcher_of_three_weights_of_0_is_refused(matcher: Any) -> None:
    with pytest.raises(ValueError, match="all zero; at least one must count"):
        matcher(0, 0, 0)


def model_garden(boxes: list[list[float]], truth: list[list[float]], classes: list[int]) -> tuple[Any, Any]:
    """Outputs with logits of 0, background and two classes, and labels of one image of the Model Garden."""
    outputs = {"cls_outputs": torch.zeros(1, len(boxes), 3), "box_outputs": torch.tensor([boxes])}
    return outputs, {"classes": torch.tensor([classes]), "boxes": torch.tensor([truth])}


FREE = [0.0] * 4
LOW, HIGH = [0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]
"""The upper and the lower half of the image, as (cy, cx, h, w)."""


def test_tf_models_gives_each_place_a_query() -> None:
    outputs, labels = model_garden([HIGH, BOX, LOW], [LOW, HIGH, FREE], [2, 1, 0])
    assert dialects.TFModelsMatcher()(outputs, labels).tolist() == [[[2, 0, 1], [0, 1, 2]]]


def test_tf_models_matches_a_query_that_is_no_number_last() -> None:
    outputs, labels = model_garden([LOW, HIGH, HIGH], [HIGH, FREE, FREE], [1, 0, 0])
    outputs["box_outputs"][0, 1, 0] = math.nan
    outputs["cls_outputs"][0, 2, 0] = math.inf
    assert dialects.TFModelsMatcher()(outputs, labels)[0, 0, 0].item() == 0


def test_tf_models_refuses_another_number_of_places() -> None:
    outputs, labels = model_garden([LOW, HIGH], [HIGH], [1])
    with pytest.raises(ValueError, match="padded to 1 places; expected 2, one for each query"):
        dialects.TFModelsMatcher()(outputs, labels)


def test_tf_models_adds_up_the_weighted_losses_of_all_layers() -> None:
    outputs, labels = model_garden([BOX, LOW], [HALF, FREE], [1, 0])
    losses = dialects.TFModelsDetectionLoss(3, dialects.TFModelsMatcher())([outputs] * 2, labels)
    # (cy, cx, h, w): BOX and HALF differ by 1/4 in width, and overlap in a half of BOX.
    one = {"cls_loss": math.log(3), "box_loss": 5 * 0.25, "giou_loss": 2 * 0.5}
    found = {name: loss.item() for name, loss in losses.items()}
    assert found == close_to(loss=2 * sum(one.values()), **{name: 2 * loss for name, loss in one.items()})


def test_tf_models_has_losses_of_0_where_nothing_counts() -> None:
    outputs, labels = model_garden([BOX, LOW], [FREE, FREE], [0, 0])
    criterion = dialects.TFModelsDetectionLoss(3, dialects.TFModelsMatcher(), background_cls_weight=0.0)
    assert [loss.item() for loss in criterion([outputs], labels).values()] == [0.0] * 4


def test_tf_models_adds_its_epsilon_before_the_subtraction() -> None:
    points = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.75, 0.75, 0.75, 0.75]])
    # Two points at one place have a union and an enclosing box of 1e-8 each; apart, these are 1e-8 and 1/4.
    found = dialects.bbox_generalized_overlap(points[:1], points)
    assert found.tolist()[0] == pytest.approx([0.0, -1.0], abs=1e-6)


def test_detections_of_tf_models_have_y_first() -> None:
    outputs, _ = model_garden([LOW], [FREE], [0])
    outputs["cls_outputs"][0, 0, 2] = math.log(2)
    found = dialects.TFModelsDetections()(outputs, torch.tensor([[100, 200]]))
    assert found["detection_boxes"].tolist() == [[[0, 0, 50, 200]]]
    assert found["detection_classes"].tolist() == [[2]]
    assert found["detection_scores"].item() == pytest.approx(0.5)
