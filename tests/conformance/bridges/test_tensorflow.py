"""TensorFlow is judged like other frameworks: called as it is or in graphs, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from judging import failure, judged

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed; `tox run -e tensorflow` has it")

import tensorflow_detr  # noqa: E402

from detr_conformance import tensorflow_implementation  # noqa: E402
from detr_conformance.base.verdict import Verdict  # noqa: E402
from detr_conformance.bridges.tensorflow_bridge import TensorFlowFramework  # noqa: E402
from detr_spec.configuration import Configuration  # noqa: E402
from detr_spec.implementation import Implementation, Limits  # noqa: E402

EAGER = TensorFlowFramework(graph=False)


def matcher(c: Configuration) -> Callable[..., Any]:
    return tensorflow_detr.hungarian(*c.cost_weights)


def subject(**options: Any) -> Implementation:
    return tensorflow_implementation(**{"name": "tensorflow", "profile": tensorflow_detr.PROFILE, **options})


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
def test_losses_and_gradients_are_those_of_the_norm(graph: bool) -> None:
    right = subject(graph=graph, criterion=tensorflow_detr.criterion)
    for name in ("criterion.classification-value", "gradients.box-l1"):
        assert judged(name, right, 4).verdict is Verdict.HOLDS


def test_what_is_called_in_a_graph_is_traced() -> None:
    traced = []

    def looking(c: Configuration) -> Callable[..., Any]:
        def call(outputs: Any, targets: Any) -> Any:
            traced.append(not tf.executing_eagerly())
            return matcher(c)(outputs, targets)

        return call

    for graph in (True, False):
        assert judged("matcher.valid-pairs", subject(graph=graph, matcher=looking), 2).verdict is Verdict.HOLDS
        assert set(traced) == {graph}
        traced.clear()


def test_a_gradient_is_none_where_a_loss_is_not_connected() -> None:
    first, second, looked_up = (tf.constant([[1.0], [2.0]]) for _ in range(3))

    def losses(first: Any, second: Any, looked_up: Any) -> dict[str, Any]:
        return {
            "connected": tf.reduce_sum(first) + tf.reduce_sum(tf.gather(looked_up, [1])),
            "detached": tf.reduce_sum(tf.stop_gradient(second)),
            "whole": tf.constant(3),
            "number": 0.5,
        }

    own = [first, second, looked_up]
    weights = {"connected": 2.0, "detached": 1.0, "whole": 1.0, "number": 4.0, "absent": 1.0}
    _, pull = EAGER.recorded(losses, own, own)
    total, gradients = pull(weights)
    assert total == 2 * (3 + 2) + 3 + 3 + 2
    assert [None if own is None else own.numpy().tolist() for own in gradients] == [
        [[2.0], [2.0]],
        None,
        [[0.0], [2.0]],
    ]
    _, pull = EAGER.recorded(losses, own, own)
    assert pull({"number": 2.0}) == (1.0, [None, None, None])


def test_tensors_are_what_they_are_asked_to_be() -> None:
    assert EAGER.devices()[0] == "cpu"
    for number in (1.5, [1.5]):
        narrow = EAGER.array(number, "bfloat16", "cpu")
        told = EAGER.dtype(narrow), EAGER.device(narrow), EAGER.to_numpy(narrow).tolist()
        assert told == ("bfloat16", "cpu", number)
    assert EAGER.dtype(EAGER.array([1], "int64", "cpu")) == "int64"


def test_narrow_dtypes_are_asked_where_they_are_named() -> None:
    def widening(c: Configuration) -> Callable[..., Any]:
        def wide(part: Any) -> Any:
            return tf.cast(part, tf.float32) if tf.is_tensor(part) and part.dtype.is_floating else part

        return lambda *given: tensorflow_detr.criterion(c)(*tf.nest.map_structure(wide, given))

    right = subject(criterion=widening, limits=Limits(dtypes=("bfloat16", "float16")))
    for name in ("criterion.classification-value", "gradients.box-l1"):
        found = judged(name, right, 6)
        assert found.verdict is Verdict.HOLDS
        assert set(found.dtypes) == {"bfloat16", "float16"}


def test_box_operations_hold() -> None:
    boxes = {
        name: lambda first, second, place=place: tensorflow_detr.overlaps(first[:, None], second)[place]
        for place, name in enumerate(("iou", "giou"))
    }
    for graph in (True, False):
        assert judged("boxes.giou-below-iou", subject(boxes=boxes, graph=graph), 4).verdict is Verdict.HOLDS


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
def test_what_a_function_raises_is_told_as_raised(graph: bool) -> None:
    assert judged("matcher.nan-logit-refused", subject(graph=graph, matcher=matcher), 2).verdict is Verdict.HOLDS


class Slipped(tensorflow_detr.Criterion):
    """A criterion with a slip."""

    def of_layer(self, outputs: Any, targets: Any) -> Any:
        return self.slip(super().of_layer(outputs, targets), outputs)

    def slip(self, losses: Any, outputs: Any) -> Any:
        raise NotImplementedError


class Detached(Slipped):
    """The classification loss has no gradient."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        return {**losses, "loss_ce": tf.stop_gradient(losses["loss_ce"])}


class Halved(Slipped):
    """The L1 loss is a mean over two."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        return {**losses, "loss_bbox": losses["loss_bbox"] / 2}


class Unbroadcast(Slipped):
    """A loss has an axis."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        return {**losses, "loss_giou": losses["loss_giou"][None]}


class Emptying(Slipped):
    """The dictionary of outputs loses the boxes."""

    def slip(self, losses: Any, outputs: Any) -> Any:
        del outputs["pred_boxes"]
        return losses


def unpadded(c: Configuration) -> Callable[..., Any]:
    """A matcher that takes padding for targets."""
    match = matcher(c)
    return lambda outputs, targets: match(outputs, {**targets, "valid": tf.ones_like(targets["valid"])})


def with_no_object(_: Configuration) -> Callable[..., Any]:
    """Post-processing in which no object is a class."""

    def call(outputs: Any, sizes: Any) -> Any:
        logits = tf.pad(outputs["pred_logits"], [[0, 0], [0, 0], [0, 1]], constant_values=-1e4)
        return tensorflow_detr.detections({**outputs, "pred_logits": logits}, sizes)

    return call


def slipped(kind: type[Slipped]) -> Callable[..., Any]:
    return lambda c: kind(c.columns, matcher(c), c.weight_dict, c.class_loss.eos_coef)


@pytest.mark.parametrize(
    ("id", "parts"),
    [
        ("gradients.classification", {"criterion": slipped(Detached)}),
        ("criterion.l1-value", {"criterion": slipped(Halved)}),
        ("criterion.zero-dimensional", {"criterion": slipped(Unbroadcast)}),
        ("criterion.inputs-unchanged", {"criterion": slipped(Emptying)}),
        ("matcher.optimal-cost", {"matcher": unpadded}),
        ("postprocess.foreground-labels", {"postprocess": with_no_object}),
    ],
)
def test_planted_slips_are_found(id: str, parts: Any) -> None:
    assert judged(id, subject(**parts), 4).verdict.fails


def test_a_slip_in_a_graph_is_found() -> None:
    assert failure("gradients.classification", subject(graph=True, criterion=slipped(Detached)), 3) is not None
