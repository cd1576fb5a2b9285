"""The prediction heads as a function of their weights. norm §1; Carion et al. 2020, section 3.2."""

from __future__ import annotations

from detr_spec.activations import sigmoid
from detr_spec.tolerance import Interval, broadcast_to, concatenate, lift, maximum
from detr_spec.values import Floats, HeadParameters


def linear(inputs: Interval, weight: Floats, bias: Floats) -> Interval:
    """The linear map x Wᵀ + b over the last axis; [..., D] with W [E, D] and b [E] → [..., E].

    The bias is a term of the sum like the products, because a matrix multiplication may start from it.
    """
    products = inputs[..., None, :] * lift(weight, inputs.dtype)
    biases = broadcast_to(lift(bias, inputs.dtype)[..., None], (*products.shape[:-1], 1))
    return concatenate([products, biases], axis=-1).sum(axis=-1)


def class_head(hidden: Interval, parameters: HeadParameters) -> Interval:
    """One linear map to the logits; hidden states [..., D] → [..., C]."""
    return linear(hidden, *parameters.class_head)


def box_head(hidden: Interval, parameters: HeadParameters) -> Interval:
    """Linear maps with ReLU between them, none after the last, and a sigmoid; [..., D] → [..., 4]."""
    states = hidden
    for weight, bias in parameters.box_head[:-1]:
        states = maximum(linear(states, weight, bias), 0.0)
    return sigmoid(linear(states, *parameters.box_head[-1]))
