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
from detr_spec.profile import DenoisingRules, Keys, MatcherRules, Profile, TargetRules, replace
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

    return Implementation(name="it", profile=profile, **{name: factory(name) for name in (*GIVEN, "gradients")})


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


def layers(count: int, queries: int) -> Outputs:
    """Predictions of so many layers, no two of which are the same."""
    shape = count, 2, queries
    logits = np.linspace(-2, 2, 3 * 2 * count * queries).reshape(*shape, 3)
    boxes = np.linspace(0.125, 0.5, 4 * 2 * count * queries).reshape(*shape, 4)
    *earlier, last = map(Outputs, logits, boxes)
    return replace(last, auxiliary=tuple(earlier))


DINO = replace(
    DETR,
    name="dino",
    keys=Keys(
        encoder="interm_outputs",
        encoder_loss="{loss}_interm",
        denoising="output_known_lbs_bboxes",
        denoising_groups="num_dn_group",
        denoising_loss="{loss}_dn",
        denoising_auxiliary_loss="{loss}_dn_{layer}",
    ),
    denoising=DenoisingRules(layout="within-meta", absent="zeros"),
)
RT_DETR = replace(
    DETR,
    name="rt-detr",
    keys=Keys(
        encoder="enc_aux_outputs",
        encoder_loss="{loss}_enc_{number}",
        initial="first",
        initial_loss="{loss}_pre",
        one_to_many="further_{output}",
        one_to_many_loss="{loss}_o2m",
        denoising="dn_aux_outputs",
        denoising_loss="{loss}_dn_{layer}",
        denoising_auxiliary_loss="{loss}_dn_{layer}",
    ),
    denoising=DenoisingRules(layout="listed"),
    one_to_many_repeats=2,
)
WHOLE = replace(
    layers(3, 5), encoder=layers(1, 4), initial=layers(1, 5), one_to_many=layers(3, 7), denoising=layers(3, 12)
)
"""Two groups of twice three denoising queries, as the second image has three targets."""


@pytest.mark.parametrize("profile", [DINO, RT_DETR], ids=lambda profile: profile.name)
def test_what_stands_apart_is_written_alike(profile: Profile) -> None:
    configuration = Configuration(profile=profile, num_classes=2, decoder_layers=3)
    weights = dict.fromkeys(configuration.weight_dict, 1.0)
    assert len(weights) == 21 + 12 * (profile is RT_DETR)
    by_both = [
        item.component("gradients")(configuration)(WHOLE, TARGETS, weights)
        for item in (declared_implementation(profile), alone(profile, configuration))
    ]
    assert same(*by_both)
    assert len(by_both[0].value.denoising) == 3
    assert set(weights) < set(by_both[0].value.losses.values)


def outputs_written(profile: Profile, outputs: Outputs) -> dict[str, Any]:
    """What a criterion of a profile is given."""
    seen: list[Any] = []

    def criterion(given: Any, _: Any) -> Any:
        seen.append(dict(given))
        return {}

    subject = torch_implementation(name="it", profile=profile, criterion=lambda _: criterion)
    subject.component("criterion")(Configuration(profile=profile, num_classes=2))(outputs, TARGETS)
    (given,) = seen
    return given  # type: ignore[no-any-return]


def test_denoising_queries_are_where_dino_looks_for_them() -> None:
    given = outputs_written(DINO, WHOLE)
    meta = given["dn_meta"]
    single = meta["pad_size"] // meta["num_dn_group"]
    assert (meta["pad_size"], meta["num_dn_group"], single) == (12, 2, 6)
    known = meta["output_known_lbs_bboxes"]
    assert known["pred_logits"].shape == (2, 12, 3)
    assert len(known["aux_outputs"]) == len(given["aux_outputs"]) == 2
    assert given["interm_outputs"]["pred_boxes"].shape == (2, 4, 4)
    assert outputs_written(DINO, replace(WHOLE, denoising=None))["dn_meta"] is None


def test_denoising_queries_are_where_rt_detr_looks_for_them() -> None:
    given = outputs_written(RT_DETR, WHOLE)
    assert [layer["pred_boxes"].shape for layer in given["dn_aux_outputs"]] == [(2, 12, 4)] * 3
    assert [layer["pred_boxes"].shape for layer in given["enc_aux_outputs"]] == [(2, 4, 4)]
    assert given["dn_meta"]["dn_num_group"] == 2
    assert [own.tolist() for own in given["dn_meta"]["dn_positive_idx"]] == [[0, 6], [0, 1, 2, 6, 7, 8]]
    assert "dn_aux_outputs" not in outputs_written(RT_DETR, replace(WHOLE, denoising=None))
