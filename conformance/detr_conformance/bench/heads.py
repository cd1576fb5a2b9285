"""How models make the outputs of their layers from hidden states, whose gradient a training step goes back to.

A head is one factor for each column, all 1, so that outputs and gradients are those of the hidden states and are held
to the same definitions. The projections of real heads cost every loss the same, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

LEAVES = "leaves"
"""No heads at all: each layer is a leaf of its own, as in no model."""


def _shared(hidden: Tensor) -> Tensor:
    """What one head makes of the hidden states of all layers."""
    return hidden * hidden.new_ones(hidden.shape[-1])


def _each(hidden: Tensor) -> list[Tensor]:
    """What heads of their own make of the hidden states of each layer."""
    return [_shared(layer) for layer in hidden.unbind()]


def _last_and_others(stacked: Tensor) -> list[Tensor]:
    return [*stacked[:-1], stacked[-1]]


def _one_by_one(stacked: Tensor) -> list[Tensor]:
    return [stacked[layer] for layer in range(len(stacked))]


HEADS: Mapping[str, Callable[[Tensor], list[Tensor]]] = {
    "sliced": lambda hidden: _last_and_others(_shared(hidden)),
    "indexed": lambda hidden: _one_by_one(_shared(hidden)),
    "unbound": lambda hidden: list(_shared(hidden).unbind()),
    "stacked": lambda hidden: _last_and_others(torch.stack(_each(hidden))),
    "separate": _each,
}
"""From hidden states [L, B, Q, ·] to the outputs [B, Q, ·] of each layer.

sliced: one head, the last layer apart from the others, as in DETR and rf-detr. indexed: one head, layer by layer.
unbound: one head, all layers at once. stacked: a head for each layer, and then sliced, as in Deformable DETR and
transformers. separate: a head for each layer, never together.
"""
