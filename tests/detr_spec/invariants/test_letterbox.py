"""Where it is declared, boxes are mapped back from a padded input, by hand, in every right way, and with defects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from judging import failure
from torch import Tensor

import detr_reference as reference
from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.declared.postprocess import letterbox_of
from detr_conformance.implementations.reference import LIMITS
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import candidates, scaled_boxes
from detr_spec.implementation import Implementation
from detr_spec.profile import DetectionRules, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR

WHOLE = replace(DETR, name="whole", detection=DetectionRules(geometry="letterboxed", input_side=640))
EXACT = replace(DETR, name="exact", detection=DetectionRules(geometry="letterboxed"))
BEHIND = replace(DETR, name="behind", detection=DetectionRules(geometry="padded-behind"))
CLAMPED = replace(
    DEFORMABLE,
    name="clamped",
    detection=replace(DEFORMABLE.detection, geometry="letterboxed", input_side=33, clamp=True),
)
PROFILES = (WHOLE, EXACT, BEHIND, CLAMPED)
AXES = "postprocess.pixels-of-each-axis"
ASKED = (AXES, "postprocess.doubled-sizes", "postprocess.own-size", "postprocess.clamping", "postprocess.large-sizes")


def mapped(box: list[float], size: tuple[int, int], **rules: Any) -> list[float]:
    """A box, cxcywh relative to the input, in pixels of an image of (height, width)."""
    profile = replace(DETR, detection=DetectionRules(**rules))
    configuration = Configuration(profile=profile, dtype="float64")
    exact = scaled_boxes(np.array([box]), np.array(size), configuration)[0]
    ranged = candidates(np.zeros((1, 2)), np.array([box]), np.array(size), configuration).boxes
    assert (ranged.lower[0] <= exact).all()
    assert (exact <= ranged.upper[0]).all()
    letterbox = letterbox_of(profile.detection)
    if letterbox is not None and not profile.detection.clamp:
        given = reference.box_cxcywh_to_xyxy(torch.tensor([[box]], dtype=torch.float64))
        assert letterbox.boxes_in_image(given, torch.tensor([size]))[0, 0].tolist() == pytest.approx(exact.tolist())
    return [float(number) for number in exact]


def test_the_middle_of_an_image_that_was_padded_above_and_below() -> None:
    """480 × 640 in 640 × 640: 80 pixels above, nothing at the left; y = 0.5 · 640 − 80."""
    box = [0.5, 0.5, 0.25, 0.125]
    expected = [240.0, 200.0, 400.0, 280.0]
    for side in (None, 640):
        assert mapped(box, (480, 640), geometry="letterboxed", input_side=side) == pytest.approx(expected)
    assert mapped(box, (480, 640)) == pytest.approx([240.0, 210.0, 400.0, 270.0]), "as if it had been stretched"


def test_padding_on_the_left_and_a_ratio() -> None:
    """200 × 100 in 50 × 50: a quarter, 25 wide, of which 12.5 or 12 pixels are padding before it."""
    box = [0.5, 0.5, 0.25, 0.5]
    exact = [(18.75 - 12.5) * 4, 50.0, (31.25 - 12.5) * 4, 150.0]
    whole = [(18.75 - 12.0) * 4, 50.0, (31.25 - 12.0) * 4, 150.0]
    assert mapped(box, (200, 100), geometry="letterboxed") == pytest.approx(exact)
    assert mapped(box, (200, 100), geometry="letterboxed", input_side=50) == pytest.approx(whole)
    behind = [18.75 * 4, 50.0, 31.25 * 4, 150.0]
    assert mapped(box, (200, 100), geometry="padded-behind") == pytest.approx(behind)
    assert mapped(box, (200, 100), geometry="padded-behind", clamp=True) == pytest.approx([75.0, 50.0, 100.0, 150.0])


def test_a_scaled_side_is_rounded_before_it_is_padded() -> None:
    """30 × 40 in 33 × 33: scaled to 24.75, which 25 pixels hold; of 8 that are left 4 lie above."""
    whole = mapped([0.5, 0.5, 0.0, 0.0], (30, 40), geometry="letterboxed", input_side=33)
    assert whole[1] == pytest.approx((16.5 - 4) * 40 / 33)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_right_implementation_holds(profile: Profile) -> None:
    for asked in ASKED:
        assert failure(asked, declared_implementation(profile), 40) is None, asked


Undo: TypeAlias = Callable[[reference.Letterbox, Tensor, Tensor], Tensor]
"""Boxes [Q, 4] in cxcywh, relative to the input, in pixels of an image of (height, width), [2], as xyxy."""


def parts(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The ratio [] and the padding [4] before an image, in the dtype of the boxes, as torch computes them there."""
    size = size.to(boxes)
    ratio = letterbox.side / size.max()
    scaled = size * ratio
    left = (letterbox.side - (scaled.round() if letterbox.whole_pixels else scaled)) / 2
    before = left.floor() if letterbox.whole_pixels else left
    return ratio, before.flip(0).repeat(2) if letterbox.centred else before.new_zeros(4)


