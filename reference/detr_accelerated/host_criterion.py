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
from .compiled import Function, compiled, in_threads, threads_worth
from .dialects import LossFormula
from .layer_losses import LayerLosses, by_name, connected
from .softmax import softmax

Array: TypeAlias = np.ndarray[Any, Any]

WRITE_LOSSES = ("numba_criterion", "write_losses")
WRITE_LOGIT_GRADIENTS = ("numba_criterion", "write_logit_gradients")
WRITE_BOX_GRADIENTS = ("numba_criterion", "write_box_gradients")
ELEMENTS_WORTH_A_THREAD = 2**22
SUMS = 7
"""As in `numba_criterion`."""


def losses_on_host(batch: Batch, formula: LossFormula) -> LayerLosses | None:
    """Return the losses of all layers under the matching, with a gradient for the logits and boxes of each layer.

    None where numba is not installed, or the batch is not one of real numbers of one dtype on the CPU without a
    gradient for target boxes. Raises RuntimeError in a backward pass with create_graph=True.
    """
    logits, boxes = batch.logits, [layer["pred_boxes"] for layer in batch.layers]
    dtypes = {*(tensor.dtype for tensor in (*logits, *boxes)), batch.targets.boxes.dtype}
    fits = len(dtypes) == 1 and dtypes <= {torch.float32, torch.float64} and logits[0].device.type == "cpu"
    if not fits or batch.targets.boxes.requires_grad or compiled(*WRITE_LOSSES) is None:
        return None
    return by_name(_Losses.apply(batch, formula, *logits, *boxes))


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batch: Batch, formula: LossFormula, *predictions: Tensor) -> Any:
        layers, images = len(batch.layers), len(batch.targets.sizes)
        _, *statistics = batch.predictions.softmax
        sizes = np.array(batch.targets.sizes)
        shared = (batch.targets.labels.numpy(), batch.targets.boxes.numpy(), sizes)
        queries = _by_layer(layers, batch.columns)
        sums = np.zeros((layers, SUMS))
        write_losses = _function(WRITE_LOSSES)
        for logits, boxes, *own in zip(
            *_halves(predictions), queries, *(_by_layer(layers, one) for one in statistics), sums, strict=True
        ):
            *of_queries, own_sums = own
            write_losses(_array(logits), _array(boxes), *shared, *of_queries, formula.eos_coef, own_sums)
        class_loss, class_weight, l1_loss, giou_loss, count_error, matched, correct = sums.T
        with np.errstate(invalid="ignore"):
            of_layers = (
                class_loss / class_weight,
                l1_loss / formula.num_boxes,
                giou_loss / formula.num_boxes,
                count_error / images,
            )
        class_error = 100 - 100 * correct[0] / max(matched[0], 1)
        # Each has memory of its own, so that it may be multiplied in place by its weight.
        found = [predictions[0].new_tensor(number) for number in (*np.concatenate(of_layers).tolist(), class_error)]
        ctx.formula, ctx.class_weight, ctx.shared, ctx.queries = formula, class_weight, shared, queries
        ctx.exponentials, ctx.exponential_sum = batch.predictions.softmax[:2]
        ctx.save_for_backward(*predictions)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*found[3 * layers :])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Any:
        refuse_second_derivatives()
        logits, boxes = _halves(ctx.saved_tensors)
        layers, formula = len(logits), ctx.formula
        labels, target_boxes, sizes = ctx.shared
        shares = np.array([0.0 if one is None else one.item() for one in given[: 3 * layers]]).reshape(3, layers)
        of_class, of_l1, of_giou = shares / (
            ctx.class_weight,
            [formula.num_boxes] * layers,
            [formula.num_boxes] * layers,
        )
        # The gradient is written over the exponentials, so a second backward pass needs new ones.
        exponentials = softmax(logits).exponentials if ctx.exponentials is None else ctx.exponentials
        ctx.exponentials = None
        of_boxes = [torch.empty_like(one, memory_format=torch.contiguous_format) for one in boxes]
        in_threads(
            min(threads_worth(layers * logits[0].numel(), ELEMENTS_WORTH_A_THREAD), layers),
            [
                partial(_function(WRITE_LOGIT_GRADIENTS), *arrays, labels, sizes, queries, formula.eos_coef, share)
                for *arrays, queries, share in zip(
                    [layer.numpy() for layer in exponentials.layers],
                    _by_layer(layers, ctx.exponential_sum),
                    ctx.queries,
                    of_class,
                    strict=True,
                )
            ],
        )
        write_box_gradients = _function(WRITE_BOX_GRADIENTS)
        for one, queries, l1, giou, gradient in zip(boxes, ctx.queries, of_l1, of_giou, of_boxes, strict=True):
            write_box_gradients(_array(one), target_boxes, sizes, queries, l1, giou, formula.touching, gradient.numpy())
        return None, None, *connected(given, exponentials.layers, of_boxes, [one.dtype for one in logits] * 2)


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
