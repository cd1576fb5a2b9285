"""The ways of a call to a PyTorch module: how its tensors lie in memory, what they record, which mode is on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detr_spec.configuration import Configuration

IN_GAPS = -1
"""What integers are in memory that belongs to no input; floating-point numbers are NaN, and booleans true there."""


@dataclass(frozen=True)
class Mode:
    """What is on in the plain way of a call: whether predictions record gradients, and whether the module trains."""

    gradient: bool
    training: bool


Batches = Iterator[tuple[Any, ...]]
"""The arguments of calls."""

TRAINING = Mode(gradient=True, training=True)
EVALUATION = Mode(gradient=False, training=False)

_GRADIENT = {"with-gradient": True, "no-grad": False, "inference": False, "validation": False}
_TRAINING = {"training": True, "evaluation": False, "validation": False}


@contextlib.contextmanager
def mode_of_call(usual: Mode, configuration: Configuration, module: Callable[..., Any]) -> Iterator[None]:
    """A context in which a module is called in the configuration's way, from the mode that is usual for it."""
    call = configuration.call
    if isinstance(module, nn.Module):
        module.train(_TRAINING.get(call, usual.training))
    with torch.inference_mode(call == "inference"), torch.set_grad_enabled(_GRADIENT.get(call, usual.gradient)):
        yield


@contextlib.contextmanager
def precision(configuration: Configuration) -> Iterator[None]:
    """A context in which calls compute as the configuration's dtype says: with autocast to bfloat16, or without."""
    enabled = configuration.dtype == "autocast"
    with torch.autocast(torch.device(configuration.device).type, dtype=torch.bfloat16, enabled=enabled):
        yield


@dataclass(frozen=True)
class Laid:
    """A tensor as a way of calling lays it out: all of the memory, and the view of it that holds the tensor."""

    memory: Tensor
    view: Callable[[Tensor], Tensor]


def laid_out(tensor: Tensor, call: str) -> Laid:
    """The numbers of a tensor in the layout of a way of calling; the tensor itself in the others."""
    shape = tuple(tensor.shape)
    if call == "expanded":
        kept = tuple(slice(0, 1) if _repeats(tensor, axis) else slice(None) for axis in range(tensor.ndim))
        return Laid(tensor[kept].clone(), lambda memory: memory.expand(shape))
    if call == "transposed":
        axes = tuple(reversed(range(tensor.ndim)))
        return Laid(tensor.permute(axes).contiguous(), lambda memory: memory.permute(axes))
    if call == "sliced":
        return _within(tensor, (3, *shape), lambda memory: memory[1])
    if call == "gaps":
        odd = (slice(1, None, 2),) * tensor.ndim
        return _within(tensor, tuple(2 * size + 1 for size in shape), lambda memory: memory[odd])
    return Laid(tensor, lambda memory: memory)


def _repeats(tensor: Tensor, axis: int) -> bool:
    """Whether there are several slices along the axis, and all are the same."""
    first = tensor.narrow(axis, 0, min(1, tensor.shape[axis]))
    return tensor.shape[axis] > 1 and bool(torch.eq(tensor, first).all())


def _within(tensor: Tensor, shape: tuple[int, ...], view: Callable[[Tensor], Tensor]) -> Laid:
    memory = tensor.new_full(shape, torch.nan if tensor.is_floating_point() else IN_GAPS)
    view(memory).copy_(tensor)
    return Laid(memory, view)


def call_before(module: Callable[..., Any], configuration: Configuration, *, broken: Batches, others: Batches) -> None:
    """Calls a module with what is broken, or with other batches, where the configuration asks for a call after these.

    What such calls raise is their own affair.
    """
    before: Mapping[str, Batches] = {"after-errors": broken, "validation": others, "refilled": others}
    for arguments in before.get(configuration.call, ()):
        with contextlib.suppress(Exception):
            module(*arguments)


