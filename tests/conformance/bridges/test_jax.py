"""JAX is judged like other frameworks: compiled or not, in 64 bits or without, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from judging import failure, judged

jax = pytest.importorskip("jax", reason="JAX is not installed; `tox run -e jax` has it")

import jax_detr  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from detr_conformance import jax_implementation  # noqa: E402
from detr_conformance.base.verdict import Verdict  # noqa: E402
from detr_conformance.bridges import jax_bridge  # noqa: E402
from detr_conformance.bridges.inputs import Inputs  # noqa: E402
from detr_conformance.bridges.jax_bridge import BUCKET, JaxFramework  # noqa: E402
from detr_spec.configuration import Configuration  # noqa: E402
from detr_spec.implementation import Implementation  # noqa: E402
from detr_spec.values import Outputs, Target  # noqa: E402
from detr_spec.violation import Violation  # noqa: E402

CONFIGURATION = Configuration(profile=jax_detr.PROFILE)


def matcher(c: Configuration) -> Callable[..., Any]:
    return jax_detr.hungarian(*c.cost_weights)


def subject(**options: Any) -> Implementation:
    return jax_implementation(**{"name": "jax", "profile": jax_detr.PROFILE, **options})


def outputs(queries: int = 2, columns: int = 2) -> Outputs:
    boxes = np.linspace(0.25, 0.5, 4 * queries).reshape(1, queries, 4)
    return Outputs(np.zeros((1, queries, columns)), boxes)


def target(count: int) -> Target:
    return Target(np.zeros(count, dtype=np.int64), np.full((count, 4), 0.25))


@pytest.mark.parametrize("jit", [True, False], ids=["jitted", "eager"])
@pytest.mark.parametrize("x64", [True, False], ids=["x64", "x32"])
def test_losses_and_gradients_are_those_of_the_norm(jit: bool, x64: bool) -> None:
    right = subject(jit=jit, x64=x64, criterion=jax_detr.Criterion)
    assert right.limits.dtypes == (("float32", "float64") if x64 else ("float32",))
    for name in ("criterion.classification-value", "gradients.box-l1"):
        assert judged(name, right, 4 if jit else 1).verdict is Verdict.HOLDS


def test_numbers_of_a_configuration_share_a_compilation() -> None:
    traced = []

    def counted(c: Configuration) -> Callable[..., Any]:
        match = matcher(c)

        def call(outputs: Any, targets: Any) -> Any:
            traced.append(isinstance(outputs["pred_logits"], jax.core.Tracer))
            return match(outputs, targets)

        return call

    component = subject(matcher=counted).component("matcher")
    for weight in (1.0, 2.0, 3.0):
        component(replace(CONFIGURATION, cost_class=weight))(outputs(), (target(1),))
    assert traced == [True]


def test_what_follows_from_numbers_follows_traced_ones_too() -> None:
    given = replace(CONFIGURATION, loss_bbox=5.0)
    assert given.terms["classification"].numbers["eos_coef"] == 0.1
    assert given.term_weights["box_l1"] == 5.0
    other = jax_bridge._with(given, {"class_loss.eos_coef": 0.5, "loss_bbox": 2.0})
    assert other.terms["classification"].numbers["eos_coef"] == 0.5
    assert other.term_weights["box_l1"] == 2.0


def test_a_number_that_a_factory_needs_is_static() -> None:
    def branching(c: Configuration) -> Callable[..., Any]:
        return matcher(c) if c.cost_giou > 0 else matcher(replace(c, cost_giou=1.0))

    with pytest.raises(Exception, match="TracerBoolConversionError"):
        subject(matcher=branching).component("matcher")(CONFIGURATION)(outputs(), (target(1),))
    static = subject(matcher=branching, static=["cost_giou"])
    assert judged("matcher.optimal-cost", static, 3).verdict is Verdict.HOLDS


def test_padded_targets_fill_a_bucket() -> None:
    inputs = Inputs(JaxFramework(jit=True, x64=True), CONFIGURATION)
    padded = replace(target(3), valid=np.array([True, True, False]), broken=True)
    spelt = inputs.targets((padded,))
    assert spelt["boxes"].shape == (1, BUCKET, 4)
    assert spelt["valid"].tolist() == [[True, True] + [False] * (BUCKET - 2)]
    assert spelt["counts"] == [2]
    assert spelt["labels"].dtype == jnp.int32


def test_without_64_bits_integers_have_32() -> None:
    framework = JaxFramework(jit=True, x64=False)
    assert framework.dtype(framework.array([1], "int64", "cpu")) == "int32"
    assert framework.dtype(framework.array([1], "bfloat16", "cpu")) == "bfloat16"
    assert framework.to_numpy(framework.array([1.5], "bfloat16", "cpu")).tolist() == [1.5]


def test_box_operations_and_solvers_hold() -> None:
    def solve(cost: Any) -> Any:
        answer = jax.pure_callback(
            jax_detr.assigned,
            jax.ShapeDtypeStruct((1, len(cost)), jnp.int32),
            cost[None],
            jnp.ones((1, cost.shape[1]), bool),
        )[0]
        rows = np.flatnonzero(np.asarray(answer) >= 0)
        return rows, np.asarray(answer)[rows]

    boxes = {
        name: lambda first, second, place=place: jax_detr.overlaps(first[:, None], second)[place]
        for place, name in enumerate(("iou", "giou"))
    }
    assert judged("boxes.giou-below-iou", subject(boxes=boxes), 4).verdict is Verdict.HOLDS
    assert judged("assignment.optimal-total", subject(solver=solve, jit=False), 10).verdict is Verdict.HOLDS


def test_what_a_compiled_function_raises_is_told_as_raised() -> None:
    right = subject(matcher=matcher)
    assert judged("matcher.nan-logit-refused", right, 2).verdict is Verdict.HOLDS


class Slipped(jax_detr.Criterion):
    """A criterion with a slip."""

    def of_layer(self, outputs: Any, targets: Any) -> Any:
        return self.slip(super().of_layer(outputs, targets), outputs)

    def slip(self, losses: Any, outputs: Any) -> Any:
        raise NotImplementedError


class Detached(Slipped):
    """The classification loss has no gradient."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        return {**losses, "loss_ce": jax.lax.stop_gradient(losses["loss_ce"])}


