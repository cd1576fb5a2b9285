"""No field of a value is forgotten: each one, of all types that flow through a check, survives every encoding of it.

The types are found from those of the components' functions, so a field or a type that is added is here by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from typing import Any, get_args, get_origin

import numpy as np
import pytest
import torch
from samples import record, same, sample
from torch import Tensor, nn

from detr_conformance import numpy_implementation, torch_implementation
from detr_conformance.encoding.files import FILES
from detr_conformance.encoding.places import Place
from detr_conformance.encoding.reports import plain
from detr_conformance.implementations import served
from detr_conformance.testee import detr_testee
from detr_conformance.testee.description import (
    described,
    encode_configuration,
    read_configuration,
    read_description,
)
from detr_conformance.testee.detr_testee import numpy_testee, packed, torch_testee, unpacked
from detr_conformance.testee.messages import MESSAGES, Part
from detr_conformance.testee.signatures import functions_of, signatures
from detr_spec.configuration import Configuration
from detr_spec.hints import default_of, field_types, is_record
from detr_spec.implementation import COMPONENTS, ComponentLimits, Implementation, Limits
from detr_spec.profile import BoxRules, DenoisingRules, DetectionRules, Keys, MatcherRules, Profile, TargetRules
from detr_spec.values import Answer, Detections, LayerGradient, Outputs, Target

Alone = detr_testee.Testee


def through(data: Any) -> Any:
    """Data as it arrives at the other end of a pipe."""
    return unpacked(packed({"it": data})[4:])["it"]


def records_in(hint: Any, seen: set[Any]) -> Iterator[Any]:
    """The dataclasses of which a type is made."""
    kind = get_origin(hint) or hint
    if is_record(hint) and kind not in seen:
        seen.add(kind)
        yield from () if kind is Answer else (kind,)
        for part in field_types(hint).values():
            yield from records_in(part, seen)
    for part in get_args(hint):
        yield from records_in(part, seen)


def all_records() -> list[Any]:
    seen: set[Any] = set()
    functions = [signature for name in COMPONENTS for signature in signatures(name).values()]
    hints = [hint for function in functions for hint in (*function.arguments, function.answer)]
    return [kind for hint in (*hints, Configuration, Limits) for kind in records_in(hint, seen)]


RECORDS = all_records()


def test_all_records_are_found() -> None:
    names = {kind.__name__ for kind in RECORDS}
    assert names >= {"Outputs", "Target", "Losses", "LayerGradient", "Observation", "Profile", "BoxRules", "Limits"}


EXCLUDED = (DetectionRules, "drops_no_object")
"""What a top-k rule, which is another than the default, leaves no room for."""


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_field_survives_messages_files_and_reports(kind: Any) -> None:
    value = record(kind)
    for field in fields(kind):
        other = default_of(field) is MISSING or not same(getattr(value, field.name), default_of(field))
        assert other or (kind, field.name) == EXCLUDED
    arrived = MESSAGES.decoded(kind, through(MESSAGES.encoded(value, kind)), Part("it"))
    assert same(arrived, value)
    assert json.dumps(plain(arrived)) == json.dumps(plain(value)), "the order of entries"
    assert same(FILES.decoded(kind, json.loads(json.dumps(FILES.encoded(value, kind))), Place("it")), value)
    told = plain(value)
    assert told == value.name if kind is Profile else set(told) == {field.name for field in fields(kind)}
    assert told == json.loads(json.dumps(told, allow_nan=False))


def test_a_configuration_and_a_description_arrive_with_every_field() -> None:
    configuration = record(Configuration)
    assert same(read_configuration(through(encode_configuration(configuration)), configuration.profile), configuration)
    limits = Limits(
        dtypes=("float16",), fixed={"class_loss.alpha": 1 / 3},
        equal_shapes=True, devices=("cpu", "cuda"), calls=("sliced",), mask_points=True,
        components={"boxes": ComponentLimits(
            dtypes=("float64",), fixed={"class_cost.alpha": 1 / 3}, equal_shapes=False, devices=("cpu",), calls=(),
        )},
    )  # fmt: skip
    assert not any(same(getattr(limits, field.name), default_of(field)) for field in fields(Limits))
    profile = record(Profile, name="mine")
    said = read_description(through(described(Implementation(name="it", profile=profile, limits=limits))), "it")
    assert same((said.profile, said.limits), (profile, limits))


def names_of(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


def test_the_file_that_stands_alone_knows_every_field_that_a_case_has() -> None:
    defaults = {field.name: field.default for field in fields(Keys)}
    assert {name: defaults[name] for name in detr_testee.KEYS} == detr_testee.KEYS
    layers = {"auxiliary", *detr_testee.APART}
    assert {*detr_testee.LAYER, *detr_testee.TEXT, *layers} == names_of(Outputs) - {"broken"}
    assert set(detr_testee.TARGET) == names_of(Target) - {"broken"}
    assert set(detr_testee.DETECTION) == names_of(Detections)
    assert set(detr_testee.LAYER) - {"references"} == names_of(LayerGradient)
    # What proposals and denoising queries are given as depends on the names of their losses.
    given = {"encoder_loss", "encoder_auxiliary", "encoder_auxiliary_loss", "denoising_loss"}
    meta = {name for name in defaults if name.startswith("denoising_") and not name.endswith("_loss")}
    parts = {*detr_testee.LAYER, *detr_testee.TEXT, *layers, *detr_testee.TARGET.values(), "target_counts"}
    assert {*parts, *given, *meta} == set(detr_testee.KEYS)
    for rules, known in (
        (DenoisingRules(), detr_testee.DENOISING),
        (TargetRules(), detr_testee.TARGETS),
        (MatcherRules(), detr_testee.MATCHER),
    ):
        assert {name: getattr(rules, name) for name in known} == known
    assert names_of(MatcherRules) - set(detr_testee.MATCHER) == {"index_dtype"}


class Pairs(nn.Module):
    """A matcher that pairs what comes first."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        return [(torch.arange(2), torch.arange(2)) for _ in targets]


