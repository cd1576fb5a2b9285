"""Files that are nearly vectors, ledgers or locks give one clear error each, and none anything else."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from detr_conformance import numpy_implementation
from detr_conformance.errors import UsageError
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.reading import parsed_ledger
from detr_conformance.ledger.writing import ledger_text
from detr_conformance.lock.recording import lock_text, parsed_lock, recorded
from detr_conformance.vectors.exporting import set_texts
from detr_conformance.vectors.places import Place
from detr_conformance.vectors.reading import vectors_in
from detr_conformance.vectors.replaying import replays
from detr_conformance.vectors.vector import Provenance, Vector
from detr_spec.boxes import giou
from detr_spec.cases import CostCase
from detr_spec.configuration import Configuration
from detr_spec.profile import DETR

EXAMPLES = int(os.environ.get("DETR_SPEC_FUZZ", "100"))
FUZZED = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))

SOLVER = numpy_implementation(name="solver", solver=linear_sum_assignment)
BOXES = numpy_implementation(name="boxes", boxes={"giou": giou})

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 3, 10**12, 2**63, 10**400, -0.0, 1e308, 0.1, 1e-320]),
    st.sampled_from(["", "nan", "inf", "nan:7ff0000000000001", "nan:0000000000000000", "float16", "bfloat16"]),
    st.sampled_from(["\ud800", "\u2028", "'''", "\x1b[31m", "{loss.__class__}", "{layer:>9999999999}", "../../x"]),
    st.text(max_size=6),
    st.sampled_from([[], {}, [[]], [0] * 40, {"kind": "set"}, {"dtype": "int64", "shape": [0], "values": []}]),
)


@st.composite
def changed_document(draw: Any, document: Any) -> Any:
    """A document in which some parts are something else, are gone, come twice or have another name."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        part = changed
        while isinstance(part, (dict, list)) and part:
            keys = sorted(part) if isinstance(part, dict) else range(len(part))
            key = draw(st.sampled_from(keys))
            if not isinstance(part[key], (dict, list)) or not part[key] or draw(st.integers(0, 4)) == 0:
                break
            part = part[key]
        else:
            break
        act = draw(st.sampled_from(["replace", "replace", "replace", "drop", "repeat", "rename"]))
        if act == "replace":
            part[key] = copy.deepcopy(draw(ODD))
        elif act == "drop":
            del part[key]
        elif isinstance(part, list):
            part.insert(key, copy.deepcopy(part[key]))
        else:
            part[draw(st.sampled_from(["kind", "extra", f"{key}s", "\ud800"]))] = part[key]
    return changed


@st.composite
def changed_text(draw: Any, text: str) -> str:
    """A text in which some pieces are gone, are repeated, are something else, or that ends too early."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        act = draw(st.sampled_from(["drop", "repeat", "put", "cut"]))
        if act == "drop":
            text = text[:start] + text[end:]
        elif act == "repeat":
            text = text[:end] + text[start:end] + text[end:]
        elif act == "put":
            signs = [
                "{",
                "}",
                "[",
                "]",
                '"',
                "'",
                "\n",
                "\\",
                "#",
                "=",
                ",",
                "-",
                "e",
                "0",
                "\x00",
                "\u2028",
                "[[violation]]\n",
            ]
            text = text[:start] + draw(st.sampled_from(signs)) + text[end:]
        else:
            text = text[:start]
    return text


def told(ask: Callable[[], Any]) -> Any:
    """What is answered, or None where it is refused, in lines of one fault each that any terminal shows."""
    try:
        return ask()
    except UsageError as error:
        lines = error.args
        assert lines
        for message in lines:
            assert message
            assert "\n" not in message
            assert "Traceback" not in message
            assert len(message) < 1000
            message.encode()
        return None


def lines_of_set() -> list[Any]:
    """One vector of each component, the shortest."""
    return [json.loads(min(text.splitlines(), key=len)) for text in set_texts().values()]


def read_and_replay(text: str) -> None:
    placed = told(lambda: vectors_in(text, "vectors.jsonl"))
    if placed:
        told(lambda: list(replays(placed, [SOLVER, BOXES], "cpu")))


@FUZZED
@given(st.sampled_from(lines_of_set()).flatmap(changed_document))
def test_a_vector_with_odd_parts(document: Any) -> None:
    read_and_replay(json.dumps(document))


@FUZZED
@given(st.sampled_from([json.dumps(document) for document in lines_of_set()]).flatmap(changed_text))
def test_a_vector_with_an_odd_text(text: str) -> None:
    read_and_replay(text)


@pytest.fixture(scope="module")
def ledger() -> str:
    """A ledger of two entries."""
    case = CostCase(configuration=Configuration(profile=DETR), costs=(np.zeros((2, 2)),))
    entries = [
        Entry(
            place="",
            number=-1,
            implementation="it's",
            invariant=name,
            reason="",
            dtypes=("float32",),
            vector=Vector("assignment", (name,), case, Provenance("a test", "0", 0)),
        )
        for name in ("assignment.valid-pairs", "assignment.ties")
    ]
    return ledger_text(parsed_ledger("", Path("l.toml")), entries).replace('""', '"""\nfor a\nreason"""  # so')


@FUZZED
@given(data=st.data())
def test_a_ledger_with_an_odd_text(ledger: str, data: st.DataObject) -> None:
    text = data.draw(changed_text(ledger))
    read = told(lambda: parsed_ledger(text, Path("l.toml")))
    draft = told(lambda: parsed_ledger(text, Path("l.toml"), draft=True))
    if read is not None:
        assert draft is not None
    if draft is not None and all(entry.vector is not None for entry in draft.entries):
        again = ledger_text(draft, draft.entries)
        assert len(parsed_ledger(again, Path("l.toml"), draft=True).entries) == len(draft.entries)


@pytest.fixture(scope="module")
def lock() -> str:
    """A lock of box operations."""
    whole = json.loads(lock_text(recorded([BOXES], "cpu", 0.0)))
    whole["implementations"][0]["answers"] = whole["implementations"][0]["answers"][:3]
    return json.dumps(whole)


@FUZZED
@given(data=st.data())
def test_a_lock_with_odd_parts_or_text(lock: str, data: st.DataObject) -> None:
    changed = data.draw(st.one_of(changed_text(lock), changed_document(json.loads(lock)).map(json.dumps)))
    told(lambda: parsed_lock(changed, Place("lock.json")))
