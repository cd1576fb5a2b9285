"""Bridge to PyTorch: losses of the usual shape, `matcher(outputs, targets)`, `criterion(outputs, targets)`,
`postprocess(outputs, target_sizes)` and `heads(hidden_states)`, by the key names of the profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance.bridges.answers import describe, entry, mapping, matching, sequence
from detr_conformance.bridges.torch_inputs import Factory, Inputs, built, observation, to_numpy
from detr_spec.configuration import Configuration
from detr_spec.implementation import BoxOperations, Heads, Implementation, Limits
from detr_spec.profile import Profile, named_profile
from detr_spec.values import (
    Answer,
    Detections,
    Floats,
    HeadParameters,
    Integers,
    InvalidValue,
    Losses,
    Matching,
    Outputs,
    Targets,
)
from detr_spec.violation import NotProvided, Violation


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
) -> Implementation:
    """An implementation from PyTorch modules (or functions) of the usual shape; any of them may be missing.

    Each factory builds the module from a `Configuration`. The criterion's own matching is read from its
    `matcher` attribute where that is a module, and its weight table from `weight_dict`. `boxes` maps the names
    of `BoxOperations` to functions on tensors; `masks` builds the criterion with mask losses. Raises `KeyError`
    for a profile name that does not exist.
    """
    declared = named_profile(profile) if isinstance(profile, str) else profile
    box_functions = boxes
    return Implementation(
        name=name,
        profile=declared,
        limits=limits or Limits(),
        boxes=None if box_functions is None else lambda configuration: _boxes(box_functions, configuration),
        matcher=None if matcher is None else _component(matcher, _call_matcher),
        criterion=None if criterion is None else _component(criterion, _call_criterion),
        masks=None if masks is None else _component(masks, _call_criterion),
        postprocess=None if postprocess is None else _component(postprocess, _call_postprocess),
        heads=None if heads is None else lambda configuration: _heads(heads, configuration),
    )


def _component(factory: Factory, call: Callable[..., Any]) -> Callable[[Configuration], Callable[..., Any]]:
    def build(configuration: Configuration) -> Callable[..., Any]:
        module = built(factory, configuration)
        return lambda *arguments: call(module, configuration, *arguments)

    return build


def _boxes(functions: Mapping[str, Callable[..., Tensor]], configuration: Configuration) -> BoxOperations:
    return BoxOperations(
        **{name: _box_operation(name, function, configuration) for name, function in functions.items()}
    )


def _box_operation(
    name: str, function: Callable[..., Tensor], configuration: Configuration
) -> Callable[..., Answer[Floats]]:
    def call(*boxes: Floats) -> Answer[Floats]:
        inputs = Inputs(configuration)
        answer = function(*(inputs.numbers(f"argument {place}", array) for place, array in enumerate(boxes)))
        if not isinstance(answer, Tensor):
            raise Violation(f"{name} returned {describe(answer)}", expected="a tensor", got=describe(answer))
        return Answer(to_numpy(answer), observation(inputs, {name: answer}))

    return call


def _call_matcher(
    module: Callable[..., Any], configuration: Configuration, outputs: Outputs, targets: Targets
) -> Answer[tuple[Matching, ...]]:
    inputs = Inputs(configuration)
    answer = module(inputs.outputs(outputs), inputs.targets(targets))
    matchings, parts = _matchings("the matcher", answer, len(targets))
    return Answer(matchings, observation(inputs, parts))


def _matchings(what: str, answer: Any, images: int) -> tuple[tuple[Matching, ...], dict[str, Any]]:
    """The matching of each image, and the index vectors by name."""
    pairs = sequence(what, answer, "a list of (query indices, target indices), one an image", images)
    matchings = tuple(matching(f"{what}, for image {image},", pair, to_numpy) for image, pair in enumerate(pairs))
    names = ("query indices", "target indices")
    parts = {
        f"{name} of image {image}": part
        for image, pair in enumerate(pairs)
        for name, part in zip(names, pair, strict=True)
    }
    return matchings, parts


def _call_criterion(
    module: Callable[..., Any], configuration: Configuration, outputs: Outputs, targets: Targets
) -> Answer[Losses]:
    inputs = Inputs(configuration)
    given = inputs.outputs(outputs)
    keys = configuration.profile.keys
    layers = [*given.get(keys.auxiliary, ()), given]
    with _MatcherCalls(module) as calls:
        answer = mapping("the criterion", module(given, inputs.targets(targets)), "a dictionary of losses")
    values = {str(key): _scalar(str(key), value) for key, value in answer.items()}
    weights = getattr(module, "weight_dict", None)
    return Answer(
        Losses(
            values,
            None if weights is None else {str(key): float(weight) for key, weight in weights.items()},
            calls.of_layers([(layer[keys.logits], layer[keys.boxes]) for layer in layers], keys, len(targets)),
        ),
        observation(inputs, dict(answer)),
    )


def _scalar(key: str, value: Any) -> float:
    numbers = to_numpy(value)
    if numbers.size != 1:
        raise Violation(f"loss {key!r} has shape {list(numbers.shape)}", expected=[], got=list(numbers.shape))
    return float(numbers.reshape(()))


class _MatcherCalls:
    """Watches the matcher inside a criterion, where that is a module of its own."""

    def __init__(self, criterion: Callable[..., Any]) -> None:
        self._matcher = getattr(criterion, "matcher", None)
        self._calls: list[tuple[Any, Any]] = []

    def __enter__(self) -> _MatcherCalls:
        if isinstance(self._matcher, nn.Module):
            self._handle = self._matcher.register_forward_hook(self._record, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._matcher, nn.Module):
            self._handle.remove()

    def _record(self, _: nn.Module, arguments: Any, named: Any, answer: Any) -> None:
        given = arguments[0] if arguments else next(iter(named.values()), None)
        self._calls.append((dict(given) if isinstance(given, Mapping) else None, answer))

    def of_layers(
        self, layers: list[tuple[Tensor, Tensor]], keys: Any, images: int
    ) -> tuple[tuple[Matching, ...], ...] | None:
        """The matching of each layer, told by the tensors the matcher was called with; None where one is not seen."""
        found = [self._of_layer(layer, keys, images) for layer in layers]
        return None if None in found else tuple(item for item in found if item is not None)

    def _of_layer(self, layer: tuple[Tensor, Tensor], keys: Any, images: int) -> tuple[Matching, ...] | None:
        for given, answer in self._calls:
            parts = None if given is None else (given.get(keys.logits), given.get(keys.boxes))
            if parts and all(isinstance(a, Tensor) and torch.equal(a, b) for a, b in zip(parts, layer, strict=True)):
                return _matchings("the criterion's matcher", answer, images)[0]
        return None


def _call_postprocess(
    module: Callable[..., Any], configuration: Configuration, outputs: Outputs, sizes: Integers
) -> Answer[tuple[Detections, ...]]:
    inputs = Inputs(configuration)
    answer = module(inputs.outputs(outputs), inputs.integers("target_sizes", sizes))
    images = sequence("the post-processing", answer, "a list of dictionaries, one an image", len(sizes))
    names = ("scores", "labels", "boxes")
    read = [{name: entry("the post-processing", image, name) for name in names} for image in images]
    parts = {f"{name} of image {place}": image[name] for place, image in enumerate(read) for name in names}
    detections = tuple(Detections(*(to_numpy(image[name]) for name in names)) for image in read)
    return Answer(detections, observation(inputs, parts))


def _heads(factory: Factory, configuration: Configuration) -> Heads:
    module = built(factory, configuration)
    keys = configuration.profile.keys

    def forward(hidden: Floats) -> Answer[Outputs]:
        inputs = Inputs(configuration)
        answer = mapping("the heads", module(inputs.numbers("hidden", hidden)), "a dictionary of outputs")
        layers = [*answer.get(keys.auxiliary, ()), answer]
        read = [_read_layer(layer, keys) for layer in layers]
        parts = {key: answer[key] for key in (keys.logits, keys.boxes)}
        outputs = Outputs(read[-1].logits, read[-1].boxes, auxiliary=tuple(read[:-1]), broken=True)
        return Answer(outputs, observation(inputs, parts))

    return Heads(forward=forward, parameters=lambda: _head_parameters(module))


def _read_layer(layer: Any, keys: Any) -> Outputs:
    logits, boxes = (to_numpy(entry("the heads", layer, key)) for key in (keys.logits, keys.boxes))
    try:
        return Outputs(logits, boxes, broken=True)
    except InvalidValue as error:
        raise Violation(f"the heads returned wrong shapes: {error}") from error


def _head_parameters(module: Any) -> HeadParameters:
    """The weights of `class_embed` and `bbox_embed.layers`, the names that DETR's heads have."""
    try:
        linear_maps = [module.class_embed, *module.bbox_embed.layers]
    except AttributeError as error:
        raise NotProvided(f"the heads' weights cannot be read: {error}") from error
    weights = [(to_numpy(layer.weight), to_numpy(layer.bias)) for layer in linear_maps]
    return HeadParameters(weights[0], tuple(weights[1:]))
