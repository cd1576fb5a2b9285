"""Costs, losses, boxes, heads and detections against fractions worked by hand, and torch's functions."""

from __future__ import annotations

from fractions import Fraction
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from exact import rational_giou
from formulas import box_giou, box_l1, classification, focal_cost, l1_cost, negative_probability_cost, shown_boxes
from torch.nn import functional as F

from detr_spec import boxes as box_definitions
from detr_spec import heads as head_definitions
from detr_spec.activations import softmax
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import candidates, count_range, expected_count, scaled_boxes
from detr_spec.losses import cardinality_error, class_error, num_boxes, set_losses, target_classes
from detr_spec.matching.costs import image_costs, matching_cost
from detr_spec.parts import known_parts
from detr_spec.profile import BoxRules, DetectionRules, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.terms import BoxTerm, CornerL1, CrossEntropy, Focal
from detr_spec.terms.cross_entropy import weighted_cross_entropy
from detr_spec.terms.focal import focal_terms
from detr_spec.tolerance import Interval, lift
from detr_spec.values import HeadParameters, InvalidValue, Matching, Outputs, Target

EXACT = 1e-14


def plain(numbers: Any) -> Any:
    return np.asarray(numbers.value if isinstance(numbers, Interval) else numbers, dtype=np.float64)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(plain(found), plain(expected), rtol=EXACT, atol=EXACT)


def matching(*pairs: tuple[int, int]) -> Matching:
    return Matching(*np.array(pairs, dtype=np.int64).reshape(-1, 2).T)


def target(labels: list[int], boxes: list[list[float]]) -> Target:
    return Target(np.array(labels, dtype=np.int64), np.array(boxes))


def configured(profile: Any = DETR, **fields: Any) -> Configuration:
    return Configuration(profile=profile, dtype="float64", **fields)


UNIT = [0.0, 0.0, 1.0, 1.0]
GIOU_BY_HAND = {
    "the same": (UNIT, UNIT, Fraction(1)),
    "a quarter inside": (UNIT, [0.0, 0.0, 0.5, 0.5], Fraction(1, 4)),
    "half overlapping": (UNIT, [0.5, 0.0, 1.5, 1.0], Fraction(1, 3)),
    "a corner": (UNIT, [0.5, 0.5, 1.5, 1.5], Fraction(1, 7) - Fraction(1, 2) / Fraction(9, 4)),
    "side by side": (UNIT, [1.0, 0.0, 2.0, 1.0], Fraction(0)),
    "apart by one": (UNIT, [2.0, 0.0, 3.0, 1.0], Fraction(-1, 3)),
    "diagonal": (UNIT, [1.0, 1.0, 2.0, 2.0], Fraction(-1, 2)),
    "a point inside": (UNIT, [0.5, 0.5, 0.5, 0.5], Fraction(0)),
    "a segment outside": (UNIT, [2.0, 0.0, 2.0, 1.0], Fraction(-1, 2)),
}


@pytest.mark.parametrize(("first", "second", "expected"), GIOU_BY_HAND.values(), ids=GIOU_BY_HAND)
def test_giou_by_hand(first: list[float], second: list[float], expected: Fraction) -> None:
    pair = np.array([first]), np.array([second])
    assert rational_giou(pair[0][0], pair[1][0]) == expected
    for found in (box_definitions.giou(*pair), box_definitions.giou(*reversed(pair))):
        close(found, [[float(expected)]])
    close(box_definitions.elementwise_giou(*pair), [float(expected)])


def test_giou_of_nothing_is_nothing() -> None:
    point, other = np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[0.25, 0.25, 0.25, 0.25]])
    assert np.isnan(box_definitions.giou(point, point)).all()
    assert np.isnan(box_definitions.giou(point, other)).all()
    with pytest.raises(ZeroDivisionError):
        rational_giou(point[0], point[0])
    assert box_definitions.giou(np.zeros((0, 4)), point).shape == (0, 1)


