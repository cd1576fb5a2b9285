"""The page on testees says what is so: its example is what is exchanged, and its tables are complete."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from scipy.optimize import linear_sum_assignment

from detr_conformance import numpy_implementation
from detr_conformance.implementations import served
from detr_conformance.testee.description import DERIVED, encode_configuration, read_description
from detr_conformance.testee.detr_testee import LONGEST, REQUESTS, decode_array, packed
from detr_conformance.testee.messages import RaisedThere, Violated
from detr_conformance.testee.signatures import signatures
from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS, Limits
from detr_spec.profiles import DETR
from detr_spec.values import (
    Detections,
    FeatureMap,
    HeadParameters,
    LayerGradient,
    Losses,
    LossGradients,
    Matching,
    Observation,
    Outputs,
    Target,
)

PAGE = (Path(__file__).parents[3] / "docs" / "testee.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ASKED, ANSWERED = ([json.loads(line[2:]) for line in EXAMPLE.splitlines() if line[0] == arrow] for arrow in "→←")


def test_the_examples_requests_are_requests() -> None:
    assert [request["message"] for request in ASKED] == list(REQUESTS)
    for request in ASKED:
        assert set(request) == {"message", "id", *REQUESTS[request["message"]]}
    assert ASKED[2]["configuration"] == json.loads(json.dumps(encode_configuration(Configuration(profile=DETR))))


def test_the_examples_answers_are_what_a_testee_answers() -> None:
    testee = served._testee(numpy_implementation(name="mine", solver=linear_sum_assignment))
    solve = testee.build("assignment", ASKED[2]["configuration"])["solve"]
    given: Any = solve(*ASKED[3]["arguments"])
    assert given["value"] == ANSWERED[3]["value"]
    assert decode_array(ASKED[3]["arguments"][0], "cost").tolist() == [[1.0, 0.0]]
    assert read_description(ANSWERED[0]["implementations"][0], "it").profile == DETR


def test_the_bytes_are_those_of_the_message() -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert bytes.fromhex(shown) == packed(ASKED[1])


def test_everything_has_its_place_on_the_page() -> None:
    functions = {name for component in COMPONENTS for name in signatures(component)}
    kinds = (Outputs, Target, Matching, Losses, LossGradients, LayerGradient, Detections, FeatureMap, HeadParameters)
    values = (*kinds, Configuration, Limits, Observation, Violated, RaisedThere)
    named = {item.name for kind in values for item in fields(kind)} - {"profile"}
    for name in (*COMPONENTS, *functions, *REQUESTS, *DERIVED, *named):
        assert f"`{name}`" in PAGE, name
    assert f"{LONGEST:,}".replace(",", " ") in PAGE
