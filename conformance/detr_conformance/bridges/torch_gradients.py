"""Gradients of a PyTorch criterion: of Σ weight · loss, with respect to what every decoder layer predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from detr_conformance.bridges.torch_criterion import called, layer_predictions
from detr_conformance.bridges.torch_inputs import Inputs, observation, to_numpy
from detr_spec.apart import APART
from detr_spec.configuration import Configuration
from detr_spec.values import Answer, LayerGradient, LossGradients, Outputs, Targets


def call_gradients(
    module: Callable[..., Any],
    configuration: Configuration,
    outputs: Outputs,
    targets: Targets,
    weights: Mapping[str, float],
) -> Answer[LossGradients]:
    """The losses, their sum over the keys that have a weight, and its gradient in each decoder layer."""
    inputs = Inputs(configuration)
    given = inputs.outputs(outputs)
    keys = configuration.profile.keys
    layers = layer_predictions(given, configuration)
    apart = {name: given[getattr(keys, name)] for name in APART if getattr(outputs, name) is not None}
    layers += [(part[keys.logits], part[keys.boxes]) for part in apart.values()]
    masks = [given[keys.masks]] if outputs.masks is not None else []
    losses, answer = called(module, configuration, given, inputs.targets(targets))
    weighted = [torch.as_tensor(answer[key]) * weight for key, weight in weights.items() if key in answer]
    total = torch.stack([loss.reshape(()) for loss in weighted]).sum() if weighted else torch.zeros(())
    leaves = [leaf for layer in layers for leaf in layer]
    gradients = [None if part is None else to_numpy(part) for part in _gradients(total, leaves + masks)]
    of_masks = gradients.pop() if masks else None
    found = [LayerGradient(*pair) for pair in zip(gradients[::2], gradients[1::2], strict=True)]
    of_apart = dict(zip(apart, found[len(outputs.layers) :], strict=True))
    *auxiliary, last = found[: len(outputs.layers)]
    of_layers = (*auxiliary, replace(last, masks=of_masks))
    return Answer(LossGradients(losses, float(to_numpy(total)), of_layers, **of_apart), observation(inputs, answer))


def _gradients(total: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """The gradient with respect to each leaf; None for one that the total is not connected to.

    The whole graph is walked, as in training, and so also what an earlier call left of its own.
    """
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]
    return [leaf.grad for leaf in leaves]