def test_epsilons_enter_where_they_are_declared() -> None:
    rules = BoxRules(iou_epsilon=1.0, giou_epsilon=2.0)
    first, second = np.array([UNIT]), np.array([[0.5, 0.0, 1.5, 1.0]])
    close(box_definitions.iou(first, second, rules), [[0.5 / 2.5]])
    close(box_definitions.giou(first, second, rules), [[0.5 / 2.5 - 0.0 / 3.5]])
    apart = np.array([[2.0, 0.0, 3.0, 1.0]])
    close(box_definitions.giou(first, apart, rules), [[0.0 - 1.0 / 5.0]])


def test_a_least_divisor_takes_the_place_of_smaller_areas() -> None:
    first, second = np.array([UNIT]), np.array([[0.5, 0.0, 1.5, 1.0]])
    close(box_definitions.giou(first, second, BoxRules(least_divisor=1.0)), box_definitions.giou(first, second))
    close(box_definitions.iou(first, second, BoxRules(least_divisor=2.0)), [[0.5 / 2.0]])
    apart = np.array([[2.0, 0.0, 3.0, 1.0]])
    close(box_definitions.giou(first, apart, BoxRules(least_divisor=4.0)), [[0.0 - 1.0 / 4.0]])
    point = np.zeros((1, 4))
    close(box_definitions.giou(point, point, BoxRules(least_divisor=1e-7)), [[0.0]])
    # The epsilon is added first.
    close(box_definitions.iou(first, second, BoxRules(iou_epsilon=1.0, least_divisor=2.0)), [[0.5 / 2.5]])


def test_an_epsilon_may_be_added_to_areas_before_the_union_is_taken_from_the_enclosing_one() -> None:
    first, second = np.array([UNIT]), np.array([[0.5, 0.0, 1.5, 1.0]])
    added = BoxRules(giou_epsilon=0.5, adjusted="areas")
    close(box_definitions.giou(first, second, added), [[0.5 / 1.5 - 0.5 / 2.0]])
    apart = np.array([[2.0, 0.0, 3.0, 1.0]])
    raised = BoxRules(least_divisor=4.0, adjusted="areas")
    close(box_definitions.giou(first, apart, raised), [[0.0]])
    close(box_definitions.giou(first, apart, BoxRules(least_divisor=2.5, adjusted="areas")), [[0.0 - 0.5 / 3.0]])
    with pytest.raises(InvalidValue, match=r"iou_epsilon, 0\.5, exceeds giou_epsilon, 0, and both are added to areas"):
        BoxRules(iou_epsilon=0.5, adjusted="areas")


def test_overlaps_may_be_measured_in_pixels() -> None:
    boxes, pixels = np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[200.0, 100.0, 200.0, 100.0]])
    close(box_definitions.corners_in(boxes, pixels), [[50.0, 25.0, 150.0, 75.0]])
    rules = BoxRules(least_divisor=1.0, units="pixels")
    with pytest.raises(InvalidValue, match=r"targets\.units is 'relative', so that no image has a size"):
        replace(DETR, boxes=rules)


def test_a_clamped_cross_entropy_and_a_distance_of_corners_by_hand() -> None:
    classes = np.array([[2, 2]])
    found = weighted_cross_entropy(QUARTERS[None], classes, np.array([1.0, 1.0, 0.25]), least_divisor=1.0)
    close(found, 0.25 * 2 * weighted_cross_entropy(QUARTERS[None], classes, np.ones(3)))
    shown = shown_boxes(np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[0.5, 0.5, 0.5, 0.25]]), 1.0)
    close(CornerL1().value(shown), 0.25)
    shown = shown_boxes(np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[0.75, 0.5, 0.5, 0.5]]), 1.0)
    close(CornerL1().value(shown), 0.5)


def test_box_operations_are_those_of_torchvision() -> None:
    generator = np.random.default_rng(1)
    first, second = (np.sort(generator.random((n, 2, 2)), axis=1).reshape(n, 4) for n in (6, 5))
    tensors = torch.tensor(first), torch.tensor(second)
    close(box_definitions.iou(first, second), torchvision.ops.box_iou(*tensors))
    close(box_definitions.giou(first, second), torchvision.ops.generalized_box_iou(*tensors))
    close(box_definitions.area(first), torchvision.ops.box_area(tensors[0]))
    for source, destination, convert in (
        ("cxcywh", "xyxy", box_definitions.cxcywh_to_xyxy),
        ("xyxy", "cxcywh", box_definitions.xyxy_to_cxcywh),
    ):
        close(convert(first), torchvision.ops.box_convert(tensors[0], source, destination))


