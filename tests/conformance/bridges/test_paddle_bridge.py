"""Paddle is judged like other frameworks: layers and functions on its tensors, with gradients, in every layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from judging import failure, judged, own_invariants
from scipy.optimize import linear_sum_assignment

paddle = pytest.importorskip("paddle", reason="Paddle is not installed; `tox run -e paddle` has it")

from paddle import nn  # noqa: E402
from paddle.nn import functional as F  # noqa: E402

from detr_conformance import paddle_implementation  # noqa: E402
from detr_conformance.base.verdict import Verdict  # noqa: E402
from detr_conformance.bridges.criteria import call_criterion, call_gradients  # noqa: E402
from detr_conformance.bridges.framework import TRAINING  # noqa: E402
from detr_conformance.bridges.paddle_bridge import PaddleFramework  # noqa: E402
from detr_spec.boxes import BoxRules  # noqa: E402
from detr_spec.configuration import Configuration  # noqa: E402
from detr_spec.implementation import Implementation, Limits  # noqa: E402
from detr_spec.profiles import DETR  # noqa: E402
from detr_spec.values import Outputs, Target  # noqa: E402
from detr_spec.violation import Violation  # noqa: E402

PROFILE = replace(
    DETR,
    boxes=BoxRules(invalid="unchecked"),
    non_finite_logits="unchecked",
    non_finite_boxes="unchecked",
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    target_count="unchecked",
)
CONFIGURATION = Configuration(profile=PROFILE)
FRAMEWORK = PaddleFramework()


def corners(boxes: Any) -> Any:
    """Boxes cxcywh as xyxy."""
    return paddle.concat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1)


def giou(first: Any, second: Any) -> Any:
    """GIoU of boxes xyxy that broadcast against each other."""

    def area(low: Any, high: Any) -> Any:
        # A product along an axis has no gradient in Paddle where a side is 0.
        return (high - low)[..., 0] * (high - low)[..., 1]

    low, high = paddle.maximum(first[..., :2], second[..., :2]), paddle.minimum(first[..., 2:], second[..., 2:])
    intersection = area(low, paddle.maximum(low, high))
    union = area(first[..., :2], first[..., 2:]) + area(second[..., :2], second[..., 2:]) - intersection
    low, high = paddle.minimum(first[..., :2], second[..., :2]), paddle.maximum(first[..., 2:], second[..., 2:])
    return intersection / union - (area(low, high) - union) / area(low, high)


def log_softmax(logits: Any) -> Any:
    return logits - paddle.logsumexp(logits, axis=-1, keepdim=True)


class Matcher(nn.Layer):
    def __init__(self, c: Configuration) -> None:
        super().__init__()
        self.c = c

    @paddle.no_grad()
    def forward(self, outputs: Any, targets: Any) -> Any:
        images = zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True)
        return [self.pairs(logits, boxes, target) for logits, boxes, target in images]

    def pairs(self, logits: Any, boxes: Any, target: Any) -> Any:
        probability = log_softmax(logits).exp().numpy()[:, target["labels"].numpy()]
        distance = (boxes[:, None] - target["boxes"]).abs().sum(axis=-1).numpy()
        overlap = giou(corners(boxes)[:, None], corners(target["boxes"])).numpy()
        cost = self.c.cost_bbox * distance - self.c.cost_class * probability - self.c.cost_giou * overlap
        queries, found = linear_sum_assignment(cost)
        return paddle.to_tensor(queries), paddle.to_tensor(found)


class Criterion(nn.Layer):
    def __init__(self, c: Configuration) -> None:
        super().__init__()
        self.c, self.matcher, self.weight_dict = c, Matcher(c), c.weight_dict

    def forward(self, outputs: Any, targets: Any) -> Any:
        losses = self.of_layer(outputs, targets)
        for number, layer in enumerate(outputs.get("aux_outputs", [])):
            own = self.of_layer(layer, targets)
            losses |= {f"{name}_{number}": loss for name, loss in own.items() if name != "class_error"}
        return losses

    def of_layer(self, outputs: Any, targets: Any) -> Any:
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        if logits.shape[-1] != self.c.columns:
            raise ValueError(f"logits have {logits.shape[-1]} columns; expected {self.c.columns}")
        found = self.matcher(outputs, targets)
        counts = np.array([len(target["labels"]) for target in targets])
        classes = np.full(tuple(logits.shape[:2]), self.c.num_classes)
        for own, target, (queries, indices) in zip(classes, targets, found, strict=True):
            own[queries.numpy()] = target["labels"].numpy()[indices.numpy()]
        matched = classes != self.c.num_classes
        paired = paddle.concat([own.gather(pair[0]) for own, pair in zip(boxes, found, strict=True)])
        truth = paddle.concat([own["boxes"].gather(pair[1]) for own, pair in zip(targets, found, strict=True)])
        weights = paddle.to_tensor(np.where(matched, 1.0, self.c.class_loss.eos_coef), dtype=logits.dtype)
        surprise = -(F.one_hot(paddle.to_tensor(classes), self.c.columns).astype(logits.dtype) * log_softmax(logits))
        best, count = logits.numpy().argmax(axis=-1), float(max(counts.sum(), 1))
        metrics = {
            "class_error": 100 - 100 * (best == classes)[matched].sum() / max(matched.sum(), 1),
            "cardinality_error": np.abs((best != self.c.num_classes).sum(axis=-1) - counts).mean(),
        }
        return {
            "loss_ce": (weights * surprise.sum(axis=-1)).sum() / weights.sum(),
            "loss_bbox": (paired - truth).abs().sum() / count,
            "loss_giou": (1 - giou(corners(paired), corners(truth))).sum() / count,
            **{name: paddle.to_tensor(value, dtype=logits.dtype) for name, value in metrics.items()},
        }


def detections(_: Configuration) -> Callable[..., Any]:
    @paddle.no_grad()
    def call(outputs: Any, sizes: Any) -> Any:
        probability = log_softmax(outputs["pred_logits"]).exp()[..., :-1]
        scale = sizes.flip(1).tile([1, 2])[:, None].astype(probability.dtype)
        parts = probability.max(axis=-1), probability.argmax(axis=-1), corners(outputs["pred_boxes"]) * scale
        return [dict(zip(("scores", "labels", "boxes"), own, strict=True)) for own in zip(*parts, strict=True)]

    return call


def subject(**options: Any) -> Implementation:
    return paddle_implementation(**{"name": "paddle", "profile": PROFILE, **options})


RIGHT = subject(matcher=Matcher, criterion=Criterion, postprocess=detections)

OPEN = ("matcher.no-weight-refused",)
"""What the parts above do not refuse, and a profile cannot leave open."""


@pytest.mark.parametrize("component", ["matcher", "criterion", "gradients", "postprocess"])
def test_what_is_right_in_paddle_holds(component: str) -> None:
    asked = [item.id for item in own_invariants(component) if item.id not in OPEN]
    verdicts = {name: judged(name, RIGHT, 3).verdict for name in asked}
    assert not {name: verdict for name, verdict in verdicts.items() if verdict.fails}
    assert list(verdicts.values()).count(Verdict.HOLDS) > len(asked) / 3


def test_box_operations_hold() -> None:
    boxes = {
        "cxcywh_to_xyxy": corners,
        "elementwise_giou": giou,
        "giou": lambda first, second: giou(first[:, None], second),
    }
    given = subject(boxes=boxes)
    verdicts = {item.id: judged(item.id, given, 4).verdict for item in own_invariants("boxes")}
    assert not {name: verdict for name, verdict in verdicts.items() if verdict.fails}
    assert list(verdicts.values()).count(Verdict.HOLDS) >= 8


OUTPUTS = Outputs(np.zeros((1, 2, 2)), np.full((1, 2, 4), 0.25))
TARGET = Target(np.zeros(1, dtype=np.int64), np.full((1, 4), 0.5))


@pytest.mark.parametrize("call", [call for call in PaddleFramework.calls if call != "plain"])
def test_each_way_of_calling_passes_the_same_numbers(call: str) -> None:
    seen: list[Any] = []

    def kept(_: Configuration) -> Callable[..., Any]:
        return lambda outputs, targets: seen.append((outputs, targets)) or {}

    given = subject(criterion=kept, limits=Limits(calls=("plain", call)))
    given.component("criterion")(replace(CONFIGURATION, call=call))(OUTPUTS, (TARGET,))
    outputs, (target,) = seen[-1]
    assert outputs["pred_boxes"].numpy().tolist() == OUTPUTS.boxes.tolist()
    assert target["boxes"].numpy().tolist() == TARGET.boxes.tolist()
    assert outputs["pred_logits"].stop_gradient is (call in ("no-grad", "validation"))


@pytest.mark.parametrize(("call", "contiguous"), [("plain", True), ("transposed", False), ("gaps", False)])
def test_inputs_lie_in_memory_as_the_way_of_calling_says(call: str, contiguous: bool) -> None:
    memory, view = FRAMEWORK.laid_out(paddle.ones([2, 3]), True, call)
    assert view.is_contiguous() is contiguous
    (view * 2).sum().backward()
    assert view.grad.numpy().tolist() == [[2.0] * 3] * 2
    assert float(memory.grad.sum()) == 12


def test_memory_that_is_written_to_is_noticed() -> None:
    for call in ("plain", "sliced", "transposed", "gaps"):
        memory, view = FRAMEWORK.laid_out(paddle.full([2, 3], float("nan")), False, call)
        before = FRAMEWORK.remembered(memory)
        assert FRAMEWORK.unchanged(memory, before)
        view[0, 0] = 1.0
        assert not FRAMEWORK.unchanged(memory, before)


def test_narrow_numbers_are_read_as_they_are() -> None:
    for dtype in ("float16", "bfloat16"):
        array = FRAMEWORK.array([1.5], dtype, "cpu")
        assert FRAMEWORK.dtype(array) == dtype
        assert FRAMEWORK.to_numpy(array).tolist() == [1.5]
    assert FRAMEWORK.device(array) == "cpu"


def test_no_gradient_and_zeros_are_told_apart() -> None:
    given = [FRAMEWORK.laid_out(paddle.ones([2]), True, "plain")[1] for _ in range(3)]
    _, pull = FRAMEWORK.recorded(lambda first, second, _: {"loss": (first + 0 * second).sum()}, given, given)
    total, (one, zero, none) = pull({"loss": 2.0, "absent": 1.0})
    assert (float(total), one.tolist(), zero.tolist(), none) == (4.0, [2.0, 2.0], [0.0, 0.0], None)


def test_the_matchings_of_a_layer_are_seen() -> None:
    answer = call_criterion(FRAMEWORK, Criterion(CONFIGURATION), CONFIGURATION, OUTPUTS, (TARGET,))
    assert [own.queries.tolist() for (own,) in answer.value.matchings] == [[0]]


def test_static_mode_ends_where_a_part_is_built_or_called() -> None:
    paddle.enable_static()
    try:
        module = FRAMEWORK.built(Criterion, CONFIGURATION)
        paddle.enable_static()
        with FRAMEWORK.calling(module, CONFIGURATION, TRAINING):
            answer = call_gradients(FRAMEWORK, module, CONFIGURATION, OUTPUTS, (TARGET,), {"loss_bbox": 1.0})
    finally:
        paddle.disable_static()
    assert answer.value.total == 1.0


class Swapped(Matcher):
    """Targets before queries."""

    def pairs(self, *image: Any) -> Any:
        return super().pairs(*image)[::-1]


class InOrder(Matcher):
    """The first queries, whatever they predict."""

    def pairs(self, logits: Any, boxes: Any, target: Any) -> Any:
        count = min(len(boxes), len(target["labels"]))
        return paddle.arange(count), paddle.arange(count)


class Slipped(Criterion):
    """A criterion with a slip."""

    def of_layer(self, outputs: Any, targets: Any) -> Any:
        return self.slip(super().of_layer(outputs, targets), outputs)


class Detached(Slipped):
    """The classification loss has no gradient."""

    def slip(self, losses: Any, _: Any) -> Any:
        return {**losses, "loss_ce": losses["loss_ce"].detach()}


class Halved(Slipped):
    """The gradient of the L1 loss is half of what it is."""

    def slip(self, losses: Any, _: Any) -> Any:
        return {**losses, "loss_bbox": (losses["loss_bbox"] + losses["loss_bbox"].detach()) / 2}


class Doubled(Slipped):
    """A loss is twice what it is."""

    def slip(self, losses: Any, _: Any) -> Any:
        return {**losses, "loss_giou": 2 * losses["loss_giou"]}


class OfOneAxis(Slipped):
    """A loss has an axis."""

    def slip(self, losses: Any, _: Any) -> Any:
        return {**losses, "loss_giou": losses["loss_giou"].reshape([1])}


class InPlace(Slipped):
    """Boxes are clamped where they are."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        with paddle.no_grad():
            outputs["pred_boxes"].clip_(0.25, 0.5)
        return losses


