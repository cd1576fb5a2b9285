"""Masks at points against hand work and torch; which points are the uncertain ones; and what holds for all points."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.invariant import Domain
from detr_spec.losses import set_losses
from detr_spec.masks import MaskRules, at_points, compared_in_losses, labels_at_points, repeated
from detr_spec.matching.costs import image_costs
from detr_spec.profile import Keys, Profile, replace
from detr_spec.profiles import DETR, MASK2FORMER
from detr_spec.strategies import set_cases
from detr_spec.terms import BoxL1
from detr_spec.tolerance import Interval, gradient, interval, lift
from detr_spec.values import InvalidValue, Matching, Outputs, Target

EXACT = 1e-13
RULES = MaskRules(compared="points", points=4)


def test_masks_at_points_by_hand() -> None:
    """Two pixels beside each other have their centres at 1/4 and 3/4; beyond them lie zeros, or they go on."""
    mask = np.array([[[2.0, 6.0]]])
    points = np.array([[0.25, 0.5], [0.5, 0.5], [0.75, 0.5], [0.0, 0.5], [0.5, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(at_points(mask, points, "zeros"), [[2, 4, 6, 1, 2, 0.5]], rtol=EXACT)
    np.testing.assert_allclose(at_points(mask, points, "edge"), [[2, 4, 6, 2, 4, 2]], rtol=EXACT)


@pytest.mark.parametrize("outside", ["zeros", "edge"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (5, 4), (7, 11)])
def test_masks_at_points_are_those_of_torch(size: tuple[int, int], outside: str) -> None:
    generator = np.random.default_rng(0)
    masks, points = generator.normal(size=(3, *size)), generator.random((50, 2))
    for dtype in ("float32", "float64"):
        given, grid = (torch.tensor(own, dtype=getattr(torch, dtype)) for own in (masks, 2 * points - 1))
        padding = {"zeros": "zeros", "edge": "border"}[outside]
        found = grid_sample(given[None], grid[None, None], padding_mode=padding, align_corners=False)[0, :, 0]
        expected = at_points(lift(given.double().numpy(), dtype), points.astype(dtype).astype(np.float64), outside)
        assert (expected.lower <= found.double().numpy()).all()
        assert (found.double().numpy() <= expected.upper).all()
        np.testing.assert_allclose(expected.value, found, rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)


def test_targets_at_points_lie_between_pixels_or_are_those_of_the_nearest() -> None:
    truth, like = np.array([[[True, False]]]), np.zeros(1)
    points = np.array([[0.25, 0.5], [0.4375, 0.5], [0.5625, 0.5], [0.75, 0.5]])
    bilinear, nearest = RULES, MaskRules(compared="points", labels="nearest")
    np.testing.assert_allclose(labels_at_points(truth, points, bilinear, like), [[1, 0.625, 0.375, 0]], rtol=EXACT)
    np.testing.assert_allclose(labels_at_points(truth, points, nearest, like), [[1, 1, 0, 0]], rtol=EXACT)


def test_between_two_pixels_either_is_the_nearest() -> None:
    rules = MaskRules(compared="points", labels="nearest")
    found = labels_at_points(np.array([[[True, False]]]), np.array([[0.5, 0.5]]), rules, lift(0.0, "float32"))
    assert (interval(found).lower, interval(found).upper) == (0, 1)


def places(logits: list[float], rules: MaskRules = RULES) -> Any:
    """A mask of one row of pixels, compared at points at their middles."""
    masks, truth = np.array([[logits]]), np.zeros((1, 1, len(logits)), dtype=np.bool_)
    middles = (np.arange(len(logits)) + 0.5) / len(logits)
    return compared_in_losses(lift(masks, "float64"), truth, rules, np.stack([middles, np.full(len(logits), 0.5)], 1))


def test_most_points_are_the_candidates_of_the_smallest_logits() -> None:
    """Of four points three are uncertain, of as many candidates as there are, twelve; the other one is the first."""
    logits = [9.0, -1.0, 5.0, 0.5, -7.0, 8.0, 2.0, -6.0, 10.0, 11.0, -12.0, 13.0]
    found = places(logits)
    assert found.count == 4
    assert found.shares.value.tolist() == [[0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]]
    assert found.logits.value[0, -1] == 9.0
    assert (found.shares.upper - found.shares.lower == 0).all()


def test_candidates_that_are_as_uncertain_may_each_be_chosen() -> None:
    found = places([9.0, -1.0, 2.0, 0.5, -2.0, 8.0, 2.0, -6.0, 10.0, 11.0, -12.0, 13.0])
    chosen = found.shares
    certain, possible = chosen.lower[0, :12], chosen.upper[0, :12]
    assert certain.tolist() == [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert possible.tolist() == [0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0]
    assert chosen.value[0, :12].sum() == 3


@pytest.mark.parametrize("uncertain", [0.0, 1.0])
def test_none_or_all_points_may_be_uncertain(uncertain: float) -> None:
    found = places([float(2 + number) for number in range(12)], replace(RULES, uncertain=uncertain))
    assert found.shares.value.sum() == 4
    assert found.shares.value[0, :12].sum() == 4 * uncertain


def test_a_drawing_begins_anew_after_the_last_point() -> None:
    points = np.array([[0.0, 0.5], [0.25, 0.5]])
    assert repeated(points, 3).tolist() == [[0.0, 0.5], [0.25, 0.5], [0.0, 0.5]]


def test_the_number_of_points_may_follow_from_the_mask() -> None:
    rules = MaskRules(compared="points", pixels_per_point=4)
    assert (rules.points_in_matching(6, 4), rules.points_in_losses(6, 4)) == (6, 6)
    assert (rules.points_in_matching(5, 3), rules.points_in_losses(5, 3)) == (3, 5)


def mask_batch(logit: float, inside: bool) -> tuple[Outputs, tuple[Target, ...], tuple[Matching, ...]]:
    """One query and one target, whose masks are the same at all pixels; no object is unlikely."""
    outputs = Outputs(np.array([[[2.0, 0.0]]]), np.full((1, 1, 4), 0.5), np.full((1, 1, 2, 2), logit))
    target = Target([0], np.full((1, 4), 0.5), np.full((1, 4, 4), inside))
    return outputs, (target,), (Matching(np.array([0]), np.array([0])),)


def losses(configuration: Configuration, *batch: Any) -> dict[str, Interval]:
    return set_losses(configuration, *batch)


def test_masks_of_0_have_one_loss_and_one_cost_wherever_the_points_are() -> None:
    """A logit of 0 is a probability of 1/2; of a target that is nowhere, 16 points give 1 − 1/(8 + 1)."""
    configuration = Configuration(profile=MASK2FORMER, dtype="float64", masks=True, cost_class=2.0)
    batch = mask_batch(0.0, inside=False)
    found = losses(configuration, *batch)
    (cost,) = image_costs(batch[0], batch[1], configuration)
    score = 1 / (1 + np.exp(-2.0))
    expected = {"mask": log(2), "dice": 8 / 9}
    for name, value in expected.items():
        assert float(found[name].value) == pytest.approx(value, rel=EXACT)
        assert float(found[name].upper - found[name].lower) < 1e-13
    assert float(cost.value[0, 0]) == pytest.approx(-2 * score + 5 * log(2) + 5 * 8 / 9, rel=EXACT)
    assert float((cost.upper - cost.lower)[0, 0]) < 1e-12


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("logit", [-3.0, 0.0, 0.5, 8.0])
def test_what_any_points_give_lies_in_the_range_of_all(logit: float, inside: bool) -> None:
    unknown = Configuration(profile=MASK2FORMER, dtype="float64", masks=True)
    batch, generator = mask_batch(logit, inside), np.random.default_rng(0)
    everywhere, costs = losses(unknown, *batch), image_costs(*batch[:2], unknown)[0]
    for _ in range(10):
        sample = tuple((float(x), float(y)) for x, y in generator.random((64, 2)))
        given = replace(unknown, sample=sample)
        found, cost = losses(given, *batch), image_costs(*batch[:2], given)[0]
        for name in ("mask", "dice"):
            assert everywhere[name].lower <= found[name].value <= everywhere[name].upper
        assert (costs.lower <= cost.value).all()
        assert (cost.value <= costs.upper).all()


def test_the_slope_of_a_point_that_may_be_chosen_or_not_is_open() -> None:
    """Of two candidates one is chosen, and their logits are as far from 0."""
    rules = MaskRules(compared="points", points=1, oversampling=2.0, uncertain=1.0)
    truth, points = np.zeros((1, 1, 2), dtype=np.bool_), np.array([[0.25, 0.5], [0.75, 0.5]])

    def total(masks: Any) -> Any:
        compared = compared_in_losses(masks, truth, rules, points)
        return compared.counted(compared.logits).sum()

    slope = gradient(total, lift(np.array([[[3.0, -3.0]]]), "float64"))
    assert slope.value.tolist() == [[[1, 0]]]
    np.testing.assert_allclose(slope.lower, [[[0, 0]]], atol=1e-15)
    np.testing.assert_allclose(slope.upper, [[[1, 1]]], atol=1e-15)


def cases(profile: Profile, given: bool, count: int = 40) -> list[SetCase]:
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import given as drawn

    found: list[SetCase] = []

    @settings(max_examples=count, phases=(Phase.generate,), database=None, suppress_health_check=list(HealthCheck))
    @drawn(set_cases(layers=(1, 2))(Domain(profile, Limits(mask_points=given))))
    def collect(case: SetCase) -> None:
        found.append(case)

    collect()
    return found


def test_every_case_of_a_dialect_of_masks_has_them_in_every_layer() -> None:
    for case in cases(MASK2FORMER, given=True):
        assert all(layer.masks is not None for layer in case.outputs.layers)
        assert len({target.masks.shape[1:] for target in case.targets if target.masks is not None}) == 1
        assert case.configuration.sample


def test_where_points_cannot_be_given_many_masks_are_the_same_at_all_pixels() -> None:
    drawn = [case.outputs.masks for case in cases(MASK2FORMER, given=False) if not case.configuration.sample]
    flat = [masks is not None and (masks == masks[..., :1, :1]).all() for masks in drawn]
    assert len(drawn) == len(flat)
    assert sum(map(bool, flat)) > len(flat) / 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": MaskRules(compared="points")}, "mask_loss is 'mask-focal', and masks.compared is 'points'"),
        (
            {"further_costs": MASK2FORMER.further_costs},
            "further_costs have one of masks, and masks.compared is 'pixels'",
        ),
        ({"keys": Keys(boxes=None, target_boxes=None)}, "keys.boxes is None, and there is 'l1'"),
        ({"box_cost": None, "overlap_cost": None, "cost_weights": (0.0, 5.0, 2.0)}, "cost_weights are all 0"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        replace(DETR, **changes)


def test_a_dialect_without_boxes_has_no_losses_of_boxes() -> None:
    with pytest.raises(InvalidValue, match="there is 'box-l1'"):
        replace(MASK2FORMER, box_loss=BoxL1())
    with pytest.raises(InvalidValue, match="expected None for both, or neither"):
        Keys(boxes=None)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [({"points": 0}, "points is 0"), ({"oversampling": 0.5}, "oversampling is 0.5"), ({"uncertain": 1.5}, "a share")],
)
def test_numbers_of_points_that_are_none_are_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        MaskRules(**numbers)