QUARTERS = np.log(np.array([[1.0, 2.0, 1.0], [3.0, 4.0, 1.0]]))
"""Logits of probabilities 1/4, 1/2, 1/4 and 3/8, 1/2, 1/8."""


def test_the_matching_cost_by_hand() -> None:
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0]])
    truth = target([0, 1], [[0.5, 0.5, 0.5, 0.5], [0.75, 0.5, 0.5, 1.0]])
    close(negative_probability_cost(QUARTERS, truth.labels), [[-1 / 4, -1 / 2], [-3 / 8, -1 / 2]])
    close(l1_cost(boxes, truth.boxes), [[0.0, 0.75], [0.75, 0.5]])
    giou = [[Fraction(1), Fraction(1, 8) / Fraction(5, 8) - Fraction(1, 8) / Fraction(3, 4)]]
    giou.append([Fraction(1, 8) / Fraction(5, 8) - Fraction(1, 8) / Fraction(3, 4), Fraction(0)])
    weights = {"cost_class": 2.0, "cost_bbox": 3.0, "cost_giou": 4.0}
    found = matching_cost(QUARTERS, boxes, truth, configured(num_classes=2, **weights))
    expected = [
        [-2 / 4 + 0.0 - 4 * float(giou[0][0]), -2 / 2 + 3 * 0.75 - 4 * float(giou[0][1])],
        [-2 * 3 / 8 + 3 * 0.75 - 4 * float(giou[1][0]), -2 / 2 + 3 * 0.5 - 4 * float(giou[1][1])],
    ]
    close(found, expected)


def test_a_weight_of_zero_leaves_a_term_out_even_where_it_is_no_number() -> None:
    point = target([0], [[0.5, 0.5, 0.0, 0.0]])
    boxes = np.array([[0.5, 0.5, 0.0, 0.0]])
    logits = np.zeros((1, 2))
    assert np.isnan(matching_cost(logits, boxes, point, configured())).all()
    close(matching_cost(logits, boxes, point, configured(cost_giou=0.0)), [[-0.5]])
    close(matching_cost(logits, boxes, point, configured(cost_giou=0.0, cost_class=0.0)), [[0.0]])


def test_the_focal_cost_by_hand() -> None:
    """At p = 3/4 with α = 1/4 and γ = 2: (1/4)(1/16) ln(4/3) − (3/4)(9/16) ln 4."""
    logits = np.array([[log(3.0), -40.0]])
    close(focal_cost(logits, np.array([0]), 0.25, 2.0, 0.0), [[log(4 / 3) / 64 - 27 / 64 * log(4)]])
    close(focal_cost(logits, np.array([0]), 0.5, 1.0, 0.0), [[log(4 / 3) / 8 - 3 / 8 * log(4)]])
    far = focal_cost(logits, np.array([1]), 0.25, 2.0, 1e-8)
    close(far, [[0.25 * -log(exp(-40.0) + 1e-8)]])


def test_costs_of_images_are_each_from_their_own_image() -> None:
    generator = np.random.default_rng(2)
    outputs = Outputs(generator.normal(size=(2, 3, 3)), generator.uniform(0.1, 1, (2, 3, 4)))
    targets = (target([], []), target([1, 0], [[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.25, 0.5]]))
    configuration = configured(num_classes=2)
    first, second = image_costs(outputs, targets, configuration)
    assert first.shape == (3, 0)
    close(second, matching_cost(outputs.logits[1], outputs.boxes[1], targets[1], configuration))


