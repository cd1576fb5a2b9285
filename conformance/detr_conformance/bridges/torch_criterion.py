"""Calls to a PyTorch criterion: the losses that it returns, and the matchings that its matcher was seen to give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from detr_conformance.bridges import answers
from detr_conformance.bridges.torch_calls import broken_batches, call_before, other_batches
from detr_conformance.bridges.torch_inputs import Inputs, observation
from detr_conformance.testee.detr_testee import MatcherCalls, matcher_arguments, to_numpy
from detr_spec.configuration import Configuration
from detr_spec.profile import MatcherRules, Profile
from detr_spec.values import Answer, Losses, Matching, Outputs, Targets


def call_criterion(
    module: Callable[..., Any], configuration: Configuration, outputs: Outputs, targets: Targets
) -> Answer[Losses]:
    """The losses that the criterion returns."""
    inputs = Inputs(configuration)
    given = inputs.outputs(outputs, targets), inputs.targets(targets)
    losses, answer = called(module, configuration, *given, inputs)
    return Answer(losses, observation(inputs, answer))


def called(
    module: Callable[..., Any], configuration: Configuration, given: dict[str, Any], targets: Any, inputs: Inputs
) -> tuple[Losses, dict[str, Any]]:
    """The losses that the criterion returns for tensors, as numbers and as it returned them."""
    batch = configuration, given, targets
    call_before(module, configuration, broken=broken_batches(*batch), others=other_batches(*batch))
    with MatcherCalls(module, inputs) as calls:
        losses, values, weights = answers.losses_of(module, module(given, targets))
    found = calls.of_layers()
    matched = None if found is None else tuple(tuple(Matching(*own) for own in layer) for layer in found)
    return Losses(values, weights, matched), losses


def spelt_matcher(matcher: Callable[..., Any], profile: Profile) -> Callable[[Any, Any], Any]:
    """The matcher, to be called with outputs and targets."""
    return lambda outputs, targets: matcher(*matcher_arguments(outputs, targets, profile.keys, profile.matcher))


def matchings(
    what: str, answer: Any, counts: Sequence[int], rules: MatcherRules
) -> tuple[tuple[Matching, ...], dict[str, Any]]:
    """The matching of each image, and what it was read from, by name; counts: the number of objects of each image."""
    found, parts = answers.matchings(what, answer, counts, rules, to_numpy)
    return tuple(Matching(*own) for own in found), parts
