"""Isolated is not isolated: whatever an implementation answers, it is judged alike in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import sample
from subjects import InOneBuffer, matching_by, softmax

from detr_conformance import check
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.encoding.reports import plain
from detr_conformance.testee import client
from detr_conformance.testee.description import encode_configuration
from detr_conformance.testee.detr_testee import WrongAnswer, torch_testee
from detr_conformance.testee.signatures import component_of, functions_of, signatures
from detr_reference import HungarianMatcher, SetCriterion
from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS, Implementation
from detr_spec.profiles import DETR
from detr_spec.values import Outputs, Target
from detr_spec.violation import NotProvided, Raised, RankFailure, Violation

FILE = Path(__file__).with_name("odd_answers.py")
sys.path.insert(0, str(FILE.parent))
import odd_answers as odd  # noqa: E402

EACH = int(os.environ.get("DETR_SPEC_ODD_STEP", "17"))
"""Every so many-th odd answer is tried; all of them, with 1, take some minutes."""


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or how it fails: the value as data, or the message with its numbers."""
    try:
        return plain(call())
    except Violation as error:
        numbers = (error.expected, error.got, error.allowance, error.details)
        return "violated", error.message, plain(numbers)
    except Raised as error:
        return "raised", type(error.error).__name__, str(error.error)
    except (NotProvided, RankFailure) as error:
        return type(error).__name__, str(error)


def outcomes(implementation: Implementation, component: str, number: int) -> dict[str, Any]:
    """The outcome of each function of a component that answers with the odd answer of that number."""
    configuration = Configuration(profile=implementation.profile, top_k=number, decoder_layers=2)
    built: dict[str, Any] = {}
    found = {
        "build": outcome(
            lambda: built.update(functions_of(component, implementation.component(component)(configuration)))
        )
    }
    for name, function in built.items():
        arguments = [sample(hint) for hint in signatures(component)[name].arguments]
        found[name] = outcome(lambda function=function, arguments=arguments: function(*arguments))
    return found


def endings(told: list[dict[str, Any]]) -> set[str]:
    """How calls ended that gave nothing."""
    return {found[0] for one in told for found in one.values() if isinstance(found, tuple)}


@pytest.fixture(scope="module")
def isolated() -> Any:
    def find(name: str) -> tuple[Implementation, ...]:
        return client.testee_implementations(f"isolated:{FILE}:{name}")

    yield find
    client.close_all()


def numbers(component: str) -> range:
    largest = max(odd.count(sample(signature.answer)) for signature in signatures(component).values())
    return range(1, largest + 2, EACH)


@pytest.mark.thorough
@pytest.mark.parametrize("component", COMPONENTS)
def test_odd_values_are_told_alike(component: str, isolated: Any) -> None:
    (there,) = isolated("DIRECT")
    told = [outcomes(odd.DIRECT, component, number) for number in numbers(component)]
    assert told == [outcomes(there, component, number) for number in numbers(component)]
    assert "violated" in endings(told)
    assert "raised" not in endings(told)


@pytest.mark.parametrize("component", odd.IN_TORCH.components)
def test_odd_answers_in_torch_are_told_alike(component: str, isolated: Any) -> None:
    if component in ("gradients", "distributed", "masks", "boxes"):
        return
    (there,) = isolated("IN_TORCH")
    several = range(1, odd.count(odd.RAW[component]) + 2, EACH)
    told = [outcomes(odd.IN_TORCH, component, number) for number in several]
    assert told == [outcomes(there, component, number) for number in several]
    assert "violated" in endings(told)
    assert "raised" not in endings(told)


def test_odd_answers_in_numpy_are_told_alike(isolated: Any) -> None:
    there = isolated("IN_NUMPY")
    told = [outcomes(one, "assignment", 1) for one in odd.IN_NUMPY[::EACH]]
    assert told == [outcomes(one, "assignment", 1) for one in there[::EACH]]
    assert "violated" in endings(told)
    assert "raised" not in endings(told)


