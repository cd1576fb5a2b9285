"""The invariants of auxiliary losses: right criteria are never accused, defects by their own."""

from __future__ import annotations

from typing import Any

import pytest
from judging import Failing, share_fired
from subjects import (
    BackToFront,
    Factory,
    FlatMatcher,
    InOneBuffer,
    LargeScale,
    Losses,
    OfFlatPairs,
    OffsetMatcher,
    OfOffsetPairs,
    focal,
    hidden,
    matching_by,
    softmax,
    subject,
)

from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import FocalSetCriterion, SetCriterion
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profile import Keys, replace
from detr_spec.profiles import DEFORMABLE, DETR

INVARIANTS = tuple(
    item for item in all_invariants() if item.number in ("A1", "A2", "A3", "A4", "A5") and item.component == "criterion"
)
EXAMPLES = 40
FEWER = 20


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_reference_and_is_no_empty_word(invariant: Invariant, reference: Implementation) -> None:
    assert share_fired(invariant.id, reference, EXAMPLES) > 0.2


class OtherNames(SetCriterion):
    """The key names of mmdet: `d0.loss_ce`."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        for layer in range(len(outputs.get("aux_outputs", []))):
            for name in ("loss_ce", "loss_bbox", "loss_giou", "cardinality_error"):
                losses[f"d{layer}.{name}"] = losses.pop(f"{name}_{layer}")
        return losses


NOT_ACCUSED: dict[str, Implementation] = {
    "other ties": subject(softmax(SetCriterion, matching_by(BackToFront))),
    "one buffer": subject(softmax(SetCriterion, matching_by(InOneBuffer))),
    "hidden": subject(hidden(softmax(SetCriterion))),
    "flat pairs": subject(softmax(OfFlatPairs, matching_by(FlatMatcher))),
    "pairs counted on": subject(softmax(OfOffsetPairs, matching_by(OffsetMatcher))),
    "hidden focal": subject(hidden(focal(FocalSetCriterion)), DEFORMABLE),
    "another scale": subject(softmax(LargeScale)),
    "other names": subject(softmax(OtherNames), replace(DETR, keys=Keys(auxiliary_loss="d{layer}.{loss}"))),
}


@pytest.mark.parametrize("name", NOT_ACCUSED)
def test_a_criterion_that_treats_layers_rightly_is_not_accused(name: str, failing: Failing) -> None:
    assert failing(NOT_ACCUSED[name], [item.id for item in INVARIANTS], FEWER) == set()


class Off(SetCriterion):
    """transformers PR 20959: auxiliary losses silently off."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        return super().forward({**outputs, "aux_outputs": []}, targets)


