"""The calls that come before the one that is judged: with other batches, and with broken ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any

from detr_conformance.bridges.framework import BridgedFramework
from detr_spec.configuration import Configuration

Batches = Iterator[tuple[Any, ...]]
"""The arguments of calls."""


def call_before(module: Callable[..., Any], configuration: Configuration, *, broken: Batches, others: Batches) -> None:
    """Calls a module with what is broken, or with other batches, where the configuration asks for a call after these.

    What such calls raise is their own affair.
    """
    before: Mapping[str, Batches] = {"after-errors": broken, "validation": others, "refilled": others}
    for arguments in before.get(configuration.call, ()):
        with contextlib.suppress(Exception):
            module(*arguments)


def other_batches(
    framework: BridgedFramework, configuration: Configuration, outputs: Mapping[str, Any], targets: Any
) -> Batches:
    """What a matcher or a criterion may be called with before: other predictions, and those of more decoder layers.

    Or the same objects: first without targets, and then with other numbers.
    """
    if configuration.call == "refilled":
        with _emptied(targets):
            yield outputs, targets
        with _refilled(framework, outputs, (0, 1)), _refilled(framework, targets, (0,)):
            yield outputs, targets
        return
    auxiliary, others = configuration.profile.keys.auxiliary, _others(framework, outputs, configuration)
    yield others, copy(targets)
    if auxiliary in others:
        yield {**others, auxiliary: others[auxiliary] * 2}, copy(targets)


def other_detections(
    framework: BridgedFramework, configuration: Configuration, outputs: Mapping[str, Any], sizes: Any
) -> Batches:
    """What post-processing may be called with before: other predictions and image sizes, or the same objects."""
    if configuration.call == "refilled":
        with _refilled(framework, (outputs, sizes), (0, 1)):
            yield outputs, sizes
        return
    yield _others(framework, outputs, configuration), framework.flipped(sizes, 1)


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


def _refilled(
    framework: BridgedFramework, values: Any, axes: tuple[int, ...]
) -> contextlib.AbstractContextManager[None]:
    return framework.refilled(list(_arrays(framework, values)), axes)


def _arrays(framework: BridgedFramework, value: Any) -> Iterator[Any]:
    """The arrays in dictionaries, lists and tuples."""
    if isinstance(value, framework.arrays):
        yield value
        return
    if isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(framework, part)


def broken_batches(
    framework: BridgedFramework, configuration: Configuration, outputs: Mapping[str, Any], targets: Any
) -> Batches:
    """What breaks a matcher or a criterion: late, at the layer that comes last, and then early, at a target.

    The queries are in reverse, so that what is kept of such a call is not what the sound one needs.
    """
    keys = configuration.profile.keys
    turned = _turned(framework, outputs, configuration)
    layer = turned[keys.auxiliary][-1] if keys.auxiliary in turned else turned
    if keys.boxes is None:
        layer[keys.masks] = layer[keys.masks][..., 0]
    else:
        layer[keys.boxes] = -layer[keys.boxes]
    yield turned, copy(targets)
    *first, last = [targets] if isinstance(targets, Mapping) else targets
    part = keys.target_masks if keys.target_boxes is None else keys.target_boxes
    cut = {**last, part: last[part][..., :3] if part == keys.target_boxes else last[part][..., 0]}
    yield _turned(framework, outputs, configuration), cut if isinstance(targets, Mapping) else [*first, cut]


def broken_sizes(
    framework: BridgedFramework, configuration: Configuration, outputs: Mapping[str, Any], sizes: Any
) -> Batches:
    """What breaks post-processing: image sizes of one number each, beside outputs whose queries are in reverse."""
    yield _turned(framework, outputs, configuration), sizes[:, :1]


def _others(framework: BridgedFramework, outputs: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """Predictions with other losses and detections: the queries in reverse, each with the logits of other classes."""
    keys, others = configuration.profile.keys, _turned(framework, outputs, configuration)
    for layer in (others, *others.get(keys.auxiliary, ())):
        layer[keys.logits] = framework.flipped(layer[keys.logits], -1)
    return others


def _turned(framework: BridgedFramework, outputs: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """The outputs of all layers with their queries in reverse, without predictions that stand apart."""
    keys = configuration.profile.keys
    texts = (keys.phrases, keys.tokens)
    arrays = {key: value for key, value in outputs.items() if isinstance(value, framework.arrays)}
    turned: dict[str, Any] = {key: framework.flipped(value, 1) for key, value in arrays.items()}
    turned |= {key: value for key, value in outputs.items() if value is None or key in texts}
    if keys.auxiliary in outputs:
        turned[keys.auxiliary] = [_turned(framework, layer, configuration) for layer in outputs[keys.auxiliary]]
    return turned
