"""What a bridge provides is little: a framework of a few lines, whose arrays cannot be changed, is judged like others.

Its gradients are those of complex steps: the imaginary part of what a function gives for a number beside the real axis.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from judging import judged, own_invariants
from scipy.optimize import linear_sum_assignment

from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.framework import BridgedFramework
from detr_conformance.bridges.framework_bridge import framework_implementation
from detr_spec.boxes import BoxRules
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.profiles import DETR

PROFILE = replace(
    DETR,
    boxes=BoxRules(invalid="unchecked"),
    non_finite_logits="unchecked",
    non_finite_boxes="unchecked",
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    surplus_columns="unchecked",
    target_count="unchecked",
)


class Frozen(np.ndarray):
    """An array that cannot be changed."""


def frozen(numbers: Any, dtype: Any = None) -> Frozen:
    array = np.array(numbers, dtype).view(Frozen)
    array.setflags(write=False)
    return array


def put(given: Any, array: Any, other: Any) -> Any:
    """What is given, with another array in the place of one."""
    if isinstance(given, dict):
        return {key: put(value, array, other) for key, value in given.items()}
    if isinstance(given, (list, tuple)):
        return [put(value, array, other) for value in given]
    return other if given is array else given


class Toy(BridgedFramework):
    """Arrays of NumPy that cannot be changed, and gradients by complex steps."""

    arrays = Frozen

    def array(self, numbers: Any, dtype: str, device: str) -> Frozen:
        assert device == "cpu"
        return frozen(numbers, dtype)

    def to_numpy(self, value: Any) -> np.ndarray[Any, Any]:
        return np.asarray(value).real

    def recorded(self, function: Callable[..., Any], given: Any, arrays: Any) -> tuple[Any, Any]:
        losses = function(*given)

        def pull(weights: Mapping[str, float]) -> tuple[Any, Any]:
            def total(*given: Any) -> Any:
                losses = function(*given)
                return sum(losses[key] * weight for key, weight in weights.items() if key in losses)

            def slope(array: Frozen, entry: int) -> float:
                step = 1e-10j if array.dtype == np.float32 else 1e-100j
                moved = array.astype(np.result_type(array, np.complex64))
                moved.ravel()[entry] += step
                return float(np.imag(total(*put(given, array, frozen(moved)))) / step.imag)

            def gradient(array: Frozen) -> np.ndarray[Any, Any]:
                return np.array([slope(array, entry) for entry in range(array.size)]).reshape(array.shape)

            return np.real(total(*given)), list(map(gradient, arrays))

        return losses, pull


def larger(first: Any, second: Any) -> Any:
    return np.where(np.real(first) >= np.real(second), first, second)


def overlap(first: Any, second: Any) -> Any:
    """GIoU of boxes cxcywh that broadcast against each other."""
    (low, high), (other_low, other_high) = (
        (box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2) for box in (first, second)
    )

    def area(low: Any, high: Any) -> Any:
        return np.prod(high - low, axis=-1)

    inner = larger(low, other_low), -larger(-high, -other_high)
    intersection = area(inner[0], larger(*inner))
    union = area(low, high) + area(other_low, other_high) - intersection
    enclosure = area(-larger(-low, -other_low), larger(high, other_high))
    return intersection / union - (enclosure - union) / enclosure


def log_softmax(logits: Any) -> Any:
    shifted = logits - np.max(np.real(logits), axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def matcher(c: Configuration) -> Callable[..., Any]:
    def match(outputs: Any, targets: Any) -> Any:
        def pairs(logits: Any, boxes: Any, target: Any) -> Any:
            distance = np.abs(boxes[:, None] - target["boxes"]).sum(axis=-1)
            probability = np.exp(log_softmax(logits))[:, target["labels"]]
            giou = overlap(boxes[:, None], target["boxes"])
            cost = c.cost_bbox * distance - c.cost_class * probability - c.cost_giou * giou
            return tuple(map(frozen, linear_sum_assignment(cost)))

        own = np.real(outputs["pred_logits"]), np.real(outputs["pred_boxes"])
        return [pairs(*image) for image in zip(*own, targets, strict=True)]

    return match


def criterion(c: Configuration) -> Callable[..., Any]:
    def of_layer(outputs: Any, targets: Any) -> dict[str, Any]:
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        found, own = matcher(c)(outputs, targets), list(zip(targets, strict=True))
        classes = np.full(logits.shape[:2], c.num_classes)
        for image, ((target,), (queries, indices)) in enumerate(zip(own, found, strict=True)):
            classes[image, queries] = target["labels"][indices]
        matched = classes != c.num_classes
        truth = np.concatenate([target["boxes"][pair[1]] for target, pair in zip(targets, found, strict=True)])
        paired = np.concatenate([layer[queries] for layer, (queries, _) in zip(boxes, found, strict=True)])
        weights = np.where(matched, 1, c.class_loss.eos_coef).astype(np.real(logits).dtype)
        surprise = -np.take_along_axis(log_softmax(logits), classes[..., None], axis=-1)[..., 0]
        counts = np.array([len(target["labels"]) for target in targets])
        best, count = np.argmax(np.real(logits), axis=-1), max(counts.sum(), 1)
        return {
            "loss_ce": (weights * surprise).sum() / weights.sum(),
            "class_error": 100 - 100 * (best == classes)[matched].sum() / max(matched.sum(), 1),
            "loss_bbox": larger(paired - truth, truth - paired).sum() / count,
            "loss_giou": (1 - overlap(paired, truth)).sum() / count,
            "cardinality_error": np.abs((best != c.num_classes).sum(axis=-1) - counts).mean(),
        }

    def call(outputs: Any, targets: Any) -> dict[str, Any]:
        losses = of_layer(outputs, targets)
        for number, layer in enumerate(outputs.get("aux_outputs", [])):
            own = of_layer(layer, targets)
            losses |= {f"{name}_{number}": loss for name, loss in own.items() if name != "class_error"}
        return {key: frozen(loss) for key, loss in losses.items()}

    return call


def postprocess(_: Configuration) -> Callable[..., Any]:
    def call(outputs: Any, sizes: Any) -> Any:
        probability = np.exp(log_softmax(outputs["pred_logits"]))[..., :-1]
        centre, side = outputs["pred_boxes"][..., :2], outputs["pred_boxes"][..., 2:]
        scale = np.tile(sizes[:, ::-1], 2)[:, None].astype(probability.dtype)
        boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=-1) * scale
        parts = zip(probability.max(axis=-1), probability.argmax(axis=-1), boxes, strict=True)
        return [dict(zip(("scores", "labels", "boxes"), map(frozen, image), strict=True)) for image in parts]

    return call


def toy(**parts: Any) -> Implementation:
    return framework_implementation(Toy(), name="toy", profile=PROFILE, **parts)


RIGHT = toy(matcher=matcher, criterion=criterion, postprocess=postprocess)

OPEN = ("matcher.no-weight-refused", "criterion.logit-columns-refused")
"""What the parts above do not refuse, and a profile cannot leave open."""

SLOPES = ("gradients.classification", "gradients.box-l1", "gradients.box-giou", "gradients.weighted-total")
"""Some of what is asked of gradients, as steps take their time."""


def test_a_framework_is_a_hundred_lines_at_most() -> None:
    parts = (Frozen, frozen, put, Toy)
    assert sum(len(inspect.getsource(part).splitlines()) for part in parts) <= 100


@pytest.mark.parametrize("component", ["matcher", "criterion", "postprocess"])
def test_what_is_right_in_a_toy_framework_holds(component: str) -> None:
    asked = [item.id for item in own_invariants(component) if item.id not in OPEN]
    verdicts = {name: judged(name, RIGHT, 4).verdict for name in asked}
    assert not {name: verdict for name, verdict in verdicts.items() if verdict.fails}
    assert list(verdicts.values()).count(Verdict.HOLDS) > len(asked) / 3


@pytest.mark.parametrize("id", SLOPES)
def test_right_gradients_of_a_toy_framework_hold(id: str) -> None:
    assert judged(id, RIGHT, 3).verdict is Verdict.HOLDS


def swapped(c: Configuration) -> Callable[..., Any]:
    return lambda *given: [pair[::-1] for pair in matcher(c)(*given)]


def in_order(c: Configuration) -> Callable[..., Any]:
    def call(outputs: Any, targets: Any) -> Any:
        queries = outputs["pred_logits"].shape[1]
        counts = [min(queries, len(target["labels"])) for target in targets]
        return [(frozen(np.arange(count)), frozen(np.arange(count))) for count in counts]

    return call


def emptying(c: Configuration) -> Callable[..., Any]:
    def call(outputs: Any, targets: Any) -> Any:
        own = criterion(c)(outputs, targets)
        outputs.pop("aux_outputs", None)
        return own

    return call


def detached(c: Configuration) -> Callable[..., Any]:
    """Boxes of one layer have no gradient."""

    def call(outputs: Any, targets: Any) -> Any:
        return criterion(c)({**outputs, "pred_boxes": frozen(np.real(outputs["pred_boxes"]))}, targets)

    return call


def relative(c: Configuration) -> Callable[..., Any]:
    return lambda outputs, sizes: postprocess(c)(outputs, frozen(np.ones_like(sizes)))


@pytest.mark.parametrize(
    ("id", "parts"),
    [
        ("matcher.valid-pairs", {"matcher": swapped}),
        ("matcher.optimal-cost", {"matcher": in_order}),
        ("criterion.inputs-unchanged", {"criterion": emptying}),
        ("gradients.box-l1", {"criterion": detached}),
        ("postprocess.doubled-sizes", {"postprocess": relative}),
    ],
)
def test_what_is_wrong_in_a_toy_framework_is_found(id: str, parts: Any) -> None:
    assert judged(id, toy(**parts), 3 if id in SLOPES else 20).verdict is Verdict.VIOLATED
