"""The losses of the softmax dialect on the CPU, in the functions of `numba_criterion`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .batch import Batch
from .class_losses import refuse_second_derivatives
from .compiled import Function, compiled, compiled_for, in_threads, threads_worth
from .compiled_softmax import softmax
from .dialects import LossFormula
from .layer_losses import LayerLosses, by_name, connected

Array: TypeAlias = np.ndarray[Any, Any]

WRITE_LOSSES = ("numba_criterion", "write_losses")
WRITE_LOGIT_GRADIENTS = ("numba_criterion", "write_logit_gradients")
WRITE_BOX_GRADIENTS = ("numba_criterion", "write_box_gradients")
ELEMENTS_WORTH_A_THREAD = 2**21
COORDINATES_WORTH_A_THREAD = 2**15
SUMS = 7
"""As in `numba_criterion`."""


def losses_on_host(batch: Batch, formula: LossFormula) -> LayerLosses | None:
    """Return the losses of all layers under the matching, with a gradient for the logits and boxes of each layer.

    None where numba is not installed, or the batch is not one of real numbers of one dtype on the CPU without a
    gradient for target boxes. Raises RuntimeError in a backward pass with create_graph=True.
    """
    logits, boxes = batch.logits, [layer["pred_boxes"] for layer in batch.layers]
    dtypes = {*(tensor.dtype for tensor in (*logits, *boxes)), batch.targets.boxes.dtype}
    fits = len(dtypes) == 1 and dtypes <= {torch.float32, torch.float64} and not batch.targets.boxes.requires_grad
    if not fits or compiled_for(logits[0], *WRITE_LOSSES) is None:
        return None
    return by_name(_Losses.apply(batch, formula, *logits, *boxes))


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batch: Batch, formula: LossFormula, *predictions: Tensor) -> Any:
        layers, images = len(batch.layers), len(batch.targets.sizes)
        ctx.targets = _Targets(batch)
        sums = _sums_of_layers(batch, ctx.targets, formula, *_halves(predictions))
        class_loss, class_weight, l1_loss, giou_loss, count_error, matched, correct = sums.T
        losses = np.stack([class_loss, l1_loss, giou_loss, count_error])
        with np.errstate(invalid="ignore"):
            losses /= np.stack([class_weight, *np.full((2, layers), formula.num_boxes), np.full(layers, images)])
        class_error = 100 - 100 * correct[0] / max(matched[0], 1)
        # Each has memory of its own, so that it may be multiplied in place by its weight.
        found = [predictions[0].new_full((), number) for number in (*losses.ravel().tolist(), class_error)]
        ctx.formula, ctx.class_weight = formula, class_weight
        ctx.exponentials, ctx.exponential_sum, *_ = batch.predictions.softmax
        ctx.save_for_backward(*predictions)
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
            of_logits = _logit_gradients(ctx, logits, of_class / ctx.class_weight)
        of_boxes = _box_gradients(ctx, boxes, of_l1 / ctx.formula.num_boxes, of_giou / ctx.formula.num_boxes)
        return None, None, *connected(given, of_logits, of_boxes, [one.dtype for one in logits] * 2)


class _Targets:
    """The targets of a batch and the queries matched to them, as arrays.

    labels: int64 [B, T]. boxes: [B, T, 4]. sizes: int64 [B]. queries: int64 [L, B, T], or -1.
    """

    def __init__(self, batch: Batch) -> None:
        self.labels, self.boxes = batch.targets.labels.numpy(), batch.targets.boxes.numpy()
        self.sizes = np.array(batch.targets.sizes)
        self.queries = _by_layer(len(batch.layers), batch.columns)


def _sums_of_layers(
    batch: Batch, targets: _Targets, formula: LossFormula, logits: Sequence[Tensor], boxes: Sequence[Tensor]
) -> Array:
    """Return the sums [L, SUMS] that the losses of each layer are made of."""
    layers = len(logits)
    write_losses = _function(WRITE_LOSSES)
    found = np.zeros((layers, SUMS))
    statistics = [_by_layer(layers, values) for values in batch.predictions.softmax[1:]]
    of_targets = (targets.labels, targets.boxes, targets.sizes)
    of_layers = zip(map(_array, logits), map(_array, boxes), targets.queries, *statistics, found, strict=True)
    tasks = [
        partial(write_losses, own_logits, own_boxes, *of_targets, queries, *own_statistics, formula.eos_coef, sums)
        for own_logits, own_boxes, queries, *own_statistics, sums in of_layers
    ]
    in_threads(threads_worth(layers * boxes[0].numel(), COORDINATES_WORTH_A_THREAD), tasks)
    return found


def _logit_gradients(ctx: Any, logits: Sequence[Tensor], shares: Array) -> list[Tensor]:
    """Return shares [L] times the gradients of the sums of class losses."""
    # They are written over the exponentials, so a second backward pass needs new ones.
    exponentials = softmax(logits).exponentials if ctx.exponentials is None else ctx.exponentials
    ctx.exponentials = None
    layers, targets, eos_coef = len(logits), ctx.targets, ctx.formula.eos_coef
    write_gradients = _function(WRITE_LOGIT_GRADIENTS)
    sums = _by_layer(layers, ctx.exponential_sum)
    tasks = [
        partial(write_gradients, own.numpy(), own_sums, targets.labels, targets.sizes, queries, eos_coef, share)
        for own, own_sums, queries, share in zip(exponentials.layers, sums, targets.queries, shares, strict=True)
    ]
    in_threads(threads_worth(layers * logits[0].numel(), ELEMENTS_WORTH_A_THREAD), tasks)
    found: list[Tensor] = exponentials.layers
    return found


def _box_gradients(ctx: Any, boxes: Sequence[Tensor], l1_shares: Array, giou_shares: Array) -> list[Tensor]:
    """Return l1_shares times the gradients of the sums of L1 distances plus giou_shares times those of 1 - GIoU."""
    targets = ctx.targets
    write_gradients = _function(WRITE_BOX_GRADIENTS)
    found = [torch.empty_like(own, memory_format=torch.contiguous_format) for own in boxes]
    for own, queries, *shares, written in zip(boxes, targets.queries, l1_shares, giou_shares, found, strict=True):
        write_gradients(
            _array(own), targets.boxes, targets.sizes, queries, *shares, ctx.formula.touching, written.numpy()
        )
    return found


def _function(name: tuple[str, str]) -> Function:
    found = compiled(*name)
    assert found is not None
    return found


def _halves(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return the logits and the boxes of all layers."""
    middle = len(tensors) // 2
    return tensors[:middle], tensors[middle:]


def _by_layer(layers: int, values: Tensor) -> Array:
    """Return values [P, ...] as an array [L, B, ...]."""
    array: Array = values.numpy()
    return array.reshape(layers, len(array) // layers, *array.shape[1:])


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().contiguous().numpy()
    return array