class OneLayerLess(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        return super().forward({**outputs, "aux_outputs": outputs.get("aux_outputs", [])[1:]}, targets)


class LastLayerToo(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        layers = outputs.get("aux_outputs", [])
        last = {name: outputs[name] for name in ("pred_logits", "pred_boxes")}
        return super().forward({**outputs, "aux_outputs": [*layers, last] if layers else []}, targets)


class ClassErrors(SetCriterion):
    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        return losses | {"class_error": self._class_error(outputs, targets, pairs)}


class Reversed(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        return super().forward({**outputs, "aux_outputs": outputs.get("aux_outputs", [])[::-1]}, targets)


class MatchesOnce(SetCriterion):
    """All layers under the indices of the last one, which is matched first."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        self.pairs: Any = None
        return super().forward(outputs, targets)

    def _match(self, outputs: Any, targets: Any) -> Any:
        if self.pairs is None:
            self.pairs = super()._match(outputs, targets)
        return self.pairs


class LastLayerOfTheFirst(SetCriterion):
    """The last layer is judged under the first auxiliary layer's matching."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        self.first = outputs.get("aux_outputs", [outputs])[0]
        self.calls = 0
        return super().forward(outputs, targets)

    def _match(self, outputs: Any, targets: Any) -> Any:
        self.calls += 1
        return super()._match(self.first if self.calls == 1 else outputs, targets)


class MatchesInVain(MatchesOnce):
    """Matches every layer, and uses the last layer's indices for all."""

    def _match(self, outputs: Any, targets: Any) -> Any:
        own = SetCriterion._match(self, outputs, targets)
        self.pairs = self.pairs or own
        return self.pairs


class Summed(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        added = [losses[f"loss_bbox_{layer}"] for layer in range(len(outputs.get("aux_outputs", [])))]
        return losses | {"loss_bbox": sum(added, losses["loss_bbox"])}


class Deeper(SetCriterion):
    """A weight that grows with the depth, put into the loss itself."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        for layer in range(len(outputs.get("aux_outputs", []))):
            losses[f"loss_giou_{layer}"] = losses[f"loss_giou_{layer}"] * (layer + 1) / 2
        return losses


class RoughlyMatched(SetCriterion):
    """In auxiliary layers the overlap weighs a percent more."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        self.last = outputs
        return super().forward(outputs, targets)

    def _match(self, outputs: Any, targets: Any) -> Any:
        matcher: Any = self.matcher
        weight = matcher.cost_giou
        matcher.cost_giou = weight if outputs is self.last else 1.01 * weight
        pairs = super()._match(outputs, targets)
        matcher.cost_giou = weight
        return pairs


class NormalisedByLayers(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        layers = 1 + len(outputs.get("aux_outputs", []))
        return {name: loss / layers if name.startswith("loss_bbox_") else loss for name, loss in losses.items()}


KEYS, ALONE, OWN = "auxiliary.keys", "auxiliary.layer-alone", "auxiliary.own-matching"
CLOSE = "auxiliary.close-call"
LAST, ORDER = "auxiliary.last-layer-independent", "auxiliary.layer-order"

DEFECTS: dict[str, tuple[Factory, set[str]]] = {
    "off": (softmax(Off), {KEYS, ALONE}),
    "one layer less": (softmax(OneLayerLess), {KEYS, ALONE, ORDER}),
    "the last layer too": (softmax(LastLayerToo), {KEYS}),
    "class errors of all layers": (softmax(ClassErrors), {"auxiliary.no-class-error"}),
    "reversed": (softmax(Reversed), {ALONE, ORDER}),
    "one matching for all": (softmax(MatchesOnce), {ALONE, OWN, CLOSE}),
    "one matching for all, unseen": (softmax(MatchesInVain), {ALONE, OWN}),
    "the last layer under the first matching": (softmax(LastLayerOfTheFirst), {LAST, OWN, CLOSE, ORDER}),
    "roughly matched": (softmax(RoughlyMatched), {CLOSE}),
    "summed into the last": (softmax(Summed), {LAST}),
    "weighted by depth": (softmax(Deeper), {ALONE, ORDER}),
    "divided by the number of layers": (softmax(NormalisedByLayers), {ALONE}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    factory, expected = DEFECTS[name]
    assert failing(subject(factory), expected, EXAMPLES, expected) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_no_other(name: str, failing: Failing) -> None:
    factory, expected = DEFECTS[name]
    assert failing(subject(factory), [item.id for item in INVARIANTS], EXAMPLES, expected) == expected


@pytest.mark.parametrize(
    "name", ["one matching for all", "roughly matched", "weighted by depth", "summed into the last"]
)
def test_a_defect_is_seen_without_the_matching(name: str, failing: Failing) -> None:
    factory, expected = DEFECTS[name]
    assert failing(subject(hidden(factory)), [item.id for item in INVARIANTS], EXAMPLES, expected) == expected


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, expected in DEFECTS.values())) == {item.id for item in INVARIANTS}


def test_an_unreported_class_error_is_not_asked_for() -> None:
    (invariant,) = find_invariants("auxiliary.no-class-error")
    assert not invariant.applies(replace(DETR, keys=Keys(class_error=None)))


def test_number_a1_is_asked_in_two_ways_and_of_masks() -> None:
    assert [item.id for item in find_invariants("A1")] == [KEYS, ALONE, "masks.layers"]