def other_batches(configuration: Configuration, outputs: Mapping[str, Any], targets: Any) -> Batches:
    """What a matcher or a criterion may be called with before: other predictions, and those of more decoder layers.

    Or the same objects: first without targets, and then with other numbers.
    """
    if configuration.call == "refilled":
        with _emptied(targets):
            yield outputs, targets
        with _refilled(outputs, (0, 1)), _refilled(targets, (0,)):
            yield outputs, targets
        return
    auxiliary, others = configuration.profile.keys.auxiliary, _others(outputs, configuration)
    yield others, copy(targets)
    if auxiliary in others:
        yield {**others, auxiliary: others[auxiliary] * 2}, copy(targets)


def other_detections(configuration: Configuration, outputs: Mapping[str, Any], sizes: Tensor) -> Batches:
    """What post-processing may be called with before: other predictions and image sizes, or the same objects."""
    if configuration.call == "refilled":
        with _refilled((outputs, sizes), (0, 1)):
            yield outputs, sizes
        return
    yield _others(outputs, configuration), sizes.flip(1)


@contextlib.contextmanager
def _emptied(targets: Any) -> Iterator[None]:
    """A context in which a list of targets has the same images, but no object in them; arrays are as they are."""
    if isinstance(targets, Mapping):
        yield
        return
    whole = list(targets)
    targets[:] = [{name: part[:0] for name, part in target.items()} for target in targets]
    try:
        yield
    finally:
        targets[:] = whole


@contextlib.contextmanager
def _refilled(values: Any, axes: tuple[int, ...]) -> Iterator[None]:
    """A context in which the memory of all tensors in the values holds other numbers: these in reverse along axes.

    A tensor is turned along those of the axes that it has.
    """
    tensors = [(tensor, tensor.detach().clone()) for tensor in _tensors(values)]
    with torch.no_grad():
        for tensor, own in tensors:
            tensor.copy_(own.flip([axis for axis in axes if axis < own.ndim]))
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, own in tensors:
                tensor.copy_(own)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
        return
    if isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def broken_batches(configuration: Configuration, outputs: Mapping[str, Any], targets: Any) -> Batches:
    """What breaks a matcher or a criterion: late, at the layer that comes last, and then early, at a target.

    The queries are in reverse, so that what is kept of such a call is not what the sound one needs.
    """
    keys = configuration.profile.keys
    turned = _turned(outputs, configuration)
    layer = turned[keys.auxiliary][-1] if keys.auxiliary in turned else turned
    if keys.boxes is None:
        layer[keys.masks] = layer[keys.masks][..., 0]
    else:
        layer[keys.boxes] = -layer[keys.boxes]
    yield turned, copy(targets)
    *first, last = [targets] if isinstance(targets, Mapping) else targets
    part = keys.target_masks if keys.target_boxes is None else keys.target_boxes
    cut = {**last, part: last[part][..., :3] if part == keys.target_boxes else last[part][..., 0]}
    yield _turned(outputs, configuration), cut if isinstance(targets, Mapping) else [*first, cut]


def broken_sizes(configuration: Configuration, outputs: Mapping[str, Any], sizes: Tensor) -> Batches:
    """What breaks post-processing: image sizes of one number each, beside outputs whose queries are in reverse."""
    yield _turned(outputs, configuration), sizes[:, :1]


def _others(outputs: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """Predictions with other losses and detections: the queries in reverse, each with the logits of other classes."""
    keys, others = configuration.profile.keys, _turned(outputs, configuration)
    for layer in (others, *others.get(keys.auxiliary, ())):
        layer[keys.logits] = layer[keys.logits].flip(-1)
    return others


def _turned(outputs: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """The outputs of all layers with their queries in reverse, without predictions that stand apart."""
    keys = configuration.profile.keys
    texts = (keys.phrases, keys.tokens)
    turned: dict[str, Any] = {key: value.flip(1) for key, value in outputs.items() if isinstance(value, Tensor)}
    turned |= {key: value for key, value in outputs.items() if value is None or key in texts}
    if keys.auxiliary in outputs:
        turned[keys.auxiliary] = [_turned(layer, configuration) for layer in outputs[keys.auxiliary]]
    return turned
