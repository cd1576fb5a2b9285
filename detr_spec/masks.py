"""The losses of predicted segmentation masks under a given matching. norm §4; Carion et al. 2020, section 4.4.

The plain formulas take arrays or intervals, as those of `detr_spec.losses` do. `mask_losses` puts them together for a
case, by their neutral names "mask" (the focal loss; Lin et al. 2017) and "dice" (Milletari et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detr_spec.activations import sigmoid
from detr_spec.configuration import Configuration
from detr_spec.losses import matched_rows, num_boxes
from detr_spec.terms.focal import focal_terms
from detr_spec.tolerance import Interval, Numbers, hull, lift
from detr_spec.values import Booleans, InvalidValue, Matching, Outputs, Target, Targets

MASK_TERMS = ("mask", "dice")
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
"""The focal loss of masks has these in every dialect, whatever that of the classes has."""


def interpolation_matrix(centres: Numbers, length: int) -> Numbers:
    """The weight of each of `length` old pixels in each of m new ones, linear interpolation; [m] → [m, length].

    New pixel i has its centre at i + 1/2 on an axis of m; on the old axis, whose pixels lie at 0 … length − 1,
    that is s = (i + 1/2) · length/m − 1/2, kept between the first and the last of them. An old pixel at k weighs
    max(0, 1 − |s − k|). Source: PyTorch's documentation of `interpolate`, mode "bilinear", align_corners=False.

    centres: i + 1/2, as an interval where the weights are wanted with the roundings of a dtype: a coordinate that is
    off by δ moves its two weights by δ. It also holds coordinates that were in −1 … 1 on the way, as samplers at
    points take them.
    """
    positions = centres * float(length) / float(len(centres)) - 0.5
    if isinstance(positions, Interval):
        centred = centres * 2.0 / float(len(centres)) - 1.0
        positions = hull(positions, (centred + 1.0) * (length / 2.0) - 0.5)
    positions = np.minimum(np.maximum(positions, 0.0), float(length - 1))
    return np.maximum(1.0 - np.abs(positions[:, None] - np.arange(length, dtype=np.float64)), 0.0)


def bilinear(masks: Numbers, height: int, width: int) -> Numbers:
    """Masks resized by bilinear interpolation, pixels being areas; [m, h, w] → [m, height, width].

    It is A X Bᵀ for each mask X, with the interpolation matrix A of the rows and B of the columns; nothing is
    smoothed where that makes a mask smaller.
    """

    def matrix(new: int, old: int) -> Numbers:
        centres = np.arange(new) + 0.5
        return interpolation_matrix(lift(centres, masks.dtype) if isinstance(masks, Interval) else centres, old)

    of_rows, of_columns = matrix(height, masks.shape[1]), matrix(width, masks.shape[2])
    rows = (of_rows[None, :, :, None] * masks[:, None, :, :]).sum(axis=2)
    return (rows[:, :, None, :] * of_columns[None, None, :, :]).sum(axis=3)


def common_size(targets: Targets) -> tuple[int, int]:
    """The largest height and the largest width of the images' masks, [0, H, W] of images without targets included.

    Predictions cover the padded batch, whichever of its images has objects.
    """
    sizes = [_masks_of(target).shape[1:] for target in targets]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def padded(target: Target, height: int, width: int) -> Booleans:
    """The target's masks with background added right and below; bool [n, height, width]."""
    masks = _masks_of(target)
    whole = np.zeros((len(masks), height, width), dtype=np.bool_)
    whole[:, : masks.shape[1], : masks.shape[2]] = masks
    return whole


def matched_masks(targets: Targets, matchings: Sequence[Matching]) -> Booleans:
    """The masks of the matched targets, padded to the common size, in the order of `losses.matched_rows`; [m, H, W]."""
    height, width = common_size(targets)
    pairs = zip(targets, matchings, strict=True)
    return np.concatenate([padded(target, height, width)[matching.targets] for target, matching in pairs])


def _masks_of(target: Target) -> Booleans:
    if target.masks is None:
        raise InvalidValue("a target has no masks; expected bool [n, H, W], for mask losses are asked for")
    return target.masks


def mask_focal(logits: Numbers, truth: Booleans, normaliser: Numbers) -> Numbers:
    """Σ over instances of the mean over pixels of the focal terms / num_boxes; [m, H, W] and bool [m, H, W] → []."""
    terms = focal_terms(logits, truth, FOCAL_ALPHA, FOCAL_GAMMA)
    return terms.reshape(-1).sum() / float(truth.shape[1] * truth.shape[2]) / normaliser


def mask_dice(logits: Numbers, truth: Booleans, normaliser: Numbers) -> Numbers:
    """Σ over instances of 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1) / num_boxes, sums over pixels; as `mask_focal`."""
    instances, pixels = len(truth), truth.shape[1] * truth.shape[2]
    probability, inside = sigmoid(logits).reshape(instances, pixels), truth.reshape(instances, pixels)
    overlap = (probability * inside.astype(np.float64)).sum(axis=1)
    both = probability.sum(axis=1) + inside.sum(axis=1).astype(np.float64)
    return (1.0 - (2.0 * overlap + 1.0) / (both + 1.0)).sum() / normaliser


def mask_losses(
    configuration: Configuration,
    layer: Outputs,
    targets: Targets,
    matchings: Sequence[Matching],
    normaliser: Interval | None = None,
) -> dict[str, Interval]:
    """Both mask losses of the last decoder layer under a matching of each image, by neutral name.

    The masks of matched queries are resized to the common size of the targets' masks, which are padded to it; the
    padding counts. normaliser: what they are divided by, [], where that is not `num_boxes`. Raises `InvalidValue` where
    outputs or targets have no masks.
    """
    if layer.masks is None:
        raise InvalidValue("the outputs have no masks; expected [B, Q, h, w], for mask losses are asked for")
    height, width = common_size(targets)
    matched = lift(matched_rows(layer.masks, matchings), configuration.dtype)
    resized = bilinear(matched, height, width)
    truth = matched_masks(targets, matchings)
    divisor = num_boxes(targets, matchings, configuration) if normaliser is None else normaliser
    return {
        "mask": mask_focal(resized, truth, divisor),
        "dice": mask_dice(resized, truth, divisor),
    }
