"""The losses of both dialects on the CPU, in functions that numba compiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..batch.batch import Batch
from ..compiled.calling import compiled_for, imported, in_threads, threads_worth
from ..dialects import Dialect, LossFormula
from ..layer_losses import LayerLosses, by_name, connected
from ..slices import SliceGradients
from ..torch.class_losses import refuse_second_derivatives
from .class_losses import MatchedTargets, array, class_losses

Array: TypeAlias = np.ndarray[Any, Any]

WRITE_SUMS = ("box_losses", "write_sums_of_pairs")
WRITE_GRADIENTS = ("box_losses", "write_box_gradients")
PAIRS_WORTH_A_THREAD = 2**11
SUMS = 4
"""As in `compiled.kernels.box_losses`."""


def losses_on_host(dialect: Dialect, batch: Batch, formula: LossFormula) -> LayerLosses | None:
    """Return the losses of all layers under the matching, with a gradient for the logits and boxes of each layer.

    None where numba is not installed, or the batch is not one of real numbers of one dtype on the CPU without a
    gradient for target boxes, or gamma is negative. Raises RuntimeError in a backward pass with create_graph=True.
    """
    logits, boxes = batch.logits, [layer["pred_boxes"] for layer in batch.layers]
    dtypes = {*(tensor.dtype for tensor in (*logits, *boxes)), batch.targets.boxes.dtype}
    fits = len(dtypes) == 1 and dtypes <= {torch.float32, torch.float64} and not batch.targets.boxes.requires_grad
    if not fits or formula.gamma < 0 or compiled_for(logits[0], *WRITE_SUMS) is None:
        return None
    return by_name(_Losses.apply(dialect, batch, formula, *logits, *boxes))


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dialect: Dialect, batch: Batch, formula: LossFormula, *predictions: Tensor) -> Any:
        layers, images = len(batch.layers), len(batch.targets.sizes)
        logits, boxes = _halves([one.contiguous() for one in predictions])
        ctx.formula, ctx.targets = formula, MatchedTargets(batch)
        ctx.class_losses = class_losses(dialect, batch, ctx.targets, formula, logits)
        l1_loss, giou_loss, matched, correct = _sums_of_pairs(ctx.targets, logits, boxes).T
        count_error = abs(ctx.class_losses.detected - ctx.targets.sizes).sum(axis=1)
        losses = np.stack([ctx.class_losses.sums, l1_loss, giou_loss, count_error])
        num_boxes = np.full((2, layers), formula.num_boxes)
        with np.errstate(invalid="ignore"):
            losses /= np.stack([ctx.class_losses.divisors, *num_boxes, np.full(layers, images)])
        class_error = 100 - 100 * correct[0] / max(matched[0], 1)
        # Each has memory of its own, so that it may be multiplied in place by its weight.
        found = [predictions[0].new_full((), number) for number in (*losses.ravel().tolist(), class_error)]
        ctx.save_for_backward(*predictions)
        ctx.slices = SliceGradients(predictions[:layers])
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*found[3 * layers :])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Any:
        refuse_second_derivatives()
        logits, boxes = _halves(ctx.saved_tensors)
        shares = np.array([0.0 if one is None else one.item() for one in given[: 3 * len(logits)]])
        of_class, of_l1, of_giou = shares.reshape(3, len(logits))
        with np.errstate(invalid="ignore", divide="ignore"):
            of_logits = ctx.class_losses.gradients(logits, of_class / ctx.class_losses.divisors)
        of_logits = ctx.slices.shared(of_logits)
        of_boxes = _box_gradients(ctx, boxes, of_l1 / ctx.formula.num_boxes, of_giou / ctx.formula.num_boxes)
        return None, None, None, *connected(given, of_logits, of_boxes, [one.dtype for one in logits] * 2)


def _sums_of_pairs(targets: MatchedTargets, logits: Sequence[Tensor], boxes: Sequence[Tensor]) -> Array:
    """Return the sums [L, SUMS] over the matched pairs of each layer."""
    write_sums = imported(*WRITE_SUMS)
    found = np.zeros((len(logits), SUMS))
    of_targets = (targets.labels, targets.boxes, targets.sizes)
    tasks = [
        partial(write_sums, array(own_logits), array(own_boxes), *of_targets, queries, sums)
        for own_logits, own_boxes, queries, sums in zip(logits, boxes, targets.queries, found, strict=True)
    ]
    in_threads(threads_worth(targets.queries.size, PAIRS_WORTH_A_THREAD), tasks)
    return found


def _box_gradients(ctx: Any, boxes: Sequence[Tensor], l1_shares: Array, giou_shares: Array) -> list[Tensor]:
    """Return l1_shares times the gradients of the sums of L1 distances plus giou_shares times those of 1 - GIoU."""
    targets = ctx.targets
    write_gradients = imported(*WRITE_GRADIENTS)
    found = [torch.empty_like(own, memory_format=torch.contiguous_format) for own in boxes]
    for own, queries, *shares, written in zip(boxes, targets.queries, l1_shares, giou_shares, found, strict=True):
        write_gradients(
            array(own), targets.boxes, targets.sizes, queries, *shares, ctx.formula.touching, written.numpy()
        )
    return found


def _halves(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return the logits and the boxes of all layers."""
    middle = len(tensors) // 2
    return tensors[:middle], tensors[middle:]