def alone(name: str) -> Implementation:
    """The component as the file that stands alone answers for it, without a pipe."""
    testee = torch_testee(name="in torch", profile="detr", **odd.BY_TORCH)

    def build(configuration: Configuration) -> Any:
        functions = testee.build(name, encode_configuration(configuration))

        def answering(function: str) -> Callable[..., Any]:
            signature = signatures(name)[function]

            def call(*arguments: Any) -> Any:
                try:
                    return signature.decoded_answer(functions[function](*signature.encoded_arguments(arguments)))
                except WrongAnswer as wrong:
                    raise Violation(str(wrong), expected=wrong.expected, got=wrong.got) from wrong

            return call

        return component_of(name, {function: answering(function) for function in functions})

    return Implementation(name="in torch", profile=DETR, **{name: build})


@pytest.mark.parametrize("component", odd.BY_TORCH)
def test_the_file_that_stands_alone_tells_odd_answers_alike(component: str) -> None:
    several = range(1, odd.count(odd.RAW[component]) + 2, EACH)
    there = alone(component)
    assert [outcomes(there, component, number) for number in several] == [
        outcomes(odd.IN_TORCH, component, number) for number in several
    ]


LOGITS = np.array([[[4.0, 0.0], [-4.0, 0.0]]])
BOXES = np.full((1, 2, 4), 0.5)
TURNED = Outputs(LOGITS, BOXES, auxiliary=(Outputs(LOGITS[:, ::-1], BOXES),))
"""Two decoder layers, in which the one target is matched with the first query and with the second."""
TARGETS = (Target(np.zeros(1, dtype=np.int64), np.full((1, 4), 0.5)),)


def test_the_file_that_stands_alone_reads_a_matching_before_it_is_written_over() -> None:
    subjects = [softmax(SetCriterion, matching_by(matcher)) for matcher in (InOneBuffer, HungarianMatcher)]
    answers = [told_alone(criterion) for criterion in subjects]
    assert answers[0] == answers[1]


def told_alone(criterion: Callable[[Configuration], Any]) -> Any:
    """What the file that stands alone tells of a criterion's answer to two decoder layers that match otherwise."""
    configuration = Configuration(profile=DETR, decoder_layers=2)
    testee = torch_testee(name="alone", profile="detr", criterion=criterion)
    function = testee.build("criterion", encode_configuration(configuration))["call"]
    return function(*signatures("criterion")["call"].encoded_arguments((TURNED, TARGETS)))


@pytest.mark.parametrize("profile", ["scenic", "mmdet"])
def test_targets_are_written_in_the_dialects_form_once(profile: str) -> None:
    asked = {"profile": profile, "invariants": ["matcher.valid-pairs", "criterion.l1-value"], "examples": 3}
    verdicts = [judgement.verdict for judgement in require_same_judgements("dialects", **asked)]
    assert set(verdicts) == {Verdict.HOLDS}


def timeless(judgement: Judgement) -> Judgement:
    return replace(judgement, seconds=0.0, implementation_seconds=0.0)


def require_same_judgements(name: str, **asked: Any) -> list[Judgement]:
    """Judges with and without isolation; every part of the judgements must be the same."""
    here, there = check(name, **asked), check(name, isolate=True, **asked)
    assert [timeless(judgement) for _, judgement in there] == [timeless(judgement) for _, judgement in here]
    return [judgement for _, judgement in here]


SUBJECTS: dict[str, dict[str, Any]] = {
    f"{FILE}:DIRECT": {"invariants": ["matcher.valid-pairs", "gradients.masks"], "examples": 1},
    f"{FILE}:RAISING": {"invariants": ["assignment.valid-pairs"], "examples": 1},
    "reference": {"invariants": ["gradients.masks", "masks.mask-value"], "examples": 2, "profile": "detr"},
    "mutant:stale-matching": {"invariants": ["gradients.weighted-total"], "examples": 3, "profile": "detr"},
}


BROAD = os.environ.get("DETR_SPEC_ISOLATED", "").split()
"""Names of implementations that are asked for in full, which takes minutes for each."""
SUBJECTS |= {name: {"examples": 2} for name in BROAD}


@pytest.mark.thorough
@pytest.mark.parametrize("name", SUBJECTS, ids=lambda name: name.rpartition("/")[2])
def test_judgements_are_the_same(name: str) -> None:
    judgements = require_same_judgements(name, **SUBJECTS[name])
    assert {judgement.verdict for judgement in judgements} & {Verdict.HOLDS, Verdict.VIOLATED, Verdict.ERROR}
