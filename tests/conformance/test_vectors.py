"""A vector holds its case bit by bit, and what is no vector is refused with its place."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detr_conformance.base.errors import UsageError
from detr_conformance.encoding.files import FILES
from detr_conformance.encoding.places import Place
from detr_conformance.encoding.reports import plain
from detr_conformance.vectors.checks import COMPONENT_KINDS
from detr_conformance.vectors.expected import expected_values
from detr_conformance.vectors.flags import flags_of
from detr_conformance.vectors.reading import one_line, parsed_json, read_vectors, vector_of, vectors_in
from detr_conformance.vectors.schema import schema_text, vector_schema
from detr_conformance.vectors.vector import KINDS, Provenance, Vector, to_document
from detr_spec.cases import Case
from detr_spec.implementation import Limits
from detr_spec.invariant import Domain
from detr_spec.invariants import all_invariants
from detr_spec.profiles import PROFILES
from detr_spec.values import DTYPES

PUBLISHED = (files("detr_conformance") / "schemas" / "vector.schema.json").read_text(encoding="utf-8")
VALIDATOR = jsonschema.Draft202012Validator(json.loads(PUBLISHED))
HERE = Place("here")
ONE_OF_EACH = {
    invariant.component: invariant
    for invariant in all_invariants()
    if any(invariant.applies(profile) for profile in PROFILES.values())
}


@st.composite
def vectors(draw: Any, components: tuple[str, ...] = tuple(COMPONENT_KINDS)) -> Vector:
    invariant = ONE_OF_EACH[draw(st.sampled_from(components))]
    profile = draw(st.sampled_from([item for item in PROFILES.values() if invariant.applies(item)]))
    case = draw(invariant.cases(Domain(profile, Limits(dtypes=DTYPES), small=True)))
    expected = expected_values(invariant.component, case)
    provenance = Provenance("a test", "0", 7)
    return Vector(invariant.component, (invariant.id,), case, provenance, flags_of(case, expected), expected)


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same bit by bit, arrays with dtype and shape."""
    if isinstance(first, np.ndarray):
        return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if hasattr(first, "__dataclass_fields__"):
        return type(first) is type(second) and all(
            same(getattr(first, name), getattr(second, name)) for name in first.__dataclass_fields__
        )
    return type(first) is type(second) and first == second