class Halved(Slipped):
    """The L1 loss is a mean over two."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        return {**losses, "loss_bbox": losses["loss_bbox"] / 2}


class Unbroadcast(Slipped):
    """A loss has an axis."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        return {**losses, "loss_giou": losses["loss_giou"][None]}


class WithMasks(jax_detr.Criterion):
    """The criterion with the losses of masks, of the last layer."""

    def __init__(self, c: Configuration) -> None:
        super().__init__(c)
        self.alpha, self.gamma = c.mask_loss.numbers["alpha"], c.mask_loss.numbers["gamma"]

    def __call__(self, outputs: Any, targets: Any) -> Any:
        given, truth = outputs["pred_masks"], targets["masks"].astype(outputs["pred_masks"].dtype)
        target = self.matcher(outputs, targets)
        resized = jax.image.resize(given, (*given.shape[:2], *truth.shape[2:]), "bilinear", antialias=False)
        logits = resized.reshape(*target.shape, -1)
        truth = jnp.take_along_axis(truth.reshape(*truth.shape[:2], -1), target[..., None], axis=1)
        probability, surprise = jax.nn.sigmoid(logits), jax.nn.softplus(logits) - logits * truth
        missed = jnp.where(truth > 0, 1 - probability, probability)
        focal = jnp.where(truth > 0, self.alpha, 1 - self.alpha) * missed**self.gamma * surprise
        dice = 1 - (2 * (probability * truth).sum(axis=-1) + 1) / (probability.sum(axis=-1) + truth.sum(axis=-1) + 1)
        num_boxes = jnp.maximum(targets["valid"].sum(), 1).astype(logits.dtype)
        own = {"loss_mask": focal.mean(axis=-1), "loss_dice": dice}
        return {
            **super().__call__(outputs, targets),
            **{name: jnp.where(target >= 0, loss, 0.0).sum() / num_boxes for name, loss in own.items()},
        }


class HalvedMasks(WithMasks):
    """The focal loss of masks has half of its slope."""

    def __call__(self, outputs: Any, targets: Any) -> Any:
        losses = super().__call__(outputs, targets)
        return {**losses, "loss_mask": (losses["loss_mask"] + jax.lax.stop_gradient(losses["loss_mask"])) / 2}


class UnresizedMasks(WithMasks):
    """Predicted masks are repeated, not interpolated."""

    def __call__(self, outputs: Any, targets: Any) -> Any:
        masks, size = outputs["pred_masks"], targets["masks"].shape[2:]
        nearest = jax.image.resize(masks, (*masks.shape[:2], *size), "nearest")
        return super().__call__({**outputs, "pred_masks": nearest}, targets)


def with_masks(kind: type[WithMasks]) -> Implementation:
    return subject(criterion=jax_detr.Criterion, masks=kind)


@pytest.mark.parametrize("id", ["masks.mask-value", "masks.dice-value", "masks.padding-counts", "gradients.masks"])
def test_losses_of_masks_hold(id: str) -> None:
    assert judged(id, with_masks(WithMasks), 8).verdict is Verdict.HOLDS


@pytest.mark.parametrize(("id", "kind"), [("gradients.masks", HalvedMasks), ("masks.mask-value", UnresizedMasks)])
def test_slips_in_losses_of_masks_are_found(id: str, kind: type[WithMasks]) -> None:
    assert isinstance(failure(id, with_masks(kind), 6), Violation)


def unpadded(c: Configuration) -> Callable[..., Any]:
    """A matcher that takes padding for targets."""
    match = matcher(c)
    return lambda outputs, targets: match(outputs, {**targets, "valid": jnp.ones_like(targets["valid"])})


def with_no_object(_: Configuration) -> Callable[..., Any]:
    """Post-processing in which no object is a class."""

    def call(outputs: Any, sizes: Any) -> Any:
        logits = jnp.pad(outputs["pred_logits"], ((0, 0), (0, 0), (0, 1)), constant_values=-jnp.inf)
        return jax_detr.detections({**outputs, "pred_logits": logits}, sizes)

    return call


@pytest.mark.parametrize(
    ("id", "parts"),
    [
        ("gradients.classification", {"criterion": Detached}),
        ("criterion.l1-value", {"criterion": Halved}),
        ("criterion.zero-dimensional", {"criterion": Unbroadcast}),
        ("matcher.optimal-cost", {"matcher": unpadded}),
        ("postprocess.foreground-labels", {"postprocess": with_no_object}),
    ],
)
def test_planted_slips_are_found(id: str, parts: Any) -> None:
    assert isinstance(failure(id, subject(**parts), 4), Violation)
