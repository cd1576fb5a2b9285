"""Values refuse what they cannot hold, by name; what they hold is read-only, wide and in C order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch

from detr_conformance.encoding.reports import plain
from detr_spec.cases import BoxCase, CostCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.values import DTYPES, InvalidValue, Matching, Outputs, Target, round_to

NAN, INFINITE = float("nan"), float("inf")


def logits(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape)


def boxes(*shape: int) -> np.ndarray[Any, Any]:
    return np.full((*shape, 4), 0.5)


def with_number(array: np.ndarray[Any, Any], number: float) -> np.ndarray[Any, Any]:
    array = array.copy()
    array.flat[-1] = number
    return array


REFUSED_OUTPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "logits of two dimensions": (
        lambda: Outputs(logits(2, 3), boxes(2, 3)),
        r"logits has shape \[2, 3\]; expected \[B, Q, C\]",
    ),
    "logits of text": (
        lambda: Outputs(np.array([[["a"]]]), boxes(1, 1)),
        "logits has dtype <U1; expected numbers",
    ),
    "logits of bool": (lambda: Outputs(np.ones((1, 1, 1), bool), boxes(1, 1)), "logits has dtype bool"),
    "complex logits": (
        lambda: Outputs(np.ones((1, 1, 1), complex), boxes(1, 1)),
        "logits has dtype complex128",
    ),
    "no class column": (lambda: Outputs(logits(1, 2, 0), boxes(1, 2)), "logits have no class column"),
    "NaN logits": (
        lambda: Outputs(with_number(logits(1, 2, 3), NAN), boxes(1, 2)),
        r"logits\[0, 1, 2\] is nan",
    ),
    "infinite logits": (
        lambda: Outputs(with_number(logits(1, 1, 2), INFINITE), boxes(1, 1)),
        r"logits\[0, 0, 1\] is inf",
    ),
    "boxes of three numbers": (
        lambda: Outputs(logits(1, 2, 3), np.zeros((1, 2, 3))),
        r"boxes has shape \[1, 2, 3\]",
    ),
    "boxes of two dimensions": (lambda: Outputs(logits(1, 2, 3), boxes(2)), r"boxes has shape \[2, 4\]"),
    "boxes of another batch": (
        lambda: Outputs(logits(1, 2, 3), boxes(2, 2)),
        r"expected \[B, Q, 4\] with B, Q = \[1, 2\]",
    ),
    "boxes of other queries": (
        lambda: Outputs(logits(1, 2, 3), boxes(1, 3)),
        r"boxes have shape \[1, 3, 4\]",
    ),
    "NaN boxes": (
        lambda: Outputs(logits(1, 1, 1), with_number(boxes(1, 1), NAN)),
        r"boxes\[0, 0, 3\] is nan",
    ),
    "negative boxes": (
        lambda: Outputs(logits(1, 1, 1), with_number(boxes(1, 1), -0.25)),
        r"boxes\[0, 0, 3\] is -0.25.*\[0, 1\]",
    ),
    "boxes in pixels": (
        lambda: Outputs(logits(1, 1, 1), with_number(boxes(1, 1), 640.0)),
        r"boxes\[0, 0, 3\] is 640",
    ),
    "masks of three dimensions": (
        lambda: Outputs(logits(1, 2, 3), boxes(1, 2), logits(1, 2, 8)),
        r"masks has shape \[1, 2, 8\]",
    ),
    "masks of other queries": (
        lambda: Outputs(logits(1, 2, 3), boxes(1, 2), logits(1, 3, 8, 8)),
        r"masks have shape \[1, 3, 8, 8\]",
    ),
    "NaN masks": (
        lambda: Outputs(logits(1, 1, 1), boxes(1, 1), with_number(logits(1, 1, 2, 2), NAN)),
        r"masks\[0, 0, 1, 1\] is nan",
    ),
    "auxiliary of another shape": (
        lambda: Outputs(logits(1, 2, 3), boxes(1, 2), auxiliary=(Outputs(logits(1, 2, 4), boxes(1, 2)),)),
        r"auxiliary\[0\].logits have shape \[1, 2, 4\]; expected \[1, 2, 3\]",
    ),
    "auxiliary of auxiliary": (
        lambda: Outputs(
            logits(1, 1, 1),
            boxes(1, 1),
            auxiliary=(Outputs(logits(1, 1, 1), boxes(1, 1), auxiliary=(Outputs(logits(1, 1, 1), boxes(1, 1)),)),),
        ),
        r"auxiliary\[0\] has auxiliary outputs of its own",
    ),
}

REFUSED_TARGETS: dict[str, tuple[Callable[[], Any], str]] = {
    "labels of two dimensions": (
        lambda: Target(np.zeros((2, 1), int), boxes(2)),
        r"labels has shape \[2, 1\]; expected \[n\]",
    ),
    "labels as float": (
        lambda: Target(np.array([1.0]), boxes(1)),
        "labels has dtype float64; expected integers",
    ),
    "negative labels": (
        lambda: Target(np.array([3, -1]), boxes(2)),
        "labels contain -1; expected class indices from 0",
    ),
    "fewer boxes than labels": (lambda: Target(np.array([0, 1]), boxes(1)), "labels are 2 in number, and its boxes 1"),
    "boxes without labels": (lambda: Target(np.array([], int), boxes(1)), "labels are 0 in number, and its boxes 1"),
    "boxes of five numbers": (lambda: Target(np.array([0]), np.zeros((1, 5))), r"boxes has shape \[1, 5\]"),
    "boxes beyond 1": (lambda: Target(np.array([0]), with_number(boxes(1), 1.5)), r"boxes\[0, 3\] is 1.5"),
    "infinite boxes": (
        lambda: Target(np.array([0]), with_number(boxes(1), INFINITE)),
        r"boxes\[0, 3\] is inf",
    ),
    "masks of numbers": (
        lambda: Target(np.array([0]), boxes(1), np.zeros((1, 2, 2))),
        "dtype float64; expected bool",
    ),
    "masks of other objects": (
        lambda: Target(np.array([0]), boxes(1), np.zeros((2, 2, 2), bool)),
        r"masks have shape \[2, 2, 2\]",
    ),
    "masks of two dimensions": (
        lambda: Target(np.array([0]), boxes(1), np.zeros((1, 2), bool)),
        r"masks have shape \[1, 2\]",
    ),
}


def case(**changed: Any) -> SetCase:
    parts: dict[str, Any] = {
        "configuration": Configuration(profile=DETR, num_classes=2),
        "outputs": Outputs(logits(2, 3, 3), boxes(2, 3)),
        "targets": (Target(np.array([0, 1]), boxes(2)), Target(np.array([], int), boxes(0))),
        "sizes": np.array([[480, 640], [10, 20]]),
    }
    return SetCase(**(parts | changed))


REFUSED_CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "a target too few": (
        lambda: case(targets=case().targets[:1]),
        "the targets are 1 in number, and the images 2; expected one for each",
    ),
    "a column too many": (
        lambda: case(outputs=Outputs(logits(2, 3, 4), boxes(2, 3))),
        "4 columns; expected 3 for 2 classes",
    ),
    "a column for no object": (
        lambda: case(configuration=Configuration(profile=DEFORMABLE, num_classes=2)),
        "3 columns; expected 2 for 2 classes",
    ),
    "a size too few": (
        lambda: case(sizes=np.array([[480, 640]])),
        r"sizes have shape \[1, 2\]; expected \[2, 2\]",
    ),
    "no-object as a label": (
        lambda: case(targets=(Target(np.array([2]), boxes(1)), case().targets[1])),
        r"targets\[0\].labels contain 2; expected class indices below 2",
    ),
}

REFUSED = REFUSED_OUTPUTS | REFUSED_TARGETS | REFUSED_CASES


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_is_refused_by_name(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        build()


def test_broken_values_are_held_where_they_are_meant() -> None:
    outputs = Outputs(with_number(logits(1, 1, 2), NAN), with_number(boxes(1, 1), -INFINITE), broken=True)
    assert np.isnan(outputs.logits[0, 0, 1])
    assert outputs.main.broken
    assert outputs.take(queries=[0]).broken
    target = Target(np.array([-1]), with_number(boxes(1), 7.0), broken=True)
    assert target.take([0]).broken
    assert case(outputs=Outputs(logits(1, 1, 1), boxes(1, 1), broken=True)).outputs.batch == 1
    with pytest.raises(InvalidValue, match="expected one label for each box"):
        Target(np.array([0, 1]), boxes(1), broken=True)


def test_arrays_are_read_only_wide_and_in_c_order() -> None:
    given = np.zeros((4, 2, 3), dtype=np.float32).transpose(1, 2, 0)
    outputs = Outputs(given, boxes(2, 3).astype(np.float16), logits(2, 3, 5, 5))
    target = Target(np.array([1, 0], dtype=np.int32), boxes(2).tolist(), np.ones((2, 3, 3), bool))
    assert outputs.masks is not None
    assert target.masks is not None
    for array, dtype in (
        (outputs.logits, np.float64),
        (outputs.boxes, np.float64),
        (outputs.masks, np.float64),
        (outputs.take(queries=[2, 0]).logits, np.float64),
        (target.labels, np.int64),
        (target.boxes, np.float64),
        (target.masks, np.bool_),
    ):
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(FrozenInstanceError):
        outputs.logits = outputs.boxes  # type: ignore[misc]


def test_values_do_not_follow_the_arrays_that_they_came_from() -> None:
    given_logits, given_labels = logits(1, 1, 2), np.array([0])
    outputs, target = Outputs(given_logits, boxes(1, 1)), Target(given_labels, boxes(1))
    given_logits += 1
    given_labels += 1
    assert (outputs.logits == 0).all()
    assert (target.labels == 0).all()


def test_an_empty_target_may_be_given_as_an_empty_list() -> None:
    target = Target([], [])  # type: ignore[arg-type]
    assert len(target) == 0
    assert target.labels.dtype == np.int64
    assert target.boxes.shape == (0, 4)


def test_layers_and_selections() -> None:
    first = Outputs(np.arange(12.0).reshape(2, 3, 2), boxes(2, 3))
    last = Outputs(-np.arange(12.0).reshape(2, 3, 2), boxes(2, 3), auxiliary=(first,))
    assert [layer.logits.sum() for layer in last.layers] == [66.0, -66.0]
    assert last.main.auxiliary == ()
    chosen = last.take(images=[1], queries=[2, 0])
    np.testing.assert_array_equal(chosen.logits, -np.array([[[10.0, 11.0], [6.0, 7.0]]]))
    np.testing.assert_array_equal(chosen.auxiliary[0].logits, np.array([[[10.0, 11.0], [6.0, 7.0]]]))
    assert (chosen.batch, chosen.queries) == (1, 2)
    assert last.take(images=[]).batch == 0
    target = Target(np.array([5, 6, 7]), boxes(3), np.arange(12).reshape(3, 2, 2) % 2 == 0)
    assert target.take([2, 0]).labels.tolist() == [7, 5]


def test_pairs_of_a_matching() -> None:
    matching = Matching(np.array([4, 1]), np.array([0, 1]))
    assert matching.pairs() == [(4, 0), (1, 1)]
    assert matching.by_target() == {0: 4, 1: 1}


def test_a_case_determines_what_is_derived_from_it() -> None:
    this, other = case(seed=3), case(seed=4)
    assert this.generator("a").random() == replace(this, sizes=this.sizes * 2).generator("a").random()
    assert len({this.generator("a").random(), this.generator("b").random(), other.generator("a").random()}) == 3


@pytest.mark.parametrize("size", [0, 1, 2, 3, 9])
def test_a_permutation_moves_something_where_it_can(size: int) -> None:
    for seed in range(50):
        order = case(seed=seed).permutation(size, "queries")
        assert sorted(order.tolist()) == list(range(size))
        assert size < 2 or order.tolist() != list(range(size))


def test_plain_data_of_a_case() -> None:
    given = plain(case(outputs=Outputs(with_number(logits(2, 3, 3), NAN), boxes(2, 3), broken=True)))
    assert given["configuration"]["profile"] == "detr"
    assert given["outputs"]["logits"][1][2] == [0.0, 0.0, "nan"]
    assert given["targets"][1] == {
        "labels": [],
        "boxes": [],
        "masks": None,
        "broken": False,
        "size": None,
        "valid": None,
    }
    costs = plain(CostCase(configuration=Configuration(profile=DETR), costs=(np.array([[-INFINITE, 1.0]]),)))
    assert costs["costs"] == [[["-inf", 1.0]]]
    pair = plain(BoxCase(configuration=Configuration(profile=DETR), first=np.zeros((1, 4)), second=np.zeros((0, 4))))
    assert (pair["first"], pair["second"]) == ([[0.0, 0.0, 0.0, 0.0]], [])


EDGES = [
    0.0, -0.0, 1.0, -1.0, 1 / 3, 0.1, 65504.0, 65519.999, 65520.0, 65536.0, 2.0**-14, 2.0**-24, 2.0**-25,
    2.0**-25 * 1.001, 3.0e-8, 2.0**-126, 2.0**-127, 2.0**-133, 2.0**-134, 2.0**-149, 2.0**-150, 1e-45, 3.4e38,
    3.3961775e38, 3.39e38, -3.4e38, 1 + 2.0**-8, 1 + 2.0**-7 + 2.0**-8, 1 + 2.0**-11, 1 + 2.0**-10 + 2.0**-11,
    1 + 2.0**-24, 1 + 2.0**-23 + 2.0**-24, 256.5, 1e300, -1e300, 1e-300, INFINITE, -INFINITE, NAN,
]  # fmt: skip


def numbers_of_all_sizes() -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(7)
    spread = generator.normal(size=20_000) * 2.0 ** generator.integers(-150, 130, 20_000)
    return np.concatenate([EDGES, spread, generator.normal(size=20_000)])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rounding_is_that_of_numpy(dtype: str) -> None:
    numbers = numbers_of_all_sizes()
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(round_to(numbers, dtype), numbers.astype(dtype).astype(np.float64))


def test_rounding_to_bfloat16_is_that_of_torch() -> None:
    """Through float32, as torch converts; the float32 numbers themselves are rounded once."""
    single = round_to(numbers_of_all_sizes(), "float32")
    expected = torch.tensor(single).float().bfloat16().double().numpy()
    np.testing.assert_array_equal(round_to(single, "bfloat16"), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_twice_is_rounding_once(dtype: str) -> None:
    once = round_to(numbers_of_all_sizes(), dtype)
    np.testing.assert_array_equal(round_to(once, dtype), once)
    assert once.dtype == np.float64
    assert round_to(0.1, dtype).shape == ()


def test_rounding_to_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"dtype is 'float8'; expected one of float64, float32, float16, bfloat16"):
        round_to([1.0], "float8")
