"""Losses that are reported as sums, means or weighted: right criteria are never accused, defects by their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from judging import Failing, share_fired
from subjects import Factory, Losses
from torch import nn

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.reference import detr_matcher
from detr_reference import SetCriterion
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariants import all_invariants
from detr_spec.profile import Keys, LossRules, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR

TERMS = ("loss_ce", "loss_bbox", "loss_giou")
SUMS = "auxiliary.sums"
JUDGED = [item.id for item in all_invariants() if item.component in ("criterion", "gradients") and item.cost == 1]

PROFILES = {
    "means that are weighted, and their total": replace(
        DETR, keys=Keys(auxiliary_loss="{loss}_aux", total="loss"), losses=LossRules(shared="mean", weighted=True)
    ),
    "sums over all layers": replace(
        DEFORMABLE,
        keys=Keys(auxiliary_loss="{loss}", encoder_loss="{loss}_{layer}", denoising_loss="{loss}_dn"),
        losses=LossRules(extra=("extra_*",)),
    ),
    "weighted, with a total": replace(DETR, keys=Keys(total="loss"), losses=LossRules(weighted=True)),
    "means over all layers": replace(
        DETR, keys=Keys(auxiliary_loss="{loss}", class_error=None, cardinality=None), losses=LossRules(shared="mean")
    ),
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_criterion_that_reports_as_declared_is_not_accused(name: str, failing: Failing) -> None:
    assert failing(declared_implementation(PROFILES[name]), JUDGED, 4) == set()


@pytest.mark.parametrize("invariant", [SUMS])
def test_it_holds_on_what_is_declared_and_is_no_empty_word(invariant: str) -> None:
    for profile in PROFILES.values():
        assert share_fired(invariant, declared_implementation(profile), 40) > 0.2


Change = Callable[[dict[str, Any], Configuration], Losses]

SUMMED = replace(DETR, name="summed", keys=Keys(auxiliary_loss="{loss}_aux", total="loss"))
"""One loss of all auxiliary layers for each term, and the weighted total."""


def layers_of(losses: Losses, name: str) -> list[torch.Tensor]:
    """The losses of a term in the auxiliary layers."""
    return [loss for key, loss in losses.items() if key.rsplit("_", 1)[0] == name and key[-1].isdigit()]


def summed(losses: Losses, configuration: Configuration) -> Losses:
    """What the profile declares, by hand."""
    weights = dict(
        zip(TERMS, (configuration.loss_class, configuration.loss_bbox, configuration.loss_giou), strict=True)
    )
    found = {key: losses[key] for key in (*TERMS, "class_error", "cardinality_error")}
    found |= {f"{name}_aux": sum(of) for name in TERMS if (of := layers_of(losses, name))}
    total = sum(
        weight * loss for name, weight in weights.items() for key, loss in found.items() if key.startswith(name)
    )
    return {**found, "loss": total}


def changed(change: Change, profile: Profile = SUMMED) -> Implementation:
    class Criterion(nn.Module):
        def __init__(self, configuration: Configuration) -> None:
            super().__init__()
            given = configuration.num_classes, detr_matcher(configuration), {}
            self.own = SetCriterion(*given, configuration.class_loss.numbers["eos_coef"], configuration.losses)
            self.matcher, self.configuration = self.own.matcher, configuration

        def forward(self, outputs: Any, targets: Any) -> Losses:
            return change(self.own(outputs, targets), self.configuration)

    factory: Factory = Criterion
    return torch_implementation(name="summed", profile=profile, criterion=factory)


def without_first_layer(losses: Losses, configuration: Configuration) -> Losses:
    return summed({key: loss for key, loss in losses.items() if not key.endswith("_0")}, configuration)


def first_layer_twice(losses: Losses, configuration: Configuration) -> Losses:
    found = summed(losses, configuration)
    twice = {
        f"{name}_aux": found[f"{name}_aux"] + layers_of(losses, name)[0] for name in TERMS if layers_of(losses, name)
    }
    return found | twice


def last_layer_in_it(losses: Losses, configuration: Configuration) -> Losses:
    found = summed(losses, configuration)
    return found | {f"{name}_aux": found[f"{name}_aux"] + losses[name] for name in TERMS if layers_of(losses, name)}


def mean_in_place(losses: Losses, configuration: Configuration) -> Losses:
    found = summed(losses, configuration)
    own = {f"{name}_aux": of for name in TERMS if (of := layers_of(losses, name))}
    return found | {key: found[key] / len(of) for key, of in own.items()}


def unweighted_total(losses: Losses, configuration: Configuration) -> Losses:
    found = summed(losses, configuration)
    return found | {"loss": sum(loss for key, loss in found.items() if key.startswith("loss_"))}


def total_of_the_last_layer(losses: Losses, configuration: Configuration) -> Losses:
    main = {key: loss for key, loss in losses.items() if not key[-1].isdigit()}
    return summed(losses, configuration) | {"loss": summed(main, configuration)["loss"]}


def no_total(losses: Losses, configuration: Configuration) -> Losses:
    return {key: loss for key, loss in summed(losses, configuration).items() if key != "loss"}


def foreign_key(losses: Losses, configuration: Configuration) -> Losses:
    return {**summed(losses, configuration), "loss_kd": losses["loss_ce"]}


WEIGHTED = replace(DETR, name="weighted", losses=LossRules(weighted=True))


def weight_left_out(losses: Losses, configuration: Configuration) -> Losses:
    numbers = (configuration.loss_class, configuration.loss_bbox, 1.0)
    weights = dict(zip(TERMS, numbers, strict=True))
    return {key: weights.get(key, weights.get(key[:-2], 1.0)) * loss for key, loss in losses.items()}


DEFECTS: dict[str, tuple[Implementation, str]] = {
    "a layer is left out": (changed(without_first_layer), SUMS),
    "a layer is there twice": (changed(first_layer_twice), SUMS),
    "the last layer among the auxiliary ones": (changed(last_layer_in_it), SUMS),
    "a mean in place of the sum": (changed(mean_in_place), SUMS),
    "a sum in place of the mean": (changed(summed, replace(SUMMED, losses=LossRules(shared="mean"))), SUMS),
    "a total without weights": (changed(unweighted_total), SUMS),
    "a total of the last layer": (changed(total_of_the_last_layer), SUMS),
    "no total": (changed(no_total), "criterion.keys"),
    "an entry that is not declared": (changed(foreign_key), "criterion.keys"),
    "a weight is left out": (changed(weight_left_out, WEIGHTED), "criterion.giou-value"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found(name: str, failing: Failing) -> None:
    implementation, found_by = DEFECTS[name]
    assert failing(implementation, [found_by], 40) == {found_by}


def test_sums_by_hand_are_not_accused(failing: Failing) -> None:
    assert failing(changed(summed), JUDGED, 4) == set()
