"""Where it is declared, pixels that pad the masks of a batch have no part in their losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from judging import failure, share_fired
from torch import Tensor

from detr_conformance.implementations.declared import criterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_spec.configuration import Configuration
from detr_spec.invariants import find_invariants
from detr_spec.losses import set_losses
from detr_spec.profile import MaskRules, Profile, TargetRules, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.terms import MaskCrossEntropy
from detr_spec.values import Matching, Outputs, Target

LEFT_OUT = replace(DETR, name="left out", masks=MaskRules(padding="left-out"))
OF_LAYERS = replace(
    DEFORMABLE, name="layers", mask_loss=MaskCrossEntropy(), masks=MaskRules(padding="left-out", layers="every")
)
MASK, DICE = "masks.mask-value", "masks.dice-value"
Parts: TypeAlias = list[tuple[Tensor, Tensor]]


def losses_of_a_padded_image(padding: Any) -> dict[str, float]:
    """An image of 1 × 2 pixels, of which the first is the object's, beside one of 1 × 4; all logits are 0."""
    box = np.array([[0.5, 0.5, 0.5, 0.5]])
    profile = replace(DETR, masks=MaskRules(padding=padding))
    outputs = Outputs(np.zeros((2, 1, 2)), np.repeat(box[None], 2, axis=0), np.zeros((2, 1, 1, 4)))
    small = Target(np.zeros(1, np.int64), box, np.array([[[True, False]]]))
    large = Target(np.zeros(0, np.int64), box[:0], np.zeros((0, 1, 4), np.bool_))
    one, nothing = np.zeros(1, np.int64), np.zeros(0, np.int64)
    matchings = Matching(one, one), Matching(nothing, nothing)
    configuration = Configuration(profile=profile, dtype="float64", masks=True)
    found = set_losses(configuration, outputs, (small, large), matchings)
    return {name: float(found[name].value) for name in ("mask", "dice")}


def test_a_padded_image_by_hand() -> None:
    """Each pixel has log(2)/4 of the focal loss, times 1/4 or 3/4; p = 1/2 is summed over four pixels or over two."""
    counted, left_out = map(losses_of_a_padded_image, ("counted", "left-out"))
    assert counted == pytest.approx({"mask": log(2) / 4 * (0.25 + 3 * 0.75) / 4, "dice": 1 - 2 / 4})
    assert left_out == pytest.approx({"mask": log(2) / 4 * (0.25 + 0.75) / 2, "dice": 1 - 2 / 3})
    assert counted["mask"] == pytest.approx(0.10830, abs=1e-5)
    assert left_out["mask"] == pytest.approx(0.08664, abs=1e-5)


@pytest.mark.parametrize("profile", [LEFT_OUT, OF_LAYERS], ids=lambda profile: profile.name)
@pytest.mark.parametrize("id", [MASK, DICE, "gradients.masks", "masks.perfect", "masks.image-order"])
def test_a_right_criterion_holds(profile: Profile, id: str) -> None:
    assert share_fired(id, declared_implementation(profile), 30) > 0.3


def test_counted_padding_is_found_and_so_is_the_reverse() -> None:
    for declared, built in ((LEFT_OUT, DETR), (DETR, LEFT_OUT)):
        for asked in (MASK, DICE, "gradients.masks"):
            assert failure(asked, declared_implementation(declared, built), 60) is not None, asked


def with_sizes(change: Callable[[Sequence[tuple[int, int]], Tensor], list[Any]]) -> Callable[..., Parts]:
    """Masks of pairs compared within other sizes than those of their images."""
    right = criterion.compared_in_losses

    def compared(configuration: Configuration, matched: Tensor, truth: Tensor, sizes: Any) -> Parts:
        return right(configuration, matched, truth, change(sizes, truth))

    return compared


def divided_by_all_pixels() -> Callable[..., Parts]:
    """Logits of padding are so low that it adds nothing; only the mean counts it."""
    right = criterion.compared_in_losses

    def compared(configuration: Configuration, matched: Tensor, truth: Tensor, sizes: Any) -> Parts:
        counted = replace(configuration, profile=replace(configuration.profile, masks=MaskRules()))
        ((logits, inside),) = right(counted, matched, truth, sizes)
        own = torch.zeros_like(truth, dtype=torch.bool)
        for one, (high, wide) in zip(own, sizes, strict=True):
            one[:high, :wide] = True
        return [(torch.where(own.flatten(1), logits, -120.0), inside)]

    return compared


DEFECTS: dict[str, tuple[str, Callable[[], Callable[..., Parts]]]] = {
    "the first image's size for all": (MASK, lambda: with_sizes(lambda sizes, _: [sizes[0]] * len(sizes))),
    "sizes in another order": (DICE, lambda: with_sizes(lambda sizes, _: [*sizes][::-1])),
    "height and width exchanged": (DICE, lambda: with_sizes(lambda sizes, _: [size[::-1] for size in sizes])),
    "padding below alone left out": (
        DICE,
        lambda: with_sizes(lambda sizes, truth: [(high, truth.shape[2]) for high, _ in sizes]),
    ),
    "the least size of all": (MASK, lambda: with_sizes(lambda sizes, _: [min(sizes)] * len(sizes))),
    "padding in the mean's divisor": (MASK, divided_by_all_pixels),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, defect = DEFECTS[name]
    monkeypatch.setattr(criterion, "compared_in_losses", defect())
    assert failure(asked, declared_implementation(LEFT_OUT), 100) is not None


def test_padding_that_is_left_out_needs_images_with_a_size() -> None:
    with pytest.raises(ValueError, match=r"padding is 'left-out', and.* is 'padded', which"):
        replace(LEFT_OUT, targets=TargetRules(layout="padded"))


def test_padding_by_hand_is_not_asked_about_where_it_changes_the_losses() -> None:
    (invariant,) = find_invariants("masks.padding-counts")
    assert invariant.applies(DETR)
    assert not invariant.applies(LEFT_OUT)
