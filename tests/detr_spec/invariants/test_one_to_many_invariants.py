"""The invariants of further queries: right criteria are never accused, defects by their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from judging import Failing, share_fired_where_it_applies
from subjects import Factory, Losses, softmax, subject

from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_reference import SetCriterion
from detr_spec.invariants import find_invariants
from detr_spec.profile import Keys, LossRules, MatchingScope, Profile, replace
from detr_spec.profiles import DETR, H_DETR
from detr_spec.values import InvalidValue

LOSSES, APART = "auxiliary.one-to-many-losses", "auxiliary.one-to-many-outputs-apart"
SLOPES, CONNECTED = "gradients.one-to-many-losses", "criterion.losses-with-gradient"
EVALUATED = "auxiliary.one-to-many-in-evaluation"
IDS = (LOSSES, APART, SLOPES, CONNECTED, EVALUATED)
EXAMPLES = 15
FEWER = 15

PROFILES = {
    "h-detr": H_DETR,
    "summed": replace(
        DETR,
        keys=Keys(
            one_to_many="further.{output}", one_to_many_loss="o2m.{loss}", auxiliary_loss="{loss}_aux", total="loss"
        ),
        losses=LossRules(weighted=True),
        matching=MatchingScope(groups=2),
        one_to_many_repeats=3,
        one_to_many_weight=0.5,
    ),
}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
@pytest.mark.parametrize("id", IDS)
def test_it_holds_and_is_no_empty_word(id: str, profile: Profile) -> None:
    share = share_fired_where_it_applies(id, declared_implementation(profile), FEWER)
    assert share is not None
    assert share > 0.2


def of_further(change: Callable[[Losses], Losses]) -> type[DeclaredCriterion]:
    """A criterion with other losses of further queries."""

    class Changed(DeclaredCriterion):
        def _of_further_queries(self, *given: Any) -> Losses:
            return change(super()._of_further_queries(*given))

    return Changed


class RepeatedOnce(DeclaredCriterion):
    """Further queries are matched as the decoder's."""

    def __init__(self, configuration: Any) -> None:
        once = replace(configuration.profile, one_to_many_repeats=1)
        super().__init__(replace(configuration, profile=once))


class WeightOfOne(DeclaredCriterion):
    """The losses of further queries are as if their weight were 1, whatever it is."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(replace(configuration, one_to_many_weight=1.0))


class AlwaysTrains(DeclaredCriterion):
    """Further queries have the losses of training in evaluation too."""

    def train(self, mode: bool = True) -> Any:
        return super().train(True)


class FurtherAsQueries(SetCriterion):
    """Further queries are pooled with the others."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        whole = dict(outputs)
        if "pred_logits_one2many" in outputs:
            for key in ("pred_logits", "pred_boxes"):
                whole[key] = torch.cat([outputs[key], outputs[f"{key}_one2many"]], dim=1)
        return super().forward(whole, targets)


class TotalWithoutFurther(DeclaredCriterion):
    """The losses of further queries are left out of the total."""

    def _of_further_queries(self, outputs: Any, targets: Any, found: Losses) -> Losses:
        return {**super()._of_further_queries(outputs, targets, found), "loss": found["loss"]}


def built_to(profile: Profile) -> Factory:
    """A criterion built to a profile, whatever it is asked for."""
    return lambda configuration: DeclaredCriterion(replace(configuration, profile=profile))


DEFECTS: dict[str, tuple[Factory, Profile, set[str]]] = {
    "further queries as others": (softmax(FurtherAsQueries), DETR, {APART}),
    "a weight of 1": (WeightOfOne, H_DETR, {LOSSES, SLOPES}),
    "losses in evaluation": (AlwaysTrains, H_DETR, {EVALUATED}),
    "no losses in evaluation": (
        built_to(replace(PROFILES["summed"], one_to_many_evaluation="absent")),
        PROFILES["summed"],
        {EVALUATED},
    ),
    "targets once": (RepeatedOnce, H_DETR, {LOSSES, SLOPES}),
    "no losses": (of_further(lambda _: {}), H_DETR, {LOSSES, SLOPES}),
    "no class error": (
        of_further(lambda losses: {key: loss for key, loss in losses.items() if "class_error" not in key}),
        H_DETR,
        {LOSSES},
    ),
    "detached losses": (
        of_further(lambda losses: {key: loss.detach() for key, loss in losses.items()}),
        H_DETR,
        {SLOPES, CONNECTED},
    ),
    "a total without further queries": (TotalWithoutFurther, PROFILES["summed"], {LOSSES}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    factory, profile, expected = DEFECTS[name]
    assert failing(subject(factory, profile), expected, EXAMPLES) == expected


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, _, expected in DEFECTS.values())) == set(IDS)


def test_implementations_without_further_queries_are_not_asked() -> None:
    for name in (LOSSES, SLOPES, EVALUATED):
        (invariant,) = find_invariants(name)
        assert not invariant.applies(DETR)


def test_a_target_has_a_query_at_least_and_further_outputs_have_names_of_their_own() -> None:
    with pytest.raises(InvalidValue, match="one_to_many_repeats is 0; expected at least 1"):
        replace(DETR, one_to_many_repeats=0)
    with pytest.raises(InvalidValue, match="two outputs are called 'pred_logits'"):
        Keys(one_to_many="{output}")
