"""Values survive the pipe exactly, and whatever else comes through it is refused with a place, not with a traceback."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import record

from detr_conformance.testee.description import (
    described,
    encode_configuration,
    read_configuration,
    read_description,
    read_profile,
)
from detr_conformance.testee.detr_testee import (
    LONGEST,
    Malformed,
    _Server,
    _told,
    decode_array,
    encode_array,
    encode_number,
    numpy_testee,
    packed,
    unpacked,
)
from detr_conformance.testee.messages import MESSAGES, AnswerPart, Part
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.profile import replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.values import Answer, LossGradients, Matching, Observation, Outputs, Target
from detr_spec.violation import Violation

BOXES = np.array([[[0.25, 0.5, 0.125, 1.0], [0.0, 0.1, 0.2, 0.3]]])


def through(message: Any) -> Any:
    return unpacked(packed({"it": message})[4:])["it"]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "int64", "float16", "float32", "float64"])
def test_arrays_keep_bits_dtype_and_shape(dtype: str) -> None:
    numbers = np.arange(6).reshape(2, 3).astype(dtype).T
    arrived = decode_array(through(encode_array(numbers)), "it")
    assert (arrived.dtype, arrived.shape) == (numbers.dtype, (3, 2))
    assert np.array_equal(arrived, numbers)
    assert arrived.flags.writeable


def test_every_bit_of_a_float_survives() -> None:
    bits = np.array([0x7FF8000000000001, 0x8000000000000000, 1, 0x7FF0000000000000], dtype=np.uint64)
    assert decode_array(through(encode_array(bits.view(np.float64))), "it").view(np.uint64).tolist() == bits.tolist()


@pytest.mark.parametrize("array", [np.array([1j]), np.array(["a"]), np.array([None])])
def test_an_array_of_what_are_no_numbers_cannot_be_sent(array: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        encode_array(array)


def test_a_message_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(Malformed, match="expected at most"):
        packed("x" * LONGEST)


def test_configurations_and_what_follows_from_them_are_told() -> None:
    configuration = Configuration(profile=DEFORMABLE, decoder_layers=2, num_classes=3, fixed=("class_loss.alpha",))
    told = through(encode_configuration(configuration))
    assert told["weight_dict"]["loss_bbox_0"] == 5.0
    assert (told["columns"], told["cost_weights"]) == (3, [1.0, 5.0, 2.0])
    assert read_configuration(told, DEFORMABLE) == configuration


def test_a_profile_says_what_differs_from_a_named_one() -> None:
    told = read_profile({"name": "mine", "base": "deformable", "detection": {"top_k": 5}}, "it")
    assert told == replace(DEFORMABLE, name="mine", detection=replace(DEFORMABLE.detection, top_k=5))
    assert read_profile({"name": "mine"}, "it") == replace(DETR, name="mine")


def test_what_a_testee_leaves_out_is_not_claimed() -> None:
    assert MESSAGES.decoded(Observation, {}, Part("it")).mutated is None
    answer = MESSAGES.decoded(Answer[Matching], {"value": MESSAGES.encoded(record(Matching), Matching)}, Part(""))
    assert answer.observation.mutated is None
    layer = {"logits": encode_array(np.full((1, 1, 1), np.nan)), "boxes": encode_array(np.full((1, 1, 4), 2.0))}
    assert MESSAGES.decoded(Outputs, layer, Part("it")).broken


@pytest.mark.parametrize(("kind", "raised"), [(Part, Malformed), (AnswerPart, Violation)])
def test_what_is_no_value_breaks_the_protocol_or_violates(kind: Any, raised: Any) -> None:
    layer = {"logits": encode_array(np.ones((1, 1))), "boxes": encode_array(np.ones((1, 4)))}
    with pytest.raises(raised, match=r"it\.encoder: logits has shape"):
        MESSAGES.decoded(Outputs, layer, kind("it").within("encoder"))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of a JSON value."""
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in children for place in places(item, (*path, key)))]


