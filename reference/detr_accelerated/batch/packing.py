"""From outputs and targets to packed tensors, refusing what the reference refuses.

The values of a batch are looked at all at once, which takes one synchronisation on a device that is not the CPU. Only
where something is wrong do the reference's checks look again, layer by layer and image by image, for the words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detr_reference.batch import Outputs, Targets, check_output_values, check_targets

from ..compiled.calling import compiled_for
from .predictions import Predictions, stack_predictions
from .targets import PackedTargets, pack_targets


def pack_batch(
    layers: Sequence[Outputs], targets: Targets, num_labels: int, *, with_softmax: bool, validate: bool = True
) -> tuple[Predictions, PackedTargets]:
    """Return the predictions of layers of one shape, and the targets of the batch, packed.

    layers: dicts of `pred_logits` [B, Q, C] and `pred_boxes` [B, Q, 4], of shapes that were checked. targets: B dicts
    of `labels` [n] and `boxes` [n, 4]. with_softmax: whether the softmax of the logits will be asked for, which then
    says whether they are sound. validate: whether values are looked at, and not the targets' shapes alone.

    Raises ValueError as the reference's `check_output_values` and `check_targets` do.
    """
    if not well_shaped(targets, num_images=len(layers[0]["pred_logits"])):
        _refuse(layers, targets, num_labels)
    packed = pack_targets(targets)
    predictions = stack_predictions(layers)
    if validate and not _sound(predictions, packed, num_labels, with_softmax=with_softmax):
        _refuse(layers, targets, num_labels)
    return predictions, packed


def well_shaped(targets: Targets, num_images: int) -> bool:
    """Return whether each image has one target, with labels and boxes of the right shapes and dtype."""
    return len(targets) == num_images and all(
        target["labels"].dim() == 1
        and target["labels"].dtype == torch.int64
        and target["boxes"].shape == (len(target["labels"]), 4)
        for target in targets
    )


def _sound(predictions: Predictions, targets: PackedTargets, num_labels: int, *, with_softmax: bool) -> bool:
    """Return whether all logits, boxes and labels are such as set prediction is defined for.

    On the CPU it is compiled where numba is installed.
    """
    labels = targets.labels
    kernel = compiled_for(labels, "checks", "all_sound")
    if kernel is not None:
        highest = predictions.softmax.highest if with_softmax else predictions.highest
        given = (highest, labels, predictions.boxes, targets.boxes)
        highest_array, label_array, boxes, target_boxes = (tensor.detach().numpy() for tensor in given)
        return bool(kernel(highest_array, label_array, num_labels, boxes, target_boxes))
    verdicts = [
        _sound_logits(predictions, with_softmax=with_softmax),
        ((labels >= 0) & (labels < num_labels)).all(),
        *_proper(predictions.boxes),
        *_proper(targets.boxes),
    ]
    return bool(torch.stack(verdicts).all())


def _sound_logits(predictions: Predictions, *, with_softmax: bool) -> Tensor:
    if with_softmax:
        # The probabilities of a query are all NaN where a logit is NaN or +inf, and so is then their sum.
        return ~predictions.last_probability.sum().isnan()
    return (predictions.highest < torch.inf).all()


def _proper(boxes: Tensor) -> tuple[Tensor, Tensor]:
    # The sum of finite numbers may overflow, and NaN is in no order; the reference's checks have the last word.
    return boxes.sum().isfinite(), (boxes[..., 2:] >= 0).all()


def _refuse(layers: Sequence[Outputs], targets: Targets, num_labels: int) -> None:
    for layer in layers:
        check_output_values(layer)
        check_targets(targets, len(layer["pred_logits"]), num_labels)
