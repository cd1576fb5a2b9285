"""The prediction heads as a function of their weights. norm §1; Carion et al. 2020, section 3.2."""

from __future__ import annotations

from typing import Any

import numpy as np

from detr_spec.activations import sigmoid
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Floats, HeadParameters


def linear(inputs: Interval, weight: Floats, bias: Floats) -> Interval:
    """The linear map x Wᵀ + b over the last axis; [..., D] with W [E, D] and b [E] → [..., E].

    The bias is a term of the sum like the products, for a matrix multiplication may well start from it.
    """
    products: Any = inputs[..., None, :] * lift(weight, inputs.dtype)
    biases: Any = lift(bias, inputs.dtype)[..., None]
    terms: Any = np.concatenate([products, np.broadcast_to(biases, (*products.shape[:-1], 1))], axis=-1)
    total: Interval = terms.sum(axis=-1)
    return total


def class_head(hidden: Interval, parameters: HeadParameters) -> Interval:
    """One linear map to the logits; hidden states [..., D] → [..., C]."""
    return linear(hidden, *parameters.class_head)


def box_head(hidden: Interval, parameters: HeadParameters) -> Interval:
    """Linear maps with ReLU between them, none after the last, and a sigmoid; [..., D] → [..., 4]."""
    states: Any = hidden
    for weight, bias in parameters.box_head[:-1]:
        mapped: Any = linear(states, weight, bias)
        states = np.maximum(mapped, 0.0)
    boxes: Interval = sigmoid(linear(states, *parameters.box_head[-1]))
    return boxes