class Remembering(Matcher):
    """The answer to the first batch, once and for all."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        self.answer = getattr(self, "answer", None) or super().forward(outputs, targets)
        return self.answer


class InTrainingAlone(Criterion):
    """Losses are 0 in evaluation mode."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        losses = super().forward(outputs, targets)
        return losses if self.training else {name: 0 * loss for name, loss in losses.items()}


def attached(c: Configuration) -> Callable[..., Any]:
    """Detections with gradients."""
    call = detections(c)
    return lambda outputs, sizes: [
        {**own, "scores": own["scores"] + 0 * outputs["pred_logits"].sum()} for own in call(outputs, sizes)
    ]


def relative(c: Configuration) -> Callable[..., Any]:
    """Detections that are relative to the image."""
    return lambda outputs, sizes: detections(c)(outputs, paddle.ones_like(sizes))


@pytest.mark.parametrize(
    ("id", "parts"),
    [
        ("matcher.valid-pairs", {"matcher": Swapped}),
        ("matcher.optimal-cost", {"matcher": InOrder}),
        ("matcher.ways-of-calling", {"matcher": Remembering}),
        ("criterion.giou-value", {"criterion": Doubled}),
        ("criterion.zero-dimensional", {"criterion": OfOneAxis}),
        ("criterion.inputs-unchanged", {"criterion": InPlace}),
        ("criterion.losses-with-gradient", {"criterion": Detached}),
        ("criterion.ways-of-calling", {"criterion": InTrainingAlone}),
        ("gradients.classification", {"criterion": Detached}),
        ("gradients.box-l1", {"criterion": Halved}),
        ("postprocess.no-gradient", {"postprocess": attached}),
        ("postprocess.doubled-sizes", {"postprocess": relative}),
    ],
)
def test_planted_slips_are_found(id: str, parts: Any) -> None:
    assert isinstance(failure(id, subject(**parts), 20), Violation)
