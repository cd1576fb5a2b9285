"""Mask2Former's twin against numbers worked out by hand, and its refusals."""

from __future__ import annotations

from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor

from detr_reference.dialects import Mask2FormerCriterion, Mask2FormerMatcher
from detr_reference.points import pairwise_cross_entropy, pairwise_dice, point_sample, uncertain_points

WEIGHTS = {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


def sampler_of(points: list[list[float]]) -> Any:
    """Draws the first of these points, whatever is asked for."""

    def sampler(*lengths: int, device: torch.device | None = None) -> Tensor:
        return torch.tensor(points, device=device)[: lengths[-2]].expand(*lengths)

    return sampler


def softplus(number: float) -> float:
    return log(1 + exp(number))


def test_a_mask_between_its_pixels() -> None:
    """Pixels have their centres at 1/4 and 3/4; at the edge half of the weight lies on zeros outside."""
    mask, points = torch.tensor([[[2.0, 6.0]]]), torch.tensor([[[0.25, 0.5], [0.5, 0.5], [1.0, 0.5], [0.5, 0.0]]])
    assert point_sample(mask, points).tolist() == [[2.0, 4.0, 3.0, 2.0]]
    assert point_sample(mask, torch.tensor([[[0.4, 0.1], [0.6, 0.9]]]), "nearest").tolist() == [[2.0, 6.0]]
    assert point_sample(mask, points, padding_mode="border").tolist() == [[2.0, 4.0, 6.0, 4.0]]


def test_most_points_are_uncertain_and_the_others_drawn_anew() -> None:
    """Logits along x are 4, −1, 2 and −8; of two points one is that of −1, and one the first that is drawn."""
    drawn = [[0.125, 0.5], [0.375, 0.5], [0.625, 0.5], [0.875, 0.5]]
    mask = torch.tensor([[[4.0, -1.0, 2.0, -8.0]]])
    given = 2, 2.0, 0.5, sampler_of(drawn), torch.device("cpu")
    points = uncertain_points(lambda own: point_sample(mask, own), 1, *given)
    assert points.tolist() == [[[0.375, 0.5], [0.125, 0.5]]]


def test_the_costs_of_masks() -> None:
    """Two points, logits 0 and log 3, so p = 1/2 and 3/4; the target is 1 and 0."""
    logits, labels = torch.tensor([[0.0, log(3)]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    own, empty = (log(2) + log(4)) / 2, (log(2) + log(4)) / 2
    assert pairwise_cross_entropy(logits, labels).tolist()[0] == pytest.approx([own, empty])
    assert pairwise_dice(logits, labels).tolist()[0] == pytest.approx([1 - 2 / (1.25 + 1 + 1), 1 - 1 / (1.25 + 1)])


def batch() -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """Two queries, of which the first has the mask of the only target, its left half, and the second the other half."""
    outputs = {
        "pred_logits": torch.zeros(1, 2, 3),
        "pred_masks": torch.tensor([[[[4.0, -4.0]], [[-4.0, 4.0]]]]),
    }
    return outputs, [{"labels": torch.tensor([1]), "masks": torch.tensor([[[True, False]]])}]


POINTS = [[0.25, 0.5], [0.75, 0.5], [0.25, 0.5], [0.75, 0.5], [0.25, 0.5], [0.75, 0.5]]


def test_the_matching_follows_the_masks() -> None:
    outputs, targets = batch()
    matcher = Mask2FormerMatcher(2, 5, 5, num_points=2, sampler=sampler_of(POINTS))
    ((queries, objects),) = matcher(outputs, targets)
    assert (queries.tolist(), objects.tolist()) == ([0], [0])
    turned = {**outputs, "pred_masks": outputs["pred_masks"].flip(1)}
    assert matcher(turned, targets)[0][0].tolist() == [1]


def test_the_cost_by_hand() -> None:
    outputs, targets = batch()
    matcher = Mask2FormerMatcher(2, 5, 5, num_points=2, sampler=sampler_of(POINTS))
    cost = matcher.cost_matrix(outputs["pred_logits"][0], outputs["pred_masks"][0], *targets[0].values())
    right, p = softplus(-4), 1 / (1 + exp(-4))
    first = -2 / 3 + 5 * right + 5 * (1 - (2 * p + 1) / 3)
    second = -2 / 3 + 5 * softplus(4) + 5 * (1 - (2 * (1 - p) + 1) / 3)
    assert cost[:, 0].tolist() == pytest.approx([first, second], rel=1e-5)


def criterion(**options: Any) -> Mask2FormerCriterion:
    matcher = Mask2FormerMatcher(2, 5, 5, num_points=2, sampler=sampler_of(POINTS))
    given = {"num_points": 2, "sampler": sampler_of(POINTS), **options}
    return Mask2FormerCriterion(2, matcher, WEIGHTS, 0.1, ["labels", "masks"], **given)


def test_the_losses_by_hand() -> None:
    """Of two points one is uncertain, the first candidate, for all are as certain; the other is the first as well."""
    outputs, targets = batch()
    losses = criterion()(outputs, targets)
    p = 1 / (1 + exp(-4))
    # Either candidate may be the uncertain one: at both the mask is right, with certainty p.
    assert float(losses["loss_mask"]) == pytest.approx(softplus(-4), rel=1e-5)
    assert float(losses["loss_dice"]) in (
        pytest.approx(1 - (4 * p + 1) / (2 * p + 3), rel=1e-5),
        pytest.approx(1 - (2 * p + 1) / 3, rel=1e-5),
    )
    assert float(losses["loss_ce"]) == pytest.approx(log(3), rel=1e-5)
    assert set(losses) == {"loss_ce", "loss_mask", "loss_dice"}


def test_the_cross_entropy_weighs_no_object_by_a_tenth() -> None:
    outputs, targets = batch()
    outputs["pred_logits"] = torch.tensor([[[0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]])
    own, other = log(2 + exp(2)) - 2, log(2 + exp(1)) - 1
    loss = criterion()(outputs, targets)["loss_ce"]
    assert float(loss) == pytest.approx((own + 0.1 * other) / 1.1, rel=1e-5)


def test_every_layer_has_losses_of_its_own_masks() -> None:
    outputs, targets = batch()
    earlier = {**outputs, "pred_masks": torch.zeros(1, 2, 1, 2)}
    losses = criterion()({**outputs, "aux_outputs": [earlier]}, targets)
    assert float(losses["loss_mask_0"]) == pytest.approx(log(2), rel=1e-5)
    assert {name for name in losses if name.endswith("_0")} == {"loss_ce_0", "loss_mask_0", "loss_dice_0"}


def test_no_masks_have_losses_of_0_in_the_graph() -> None:
    outputs, _ = batch()
    outputs["pred_masks"].requires_grad_()
    targets = [{"labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 1, 2, dtype=torch.bool)}]
    losses = criterion()(outputs, targets)
    (losses["loss_mask"] + losses["loss_dice"]).backward()
    assert losses["loss_mask"].item() == losses["loss_dice"].item() == 0
    assert outputs["pred_masks"].grad is not None
    assert not outputs["pred_masks"].grad.any()


def test_points_are_drawn_by_torch_where_none_are_given() -> None:
    outputs, targets = batch()
    own = Mask2FormerCriterion(2, Mask2FormerMatcher(2, 5, 5, 50), WEIGHTS, 0.1, ["labels", "masks"], num_points=50)
    torch.manual_seed(0)
    first, second = (own(outputs, targets)["loss_dice"] for _ in range(2))
    assert 0 < float(first) < 1
    assert first != second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([2])}, "must lie in"),
        ({"labels": torch.tensor([1.0])}, "must be int64"),
        ({"masks": torch.zeros(2, 1, 2)}, "one mask for each label"),
    ],
)
def test_wrong_targets_are_refused(change: dict[str, Tensor], message: str) -> None:
    outputs, targets = batch()
    with pytest.raises(ValueError, match=message):
        criterion()(outputs, [targets[0] | change])
    with pytest.raises(ValueError, match="not one target for each image"):
        criterion()(outputs, targets * 2)


def test_wrong_predictions_are_refused() -> None:
    outputs, targets = batch()
    with pytest.raises(ValueError, match="pred_logits must have shape"):
        criterion()({**outputs, "pred_logits": torch.zeros(1, 2, 4)}, targets)
    with pytest.raises(ValueError, match="NaN or"):
        criterion()({**outputs, "pred_logits": outputs["pred_logits"] * torch.nan}, targets)
    with pytest.raises(ValueError, match="matching cost"):
        criterion()({**outputs, "pred_masks": outputs["pred_masks"] * torch.nan}, targets)
    narrow = {name: part.half() for name, part in outputs.items()}
    with pytest.raises(TypeError, match="too coarse"):
        Mask2FormerMatcher()(narrow, targets)
    with pytest.raises(ValueError, match="all zero"):
        Mask2FormerMatcher(0, 0, 0)
    with pytest.raises(ValueError, match="unknown losses"):
        Mask2FormerCriterion(2, Mask2FormerMatcher(), WEIGHTS, 0.1, ["boxes"])