def read(kind: Any) -> Callable[[Any], Any]:
    return lambda data: MESSAGES.decoded(kind, data, Part("it"))


READERS = {
    **{kind.__name__: (read(kind), MESSAGES.encoded(record(kind), kind)) for kind in (Outputs, Target, LossGradients)},
    "observation": (read(Observation), MESSAGES.encoded(record(Observation), Observation)),
    "description": (
        lambda value: read_description(value, "it"),
        described(Implementation(name="it", profile=DETR, boxes=lambda configuration: None)),  # type: ignore[arg-type, return-value]
    ),
}


@settings(max_examples=200, deadline=None, database=None)
@given(data=st.data(), reader=st.sampled_from(sorted(READERS)))
def test_a_message_with_something_odd_in_it_is_read_or_refused(data: st.DataObject, reader: str) -> None:
    read, sound = READERS[reader]
    message = copy.deepcopy(through(sound))
    *path, last = data.draw(st.sampled_from(places(message)[1:]))
    part = message
    for key in path:
        part = part[key]
    if data.draw(st.booleans()):
        part[last] = data.draw(ODD)
    elif isinstance(part, dict) and data.draw(st.booleans()):
        part[data.draw(st.text(max_size=5))] = data.draw(ODD)
    else:
        del part[last]
    refused = ""
    try:
        read(message)
    except Malformed as error:
        refused = str(error)
    assert not refused or refused.startswith("it")
    assert len(refused) < 1500


@settings(max_examples=200, deadline=None, database=None)
@given(data=st.data())
def test_bytes_are_a_message_or_refused(data: st.DataObject) -> None:
    sound = packed({"message": "answer", "value": encode_array(np.arange(3.0)), "id": 1})[4:]
    text = bytearray(data.draw(st.just(sound) | st.binary(max_size=40) | st.text(max_size=40).map(str.encode)))
    for _ in range(data.draw(st.integers(0, 3))):
        if text:
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = unpacked(bytes(text))
        if "value" in message:
            decode_array(message["value"], "value")
    except Malformed:
        pass


def test_a_bool_is_zero_or_one() -> None:
    with pytest.raises(Malformed, match="neither 0 nor 1"):
        decode_array({"dtype": "bool", "shape": [1], "data": base64.b64encode(b"\2").decode()}, "it")


def test_numbers_that_json_does_not_have_are_strings() -> None:
    assert list(map(encode_number, (1, np.nan, np.inf, -np.inf))) == [1.0, "NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "-1e999"])
def test_a_message_has_no_number_that_cannot_be_answered(number: str) -> None:
    with pytest.raises(Malformed, match=f"a message has .*{number}"):
        unpacked(b'{"message": "begin", "id": ' + number.encode() + b"}")


@settings(max_examples=100, deadline=None, database=None)
@given(data=st.data())
def test_a_testee_answers_whatever_it_is_asked(data: st.DataObject) -> None:
    testee = numpy_testee(name="it", boxes={"giou": lambda first, second: first @ second.T})
    server = _Server((testee,), -1, lambda: None, _told, None)
    configuration = through(encode_configuration(Configuration(profile=DETR)))
    requests: list[dict[str, Any]] = [
        {"message": "build", "id": 1, "case": 1, "implementation": 0, "component": "boxes"},
        {"message": "call", "id": 2, "built": 1, "function": "giou", "arguments": [encode_array(BOXES[0])] * 2},
    ]
    requests[0]["configuration"] = configuration
    for request in copy.deepcopy(requests):
        if data.draw(st.booleans()):
            *path, last = data.draw(st.sampled_from(places(request)[1:]))
            part: Any = request
            for key in path:
                part = part[key]
            part[last] = data.draw(ODD)
        answer = unpacked(server._reply(request)[4:])
        assert answer["message"] in ("built", "answer", "raised", "violated")
        assert answer["id"] == request.get("id")
