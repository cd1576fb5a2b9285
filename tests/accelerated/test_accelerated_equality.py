"""The accelerated path against the reference: matchings, losses and gradients, in every regime of the specification."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

import detr_accelerated
import detr_reference
from detr_conformance.bridges.inputs import Inputs
from detr_conformance.bridges.torch_framework import TORCH
from detr_conformance.implementations.accelerated import IMPLEMENTATIONS
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import all_invariants
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import mask_cases, set_cases
from detr_spec.violation import PremiseFailed

pytestmark = pytest.mark.usefixtures("way")

EXACT = 1e-12
"""Of float64, whose roundings are 1e-16: room for the sums of a case, and none for another formula."""

PROFILES = pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)


FRESH = 10
"""Cases of one seed: of more, many are another one with little changed."""


def cases(profile: Profile, strategy: Any, examples: int, dtype: str = "float64") -> Any:
    """A decorator that gives a test cases in a dtype, always the same ones, without a search for the smallest."""
    quick = settings(
        max_examples=FRESH,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    domain = Domain(profile, Limits(dtypes=(dtype,)))

    def decorate(test: Callable[[Any], None]) -> Callable[[], None]:
        def run() -> None:
            for seed in range(examples // FRESH):
                hypothesis.seed(seed)(quick(hypothesis.given(case=strategy(domain))(test)))()

        return run

    return decorate


def built_matcher(module: Any, configuration: Any) -> Any:
    if configuration.profile.has_no_object:
        return module.HungarianMatcher(*configuration.cost_weights)
    cost = module.focal_cost(configuration.class_cost.alpha, configuration.class_cost.gamma)
    return module.HungarianMatcher(*configuration.cost_weights, class_cost=cost)


def built_criterion(module: Any, configuration: Any, matcher: Any) -> Any:
    arguments = (configuration.num_classes, matcher, configuration.weight_dict)
    if configuration.profile.has_no_object:
        return module.SetCriterion(*arguments, configuration.class_loss.eos_coef, configuration.losses)
    return module.FocalSetCriterion(*arguments, configuration.losses, *configuration.class_loss.numbers.values())


def tensors(case: Any) -> tuple[dict[str, Any], list[dict[str, Tensor]], list[Tensor]]:
    """Outputs, targets, and the leaves of the outputs."""
    inputs = Inputs(TORCH, case.configuration)
    outputs = inputs.outputs(case.outputs)
    layers = [outputs, *outputs.get("aux_outputs", [])]
    leaves = [layer[name] for layer in layers for name in ("pred_logits", "pred_boxes", "pred_masks") if name in layer]
    return outputs, inputs.targets(case.targets), leaves


def assert_equal(ours: Tensor, theirs: Tensor, what: str) -> None:
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), what
    # In this order, as what is NaN is not greater than 1.
    scale = max(1.0, theirs.abs().max().item()) if theirs.numel() else 1.0
    torch.testing.assert_close(
        ours, theirs, rtol=EXACT, atol=EXACT * scale, equal_nan=True, msg=lambda text: f"{what}: {text}"
    )


def assert_same_losses(case: Any) -> None:
    """Equal keys in equal order, values, gradients and connections to the graph, under one matching."""
    outputs, targets, leaves = tensors(case)
    matcher = built_matcher(detr_accelerated, case.configuration)
    ours = built_criterion(detr_accelerated, case.configuration, matcher)
    theirs = built_criterion(detr_reference, case.configuration, matcher)
    our_losses, their_losses = ours(outputs, targets), theirs(outputs, targets)
    assert list(our_losses) == list(their_losses)
    for name, loss in our_losses.items():
        assert_equal(loss, their_losses[name], name)
        assert loss.requires_grad == their_losses[name].requires_grad, name
    our_gradients = torch.autograd.grad(ours.total(our_losses), leaves, allow_unused=True)
    their_gradients = torch.autograd.grad(theirs.total(their_losses), leaves, allow_unused=True)
    for our_gradient, their_gradient in zip(our_gradients, their_gradients, strict=True):
        assert (our_gradient is None) == (their_gradient is None)
        if our_gradient is not None and their_gradient is not None:
            assert_equal(our_gradient, their_gradient, "gradient")


@PROFILES
def test_losses_and_gradients_are_those_of_the_reference(profile: Profile, way: str) -> None:
    regimes_seen = set()

    # The host takes a millisecond for a block of a kernel.
    @cases(profile, set_cases(layers=(1, 4)), examples=150 if way == "kernels" else 250)
    def check(case: Any) -> None:
        regimes_seen.add(case.regime)
        assert_same_losses(case)

    check()
    assert {"tied", "saturated", "degenerate", "empty", "more-targets-than-queries", "tiny-boxes"} <= regimes_seen


@PROFILES
def test_mask_losses_and_gradients_are_those_of_the_reference(profile: Profile) -> None:
    cases(profile, mask_cases(), examples=60)(assert_same_losses)()


@PROFILES
def test_matchings_cost_what_those_of_the_reference_cost(profile: Profile) -> None:
    """Two optima of equal cost are both right; where the matchings differ, their costs may differ by roundings."""
    same = []

    @cases(profile, set_cases(), examples=250)
    def check(case: Any) -> None:
        outputs, targets, _ = tensors(case)
        reference = built_matcher(detr_reference, case.configuration)
        accelerated = built_matcher(detr_accelerated, case.configuration)
        images = zip(
            outputs["pred_logits"].detach(),
            outputs["pred_boxes"].detach(),
            targets,
            accelerated(outputs, targets),
            reference(outputs, targets),
            strict=True,
        )
        for logits, boxes, target, ours, theirs in images:
            assert [part.dtype for part in ours] == [torch.int64, torch.int64]
            same.append(all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)))
            if not same[-1]:
                cost = reference.cost_matrix(logits, boxes, target["labels"], target["boxes"])
                assert_equal(cost[ours].sum(), cost[theirs].sum(), "total cost")

    check()
    assert sum(same) > 0.9 * len(same)


@PROFILES
def test_all_layers_at_once_are_matched_as_each_by_itself(profile: Profile) -> None:
    @cases(profile, set_cases(layers=(2, 4), regimes=("general", "tied", "crowded")), examples=60)
    def check(case: Any) -> None:
        outputs, targets, _ = tensors(case)
        recorded = []

        class Recording(detr_accelerated.HungarianMatcher):
            def match(self, predictions: Any, packed: Any) -> Tensor:
                recorded.append(super().match(predictions, packed))
                return recorded[-1]

        matcher = Recording(*case.configuration.cost_weights)
        matcher.class_cost = built_matcher(detr_accelerated, case.configuration).class_cost
        built_criterion(detr_accelerated, case.configuration, matcher)(outputs, targets)
        together = recorded.pop()
        for layer in (outputs, *outputs["aux_outputs"]):
            matcher(layer, targets)
        assert torch.equal(together, torch.cat(recorded))

    check()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
def test_the_specification_sees_the_matching_of_every_layer(implementation: Any) -> None:
    @cases(implementation.profile, set_cases(layers=(2, 3)), examples=20)
    def check(case: Any) -> None:
        configuration = case.configuration
        losses = implementation.component("criterion")(configuration)(case.outputs, case.targets).value
        assert len(losses.matchings) == configuration.decoder_layers
        matcher = implementation.component("matcher")(configuration)
        for layer, matchings in zip(case.outputs.layers, losses.matchings, strict=True):
            for told, found in zip(matchings, matcher(layer, case.targets).value, strict=True):
                assert told.queries.tolist() == found.queries.tolist()
                assert told.targets.tolist() == found.targets.tolist()

    check()


@pytest.mark.parametrize("dtype", ["float32", "autocast"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
def test_narrower_dtypes_stay_within_the_allowance_of_the_specification(implementation: Any, dtype: str) -> None:
    """The specification derives from the dtype how far an answer may be from the definition."""
    limited = replace(implementation, limits=Limits(dtypes=(dtype,), devices=("cpu",)))
    judged = [
        item
        for item in all_invariants()
        if item.component in ("matcher", "criterion")
        and item.applies(limited.profile)
        and item.id.endswith(("-value", "optimal-cost", "-error"))
    ]
    assert len(judged) >= 4
    for item in judged:
        assert answers_within(item, limited, dtype) >= 10, item.id


def answers_within(item: Invariant, implementation: Implementation, dtype: str) -> int:
    """How many cases met the premise of an invariant and its statement; raises where one violates it."""
    component = implementation.component(item.component)
    met = []

    @cases(implementation.profile, item.cases, examples=25, dtype=dtype)
    def check(case: Any) -> None:
        with contextlib.suppress(PremiseFailed):
            item.check(component, case)
            met.append(case)

    check()
    return len(met)
