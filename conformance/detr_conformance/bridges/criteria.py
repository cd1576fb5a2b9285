"""Calls to a criterion: its losses, the matchings that its matcher was seen to give, and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detr_conformance.bridges import answers
from detr_conformance.bridges.framework import BridgedFramework
from detr_conformance.bridges.inputs import Inputs, observation
from detr_conformance.bridges.other_calls import broken_batches, call_before, other_batches
from detr_conformance.testee.detr_testee import MatcherCalls, arrays_of, gradients_of, matcher_arguments
from detr_spec.configuration import Configuration
from detr_spec.profile import MatcherRules, Profile
from detr_spec.values import Answer, LayerGradient, Losses, LossGradients, Matching, Outputs, Targets


def call_criterion(
    framework: BridgedFramework,
    module: Callable[..., Any],
    configuration: Configuration,
    outputs: Outputs,
    targets: Targets,
) -> Answer[Losses]:
    """The losses that the criterion returns."""
    inputs = Inputs(framework, configuration)
    given = inputs.outputs(outputs, targets), inputs.targets(targets)
    _call_before(framework, module, configuration, given)
    with MatcherCalls(module, inputs) as calls:
        losses, answer = _read(module, module(*given), inputs)
    return Answer(_with_matchings(losses, calls), observation(inputs, answer))


def call_gradients(
    framework: BridgedFramework,
    module: Callable[..., Any],
    configuration: Configuration,
    outputs: Outputs,
    targets: Targets,
    weights: Mapping[str, float],
) -> Answer[LossGradients]:
    """The losses, their sum over the keys that have a weight, and its gradient in each decoder layer."""
    inputs = Inputs(framework, configuration)
    given = inputs.outputs(outputs, targets), inputs.targets(targets)
    leaves = inputs.leaves()
    _call_before(framework, module, configuration, given)
    with MatcherCalls(module, inputs) as calls:
        answer, pull = framework.recorded(module, given, arrays_of(leaves))
        losses, answer = _read(module, answer, inputs)
    total, found = pull(weights)
    gradients = gradients_of(leaves, found, framework.to_numpy)
    value = LossGradients(
        _with_matchings(losses, calls),
        answers.single("the weighted total", total, framework.to_numpy),
        **{name: tuple(LayerGradient(**layer) for layer in layers) for name, layers in gradients.items()},
    )
    return Answer(value, observation(inputs, answer))


def _call_before(
    framework: BridgedFramework, module: Callable[..., Any], configuration: Configuration, given: tuple[Any, Any]
) -> None:
    batch = framework, configuration, *given
    call_before(module, configuration, broken=broken_batches(*batch), others=other_batches(*batch))


def _read(module: Callable[..., Any], answer: Any, inputs: Inputs) -> tuple[Losses, dict[str, Any]]:
    """The losses that a criterion returned, as numbers and as it returned them."""
    losses, values, weights = answers.losses_of(module, answer, inputs.framework.to_numpy)
    return Losses(values, weights), losses


def _with_matchings(losses: Losses, calls: Any) -> Losses:
    found = calls.of_layers()
    matched = None if found is None else tuple(tuple(Matching(*own) for own in layer) for layer in found)
    return Losses(losses.values, losses.weights, matched)


def spelt_matcher(matcher: Callable[..., Any], profile: Profile) -> Callable[[Any, Any], Any]:
    """The matcher, to be called with outputs and targets."""
    return lambda outputs, targets: matcher(*matcher_arguments(outputs, targets, profile.keys, profile.matcher))


def matchings(
    what: str, answer: Any, counts: Sequence[int], rules: MatcherRules, framework: BridgedFramework
) -> tuple[tuple[Matching, ...], dict[str, Any]]:
    """The matching of each image, and what it was read from, by name; counts: the number of objects of each image."""
    found, parts = answers.matchings(what, answer, counts, rules, framework)
    return tuple(Matching(*own) for own in found), parts
