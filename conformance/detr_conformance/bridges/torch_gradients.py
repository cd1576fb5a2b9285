"""Gradients of a PyTorch criterion: of Σ weight · loss, with respect to what every decoder layer predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from detr_conformance.bridges.torch_criterion import called, layer_predictions
from detr_conformance.bridges.torch_inputs import Inputs, observation, to_numpy
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
    leaves = [leaf for layer in layer_predictions(given, configuration) for leaf in layer]
    masks = [given[configuration.profile.keys.masks]] if outputs.masks is not None else []
    losses, answer = called(module, configuration, given, inputs.targets(targets))
    weighted = [torch.as_tensor(answer[key]) * weight for key, weight in weights.items() if key in answer]
    total = torch.stack([loss.reshape(()) for loss in weighted]).sum() if weighted else torch.zeros(())
    gradients = [None if part is None else to_numpy(part) for part in _gradients(total, leaves + masks)]
    of_masks = gradients[len(leaves)] if masks else None
    pairs = zip(gradients[: len(leaves) : 2], gradients[1 : len(leaves) : 2], strict=True)
    *auxiliary, last = (LayerGradient(*pair) for pair in pairs)
    layers = (*auxiliary, replace(last, masks=of_masks))
    return Answer(LossGradients(losses, float(to_numpy(total)), layers), observation(inputs, answer))


def _gradients(total: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """The gradient with respect to each leaf; None for one that the total is not connected to.

    The whole graph is walked, as in training, and so also what an earlier call left of its own.
    """
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]
    return [leaf.grad for leaf in leaves]
