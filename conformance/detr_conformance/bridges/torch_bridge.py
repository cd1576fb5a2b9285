"""Bridge to PyTorch: losses of the usual shape, `matcher(outputs, targets)`, `criterion(outputs, targets)`,
`postprocess(outputs, target_sizes)`, `heads(hidden_states)`, by the key names of the profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from detr_conformance.bridges.answers import entry, instance, mapping, numbers, sequence
from detr_conformance.bridges.box_operations import box_operations
from detr_conformance.bridges.torch_calls import (
    EVALUATION,
    TRAINING,
    Mode,
    broken_batches,
    broken_sizes,
    call_before,
    mode_of_call,
    other_batches,
    other_detections,
    precision,
)
from detr_conformance.bridges.torch_criterion import call_criterion, matchings, spelt_matcher
from detr_conformance.bridges.torch_decoder import decoder_component, model_component, read_outputs
from detr_conformance.bridges.torch_gradients import call_gradients
from detr_conformance.bridges.torch_inputs import Factory, Inputs, built, devices, observation
from detr_conformance.bridges.torch_ranks import Ranks, ranks_available
from detr_conformance.testee.detr_testee import to_numpy
from detr_spec.calls import CALLS
from detr_spec.configuration import Configuration
from detr_spec.implementation import Distributed, Heads, Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.profiles import named_profile
from detr_spec.values import (
    Answer,
    Detections,
    Floats,
    HeadParameters,
    Integers,
    Matching,
    Outputs,
    Targets,
)
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
    declared = named_profile(profile) if isinstance(profile, str) else profile
    return Implementation(
        name=name,
        profile=declared,
        limits=_of_torch(limits or Limits()),
        boxes=None if boxes is None else box_operations(boxes, _box_operation),
        matcher=None if matcher is None else _component(matcher, _call_matcher),
        criterion=None if criterion is None else _component(criterion, call_criterion),
        masks=None if masks is None else _component(masks, call_criterion),
        gradients=None if criterion is None else _component(_with_masks(criterion, masks), call_gradients),
        distributed=None if criterion is None else _distributed(_with_masks(criterion, masks)),
        postprocess=None if postprocess is None else _component(postprocess, _call_postprocess, EVALUATION),
        heads=None if heads is None else lambda configuration: _heads(heads, configuration),
        decoder=None if decoder is None else decoder_component(decoder),
        model=None if model is None else model_component(model, backbone_reach),
    )


@dataclass(frozen=True)
class TorchComponent:
    """A module that was built from a configuration, called with values of the specification."""

    module: Callable[..., Any]
    configuration: Configuration
    call: Callable[..., Any]
    usual: Mode

    def __call__(self, *arguments: Any) -> Any:
        """What the module answers, as the specification's values."""
        with mode_of_call(self.usual, self.configuration, self.module), precision(self.configuration):
            return self.call(self.module, self.configuration, *arguments)


def _component(
    factory: Factory, call: Callable[..., Any], usual: Mode = TRAINING
) -> Callable[[Configuration], TorchComponent]:
    return lambda configuration: TorchComponent(built(factory, configuration), configuration, call, usual)


def _with_masks(criterion: Factory, masks: Factory | None) -> Factory:
    """The criterion, and where mask losses are asked for, the one with these."""

    def build(configuration: Configuration) -> Callable[..., Any]:
        if not configuration.masks:
            return criterion(configuration)
        if masks is None:
            raise NotProvided("the implementation has no mask losses")
        return masks(configuration)

    return build


def _distributed(criterion: Factory) -> Callable[[Configuration], Distributed] | None:
    """The criterion in several processes, where there can be any."""
    return Ranks(_component(criterion, call_criterion)) if ranks_available() else None


def _of_torch(limits: Limits) -> Limits:
    """The limits, with the devices that there are where none are given, and no way of calling that torch lacks."""
    calls = [call for call in CALLS if call != "read-only"]
    return replace(limits.within_calls(calls), devices=limits.devices or devices())


def _box_operation(
    name: str, function: Callable[..., Tensor], configuration: Configuration
) -> Callable[..., Answer[Floats]]:
    def call(*boxes: Floats) -> Answer[Floats]:
        inputs = Inputs(configuration)
        recording = configuration.call == "with-gradient"
        arguments = [inputs.numbers(f"argument {place}", array, recording) for place, array in enumerate(boxes)]
        with precision(configuration):
            answer = function(*arguments)
        array = numbers(name, instance(name, answer, Tensor), to_numpy)
        return Answer(array, observation(inputs, {name: answer}))

    return call


def _call_matcher(
    module: Callable[..., Any], configuration: Configuration, outputs: Outputs, targets: Targets
) -> Answer[tuple[Matching, ...]]:
    inputs = Inputs(configuration)
    given = inputs.outputs(outputs, targets), inputs.targets(targets)
    batch = configuration, *given
    matcher = spelt_matcher(module, configuration.profile)
    call_before(matcher, configuration, broken=broken_batches(*batch), others=other_batches(*batch))
    found, parts = matchings("the matcher", matcher(*given), inputs.counts, configuration.profile.matcher)
    return Answer(found, observation(inputs, parts))


def _call_postprocess(
    module: Callable[..., Any], configuration: Configuration, outputs: Outputs, sizes: Integers
) -> Answer[tuple[Detections, ...]]:
    inputs = Inputs(configuration)
    what, names = "the post-processing", [field.name for field in fields(Detections)]
    given = inputs.outputs(outputs), inputs.tensor("target_sizes", sizes, torch.int64)
    batch = configuration, *given
    call_before(module, configuration, broken=broken_sizes(*batch), others=other_detections(*batch))
    images = sequence(what, module(*given), "a list of dictionaries, one an image", len(sizes))
    read = [{name: entry(what, image, name) for name in names} for image in images]
    parts = {f"{name} of image {place}": image[name] for place, image in enumerate(read) for name in names}
    arrays = [{name: numbers(f"{what}, for {name},", part, to_numpy) for name, part in image.items()} for image in read]
    return Answer(tuple(Detections(**image) for image in arrays), observation(inputs, parts))


def _heads(factory: Factory, configuration: Configuration) -> Heads:
    module = built(factory, configuration)
    keys = configuration.profile.keys

    def forward(hidden: Floats) -> Answer[Outputs]:
        inputs = Inputs(configuration)
        with mode_of_call(TRAINING, configuration, module), precision(configuration):
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
