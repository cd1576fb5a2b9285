"""Bridge to PyTorch: beside what every framework has, criteria on several ranks, `heads(hidden_states)`, decoders and
models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from detr_conformance.bridges.answers import mapping
from detr_conformance.bridges.criteria import call_criterion
from detr_conformance.bridges.framework import TRAINING
from detr_conformance.bridges.framework_bridge import component_of, framework_implementation, with_masks
from detr_conformance.bridges.inputs import Factory, Inputs, observation
from detr_conformance.bridges.torch_decoder import decoder_component, model_component, read_outputs
from detr_conformance.bridges.torch_framework import TORCH
from detr_conformance.bridges.torch_ranks import Ranks, ranks_available
from detr_conformance.testee.detr_testee import to_numpy
from detr_spec.configuration import Configuration
from detr_spec.implementation import Distributed, Heads, Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.values import Answer, Floats, HeadParameters, Outputs
from detr_spec.violation import NotProvided


def torch_implementation(
    *,
    name: str,
    profile: Profile | str,
    limits: Limits | None = None,
    boxes: Mapping[str, Callable[..., Tensor]] | None = None,
    matcher: Factory | None = None,
    criterion: Factory | None = None,
    masks: Factory | None = None,
    postprocess: Factory | None = None,
    heads: Factory | None = None,
    decoder: Factory | None = None,
    model: Factory | None = None,
    backbone_reach: int | None = None,
) -> Implementation:
    """An implementation from PyTorch modules (or functions) of the usual shape; any of them may be missing.

    Each factory builds the module from a `Configuration`. The criterion's own matching is read from its
    `matcher` attribute where that is a module, and its weight table from `weight_dict`. `boxes` maps the names
    of `BoxOperations` to functions on tensors; `masks` builds the criterion with mask losses. Every criterion
    provides `gradients` too, those of mask losses with `masks`, and `distributed` where there can be ranks. `decoder`
    builds what is called with (features, padding, query_embed, positions), and `model` what is called with a list of
    images; both are put in evaluation mode. `backbone_reach` is the number of pixels beyond which the model's backbone
    sees nothing, half the receptive field of a ResNet; where it is given, padding that is farther away is judged.
    Raises `KeyError` for a profile name that does not exist, and `UsageError` for a box operation that there is not.
    """
    parts = framework_implementation(
        TORCH,
        name=name,
        profile=profile,
        limits=limits,
        boxes=boxes,
        matcher=matcher,
        criterion=criterion,
        masks=masks,
        postprocess=postprocess,
    )
    return replace(
        parts,
        distributed=None if criterion is None else _distributed(with_masks(criterion, masks)),
        heads=None if heads is None else lambda configuration: _heads(heads, configuration),
        decoder=None if decoder is None else decoder_component(decoder),
        model=None if model is None else model_component(model, backbone_reach),
    )


def _distributed(criterion: Factory) -> Callable[[Configuration], Distributed] | None:
    """The criterion in several processes, where there can be any."""
    return Ranks(component_of(TORCH, criterion, call_criterion)) if ranks_available() else None


def _heads(factory: Factory, configuration: Configuration) -> Heads:
    module = TORCH.built(factory, configuration)
    keys = configuration.profile.keys

    def forward(hidden: Floats) -> Answer[Outputs]:
        inputs = Inputs(TORCH, configuration)
        with TORCH.calling(module, configuration, TRAINING):
            answer = mapping("the heads", module(inputs.numbers("hidden", hidden)), "a dictionary of outputs")
        outputs = read_outputs("the heads", answer, keys)
        return Answer(outputs, observation(inputs, {key: answer[key] for key in (keys.logits, str(keys.boxes))}))

    return Heads(forward=forward, parameters=lambda: _head_parameters(module))


def _head_parameters(module: Any) -> HeadParameters:
    """The weights of `class_embed` and `bbox_embed.layers`, the names that DETR's heads have."""
    try:
        linear_maps = [module.class_embed, *module.bbox_embed.layers]
    except AttributeError as error:
        raise NotProvided(f"the heads' weights cannot be read: {error}") from error
    weights = [(to_numpy(layer.weight), to_numpy(layer.bias)) for layer in linear_maps]
    return HeadParameters(weights[0], tuple(weights[1:]))