class Everything(nn.Module):
    """A criterion whose one loss is the sum of all that it is given."""

    def __init__(self, keys: Any) -> None:
        super().__init__()
        self.matcher = Pairs()
        self.weight_dict = {"loss": 2.0}
        self.keys = keys

    def forward(self, outputs: Any, targets: Any) -> Any:
        for layer in (*outputs[self.keys.auxiliary], outputs):
            self.matcher(dict(layer), targets)
        return {"loss": sum(part.sum() for part in tensors((outputs, targets)))}


def tensors(value: Any) -> list[Tensor]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [value] if isinstance(value, Tensor) else [one for part in parts for one in tensors(part)]


BOXES = replace(record(BoxRules), units="relative")
PROFILE = replace(
    record(Profile, name="renamed", matcher=MatcherRules()),
    targets=TargetRules(),
    boxes=BOXES,
    no_object="last",
    coordinate_order="x-first",
)
"""Every field another than the default, but for those by which values are written before any testee is asked."""
GIVEN: dict[str, Any] = {
    "matcher": lambda c: Pairs(),
    "criterion": lambda c: Everything(PROFILE.keys),
    "masks": lambda c: Everything(PROFILE.keys),
    "postprocess": lambda c: (
        lambda outputs, sizes: [
            {"scores": boxes[:, 0] * sizes.sum(), "labels": torch.arange(len(boxes)), "boxes": boxes}
            for boxes in outputs[PROFILE.keys.boxes]
        ]
    ),
    "boxes": {"iou": lambda first, second: first @ second.T},
}
IN_TORCH = torch_implementation(name="it", profile=PROFILE, **GIVEN)
ALONE_IN_TORCH = torch_testee(name="it", profile=described(IN_TORCH)["profile"], **GIVEN)
SOLVERS: dict[str, Any] = {
    "boxes": {"giou": lambda first, second: first @ second.T},
    "solver": lambda cost: (np.arange(len(cost)), [int(row.argmin()) for row in cost]),
    "batch_solver": lambda costs: [(np.arange(len(cost), dtype=np.int32), [True] * len(cost)) for cost in costs],
}
IN_NUMPY = numpy_implementation(name="it", **SOLVERS)
ALONE_IN_NUMPY = numpy_testee(name="it", **SOLVERS)
PAIRS = ((IN_TORCH, ALONE_IN_TORCH), (IN_NUMPY, ALONE_IN_NUMPY))
EVERY = [(whole, alone, component) for whole, alone in PAIRS for component in alone.description["components"]]

Arguments = dict[str, list[Any]]


def answers(testee: Alone, component: str, configuration: Configuration, arguments: Arguments) -> dict[str, Any]:
    """What the functions of a testee's component answer, decoded; by name."""
    functions = testee.build(component, through(encode_configuration(configuration)))
    signed = signatures(component)
    return {
        name: signed[name].decoded_answer(through(function(*through(signed[name].encoded_arguments(arguments[name])))))
        for name, function in functions.items()
    }


@pytest.mark.parametrize(("whole", "alone", "component"), EVERY)
def test_the_file_that_stands_alone_answers_as_the_bridges_do(whole: Any, alone: Alone, component: str) -> None:
    configuration = Configuration(profile=whole.profile, masks=True, dtype="float64", decoder_layers=3)
    arguments = {
        name: [sample(hint) for hint in signature.arguments] for name, signature in signatures(component).items()
    }
    built = functions_of(component, whole.component(component)(configuration))
    direct = {name: function(*arguments[name]) for name, function in built.items()}
    assert set(direct) == set(answers(alone, component, configuration, arguments)) != set()
    assert same(answers(alone, component, configuration, arguments), direct)
    assert same(answers(served._testee(whole), component, configuration, arguments), direct)
