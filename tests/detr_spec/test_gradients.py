"""The gradients of the definitions are what differences of the definitions say, and torch's lie in their ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from differences import STEP, difference_quotient
from formulas import box_giou
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st

from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_spec.boxes import kink_distance
from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.gradients import LayerObjective
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Domain
from detr_spec.losses import classification_has_value, matched_places
from detr_spec.matching.assignment import solve
from detr_spec.matching.costs import image_costs
from detr_spec.profile import BoxRules, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import set_cases
from detr_spec.terms.cross_entropy import weighted_cross_entropy
from detr_spec.terms.focal import focal_terms
from detr_spec.tolerance import gradient, lift
from detr_spec.values import Matching, Outputs, Target

WEIGHTS = {"classification": 1.5, "box_l1": 2.5, "box_giou": 2.0}


def cases(profile: Profile, dtype: str = "float64", **shape: Any) -> st.SearchStrategy[SetCase]:
    return set_cases(**shape)(Domain(profile, Limits(dtypes=(dtype,))))


def over(strategy: st.SearchStrategy[SetCase], check: Callable[[SetCase], None], examples: int) -> None:
    """Checks cases that depend on nothing but the strategy."""

    @settings(
        max_examples=examples,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.seed(0)
    @hypothesis.given(case=strategy)
    def run(case: SetCase) -> None:
        # Where there is no object, and no object has no weight, the cross-entropy is 0/0.
        assume(classification_has_value(case.configuration, case.targets))
        check(case)

    run()


def optimal(case: SetCase) -> tuple[Matching, ...]:
    solutions = [solve(cost.value) for cost in image_costs(case.outputs, case.targets, case.configuration)]
    return tuple(Matching(solution.rows, solution.columns) for solution in solutions)


@pytest.mark.thorough
@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda item: item.name)
def test_a_gradient_is_what_differences_say(profile: Profile) -> None:
    compared = {"logits": 0, "boxes": 0}

    def check(case: SetCase) -> None:
        matchings = optimal(case)
        objective = LayerObjective(case.configuration, case.outputs, case.targets, matchings, WEIGHTS)
        random, slopes = case.generator("coordinates"), objective.range
        for _ in range(3):
            place = tuple(int(random.integers(size)) for size in case.outputs.logits.shape)
            direction = np.zeros(case.outputs.logits.shape)
            direction[place] = 1.0
            noise = objective.noise(np.arange(0))
            quotient = difference_quotient(
                lambda logits: float(objective.of_logits(logits)), case.outputs.logits, direction, STEP, noise
            )
            assert abs(slopes.logits.value[place] - quotient.value) <= quotient.error
            compared["logits"] += 1
        steps = objective.box_steps(STEP)
        for pair, place in enumerate(zip(*matched_places(matchings), strict=True)):
            if not steps[pair] > 0:
                continue
            side, pairs = int(random.integers(4)), np.array([pair])
            quotient = difference_quotient(
                lambda rows, pairs=pairs: float(objective.of_boxes(rows, pairs)),
                objective.rows[pairs],
                np.eye(4)[side : side + 1],
                float(steps[pair]),
                objective.noise(pairs),
            )
            got = float(slopes.boxes.value[place][side])
            assert abs(got - quotient.value) <= quotient.error + 1e-14 * abs(got)
            compared["boxes"] += 1

    over(cases(profile), check, 600)
    assert min(compared.values()) > 800


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
def test_the_references_gradient_lies_in_the_range(reference: Implementation, dtype: str) -> None:
    known: list[float] = []

    def check(case: SetCase) -> None:
        configuration = case.configuration
        answer = reference.component("gradients")(configuration)(
            case.outputs, case.targets, configuration.weight_dict
        ).value
        for layer, matchings, slopes in zip(case.outputs.layers, answer.losses.matchings, answer.layers, strict=True):
            weights = configuration.term_weights
            expected = LayerObjective(configuration, layer, case.targets, matchings, weights).range
            assert ((slopes.logits >= expected.logits.lower) & (slopes.logits <= expected.logits.upper)).all()
            assert ((slopes.boxes >= expected.boxes.lower) & (slopes.boxes <= expected.boxes.upper)).all()
            known.extend(np.isfinite(expected.boxes.upper - expected.boxes.lower)[matched_places(matchings)].ravel())

    over(cases(reference.profile, dtype, layers=(1, 2)), check, 200)
    assert np.mean(known) > 0.9


def giou_values(values: Any, targets: Any) -> Any:
    """1 − GIoU in torch with the sides kept, written once more for epsilons and for narrow dtypes."""
    first = torch.cat([values[:, :2] - values[:, 2:] / 2, values[:, :2] + values[:, 2:] / 2], dim=1)
    second = torch.cat([targets[:, :2] - targets[:, 2:] / 2, targets[:, :2] + targets[:, 2:] / 2], dim=1)
    inner = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    outer = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    areas = [(corners[:, 2:] - corners[:, :2]).prod(dim=1) for corners in (first, second)]
    union = areas[0] + areas[1] - inner.prod(dim=1)
    return inner.prod(dim=1), union, outer.prod(dim=1)


RULES = {
    "none": BoxRules(),
    "epsilons": BoxRules(iou_epsilon=1e-3, giou_epsilon=1e-2),
    "least divisor": BoxRules(least_divisor=0.2),
    "all": BoxRules(iou_epsilon=1e-3, giou_epsilon=1e-2, least_divisor=0.2),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_rules_of_divisors_enter_the_gradient(rules: BoxRules) -> None:
    random = np.random.default_rng(0)
    boxes, truth = (np.round(random.uniform(0.05, 0.9, (200, 4)), 6) for _ in range(2))
    leaf = torch.tensor(boxes, requires_grad=True)
    intersection, union, enclosing = giou_values(leaf, torch.tensor(truth))
    by_union, by_enclosing = union + rules.iou_epsilon, enclosing + rules.giou_epsilon
    if rules.least_divisor is not None:
        assert 0.1 < (by_union < rules.least_divisor).double().mean() < 0.9
        by_union, by_enclosing = (divisor.clamp(min=rules.least_divisor) for divisor in (by_union, by_enclosing))
    loss = 1 - intersection / by_union + (enclosing - union) / by_enclosing
    loss.sum().backward()
    targets = lift(truth, "float64")
    expected = gradient(lambda rows: box_giou(rows, targets, 1.0, rules), lift(boxes, "float64"))
    got = leaf.grad.numpy()
    assert ((got >= expected.lower) & (got <= expected.upper)).all()
    assert np.median(expected.upper - expected.lower) < 1e-13


USUAL_FOCAL: dict[str, Callable[[Any, Any, float, float], Any]] = {
    "sigmoid and cross-entropy": lambda z, t, alpha, gamma: (
        torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")
        * (1 - (z.sigmoid() * t + (1 - z.sigmoid()) * (1 - t))) ** gamma
        * (alpha * t + (1 - alpha) * (1 - t))
    ),
    "from the cross-entropy": lambda z, t, alpha, gamma: (
        (1 - (-torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")).exp()) ** gamma
        * torch.nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")
        * (alpha * t + (1 - alpha) * (1 - t))
    ),
    "log-sigmoids": lambda z, t, alpha, gamma: (
        -(
            t * alpha * (-z).sigmoid() ** gamma * torch.nn.functional.logsigmoid(z)
            + (1 - t) * (1 - alpha) * z.sigmoid() ** gamma * torch.nn.functional.logsigmoid(-z)
        )
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("name", USUAL_FOCAL)
def test_the_usual_focal_losses_lie_in_the_range(name: str, gamma: float, dtype: str) -> None:
    logits = np.concatenate([np.linspace(-30, 30, 481), [-120.0, -60.0, 60.0, 120.0]])
    for positive in (True, False):
        leaf = torch.tensor(logits, dtype=getattr(torch, dtype), requires_grad=True)
        target = torch.full_like(leaf, float(positive)).detach()
        USUAL_FOCAL[name](leaf, target, 0.25, gamma).sum().backward()
        given = lift(leaf.detach().double().numpy(), dtype)
        expected = gradient(lambda z: focal_terms(z, np.full(485, positive), 0.25, gamma).sum(), given)  # noqa: B023
        got = leaf.grad.double().numpy()
        outside = ~((got >= expected.lower) & (got <= expected.upper))
        assert not outside.any(), [(logits[i], got[i], expected[i]) for i in np.flatnonzero(outside)[:3]]


USUAL_CROSS_ENTROPY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "one call": torch.nn.functional.cross_entropy,
    "log-softmax": lambda z, t, w: (-z.log_softmax(-1).gather(1, t[:, None])[:, 0] * w[t]).sum() / w[t].sum(),
    "log-sum-exp": lambda z, t, w: ((z.logsumexp(-1) - z.gather(1, t[:, None])[:, 0]) * w[t]).sum() / w[t].sum(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", USUAL_CROSS_ENTROPY)
def test_the_usual_cross_entropies_lie_in_the_range(name: str, dtype: str) -> None:
    random = np.random.default_rng(0)
    for scale in (1.0, 8.0, 60.0):
        leaf = torch.tensor(random.normal(0, scale, (64, 5)), dtype=getattr(torch, dtype), requires_grad=True)
        classes, weights = random.integers(0, 5, 64), np.array([1.0, 1.0, 1.0, 1.0, 0.1])
        USUAL_CROSS_ENTROPY[name](leaf, torch.tensor(classes), torch.tensor(weights, dtype=leaf.dtype)).backward()
        logits = lift(leaf.detach().double().numpy()[None], dtype)
        expected = gradient(lambda z: weighted_cross_entropy(z, classes[None], weights), logits)  # noqa: B023
        got = leaf.grad.double().numpy()[None]
        assert ((got >= expected.lower) & (got <= expected.upper)).all()


def test_kinks_are_where_coordinates_corners_or_edges_meet() -> None:
    box = np.array([[0.5, 0.5, 0.25, 0.25]])
    kinks = {
        "the same centre": [0.5, 0.3, 0.1, 0.15],
        "the same width": [0.4, 0.3, 0.25, 0.15],
        "the same edge": [0.4375, 0.3, 0.125, 0.15],
        "touching": [0.8, 0.4, 0.35, 0.15],
    }
    for what, other in kinks.items():
        assert kink_distance(box, np.array([other]), BoxRules()).min() == pytest.approx(0, abs=1e-15), what
    assert kink_distance(box, np.array([[0.46, 0.4, 0.15, 0.1]]), BoxRules()).min() > 0.009


def test_a_slope_at_a_kink_is_any_between_those_on_its_sides() -> None:
    box = np.array([[[0.5, 0.5, 0.25, 0.25], [0.2, 0.2, 0.1, 0.1]]])
    outputs, matching = Outputs(np.zeros((1, 2, 2)), box), (Matching(np.array([0]), np.array([0])),)
    for centre, ends in ((0.5, (-1.0, 1.0)), (0.46, (1.0, 1.0))):
        target = Target(np.array([0]), np.array([[centre, 0.4, 0.15, 0.1]]))
        objective = LayerObjective(Configuration(profile=DETR), outputs, (target,), matching, {"box_l1": 1.0})
        boxes = objective.range.boxes
        assert (boxes.lower[0, 0, 0], boxes.upper[0, 0, 0]) == pytest.approx(ends, rel=2.0**-21)
        assert (boxes.lower[0, 1] == 0).all()
        assert (boxes.upper[0, 1] == 0).all()


def test_a_quotient_knows_its_error() -> None:
    for step in (2.0**-4, 2.0**-8, 2.0**-12):
        quotient = difference_quotient(lambda x: float(np.exp(x[0])), np.array([1.0]), np.array([2.0]), step, 1e-15)
        assert abs(quotient.value - 2 * np.e) <= quotient.error
    assert quotient.error < 1e-6


def test_a_profile_that_counts_matches_divides_by_them() -> None:
    counting = replace(DETR, denominator="matches")
    outputs = Outputs(np.zeros((1, 1, 2)), np.array([[[0.5, 0.5, 0.25, 0.25]]]))
    target = Target(np.array([0, 0]), np.array([[0.45, 0.4, 0.15, 0.1], [0.1, 0.1, 0.1, 0.1]]))
    matching = (Matching(np.array([0]), np.array([0])),)
    first, second = (
        LayerObjective(Configuration(profile=profile), outputs, (target,), matching, {"box_l1": 1.0}).range.boxes.value
        for profile in (DETR, counting)
    )
    assert np.allclose(first * 2, second)
    assert (second != 0).all()
