"""Every form of targets, of a matcher's call and of its answer is read alike by the bridge and by the file that stands
alone, and says the same matching."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from samples import same

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.declared.matcher import DeclaredMatcher
from detr_conformance.testee.description import encode_configuration
from detr_conformance.testee.detr_testee import packed, torch_testee, unpacked
from detr_conformance.testee.messages import MESSAGES
from detr_conformance.testee.signatures import signatures
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.profile import MatcherRules, Profile, TargetRules, replace
from detr_spec.profiles import DETR
from detr_spec.values import Losses, Matching, Outputs, Target
from detr_spec.violation import Violation

TENSORS = ("boxes", "logits", "target_boxes", "labels")
FORMS: dict[str, tuple[TargetRules, MatcherRules]] = {
    "tensors": (TargetRules(units="pixels"), MatcherRules(arguments=(*TENSORS, "target_size"))),
    "counts": (
        TargetRules(layout="concatenated", label_dtype="int32"),
        MatcherRules(arguments=(*TENSORS, "target_counts"), target_indices="batch", index_dtype="int32"),
    ),
    "mask": (TargetRules(layout="padded"), MatcherRules(arguments=(*TENSORS, "target_valid"), padding="matched")),
    "label": (
        TargetRules(layout="padded", first_label=1, padding_label=0),
        MatcherRules(answer="columns", padding="matched"),
    ),
    "rows": (TargetRules(), MatcherRules(answer="rows", entry="indices", index_dtype="int32")),
    "assignment": (TargetRules(), MatcherRules(answer="assignment", first_target=1)),
    "assignment of the batch": (
        TargetRules(layout="padded"),
        MatcherRules(answer="assignment", target_indices="batch", padding="matched"),
    ),
}
OUTPUTS = Outputs(np.linspace(-1, 1, 30).reshape(2, 5, 3) ** 3, np.linspace(0.125, 0.5, 40).reshape(2, 5, 4))
TARGETS = (
    Target([1], [[0.25, 0.25, 0.125, 0.25]]),
    Target([0, 1, 0], [[0.5, 0.5, 0.25, 0.5], [0.25, 0.75, 0.125, 0.25], [0.5, 0.25, 0.5, 0.25]]),
)


def through(data: Any) -> Any:
    """Data as it arrives at the other end of a pipe."""
    return unpacked(packed({"it": data})[4:])["it"]


GIVEN: dict[str, Any] = {"matcher": DeclaredMatcher, "criterion": DeclaredCriterion}


def alone(profile: Profile, configuration: Configuration) -> Implementation:
    """The file that stands alone in place of the bridge."""
    factories = {name: lambda _, kind=kind: kind(configuration) for name, kind in GIVEN.items()}
    testee = torch_testee(name="it", profile=through(MESSAGES.encoded(profile, Profile)), **factories)

    def factory(component: str) -> Any:
        (signature,) = signatures(component).values()

        def build(_: Configuration) -> Any:
            call = testee.build(component, through(encode_configuration(configuration)))["call"]
            return lambda *given: signature.decoded_answer(through(call(*through(signature.encoded_arguments(given)))))

        return build

    return Implementation(name="it", profile=profile, **{name: factory(name) for name in GIVEN})


@pytest.mark.parametrize("component", list(GIVEN))
@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_is_read_alike(form: str, component: str) -> None:
    targets, matcher = FORMS[form]
    profile = replace(DETR, name="mine", targets=targets, matcher=matcher)
    configuration = Configuration(profile=profile, num_classes=2)
    usual = declared_implementation(DETR).component(component)(replace(configuration, profile=DETR))(OUTPUTS, TARGETS)
    bridged = declared_implementation(profile).component(component)(configuration)(OUTPUTS, TARGETS)
    by_itself = alone(profile, configuration).component(component)(configuration)(OUTPUTS, TARGETS)
    assert same(bridged, by_itself)
    for own, other in zip(matchings_in(bridged.value), matchings_in(usual.value), strict=True):
        assert own.pairs() == other.pairs()
        assert str(own.queries.dtype) == matcher.index_dtype


def matchings_in(value: Any) -> tuple[Matching, ...]:
    """The matchings of a matcher's answer, or that a criterion's matcher was seen to give."""
    if isinstance(value, Losses):
        assert value.matchings is not None
        return value.matchings[0]
    found: tuple[Matching, ...] = value
    return found


WRONG: list[tuple[MatcherRules, Any, str]] = [
    (MatcherRules(entry="indices"), [], "returned list of length 0"),
    (MatcherRules(entry="indices"), {"pairs": []}, "returned no key 'indices'"),
    (MatcherRules(answer="columns"), [np.zeros((2, 1, 1), int), np.zeros((2, 1), int)], "image 0, returned ndarray"),
    (MatcherRules(answer="rows"), [np.zeros((2, 3), int), np.zeros((2, 2), int)], "image 0, returned ndarray"),
    (MatcherRules(answer="rows"), np.zeros((1, 2, 2), int), "returned ndarray of int64 and shape [1, 2, 2]"),
    (MatcherRules(answer="assignment"), [np.zeros((1, 5), int)] * 2, "image 0, returned ndarray"),
]


@pytest.mark.parametrize(("rules", "answer", "said"), WRONG, ids=lambda part: str(part)[:30])
def test_an_answer_of_another_form_is_a_violation(rules: MatcherRules, answer: Any, said: str) -> None:
    profile = replace(DETR, matcher=rules)
    subject = torch_implementation(name="it", profile=profile, matcher=lambda _: lambda *_: answer)
    with pytest.raises(Violation, match=re.escape(said)):
        subject.component("matcher")(Configuration(profile=profile, num_classes=2))(OUTPUTS, TARGETS)


def test_what_padded_targets_are_by_hand() -> None:
    seen: list[Any] = []

    def matcher(_: Any, targets: Any) -> Any:
        seen.append({key: part.tolist() if hasattr(part, "tolist") else part for key, part in targets.items()})
        return [([0], [0]), ([0, 1, 2], [0, 1, 2])]

    rules = TargetRules(layout="padded", padding_label=-1, first_label=1)
    profile = replace(DETR, targets=rules)
    subject = torch_implementation(name="it", profile=profile, matcher=lambda _: matcher)
    subject.component("matcher")(Configuration(profile=profile, num_classes=2))(OUTPUTS, TARGETS)
    (given,) = seen
    nothing = [0.0] * 4
    assert given == {
        "labels": [[2, -1, -1, -1], [1, 2, 1, -1]],
        "boxes": [[*TARGETS[0].boxes.tolist(), *[nothing] * 3], [*TARGETS[1].boxes.tolist(), nothing]],
        "valid": [[True, False, False, False], [True, True, True, False]],
        "counts": [1, 3],
    }
