"""A component may have limits of its own, each of which stands in place of that of the whole implementation."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from judging import judged

from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_spec.calls import CALLS
from detr_spec.configuration import Configuration, number_of
from detr_spec.implementation import ComponentLimits, Implementation, Limits
from detr_spec.profiles import DEFORMABLE
from detr_spec.values import InvalidValue
from detr_spec.violation import NotProvided

OWN = ComponentLimits(
    dtypes=("float64",), fixed={"class_cost.alpha": 0.5}, equal_shapes=True, devices=("cpu",), calls=("no-grad",)
)
WHOLE = Limits(dtypes=("float32",), fixed={"cost_class": 2.0}, devices=("cpu", "cuda"), components={"matcher": OWN})


def test_what_a_component_has_of_its_own_stands_in_place_of_what_all_have() -> None:
    found, others = WHOLE.of("matcher"), WHOLE.of("criterion")
    assert {field.name: getattr(found, field.name) for field in fields(ComponentLimits)} == vars(OWN)
    assert others == replace(WHOLE, components={})
    # Whether points are taken is said of the whole: matcher and criterion share them.
    assert {field.name for field in fields(Limits)} - {field.name for field in fields(OWN)} == {
        "components",
        "mask_points",
    }


def test_cases_keep_to_the_limits_of_their_component() -> None:
    seen: list[Configuration] = []
    reference = IMPLEMENTATIONS[1]

    def watched(configuration: Configuration) -> Any:
        seen.append(configuration)
        assert reference.matcher is not None
        return reference.matcher(configuration)

    subject = replace(reference, matcher=watched, limits=WHOLE)
    for name in ("matcher.optimal-cost", "matcher.ways-of-calling"):
        assert judged(name, subject, 30).verdict is Verdict.HOLDS
    assert {configuration.dtype for configuration in seen} == {"float64"}
    assert {configuration.call for configuration in seen} == {"plain", "no-grad"}
    assert {number_of(configuration, "class_cost.alpha") for configuration in seen} == {0.5}
    assert len({configuration.cost_class for configuration in seen}) > 1


def test_a_component_is_not_provided_on_a_device_that_is_not_its_own() -> None:
    subject = Implementation(name="it", profile=DEFORMABLE, limits=WHOLE, matcher=lambda _: lambda *_: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(NotProvided, match="matcher of it computes on cpu alone"):
        subject.component("matcher")(Configuration(profile=DEFORMABLE, device="cuda"))


@pytest.mark.parametrize(
    ("components", "said"),
    [
        ({"match": OWN}, "it has limits of 'match'; expected one of boxes"),
        ({"matcher": ComponentLimits(fixed={"eos": 1.0})}, "'eos' is fixed in it; expected one of"),
    ],
)
def test_limits_of_what_there_is_not_are_refused(components: Any, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        Implementation(name="it", profile=DEFORMABLE, limits=Limits(components=components))


def test_ways_of_calling_are_left_out_for_components_too() -> None:
    kept = Limits(components={"boxes": ComponentLimits(calls=tuple(CALLS)), "matcher": OWN}).within_calls(["sliced"])
    assert kept.calls == ("sliced",)
    assert {name: own.calls for name, own in kept.components.items()} == {"boxes": ("sliced",), "matcher": ()}
