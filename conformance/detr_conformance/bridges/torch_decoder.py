"""Bridge to PyTorch for what comes before the heads: decoders and whole models, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance.bridges.answers import entry, instance, mapping, numbers, sequence
from detr_conformance.bridges.inputs import Factory, Inputs, observation
from detr_conformance.bridges.torch_framework import TORCH, precision
from detr_conformance.testee.detr_testee import to_numpy
from detr_spec.configuration import Configuration
from detr_spec.implementation import Decoder, Model
from detr_spec.profile import Keys
from detr_spec.values import Answer, FeatureMap, Floats, InvalidValue, Outputs
from detr_spec.violation import NotProvided, Violation


def decoder_component(factory: Factory) -> Callable[[Configuration], Decoder]:
    """The component `decoder` of modules that are called with (features, padding, query_embed, positions).

    A module gives the hidden states, or a tuple that starts with them. Where it is an `nn.Module`, the form that gives
    the last layer alone is built from the same configuration with `return_intermediate=False`, and given the weights
    of the other; a factory that has no such form raises `NotProvided` for it.
    """

    def build(configuration: Configuration) -> Decoder:
        module = _evaluated(factory, configuration)

        def last(features: FeatureMap) -> Answer[Floats]:
            alone = _evaluated(factory, replace(configuration, return_intermediate=False))
            assert isinstance(alone, nn.Module)
            assert isinstance(module, nn.Module)
            alone.load_state_dict(module.state_dict())
            return _hidden_states(alone, configuration, features)

        def cut(features: FeatureMap, layers: int) -> Answer[Floats]:
            return _hidden_states(_ended(factory, configuration, layers, module), configuration, features)

        has_weights = isinstance(module, nn.Module)
        return Decoder(
            stacked=lambda features: _hidden_states(module, configuration, features),
            last=last if has_weights else None,
            cut=cut if has_weights else None,
        )

    return build


def _ended(
    factory: Factory, configuration: Configuration, layers: int, whole: Callable[..., Any]
) -> Callable[..., Any]:
    """What the factory builds of fewer decoder layers, with the weights of the whole one.

    Raises `NotProvided` where it has others, by name or by shape.
    """
    part = _evaluated(factory, replace(configuration, decoder_layers=layers))
    assert isinstance(part, nn.Module)
    assert isinstance(whole, nn.Module)
    own, given = part.state_dict(), whole.state_dict()
    foreign = [name for name, value in own.items() if name not in given or given[name].shape != value.shape]
    if foreign:
        raise NotProvided(f"with fewer decoder layers it has other weights: {', '.join(foreign)}")
    part.load_state_dict({name: given[name] for name in own})
    return part


def model_component(factory: Factory, reach: int | None) -> Callable[[Configuration], Model]:
    """The component `model` of modules that are called with a list of images [3, H, W] and give outputs.

    Where it is an `nn.Module`, one that ends after fewer decoder layers is built from the same configuration with that
    number of them, and given the weights of the whole one. A model whose encoder predicts too is not cut: its head is
    commonly the one after those of the decoder layers, and by its name another one where they are fewer.
    """

    def build(configuration: Configuration) -> Model:
        module = _evaluated(factory, configuration)

        def cut(images: Sequence[Floats], layers: int) -> Answer[Outputs]:
            return _outputs(_ended(factory, configuration, layers, module), configuration, images, ended=True)

        return Model(
            call=lambda images: _outputs(module, configuration, images),
            cut=cut if isinstance(module, nn.Module) else None,
            reach=None if reach is None else lambda: reach,
        )

    return build


def _evaluated(factory: Factory, configuration: Configuration) -> Callable[..., Any]:
    module = TORCH.built(factory, configuration)
    return module.eval() if isinstance(module, nn.Module) else module


@torch.no_grad()
def _hidden_states(module: Callable[..., Any], configuration: Configuration, features: FeatureMap) -> Answer[Floats]:
    inputs = Inputs(TORCH, configuration)
    arguments = (
        inputs.numbers("features", features.features),
        inputs.array("padding", features.padding, "bool"),
        inputs.numbers("query embeddings", features.queries),
        inputs.numbers("positions", features.positions),
    )
    with precision(configuration):
        answer = module(*arguments)
    hidden = answer[0] if isinstance(answer, (tuple, list)) and answer else answer
    states = numbers("the decoder", instance("the decoder", hidden, Tensor), to_numpy)
    return Answer(states, observation(inputs, {"hidden states": hidden}))


@torch.no_grad()
def _outputs(
    module: Callable[..., Any], configuration: Configuration, images: Sequence[Floats], ended: bool = False
) -> Answer[Outputs]:
    inputs = Inputs(TORCH, configuration)
    keys = configuration.profile.keys
    tensors = [inputs.numbers(f"image {place}", image) for place, image in enumerate(images)]
    given = inputs.container("images", tensors)
    with precision(configuration):
        answer = mapping("the model", module(given), "a dictionary of outputs")
    if ended and keys.encoder in answer:
        raise NotProvided("the encoder predicts too, and its head cannot be told by name in a model of fewer layers")
    outputs = read_outputs("the model", answer, keys)
    return Answer(outputs, observation(inputs, {key: answer[key] for key in (keys.logits, str(keys.boxes))}))


def read_outputs(what: str, answer: Mapping[str, Any], keys: Keys) -> Outputs:
    """The outputs that `what` returned by their keys, with those of earlier layers.

    Raises `Violation` where they are of a wrong form.
    """
    auxiliary = answer.get(keys.auxiliary)
    earlier = () if auxiliary is None else sequence(what, auxiliary, "a list of the outputs of earlier layers")
    layers = [
        [numbers(what, entry(what, layer, key), to_numpy) for key in (keys.logits, str(keys.boxes))]
        for layer in (*earlier, answer)
    ]
    try:
        *before, last = (Outputs(logits, boxes, broken=True) for logits, boxes in layers)
        return replace(last, auxiliary=tuple(before))
    except InvalidValue as error:
        raise Violation(f"{what} returned wrong shapes: {error}") from error
