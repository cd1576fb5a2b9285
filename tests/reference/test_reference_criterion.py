"""The criterion of both dialects: each term by hand, auxiliary levels, empty batches, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log, nan
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from detr_reference import FocalSetCriterion, HungarianMatcher, SetCriterion, build_weight_dict, focal_cost

Outputs = dict[str, Any]
Targets = list[dict[str, Tensor]]
Criterion = SetCriterion | FocalSetCriterion

LOSSES = ["labels", "boxes", "cardinality"]
LOSSES_AND_MASKS = [*LOSSES, "masks"]
EOS_COEF = 0.1
HALF_BOX = [0.5, 0.5, 0.5, 0.5]
FULL_BOX = [0.5, 0.5, 1.0, 1.0]
FAR_BOX = [0.125, 0.125, 0.25, 0.25]


def softmax_criterion(
    matcher: Any = None, num_classes: int = 2, eos_coef: float = EOS_COEF, losses: Sequence[str] = LOSSES
) -> SetCriterion:
    weights = build_weight_dict(decoder_layers=2, masks=True)
    return SetCriterion(num_classes, matcher or HungarianMatcher(1, 5, 2), weights, eos_coef, losses)


def sigmoid_criterion(matcher: Any = None, num_classes: int = 2, losses: Sequence[str] = LOSSES) -> FocalSetCriterion:
    weights = build_weight_dict(loss_ce=2, decoder_layers=2, masks=True)
    matcher = matcher or HungarianMatcher(2, 5, 2, class_cost=focal_cost())
    return FocalSetCriterion(num_classes, matcher, weights, losses)


def trusting_matcher(outputs: Outputs, targets: Targets) -> list[tuple[Tensor, Tensor]]:
    """A matcher that checks nothing, so that what refuses is the criterion."""
    return [(torch.arange(len(target["labels"])),) * 2 for target in targets]


def target(labels: list[int], boxes: list[list[float]]) -> dict[str, Tensor]:
    return {"labels": torch.tensor(labels, dtype=torch.int64), "boxes": torch.tensor(boxes).reshape(-1, 4)}


def softmax_batch() -> tuple[Outputs, Targets]:
    """Two images, the second without targets; query 0 of the first is matched, 1 and both others are not."""
    probabilities = [[[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], [[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]]
    outputs = {
        "pred_logits": torch.tensor(probabilities, dtype=torch.float64).log(),
        "pred_boxes": torch.tensor([[HALF_BOX, FAR_BOX]] * 2, dtype=torch.float64),
    }
    return outputs, [target([0], [FULL_BOX]), target([], [])]


def sigmoid_batch() -> tuple[Outputs, Targets]:
    outputs = {
        "pred_logits": torch.tensor([[[1.0, 0.0], [-1.0, -2.0]], [[0.0, -1.0], [3.0, 4.0]]]),
        "pred_boxes": torch.tensor([[HALF_BOX, FAR_BOX]] * 2),
    }
    return outputs, [target([0], [FULL_BOX]), target([], [])]


def dialects() -> list[Any]:
    return [
        pytest.param(softmax_criterion, softmax_batch, id="softmax"),
        pytest.param(sigmoid_criterion, sigmoid_batch, id="sigmoid"),
    ]


def test_softmax_losses_by_hand() -> None:
    losses = softmax_criterion()(*softmax_batch())
    positive, negative = log(2), log(2) + log(4) + log(4 / 3)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {
            "loss_ce": (positive + EOS_COEF * negative) / (1 + 3 * EOS_COEF),
            "class_error": 0,
            "loss_bbox": 1.0,
            "loss_giou": 1 - 1 / 4,
            "cardinality_error": (0 + 1) / 2,
        }
    )
    assert softmax_criterion().total(losses).item() == pytest.approx(losses["loss_ce"].item() + 5 * 1.0 + 2 * 0.75)


def test_sigmoid_losses_by_hand() -> None:
    outputs, targets = sigmoid_batch()
    outputs["pred_logits"] = torch.zeros(2, 2, 2)
    outputs["pred_logits"][0, 0, 1] = log(3)
    losses = sigmoid_criterion()(outputs, targets)
    yes_at_half, no_at_half = 0.25 * 0.25 * log(2), 0.75 * 0.25 * log(2)
    no_at_three_quarters = 0.75 * (9 / 16) * log(4)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {
            "loss_ce": yes_at_half + 6 * no_at_half + no_at_three_quarters,
            "class_error": 100,
            "loss_bbox": 1.0,
            "loss_giou": 0.75,
            "cardinality_error": 0,
        }
    )


def test_sigmoid_cardinality_counts_scores_above_a_half() -> None:
    outputs, targets = sigmoid_batch()
    assert sigmoid_criterion()(outputs, targets)["cardinality_error"].item() == (0 + 1) / 2


def test_sums_are_divided_by_targets_even_where_queries_are_too_few() -> None:
    outputs = {"pred_logits": torch.zeros(1, 1, 2), "pred_boxes": torch.tensor([[HALF_BOX]])}
    targets = [target([0, 0, 1], [FULL_BOX, FULL_BOX, FULL_BOX])]
    losses = sigmoid_criterion()(outputs, targets)
    assert losses["loss_bbox"].item() == pytest.approx(1 / 3)
    assert losses["loss_giou"].item() == pytest.approx(0.75 / 3)
    assert losses["loss_ce"].item() == pytest.approx((0.25 + 0.75) * 0.25 * log(2) / 3)


@pytest.mark.parametrize(("criterion", "batch"), dialects())
def test_each_image_is_scored_with_its_own_predictions(criterion: Any, batch: Any) -> None:
    outputs, (first_target, _) = batch()
    outputs["pred_boxes"][1] = torch.tensor(FULL_BOX)
    outputs["pred_logits"][1] = outputs["pred_logits"][0].flip(0)
    losses = criterion()(outputs, [first_target, target([0], [FULL_BOX])])
    assert losses["loss_bbox"].item() == pytest.approx((1.0 + 0.0) / 2)
    assert losses["loss_giou"].item() == pytest.approx((0.75 + 0.0) / 2)
    assert losses["class_error"].item() == 0


@pytest.mark.parametrize(("criterion", "batch"), dialects())
def test_each_auxiliary_level_is_matched_and_scored_on_its_own(criterion: Any, batch: Any) -> None:
    outputs, targets = batch()
    swapped = {name: value.flip(1) for name, value in outputs.items()}
    shrunk = {**outputs, "pred_boxes": outputs["pred_boxes"] * 0.5}
    losses = criterion()({**outputs, "aux_outputs": [swapped, shrunk]}, targets)
    names = ["loss_ce", "loss_bbox", "loss_giou", "cardinality_error"]
    assert set(losses) == {"class_error"} | {name + suffix for name in names for suffix in ("", "_0", "_1")}
    alone = criterion()(shrunk, targets)
    for name in names:
        torch.testing.assert_close(losses[f"{name}_0"], losses[name])
        torch.testing.assert_close(losses[f"{name}_1"], alone[name])
    assert losses["loss_bbox_1"] > losses["loss_bbox"]


@pytest.mark.parametrize(("criterion", "batch"), dialects())
def test_a_batch_without_targets_gives_zero_box_losses_with_a_graph(criterion: Any, batch: Any) -> None:
    outputs, _ = batch()
    for value in outputs.values():
        value.requires_grad_()
    losses = criterion()(outputs, [target([], []), target([], [])])
    criterion().total(losses).backward()
    assert losses["loss_bbox"].item() == losses["loss_giou"].item() == 0
    assert losses["class_error"].item() == 100
    assert losses["loss_ce"].isfinite()
    assert torch.equal(outputs["pred_boxes"].grad, torch.zeros_like(outputs["pred_boxes"]))
    assert (outputs["pred_logits"].grad != 0).any()


def test_no_weight_on_no_object_and_no_targets_is_nan() -> None:
    outputs, _ = softmax_batch()
    losses = softmax_criterion(eos_coef=0)(outputs, [target([], []), target([], [])])
    assert losses["loss_ce"].isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("criterion", "batch"), dialects())
def test_results_are_scalars_of_the_input_dtype_and_metrics_have_no_gradient(
    criterion: Any, batch: Any, dtype: torch.dtype
) -> None:
    outputs, targets = batch()
    outputs = {name: value.to(dtype).requires_grad_() for name, value in outputs.items()}
    before = {name: value.detach().clone() for name, value in outputs.items()}
    for name, loss in criterion()(outputs, targets).items():
        assert (loss.shape, loss.dtype, loss.device) == ((), dtype, outputs["pred_boxes"].device)
        assert loss.requires_grad == name.startswith("loss_")
    assert all(torch.equal(outputs[name], before[name]) for name in before)


def test_saturated_logits_give_finite_losses_and_gradients() -> None:
    for criterion, batch, signs in (
        (softmax_criterion(), softmax_batch(), [-120.0, 120.0, -120.0]),
        (sigmoid_criterion(), sigmoid_batch(), [-120.0, 120.0]),
    ):
        outputs, targets = batch
        outputs["pred_logits"] = torch.tensor(signs).repeat(2, 2, 1).requires_grad_()
        loss = criterion(outputs, targets)["loss_ce"]
        loss.backward()
        assert 10 < loss.item() < 1000
        assert outputs["pred_logits"].grad.isfinite().all()


def test_a_ruled_out_class_leaves_the_focal_loss_and_its_gradient_finite() -> None:
    outputs, targets = sigmoid_batch()
    outputs["pred_logits"][..., 1] = -inf
    outputs["pred_logits"].requires_grad_()
    loss = sigmoid_criterion()(outputs, targets)["loss_ce"]
    loss.backward()
    assert loss.isfinite()
    assert outputs["pred_logits"].grad.isfinite().all()


def test_mask_losses_by_hand() -> None:
    outputs, targets = softmax_batch()
    outputs["pred_masks"] = torch.zeros(2, 2, 1, 1)
    targets[0]["masks"] = torch.ones(1, 2, 1, dtype=torch.bool)
    targets[1]["masks"] = torch.zeros(0, 1, 2, dtype=torch.bool)
    outputs["aux_outputs"] = [dict(outputs)]
    losses = softmax_criterion(losses=LOSSES_AND_MASKS)(outputs, targets)
    assert losses["loss_mask"].item() == pytest.approx((2 * 0.25 + 2 * 0.75) / 4 * 0.25 * log(2))
    assert losses["loss_dice"].item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert not {"loss_mask_0", "loss_dice_0"} & set(losses)


def test_masks_are_upsampled_between_pixel_centres() -> None:
    outputs, targets = softmax_batch()
    outputs["pred_masks"] = torch.tensor([0.0, 4.0]).repeat(2, 2, 1, 1)
    for image, count in enumerate([1, 0]):
        targets[image]["masks"] = torch.zeros(count, 1, 4, dtype=torch.bool)
    p = torch.tensor([0.0, 1.0, 3.0, 4.0]).sigmoid()
    losses = softmax_criterion(losses=LOSSES_AND_MASKS)(outputs, targets)
    torch.testing.assert_close(losses["loss_dice"], 1 - 1 / (p.sum() + 1))
    torch.testing.assert_close(losses["loss_mask"], (0.75 * p**2 * -(1 - p).log()).mean())


def test_masks_are_padded_right_and_below_and_averaged_over_targets() -> None:
    outputs, targets = softmax_batch()
    outputs["pred_masks"] = torch.tensor([[20.0, -20.0], [-20.0, -20.0]]).repeat(2, 2, 1, 1)
    targets[0] = {**target([0, 1], [FULL_BOX] * 2), "masks": torch.tensor([[[True]], [[False]]])}
    targets[1]["masks"] = torch.zeros(0, 2, 2, dtype=torch.bool)
    losses = softmax_criterion(trusting_matcher, losses=LOSSES_AND_MASKS)(outputs, targets)
    assert losses["loss_mask"].item() == pytest.approx((0 + 0.75 * 20 / 4) / 2, abs=1e-6)
    assert losses["loss_dice"].item() == pytest.approx((0 + 1 - 1 / 2) / 2, abs=1e-6)


def test_masks_without_targets_stay_in_the_graph() -> None:
    outputs, _ = softmax_batch()
    outputs["pred_masks"] = torch.zeros(2, 2, 3, 3, requires_grad=True)
    targets = [{**target([], []), "masks": torch.zeros(0, 5, 6, dtype=torch.bool)}] * 2
    losses = softmax_criterion(losses=LOSSES_AND_MASKS)(outputs, targets)
    (losses["loss_mask"] + losses["loss_dice"]).backward()
    assert losses["loss_mask"].item() == losses["loss_dice"].item() == 0
    assert torch.equal(outputs["pred_masks"].grad, torch.zeros(2, 2, 3, 3))


@pytest.mark.parametrize(("pred_shape", "mask_shape"), [((2, 1, 3, 3), (1, 5, 6)), ((2, 2, 3, 3), (2, 5, 6))])
def test_wrong_mask_shapes_are_refused(pred_shape: tuple[int, ...], mask_shape: tuple[int, ...]) -> None:
    outputs, targets = softmax_batch()
    outputs["pred_masks"] = torch.zeros(pred_shape)
    targets[0]["masks"] = torch.zeros(mask_shape, dtype=torch.bool)
    targets[1]["masks"] = torch.zeros(0, 5, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match="masks"):
        softmax_criterion(losses=LOSSES_AND_MASKS)(outputs, targets)


@pytest.mark.parametrize(
    "criterion",
    [
        softmax_criterion(num_classes=3, losses=LOSSES_AND_MASKS),
        sigmoid_criterion(num_classes=3, losses=LOSSES_AND_MASKS),
    ],
)
def test_gradients_are_finite_differences(criterion: Criterion) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    targets = [
        {"labels": torch.tensor(labels, dtype=torch.int64), "boxes": random(len(labels), 4).sigmoid()}
        for labels in ([2, 0], [])
    ]
    for image_target in targets:
        image_target["masks"] = random(len(image_target["labels"]), 3, 2) > 0

    def total(logits: Tensor, boxes: Tensor, masks: Tensor) -> Tensor:
        auxiliary = {"pred_logits": 2 * logits.flip(1), "pred_boxes": (0.5 * boxes).sigmoid()}
        outputs = {"pred_logits": logits, "pred_boxes": boxes.sigmoid(), "pred_masks": masks}
        return criterion.total(criterion({**outputs, "aux_outputs": [auxiliary]}, targets))

    inputs = (random(2, 4, criterion.num_logits), random(2, 4, 4), random(2, 4, 2, 2))
    assert torch.autograd.gradcheck(total, [value.requires_grad_() for value in inputs])


def test_the_weights_repeat_for_each_auxiliary_layer() -> None:
    base = {"loss_ce": 2, "loss_bbox": 5, "loss_giou": 2}
    first = {"loss_ce_0": 2, "loss_bbox_0": 5, "loss_giou_0": 2}
    second = {"loss_ce_1": 2, "loss_bbox_1": 5, "loss_giou_1": 2}
    assert build_weight_dict(2, 5, 2, decoder_layers=3) == base | first | second
    with_mask_weights = build_weight_dict(masks=True)
    assert (with_mask_weights["loss_mask"], with_mask_weights["loss_dice"]) == (1, 1)
    with pytest.raises(ValueError, match="decoder_layers=0"):
        build_weight_dict(decoder_layers=0)


def test_only_the_losses_asked_for_are_computed() -> None:
    outputs, targets = softmax_batch()
    criterion = SetCriterion(2, HungarianMatcher(), {"loss_bbox": 5}, EOS_COEF, ["boxes"])
    losses = criterion(outputs, targets)
    assert set(losses) == {"loss_bbox", "loss_giou"}
    torch.testing.assert_close(criterion.total(losses), 5 * losses["loss_bbox"])
    with pytest.raises(ValueError, match="no loss has a weight"):
        softmax_criterion().total({"cardinality_error": torch.tensor(0.0)})
    with pytest.raises(ValueError, match="unknown losses"):
        SetCriterion(2, HungarianMatcher(), {}, EOS_COEF, ["label"])


@pytest.mark.parametrize("level", ["last", "auxiliary"])
@pytest.mark.parametrize(("criterion", "batch"), dialects())
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda outputs: {"pred_logits": outputs["pred_logits"].repeat(1, 1, 2)}, "columns"),
        (lambda outputs: {"pred_boxes": outputs["pred_boxes"][:, :1]}, "pred_boxes must have shape"),
        (lambda outputs: {"pred_logits": outputs["pred_logits"] * nan}, "pred_logits holds NaN"),
        (lambda outputs: {"pred_boxes": outputs["pred_boxes"] * nan}, "pred_boxes holds NaN"),
    ],
)
def test_broken_predictions_are_refused(criterion: Any, batch: Any, change: Any, message: str, level: str) -> None:
    outputs, targets = batch()
    broken = {**outputs, **change(outputs)}
    refusing = criterion(trusting_matcher)
    with pytest.raises(ValueError, match=message):
        refusing(broken if level == "last" else {**outputs, "aux_outputs": [broken]}, targets)


@pytest.mark.parametrize(("criterion", "batch"), dialects())
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ([], "images 2, targets 0"),
        ([target([2], [FULL_BOX]), target([], [])], r"\[0, 1\], got 2"),
        ([target([-1], [FULL_BOX]), target([], [])], "got -1"),
        ([target([0], [FULL_BOX, FULL_BOX]), target([], [])], "one box for each label"),
        ([target([], []), target([0], [[nan, 0.5, 0.5, 0.5]])], r"targets\[1\]\['boxes'\] holds NaN"),
    ],
)
def test_broken_targets_are_refused(criterion: Any, batch: Any, broken: Targets, message: str) -> None:
    refusing = criterion(trusting_matcher)
    with pytest.raises(ValueError, match=message):
        refusing(batch()[0], broken)


@pytest.mark.parametrize(("here", "elsewhere", "num_boxes"), [(3, 0, 1.5), (1, 0, 1.0), (2, 4, 3.0), (0, 4, 2.0)])
def test_num_boxes_is_the_mean_over_ranks_and_at_least_one(
    monkeypatch: pytest.MonkeyPatch, here: int, elsewhere: int, num_boxes: float
) -> None:
    """A second rank is simulated; each rank, even without targets, must join the reduction exactly once."""
    reductions: list[Tensor] = []

    def add_the_other_rank(count: Tensor) -> None:
        reductions.append(count.add_(elsewhere))

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", add_the_other_rank)
    outputs = {"pred_logits": torch.zeros(1, 4, 2), "pred_boxes": torch.tensor([[HALF_BOX] * 4])}
    losses = sigmoid_criterion()(outputs, [target([0] * here, [FULL_BOX] * here)])
    assert losses["loss_bbox"].item() == pytest.approx(here * 1.0 / num_boxes)
    assert len(reductions) == 1
