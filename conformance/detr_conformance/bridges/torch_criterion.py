"""Calls to a PyTorch criterion: the losses that it returns, and the matchings that its matcher was seen to give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance.bridges.answers import image_answers, image_matching, mapping, single
from detr_conformance.bridges.torch_calls import broken_batches, call_before, other_batches
from detr_conformance.bridges.torch_inputs import Inputs, observation, to_numpy
from detr_conformance.testee.detr_testee import matcher_arguments, predictions_in
from detr_spec.configuration import Configuration
from detr_spec.profile import MatcherRules, Profile
from detr_spec.values import Answer, Losses, Matching, Outputs, Targets
from detr_spec.violation import Violation


def call_criterion(
    module: Callable[..., Any], configuration: Configuration, outputs: Outputs, targets: Targets
) -> Answer[Losses]:
    """The losses that the criterion returns."""
    inputs = Inputs(configuration)
    losses, answer = called(module, configuration, inputs.outputs(outputs), inputs.targets(targets), inputs.counts)
    return Answer(losses, observation(inputs, answer))


def called(
    module: Callable[..., Any], configuration: Configuration, given: dict[str, Any], targets: Any, counts: list[int]
) -> tuple[Losses, dict[str, Any]]:
    """The losses that the criterion returns for tensors, as numbers and as it returned them."""
    predictions = layer_predictions(given, configuration)
    batch = configuration, given, targets
    call_before(module, configuration, broken=broken_batches(*batch), others=other_batches(*batch))
    with _MatcherCalls(module, configuration.profile, counts) as calls:
        answer = mapping("the criterion", module(given, targets), "a dictionary of losses")
    answer = {str(key): value for key, value in answer.items()}
    values = {key: single(f"the criterion, for {key!r},", value, to_numpy) for key, value in answer.items()}
    losses = Losses(values, _weights(module), calls.of_layers(predictions))
    return losses, answer


def _weights(module: Callable[..., Any]) -> dict[str, float] | None:
    weights = getattr(module, "weight_dict", None)
    if weights is None:
        return None
    given = mapping("the criterion, for its weight_dict,", weights, "a dictionary of weights")
    return {str(key): single(f"the weight of {key!r}", weight, to_numpy) for key, weight in given.items()}


def layer_predictions(given: dict[str, Any], configuration: Configuration) -> list[tuple[Tensor, Tensor]]:
    """The logits and boxes of each decoder layer, first to last."""
    keys = configuration.profile.keys
    return [(layer[keys.logits], layer[keys.boxes]) for layer in layers_of(given, configuration)]


def layers_of(given: dict[str, Any], configuration: Configuration) -> tuple[dict[str, Any], ...]:
    """What is given of each decoder layer, first to last."""
    return *given.get(configuration.profile.keys.auxiliary, ()), given


def spelt_matcher(matcher: Callable[..., Any], profile: Profile) -> Callable[[Any, Any], Any]:
    """The matcher, to be called with outputs and targets."""
    return lambda outputs, targets: matcher(*matcher_arguments(outputs, targets, profile.keys, profile.matcher))


def matchings(
    what: str, answer: Any, counts: Sequence[int], rules: MatcherRules
) -> tuple[tuple[Matching, ...], dict[str, Any]]:
    """The matching of each image, and what it was read from, by name; counts: the number of objects of each image."""
    images = image_answers(what, answer, len(counts), rules)
    found, parts = [], dict[str, Any]()
    for image, own in enumerate(images):
        name = f"{what}, for image {image},"
        found.append(Matching(*image_matching(name, own, counts, image, rules, to_numpy)))
        sides = zip(("query", "target"), own, strict=True) if rules.answer == "pairs" else [("all", own)]
        parts |= {f"{side} indices of image {image}": part for side, part in sides}
    return tuple(found), parts


class _MatcherCalls:
    """Watches the matcher inside a criterion, where that is a module of its own.

    An answer is read when it is given, for the next call may write over it. What is between a criterion and its matcher
    is theirs: calls and answers in another form than the profile declares of matchers are not seen.
    """

    def __init__(self, criterion: Callable[..., Any], profile: Profile, counts: Sequence[int]) -> None:
        self._matcher = getattr(criterion, "matcher", None)
        self._keys, self._rules, self._counts = profile.keys, profile.matcher, counts
        self._calls: list[tuple[dict[str, Any], tuple[Matching, ...] | None]] = []

    def __enter__(self) -> _MatcherCalls:
        if isinstance(self._matcher, nn.Module):
            self._handle = self._matcher.register_forward_hook(self._record, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._matcher, nn.Module):
            self._handle.remove()

    def _record(self, _: nn.Module, arguments: Any, named: Any, answer: Any) -> None:
        given = predictions_in((*arguments, *named.values()), self._keys, self._rules)
        if given is not None:
            self._calls.append((given, self._read(answer)))

    def _read(self, answer: Any) -> tuple[Matching, ...] | None:
        """The matchings, None where they are not what is declared of each image."""
        try:
            found = matchings("the criterion's matcher", answer, self._counts, self._rules)[0]
        except Violation:
            return None
        beyond = (max(own.targets, default=-1) >= count for own, count in zip(found, self._counts, strict=True))
        return None if any(beyond) else found

    def of_layers(self, layers: list[tuple[Tensor, Tensor]]) -> tuple[tuple[Matching, ...], ...] | None:
        """The matching of each layer, told by the tensors the matcher was called with; None where one is not seen."""
        found = [self._of_layer(layer) for layer in layers]
        return None if None in found else tuple(item for item in found if item is not None)

    def _of_layer(self, layer: tuple[Tensor, Tensor]) -> tuple[Matching, ...] | None:
        for given, answer in self._calls:
            parts = given.get(self._keys.logits), given.get(self._keys.boxes)
            if all(isinstance(a, Tensor) and torch.equal(a, b) for a, b in zip(parts, layer, strict=True)):
                return answer
        return None