def test_the_weighted_cross_entropy_by_hand_and_by_torch() -> None:
    classes = np.array([[0, 2]])
    found = weighted_cross_entropy(QUARTERS[None], classes, np.array([1.0, 1.0, 0.5]))
    close(found, (log(4) + 0.5 * log(8)) / 1.5)
    generator = np.random.default_rng(3)
    logits, classes = generator.normal(size=(3, 7, 5)) * 5, generator.integers(0, 5, (3, 7))
    weights = np.array([1.0, 1.0, 1.0, 1.0, 0.1])
    expected = F.cross_entropy(
        torch.tensor(logits).flatten(0, 1), torch.tensor(classes).flatten(), torch.tensor(weights)
    )
    close(weighted_cross_entropy(logits, classes, weights), expected)
    assert np.isnan(weighted_cross_entropy(QUARTERS[None], np.array([[2, 2]]), np.array([1.0, 1.0, 0.0])))


def test_focal_terms_by_hand_and_by_torchvision() -> None:
    logits = np.array([log(3.0), log(3.0)])
    found = focal_terms(logits, np.array([True, False]), 0.25, 2.0)
    close(found, [log(4 / 3) / 64, 27 / 64 * log(4)])
    generator = np.random.default_rng(4)
    for alpha, gamma in ((0.25, 2.0), (0.75, 1.0), (0.5, 3.0)):
        logits, positive = generator.normal(size=50) * 6, generator.random(50) < 0.5
        expected = torchvision.ops.sigmoid_focal_loss(
            torch.tensor(logits), torch.tensor(positive).double(), alpha, gamma
        )
        np.testing.assert_allclose(focal_terms(logits, positive, alpha, gamma), expected, rtol=1e-9, atol=1e-15)
    saturated = focal_terms(np.array([-120.0, 120.0, 0.0]), np.array([True, True, False]), 0.25, 2.0)
    close(saturated, [30.0, 0.0, 0.75 / 4 * log(2)])


def test_the_classification_loss_of_each_dialect() -> None:
    classes = np.array([[1, 2]])
    configuration = configured(num_classes=2, class_loss=CrossEntropy(eos_coef=0.25))
    close(
        classification(configuration, lift(QUARTERS[None], "float64"), classes, 7.0),
        (log(2) + log(8) / 4) / 1.25,
    )
    focal = configured(DEFORMABLE, num_classes=2, class_loss=Focal(alpha=0.25, gamma=2.0))
    logits = np.array([[[log(3.0), log(3.0)], [0.0, 0.0]]])
    expected = (27 / 64 * log(4) + log(4 / 3) / 64 + 2 * 0.75 / 4 * log(2)) / 5
    close(classification(focal, lift(logits, "float64"), classes, 5.0), expected)


def test_box_losses_by_hand() -> None:
    predicted = np.array([[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0]])
    truth = np.array([[0.5, 0.5, 0.25, 0.25], [0.75, 0.5, 0.5, 1.0]])
    close(box_l1(predicted, truth, 4.0), (0.5 + 0.5) / 4)
    close(box_giou(predicted, truth, 4.0), ((1 - 1 / 4) + (1 - 0)) / 4)
    empty = np.zeros((0, 4))
    close(box_l1(empty, empty, 1.0), 0.0)
    close(box_giou(empty, empty, 1.0), 0.0)
    pairs = torchvision.ops.generalized_box_iou_loss(
        *(torch.tensor(box_definitions.cxcywh_to_xyxy(boxes)) for boxes in (predicted, truth)),
        reduction="sum",
        eps=0.0,
    )
    close(box_giou(predicted, truth, 4.0), pairs / 4)


def test_class_error_by_hand() -> None:
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [5.0, 1.0, 1.0]])
    own = np.eye(3, dtype=np.bool_)
    close(class_error(logits, own[[0, 2, 0, 1]], "float64"), 50.0)
    close(class_error(logits[:3], own[[0, 2, 0]], "float64"), 100 / 3)
    close(class_error(np.zeros((0, 3)), own[:0], "float64"), 100.0)
    tied = class_error(np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), own[[0, 0]], "float32")
    assert tied.lower <= 0.0
    assert tied.upper >= 50.0
    assert tied.upper < 51.0