def from_corners(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    return (reference.box_cxcywh_to_xyxy(boxes) * letterbox.side - before) / ratio


def from_centres(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    scaled = boxes * letterbox.side
    return reference.box_cxcywh_to_xyxy(torch.cat([scaled[:, :2] - before[:2], scaled[:, 2:]], dim=1) / ratio)


def relative_first(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    return (reference.box_cxcywh_to_xyxy(boxes) - before / letterbox.side) * (letterbox.side / ratio)


def by_the_inverse(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    return (reference.box_cxcywh_to_xyxy(boxes) * letterbox.side - before) * (1 / ratio)


def without_a_side(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    """Where padding is exact, no side matters."""
    longest = size.max().to(boxes)
    before = (longest - size.to(boxes).flip(0).repeat(2)) / 2 if letterbox.centred else 0.0
    return reference.box_cxcywh_to_xyxy(boxes) * longest - before


class Undone(reference.TopKPostProcess):
    """Detections whose boxes are mapped back in some way."""

    def __init__(self, configuration: Configuration, undo: Undo, side: int | None) -> None:
        super().__init__(configuration.top_k)
        self.rules, self.undo = configuration.profile.detection, undo
        letterbox = letterbox_of(self.rules)
        assert letterbox is not None
        self.used = letterbox if side is None else reference.Letterbox(side, letterbox.centred, False)
        best = reference.PostProcess() if self.rules.rule == "best-foreground-class" else super()
        self.best = best.forward

    @torch.no_grad()
    def forward(self, outputs: Any, target_sizes: Tensor) -> list[dict[str, Tensor]]:
        boxes = [self.undo(self.used, *given) for given in zip(outputs["pred_boxes"], target_sizes, strict=True)]
        if self.rules.clamp:
            edges = target_sizes.flip(1).repeat(1, 2)[:, None]
            boxes = [own.clamp(min=0).minimum(edge) for own, edge in zip(boxes, edges.to(boxes[0]), strict=True)]
        centres = torch.stack([reference.box_xyxy_to_cxcywh(own) for own in boxes])
        found = self.best({**outputs, "pred_boxes": centres}, torch.ones_like(target_sizes))
        for image, detections in enumerate(found):
            near = (detections["boxes"][:, None] - reference.box_cxcywh_to_xyxy(centres[image])[None]).abs().sum(dim=2)
            detections["boxes"] = boxes[image][near.argmin(dim=1)]
        return found


def undoing(profile: Profile, undo: Undo, side: int | None = None) -> Implementation:
    return torch_implementation(
        name="undone", profile=profile, limits=LIMITS, postprocess=lambda c: Undone(c, undo, side)
    )


WAYS = (from_corners, from_centres, relative_first, by_the_inverse)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_usual_order_is_right(profile: Profile, way: Undo) -> None:
    narrow = replace(undoing(profile, way), limits=LIMITS.with_dtypes({"postprocess": ("float32", "float64")}))
    for asked in (AXES, "postprocess.boxes-of-queries", "postprocess.doubled-sizes"):
        if profile.detection.rule != "top-k" or asked != "postprocess.boxes-of-queries":
            assert failure(asked, narrow, 60) is None, asked


@pytest.mark.parametrize("profile", [EXACT, BEHIND], ids=lambda profile: profile.name)
def test_no_side_matters_where_padding_is_exact(profile: Profile) -> None:
    given = [undoing(profile, from_corners, side) for side in (33, 640, 1333)] + [undoing(profile, without_a_side)]
    for subject in given:
        wide = replace(subject, limits=LIMITS.with_dtypes({"postprocess": ("float32", "float64")}))
        assert failure(AXES, wide, 60) is None


def on_the_wrong_axis(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    return (reference.box_cxcywh_to_xyxy(boxes) * letterbox.side - before.roll(1)) / ratio


def by_the_shorter_side(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    return (reference.box_cxcywh_to_xyxy(boxes) * letterbox.side) / (letterbox.side / size.min())


def not_divided(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    return reference.box_cxcywh_to_xyxy(boxes) * letterbox.side / ratio - before


def not_halved(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    return (reference.box_cxcywh_to_xyxy(boxes) * letterbox.side - 2 * before) / ratio


def left_in(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    return reference.box_cxcywh_to_xyxy(boxes) * letterbox.side / parts(letterbox, boxes, size)[0]


def of_the_near_corner_alone(letterbox: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    ratio, before = parts(letterbox, boxes, size)
    return (reference.box_cxcywh_to_xyxy(boxes) * letterbox.side - before * torch.tensor([1, 1, 0, 0])) / ratio


def stretched(_: reference.Letterbox, boxes: Tensor, size: Tensor) -> Tensor:
    return reference.box_cxcywh_to_xyxy(boxes) * size.to(boxes).flip(0).repeat(2)


DEFECTS: tuple[Undo, ...] = (
    on_the_wrong_axis,
    by_the_shorter_side,
    not_divided,
    not_halved,
    left_in,
    of_the_near_corner_alone,
    stretched,
)


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("profile", [WHOLE, EXACT], ids=lambda profile: profile.name)
def test_a_defect_is_found(profile: Profile, defect: Undo) -> None:
    assert failure(AXES, undoing(profile, defect), 60) is not None


@pytest.mark.parametrize(("declared", "built"), [(WHOLE, EXACT), (EXACT, WHOLE), (EXACT, BEHIND), (BEHIND, EXACT)])
def test_other_padding_is_found(declared: Profile, built: Profile) -> None:
    assert failure(AXES, declared_implementation(declared, built), 60) is not None


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_boxes_that_are_not_mapped_back_are_found_and_so_are_those_that_need_not_be(profile: Profile) -> None:
    resized = replace(profile, detection=replace(profile.detection, geometry="resized"))
    for declared, built in ((profile, resized), (resized, profile)):
        assert failure(AXES, declared_implementation(declared, built), 60) is not None


def test_an_input_has_a_side() -> None:
    with pytest.raises(ValueError, match="input_side is 0; expected at least 1, or None for any"):
        DetectionRules(geometry="letterboxed", input_side=0)
