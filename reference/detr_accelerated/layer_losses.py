"""The losses of all decoder layers as kernels give them, on CUDA and on the CPU, and how their gradients are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LOSSES = ("class_loss", "l1_loss", "giou_loss")
"""What has a gradient, of each layer."""


class LayerLosses(NamedTuple):
    """The losses and metrics of a batch, each a 0-dimensional tensor of its own; lists of L, the last layer first."""

    class_loss: Sequence[Tensor]
    l1_loss: Sequence[Tensor]
    giou_loss: Sequence[Tensor]
    cardinality_error: Sequence[Tensor]
    class_error: Tensor


def by_name(found: Sequence[Tensor]) -> LayerLosses:
    """Return the losses by name, of tensors in the order of the fields, L of each and one class error."""
    layers = len(found) // 4
    class_loss, l1_loss, giou_loss, cardinality_error = (found[k * layers : (k + 1) * layers] for k in range(4))
    return LayerLosses(class_loss, l1_loss, giou_loss, cardinality_error, found[-1])


def connected(
    given: Sequence[Tensor | None],
    of_logits: Sequence[Tensor],
    of_boxes: Sequence[Tensor],
    dtypes: Sequence[torch.dtype],
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the logits and of the boxes of L layers, in the dtypes of both.

    given: the gradients of the `LOSSES`, L of each. What no loss depends on has no gradient, which is not one of 0.
    """
    layers = len(of_logits)
    unused = (None,) * layers
    gradients = (
        *(unused if _all_none(given[:layers]) else of_logits),
        *(unused if _all_none(given[layers : 3 * layers]) else of_boxes),
    )
    return tuple(g if g is None else g.to(dtype) for g, dtype in zip(gradients, dtypes, strict=True))


def _all_none(gradients: Sequence[Tensor | None]) -> bool:
    return all(gradient is None for gradient in gradients)