def test_cardinality_error_by_hand() -> None:
    logits = np.array([[[1.0, 2.0, 0.0], [0.0, 0.0, 1.0], [3.0, 0.0, 1.0]], [[0.0, 0.0, 9.0]] * 3])
    targets = (target([0], [[0.5, 0.5, 0.5, 0.5]]), target([0, 1], [[0.5, 0.5, 0.5, 0.5]] * 2))
    close(cardinality_error(logits, targets, configured(num_classes=2)), (abs(2 - 1) + abs(0 - 2)) / 2)
    scores = configured(DEFORMABLE, num_classes=3)
    close(cardinality_error(logits - 0.5, targets, scores), (abs(3 - 1) + abs(3 - 2)) / 2)
    tied = cardinality_error(np.zeros((1, 2, 2)), (target([], []),), configured(num_classes=1))
    assert tied.lower <= 0.0
    assert tied.upper >= 2.0


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "autocast"])
def test_a_probability_of_one_half_is_never_counted(dtype: str) -> None:
    scores = replace(configured(DEFORMABLE, num_classes=2), dtype=dtype)
    logits = np.array([[[0.0, 0.0], [0.0, -1.0], [-(2.0**-14), -9.0], [1.0, 0.0]]])
    found = cardinality_error(logits, (target([], []),), scores)
    assert 0.9 < found.lower <= found.upper < 1.1


def test_what_box_losses_are_divided_by() -> None:
    targets = (target([0] * 5, [[0.5, 0.5, 0.5, 0.5]] * 5), target([], []))
    matchings = (matching((0, 0), (1, 3), (2, 4)), matching())
    assert num_boxes(targets, matchings, configured()) == 5.0
    assert num_boxes(targets, matchings, configured(replace(DETR, denominator="matches"))) == 3.0
    assert num_boxes(targets[1:], matchings[1:], configured()) == 1.0
    assert num_boxes(targets[1:], matchings[1:], configured(replace(DETR, denominator="matches"))) == 1.0


def test_classes_that_queries_are_trained_towards() -> None:
    targets = (target([4, 2], [[0.5, 0.5, 0.5, 0.5]] * 2), target([3], [[0.5, 0.5, 0.5, 0.5]]))
    found = target_classes((2, 3), targets, (matching((0, 1), (2, 0)), matching((1, 0))), 9)
    assert found.tolist() == [[2, 9, 4], [9, 3, 9]]


@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)
def test_set_losses_put_the_terms_together(profile: Any) -> None:
    generator = np.random.default_rng(5)
    configuration = configured(profile, num_classes=3)
    outputs = Outputs(generator.normal(size=(2, 4, configuration.columns)), generator.uniform(0.1, 1, (2, 4, 4)))
    targets = (
        target([2, 0], generator.uniform(0.1, 1, (2, 4)).tolist()),
        target([1], generator.uniform(0.1, 1, (1, 4)).tolist()),
    )
    matchings = (matching((1, 1), (3, 0)), matching((2, 0)))
    found = set_losses(configuration, outputs, targets, matchings)
    predicted = np.stack([outputs.boxes[0, 1], outputs.boxes[0, 3], outputs.boxes[1, 2]])
    truth = np.stack([targets[0].boxes[1], targets[0].boxes[0], targets[1].boxes[0]])
    close(found["box_l1"], F.l1_loss(torch.tensor(predicted), torch.tensor(truth), reduction="sum") / 3)
    close(found["box_giou"], box_giou(predicted, truth, 3.0, configuration.profile.boxes))
    rows = np.stack([outputs.logits[0, 1], outputs.logits[0, 3], outputs.logits[1, 2]])
    close(found["class_error"], 100 - 100 * np.mean(rows.argmax(-1) == [0, 2, 1]))
    classes = np.array([[3, 0, 3, 2], [3, 3, 1, 3]])
    close(found["classification"], classification(configuration, lift(outputs.logits, "float64"), classes, 3.0))
    close(found["cardinality"], cardinality_error(outputs.logits, targets, configuration))


