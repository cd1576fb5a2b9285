"""What an implementation is given is written in the form of its dialect, and what it answers is read back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from detr_spec.configuration import Configuration
from detr_spec.implementation import Heads, Implementation
from detr_spec.profile import Profile, TargetRules, replace
from detr_spec.profiles import DETR
from detr_spec.values import (
    Answer,
    Detections,
    HeadParameters,
    LayerGradient,
    Losses,
    LossGradients,
    Matching,
    Outputs,
    Target,
    round_to,
)
from detr_spec.written import SIZES, truth_of

FORMATS = ("cxcywh", "xyxy", "xywh")
UNITS = ("relative", "pixels")


def given_to(
    profile: Profile, outputs: Outputs, targets: tuple[Target, ...], dtype: str = "float32"
) -> tuple[Outputs, tuple[Target, ...]]:
    """What a matcher of the profile is called with."""
    seen: list[Any] = []

    def matcher(*given: Any) -> Answer[tuple[Matching, ...]]:
        seen.extend(given)
        return Answer(tuple(Matching(np.zeros(0, np.int64), np.zeros(0, np.int64)) for _ in given[1]))

    Implementation(name="eager", profile=profile, matcher=lambda _: matcher).component("matcher")(
        Configuration(profile=profile, num_classes=2, dtype=dtype)
    )(outputs, targets)
    return seen[0], seen[1]


OUTPUTS = Outputs(np.array([[[1.0, 2.0, 3.0]]]), np.full((1, 1, 4), 0.5))
TARGET = Target(np.array([0, 1]), np.array([[0.5, 0.25, 0.25, 0.5], [0.75, 0.5, 0.5, 0.25]]))


def test_what_is_given_by_hand() -> None:
    profile = replace(DETR, no_object="first", targets=TargetRules(box_format="xyxy", units="pixels", first_label=1))
    outputs, (target,) = given_to(profile, OUTPUTS, (TARGET,))
    assert outputs.logits.tolist() == [[[3.0, 1.0, 2.0]]]
    assert target.labels.tolist() == [1, 2]
    assert target.size is not None
    assert target.size.tolist() == [480, 640]
    assert target.boxes.tolist() == [[240.0, 0.0, 400.0, 240.0], [320.0, 180.0, 640.0, 300.0]]
    assert given_to(DETR, OUTPUTS, (TARGET,))[1] == (TARGET,)


def test_boxes_and_edges_with_y_before_x_by_hand() -> None:
    profile = replace(DETR, coordinate_order="y-first")
    edges = np.arange(8.0).reshape(1, 1, 8)
    shown = Outputs(np.zeros((1, 1, 3)), [[[0.1, 0.2, 0.3, 0.4]]], edges=edges, references=[[[0.5, 0.6, 0.7, 0.8]]])
    outputs, (target,) = given_to(profile, replace(shown, auxiliary=(shown,)), (TARGET,))
    for layer in outputs.layers:
        assert layer.boxes.tolist() == [[[0.2, 0.1, 0.4, 0.3]]]
        assert layer.edges is not None
        assert layer.edges.tolist() == [[[2.0, 3.0, 0.0, 1.0, 6.0, 7.0, 4.0, 5.0]]]
        assert layer.references is not None
        assert layer.references.tolist() == [[[0.6, 0.5, 0.8, 0.7]]]
    assert target.boxes.tolist() == [[0.25, 0.5, 0.5, 0.25], [0.5, 0.75, 0.25, 0.5]]


def test_answers_with_y_before_x_are_read_back() -> None:
    profile = replace(DETR, coordinate_order="y-first")
    numbers, edges = np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.arange(8.0).reshape(1, 1, 8)
    slope, matrix = LayerGradient(None, numbers, edges=edges), np.arange(4.0)
    found = Implementation(
        name="said",
        profile=profile,
        gradients=lambda _: lambda *_: Answer(LossGradients(Losses({}), 0.0, (slope,))),
        postprocess=lambda _: lambda *_: Answer((Detections(np.ones(1), np.array([1]), numbers[0]),)),
        heads=lambda _: Heads(
            forward=lambda _: Answer(OUTPUTS),
            parameters=lambda: HeadParameters(
                (np.zeros((3, 1)), np.zeros(3)), ((np.zeros((1, 1)), np.zeros(1)), (matrix[:, None], matrix))
            ),
        ),
    )
    configuration = Configuration(profile=profile, num_classes=2)
    answer = found.component("gradients")(configuration)(OUTPUTS, (TARGET,), {}).value
    assert answer.layers[0].boxes.tolist() == [[[2.0, 1.0, 4.0, 3.0]]]
    assert answer.layers[0].edges.tolist() == [[[2.0, 3.0, 0.0, 1.0, 6.0, 7.0, 4.0, 5.0]]]
    (image,) = found.component("postprocess")(configuration)(OUTPUTS, np.array([[1, 1]])).value
    assert image.boxes.tolist() == [[2.0, 1.0, 4.0, 3.0]]
    last = found.component("heads")(configuration).parameters().box_head[-1]
    assert last[0].tolist() == [[1.0], [0.0], [3.0], [2.0]]
    assert last[1].tolist() == [1.0, 0.0, 3.0, 2.0]


def test_targets_are_padded_to_the_queries() -> None:
    profile = replace(DETR, targets=TargetRules(layout="padded", padded_to="queries", padding_label=-1))
    outputs = Outputs(np.zeros((2, 3, 3)), np.full((2, 3, 4), 0.5))
    first, second = given_to(profile, outputs, (TARGET, TARGET.take([])))[1]
    assert first.labels.tolist() == [0, 1, -1]
    assert second.labels.tolist() == [-1, -1, -1]
    assert first.valid is not None
    assert first.valid.tolist() == [True, True, False]


def test_images_with_an_even_and_an_odd_number_of_objects_have_different_sizes() -> None:
    profile = replace(DETR, targets=TargetRules(units="pixels"))
    first, second = given_to(profile, OUTPUTS, (TARGET, TARGET.take([0])))[1]
    assert [item.size.tolist() for item in (first, second) if item.size is not None] == [list(size) for size in SIZES]


def test_answers_are_read_back() -> None:
    profile = replace(DETR, no_object="first", targets=TargetRules(first_label=1))
    slope = LayerGradient(np.array([[[3.0, 1.0, 2.0]]]), None)
    found = Implementation(
        name="said",
        profile=profile,
        gradients=lambda _: lambda *_: Answer(LossGradients(Losses({}), 0.0, (slope,), denoising=(slope,))),
        postprocess=lambda _: lambda *_: Answer((Detections(np.ones(1), np.array([1]), np.zeros((1, 4))),)),
    )
    configuration = Configuration(profile=profile, num_classes=2)
    answer = found.component("gradients")(configuration)(OUTPUTS, (TARGET,), {}).value
    assert answer.layers[0].logits.tolist() == [[[1.0, 2.0, 3.0]]]
    assert answer.denoising[0].logits.tolist() == [[[1.0, 2.0, 3.0]]]
    (image,) = found.component("postprocess")(configuration)(OUTPUTS, np.array([[1, 1]])).value
    assert image.labels.tolist() == [0]


def as_read(boxes: torch.Tensor, rules: TargetRules, size: tuple[int, int], first: str) -> torch.Tensor:
    """Boxes of a target as torch reads them: scaled before or after they are centred, by a quotient or a product."""
    height, width = size
    scale = torch.tensor([width, height, width, height], dtype=boxes.dtype)

    def scaled(given: torch.Tensor) -> torch.Tensor:
        if rules.units == "relative":
            return given
        return given * (1 / scale) if "product" in first else given / scale

    def centred(given: torch.Tensor) -> torch.Tensor:
        x, y, z, w = given.unbind(-1)
        if rules.box_format == "cxcywh":
            return given
        if rules.box_format == "xywh":
            return torch.stack([x + 0.5 * z, y + w / 2, z, w], dim=-1)
        return torch.stack([(x + z) / 2, 0.5 * (y + w), z - x, w - y], dim=-1)

    return centred(scaled(given=boxes)) if "scaled" in first else scaled(centred(boxes))


@pytest.mark.parametrize("first", ["scaled", "centred", "scaled by a product", "centred, then a product"])
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_torch_reads_lies_in_the_range(dtype: str, box_format: Any, units: Any, first: str) -> None:
    numbers = np.random.default_rng(0)
    profile = replace(DETR, targets=TargetRules(box_format=box_format, units=units))
    for count in range(1, 9):
        sides = numbers.random((count, 2)) * 2.0 ** -numbers.integers(0, 12, (count, 1))
        centres = sides / 2 + numbers.random((count, 2)) * (1 - sides)
        target = Target(np.zeros(count, np.int64), round_to(np.concatenate([centres, sides], axis=1), dtype))
        (written,) = given_to(profile, OUTPUTS, (target,), dtype)[1]
        boxes = torch.tensor(written.boxes, dtype=getattr(torch, dtype))
        found = as_read(boxes, profile.targets, SIZES[count % 2], first).double().numpy()
        expected = truth_of(target, profile, dtype)
        assert ((expected.lower <= found) & (found <= expected.upper)).all()
        assert np.abs(found - target.boxes).max() < 1e-6


def test_every_rank_is_given_what_is_written() -> None:
    """Batches of ranks come as a list or as a tuple."""
    seen: list[Any] = []

    def ranks(batches: Any) -> Answer[tuple[Losses, ...]]:
        seen.extend(batches)
        return Answer(tuple(Losses({}) for _ in batches))

    profile = replace(DETR, targets=TargetRules(first_label=1))
    found = Implementation(name="ranks", profile=profile, distributed=lambda _: ranks).component("distributed")
    for batches in ([(OUTPUTS, (TARGET,))], ((OUTPUTS, (TARGET,)),)):
        found(Configuration(profile=profile, num_classes=2))(batches)
    assert [target.labels.tolist() for _, (target,) in seen] == [[1, 2], [1, 2]]