@given(st.integers(0, 2**64 - 1))
def test_every_float64_survives_bit_by_bit(number: int) -> None:
    value = struct.unpack("<d", struct.pack("<Q", number))[0]
    text = json.dumps(FILES.encoded_number(value), allow_nan=False)
    assert bits(FILES.decoded_number(parsed_json(text, HERE), HERE)) == bits(value)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1, "0.1"), (-0.0, "-0.0"), (1.0, "1.0"), (float("nan"), '"nan"'), (float("inf"), '"inf"'), (5e-324, "5e-324")],
)
def test_a_number_is_written_as_short_as_it_can_be(number: float, text: str) -> None:
    assert json.dumps(FILES.encoded_number(number)) == text


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 3), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float64", "int64", "bool"])
def test_an_array_keeps_its_dtype_and_its_shape(shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    assert same(FILES.decoded_array(json.loads(json.dumps(FILES.encoded_array(array))), HERE), array)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(vectors())
def test_a_case_of_any_kind_comes_back_as_it_was(vector: Vector) -> None:
    text = one_line(vector)
    back = vector_of(text, HERE)
    assert same(back.case, vector.case)
    assert one_line(back) == text
    assert plain(back.case) == plain(vector.case)
    VALIDATOR.validate(json.loads(text))


def test_every_kind_of_case_and_every_component_has_its_place() -> None:
    assert set(COMPONENT_KINDS) == {invariant.component for invariant in all_invariants()}
    assert set(COMPONENT_KINDS.values()) == set(KINDS.values()) == set(Case.__subclasses__())


def test_the_published_schema_is_that_of_the_values() -> None:
    assert schema_text(vector_schema()) == PUBLISHED, "renew it: detr-spec vectors schema"
    VALIDATOR.check_schema(json.loads(PUBLISHED))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A vector of a matcher as plain data."""
    found: list[Vector] = []

    @settings(max_examples=20, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(vectors(("matcher",)))
    def collect(vector: Vector) -> None:
        if sum(map(len, vector.case.targets)) and vector.case.configuration.decoder_layers == 1:
            found.append(vector)

    collect()
    return to_document(found[-1])


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        del document[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("format", value=1), "at /format: found 1; expected format 2, which this version reads; `detr-spec vec"),
        (put("colour", value=2), "found an object with the field 'colour'; expected the fields format, component"),
        (put("profile", "keys", "logit", value="x"), "at /profile/keys: found an object with the field 'logit'"),
        (put("case", "output", value={}), "at /case: found an object with the field 'output'; did you mean outputs"),
        (drop("case", "seed"), ""),
        (drop("case", "outputs"), "at /case: found an object without the field 'outputs'"),
        (put("case", "kind", value="sets"), "at /case/kind: found 'sets'; did you mean set or"),
        (put("case", "outputs", "logits", "values", 0, value="NaN"), "at /case/outputs/logits/values/0: found 'NaN'"),
        (put("case", "outputs", "logits", "values", 0, value="nan"), "at /case/outputs: logits"),
        (put("case", "outputs", "logits", "values", 0, value=None), "expected a number, or one of \"nan\""),
        (put("case", "outputs", "logits", "values", value=[1.0]), "at /case/outputs/logits/values: found 1 values"),
        (put("case", "outputs", "logits", "dtype", value="float32"), "expected one of float64, int64"),
        (put("case", "targets", 0, "labels", "values", 0, value=1.5), "found 1.5; expected an integer"),
        (put("case", "targets", 0, "labels", "values", 0, value=2**70), "expected an int64"),
        (put("case", "sizes", "values", 0, value=0), "at /case/sizes: found a size out of range"),
        (put("case", "seed", value=-1), "at /case/seed: found -1"),
        (put("configuration", "num_classes", value=10**9), "at /case: logits have"),
        (put("configuration", "top_k", value=10**9), "at /configuration/top_k: found 1000000000; expected at most"),
        (put("configuration", "decoder_layers", value=3), "found 1 decoder layers; expected 3"),
        (put("configuration", "cost_class", value="inf"), "at /configuration/cost_class: found inf"),
        (put("configuration", "dtype", value="float8"), "dtype is 'float8'"),
        (put("profile", "keys", "auxiliary_loss", value="{loss:>99999999999}"), "at /profile/keys: auxiliary_loss"),
        (put("profile", "keys", "auxiliary_loss", value="{loss.__class__}"), "expected text with {loss}, {layer}"),
        (put("profile", "activation", value="tanh"), "at /profile/activation: found 'tanh'; expected one of softmax"),
        (put("component", value="criterion"), "of component matcher; expected one of criterion"),
        (put("component", value="boxes"), "found a SetCase; expected a BoxCase"),
        (put("invariants", value=["matcher.optimal-costs"]), "no invariant is called 'matcher.optimal-costs'; did you"),
        (put("invariants", value=[]), "at /invariants: found []; expected different names, one at least"),
        (put("flags", value={"odd": 1}), "at /flags/odd: found 1; expected a string"),
        (put("case", "sizes", "shape", value=[2**40, 0]), "at /case/sizes/shape: found [1099511627776, 0]"),
        (put("expected", "optima", 0, "unique", value="yes"), "at /expected/optima/0/unique: found 'yes'"),
    ],
)  # fmt: skip
def test_what_is_no_vector_is_refused_with_its_place(
    document: dict[str, Any], change: Callable[[dict[str, Any]], None], told: str
) -> None:
    changed = copy.deepcopy(document)
    change(changed)
    text = json.dumps(changed)
    if not told:
        assert vector_of(text, HERE).case.seed == 0
        return
    with pytest.raises(UsageError) as caught:
        vector_of(text, HERE)
    assert told in str(caught.value)
    assert str(caught.value).startswith("here, at /" if "colour" not in told else "here: ")
    assert "\n" not in str(caught.value)


def test_a_number_that_the_dtype_does_not_hold_is_refused(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    changed["configuration"]["dtype"] = "float32"
    changed["case"]["outputs"]["logits"]["values"][0] = 0.1
    with pytest.raises(
        UsageError, match=r"at /case/outputs/logits/values/0: found 0\.1; expected a number that float32"
    ):
        vector_of(json.dumps(changed), HERE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("{", "no JSON"),
        ("[1]", "found a list of 1; expected an object"),
        ('{"format": 1, "format": 1}', "the key 'format' comes twice"),
        ('{"format": NaN}', "NaN is no JSON"),
        ('{"format": 1e999}', "1e999 is beyond float64"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format": 1' + "0" * 5000 + "}", "no JSON that can be read"),
        ('{"\\ud800\\u001b[31m": 1}', "found an object without the field 'format'"),
    ],
)
def test_a_text_that_is_no_vector_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        vectors_in(text, "file.json")
    assert str(caught.value).startswith("file.json")
    assert told in str(caught.value)
    str(caught.value).encode()


def test_a_file_may_hold_several_vectors_and_errors_say_the_line(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "vectors.jsonl"
    line = json.dumps(document)
    path.write_text(f"{line}\n\n{line}\n")
    assert [str(item.place) for item in read_vectors(path)] == [f"{path}, line 1", f"{path}, line 3"]
    path.write_text(f"{line}\n{json.dumps({**document, 'component': 'macher'})}\n")
    with pytest.raises(UsageError, match=r"vectors\.jsonl, line 2, at /component: found"):
        read_vectors(path)
    path.write_text(json.dumps(document, indent=2))
    assert len(read_vectors(path)) == 1


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_vectors(tmp_path / "absent.json")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_vectors(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\x00")
    with pytest.raises(UsageError, match="is no text in UTF-8, at byte 0"):
        read_vectors(tmp_path / "binary.json")
