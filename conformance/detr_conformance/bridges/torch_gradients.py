"""Gradients of a PyTorch criterion: of Σ weight · loss, with respect to what every decoder layer predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from detr_conformance.bridges.answers import single
from detr_conformance.bridges.torch_criterion import called
from detr_conformance.bridges.torch_inputs import Inputs, observation
from detr_conformance.testee.detr_testee import backward, to_numpy
from detr_spec.configuration import Configuration
from detr_spec.profile import Keys
from detr_spec.values import Answer, Floats, LayerGradient, LossGradients, Outputs, Targets


def call_gradients(
    module: Callable[..., Any],
    configuration: Configuration,
    outputs: Outputs,
    targets: Targets,
    weights: Mapping[str, float],
) -> Answer[LossGradients]:
    """The losses, their sum over the keys that have a weight, and its gradient in each decoder layer."""
    inputs = Inputs(configuration)
    given, keys = inputs.outputs(outputs, targets), configuration.profile.keys
    leaves = {
        name: [_leaves(layer, keys) for layer in layers]
        for name, layers in {"layers": inputs.layers, **inputs.apart}.items()
    }
    losses, answer = called(module, configuration, given, inputs.targets(targets), inputs)
    total = backward(answer, weights)
    value = LossGradients(
        losses,
        single("the weighted total", total, to_numpy),
        **{name: tuple(map(_gradients, layers)) for name, layers in leaves.items()},
    )
    return Answer(value, observation(inputs, answer))


def _leaves(layer: Mapping[str, Any], keys: Keys) -> dict[str, Tensor | None]:
    """What is given of a layer, by the names of its gradients."""
    return {field.name: layer.get(getattr(keys, field.name)) for field in fields(LayerGradient)}


def _gradients(leaves: Mapping[str, Tensor | None]) -> LayerGradient:
    return LayerGradient(**{name: _gradient(leaf) for name, leaf in leaves.items()})


def _gradient(leaf: Tensor | None) -> Floats | None:
    """The gradient by a prediction; None for one that there is not, or that the total is not connected to."""
    return None if leaf is None or leaf.grad is None else to_numpy(leaf.grad)