def test_heads_are_linear_maps_with_relu_between_and_a_sigmoid_at_the_end() -> None:
    generator = np.random.default_rng(6)
    layers = [(generator.normal(size=shape), generator.normal(size=shape[0])) for shape in ((8, 8), (8, 8), (4, 8))]
    parameters = HeadParameters((generator.normal(size=(3, 8)), generator.normal(size=3)), tuple(layers))
    hidden = generator.normal(size=(2, 5, 8))
    weights = [tuple(map(torch.tensor, layer)) for layer in layers]
    state = torch.tensor(hidden)
    for place, (weight, bias) in enumerate(weights):
        state = F.linear(state, weight, bias)
        state = state.relu() if place < 2 else state.sigmoid()
    np.testing.assert_allclose(head_definitions.box_head(lift(hidden, "float64"), parameters).value, state, rtol=1e-12)
    logits = F.linear(torch.tensor(hidden), *map(torch.tensor, parameters.class_head))
    np.testing.assert_allclose(
        head_definitions.class_head(lift(hidden, "float64"), parameters).value, logits, rtol=1e-12, atol=1e-12
    )


SIZE = np.array([100, 200])
"""Height and width."""


def test_detections_of_each_query_by_hand() -> None:
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 1.0, 0.5]])
    found = candidates(QUARTERS, boxes, SIZE, configured(num_classes=2))
    close(found.scores, [[1 / 4, 1 / 2], [3 / 8, 1 / 2]])
    close(found.best, [1 / 2, 1 / 2])
    close(found.ranked, [1 / 2, 1 / 2])
    of_pairs = configured(replace(DETR, detection=DetectionRules(rule="top-k")), num_classes=2)
    close(candidates(QUARTERS, boxes, SIZE, of_pairs).ranked, [1 / 2, 1 / 2, 3 / 8, 1 / 4])
    close(found.boxes, [[50.0, 25.0, 150.0, 75.0], [-50.0, 0.0, 150.0, 50.0]])
    assert (found.scores.lower <= softmax(QUARTERS)[:, :2]).all()
    clamped = configured(replace(DETR, detection=DetectionRules(clamp=True)), num_classes=2)
    close(candidates(QUARTERS, boxes, SIZE, clamped).boxes, [[50.0, 25.0, 150.0, 75.0], [0.0, 0.0, 150.0, 50.0]])
    close(scaled_boxes(boxes, SIZE, clamped)[1], [0.0, 0.0, 150.0, 50.0])


def test_how_many_detections_there_are() -> None:
    boxes, one_each = np.full((2, 4), 0.5), configured(num_classes=2)
    logits = np.array([[log(3.0), 0.0], [-log(3.0), log(9.0)]])
    top = configured(DEFORMABLE, num_classes=2, top_k=3)
    assert [expected_count((2, 2), item) for item in (one_each, top, replace(top, top_k=100))] == [2, 3, 4]
    assert count_range(candidates(logits, boxes, SIZE, top), top) == (3, 3)
    cut = replace(
        top,
        profile=replace(DEFORMABLE, detection=DetectionRules(rule="top-k", threshold=True)),
        threshold=0.6,
    )
    assert count_range(candidates(logits, boxes, SIZE, cut), cut) == (2, 2)
    assert count_range(candidates(logits, boxes, SIZE, cut), replace(cut, threshold=0.5)) == (2, 3)
    assert count_range(candidates(logits, boxes, SIZE, cut), replace(cut, threshold=0.1)) == (3, 3)
    best = replace(one_each, profile=replace(DETR, detection=DetectionRules(threshold=True)), threshold=0.4)
    assert count_range(candidates(QUARTERS, boxes, SIZE, best), best) == (2, 2)
    assert count_range(candidates(QUARTERS, boxes, SIZE, best), replace(best, threshold=0.55)) == (0, 0)


@pytest.mark.parametrize("name", [name for name, term in known_parts(BoxTerm).items() if term.is_judged])
def test_losses_of_boxes_that_say_so_do_not_depend_on_scale(name: str) -> None:
    term, random = known_parts(BoxTerm)[name](), np.random.default_rng(0)
    boxes, truth = (random.uniform(0.1, 0.9, (5, 4)) for _ in range(2))
    plain_value, scaled = (
        float(term.value(shown_boxes(boxes * scale, truth * scale, np.array(5.0))))
        for scale in (np.ones(4), np.array([0.5, 0.125, 0.5, 0.125]))
    )
    assert ("scale-invariant" in term.laws) == (scaled == pytest.approx(plain_value, rel=EXACT))
