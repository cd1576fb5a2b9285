"""Masks where a profile compares them, and its losses and costs of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

import detr_reference as reference
from detr_conformance.bridges.torch_points import sampler_of
from detr_reference.boxes import upcast_half
from detr_reference.losses import dice_loss
from detr_reference.points import pairwise_cross_entropy, pairwise_dice, point_sample, uncertain_points
from detr_spec import costs
from detr_spec.configuration import Configuration
from detr_spec.profile import MaskRules
from detr_spec.terms import MaskCrossEntropy, MaskDice, MaskFocal, MaskTerm

PADDING = {"zeros": "zeros", "edge": "border"}
"""What `grid_sample` calls what lies beyond the pixels of a mask."""


def compared_in_losses(
    configuration: Configuration, matched: Tensor, truth: Tensor, own_sizes: Sequence[tuple[int, int]]
) -> list[tuple[Tensor, Tensor]]:
    """Matched masks [m, h, w] and those of their targets [m, H, W] where they are compared, as logits and truth.

    They are in parts of as many places each. own_sizes: (height, width) of the image of each pair.
    """
    rules, matched = configuration.profile.masks, upcast_half(matched)
    if rules.compared == "points":
        return [_at_points(configuration, matched, truth)]
    resized = interpolate(matched[:, None], size=truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    if rules.padding == "counted" or not own_sizes:
        return [(resized.flatten(1), truth.flatten(1))]
    pairs = zip(resized, truth, own_sizes, strict=True)
    return [(own[None, :h, :w].flatten(1), one[None, :h, :w].flatten(1)) for own, one, (h, w) in pairs]


def _at_points(configuration: Configuration, matched: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    rules = configuration.profile.masks
    sample = partial(point_sample, padding_mode=PADDING[rules.outside])
    with torch.no_grad():
        count = rules.points_in_losses(*matched.shape[1:])
        drawn = count, rules.oversampling, rules.uncertain, sampler_of(configuration), matched.device
        points = uncertain_points(partial(sample, matched), len(matched), *drawn)
        labels = sample(truth.to(matched), points, rules.labels)
    return sample(matched, points), labels


def compared_in_matching(configuration: Configuration, masks: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Masks of all queries of an image and of its targets, [Q, h, w] and [n, H, W], at the points of its matching."""
    rules: MaskRules = configuration.profile.masks
    points = sampler_of(configuration)(1, rules.points_in_matching(*masks.shape[1:]), 2, device=masks.device)
    sample, masks = partial(point_sample, padding_mode=PADDING[rules.outside]), upcast_half(masks)
    predicted = sample(masks, points.expand(len(masks), -1, -1))
    return predicted, sample(truth.to(masks), points.expand(len(truth), -1, -1), rules.labels)


def _focal_of_masks(logits: Tensor, masks: Tensor, alpha: float, gamma: float) -> Tensor:
    return reference.sigmoid_focal_loss(logits, masks.to(torch.bool), alpha, gamma).mean(dim=1)


def _cross_entropy_of_masks(logits: Tensor, masks: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, masks.to(logits), reduction="none").mean(dim=1)


MASK_LOSSES: dict[type[MaskTerm], Callable[..., Tensor]] = {
    MaskFocal: _focal_of_masks,
    MaskCrossEntropy: _cross_entropy_of_masks,
    MaskDice: dice_loss,
}
"""What answers for each loss of masks that can be declared: from logits, masks [m, N] and numbers to [m]."""

PairwiseMasks: TypeAlias = Callable[[Tensor, Tensor], Tensor]

MASK_COSTS: dict[type[costs.Cost], PairwiseMasks] = {
    costs.MaskCrossEntropyCost: pairwise_cross_entropy,
    costs.MaskDiceCost: pairwise_dice,
}
"""What answers for each cost of masks that can be declared: from logits [Q, P] and truth [n, P] to [Q, n]."""
