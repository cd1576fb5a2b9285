"""The values of a check as JSON and back: what is told to a testee, and what it answers. docs/testee.md, "Values"."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from detr_conformance.testee.detr_testee import Malformed, decode_array, encode_array, encode_number
from detr_spec.values import (
    Detections,
    FeatureMap,
    HeadParameters,
    InvalidValue,
    LayerGradient,
    Losses,
    LossGradients,
    Matching,
    Observation,
    Outputs,
    Target,
)

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Kind:
    """A kind of value: how one becomes JSON, and how one is read from JSON found at a place that messages name."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any, str], Any]


def record(value: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, Any]:
    """`value` if it is an object with these fields; raises `Malformed` for a missing and for an unknown one."""
    if not isinstance(value, dict):
        raise Malformed(f"{where} is {_shown(value)}; expected an object")
    for name in required:
        if name not in value:
            raise Malformed(f"{where} lacks the field {name!r}")
    for name in value:
        if name not in required and name not in optional:
            known = ", ".join((*required, *optional))
            raise Malformed(f"{where} has an unknown field {_shown(name)}; the fields are {known}")
    return value


def items(value: Any, where: str, length: int | None = None) -> list[Any]:
    """`value` if it is a list, of that length where one is given; raises `Malformed` otherwise."""
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise Malformed(f"{where} is {_shown(value)}; expected a list{'' if length is None else f' of {length}'}")
    return value


def text(value: Any, where: str) -> str:
    """`value` if it is a string; raises `Malformed` otherwise."""
    if not isinstance(value, str):
        raise Malformed(f"{where} is {_shown(value)}; expected a string")
    return value


def boolean(value: Any, where: str) -> bool:
    """`value` if it is true or false; raises `Malformed` otherwise."""
    if not isinstance(value, bool):
        raise Malformed(f"{where} is {_shown(value)}; expected true or false")
    return value


def number(value: Any, where: str) -> float:
    """The number that `value` is, a string for one that is not finite; raises `Malformed` otherwise."""
    if isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1.8e308:
        expected = f"a number, or one of the strings {', '.join(NON_FINITE)}"
        raise Malformed(f"{where} is {_shown(value)}; expected {expected}")
    return float(value)


def integer(value: Any, where: str) -> int:
    """`value` if it is an integer of at least 0; raises `Malformed` otherwise."""
    if type(value) is not int or value < 0:
        raise Malformed(f"{where} is {_shown(value)}; expected an integer of at least 0")
    return value


def mapping_of(value: Any, where: str, decode: Callable[[Any, str], Any]) -> dict[str, Any]:
    """An object of any names, each with a value of one kind; raises `Malformed` otherwise."""
    if not isinstance(value, dict):
        raise Malformed(f"{where} is {_shown(value)}; expected an object")
    return {name: decode(item, f"{where}.{name}") for name, item in value.items()}


def _shown(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def _array(kinds: str, expected: str, dtype: type | None, dimensions: int | None = None) -> Kind:
    def decode(value: Any, where: str) -> Any:
        array = decode_array(value, where)
        if array.dtype.kind not in kinds or dimensions not in (None, array.ndim):
            ndim = "" if dimensions is None else f" of {dimensions} dimensions"
            raise Malformed(f"{where} is {array.dtype.name} of shape {list(array.shape)}; expected {expected}{ndim}")
        return array if dtype is None else array.astype(dtype)

    return Kind(encode_array, decode)


def _listed(kind: Kind, length: int | None = None) -> Kind:
    def decode(value: Any, where: str) -> Any:
        parts = enumerate(items(value, where, length))
        return tuple(kind.decode(item, f"{where}[{place}]") for place, item in parts)

    return Kind(lambda values: [kind.encode(item) for item in values], decode)


def _optional(kind: Kind) -> Kind:
    return Kind(
        lambda value: None if value is None else kind.encode(value),
        lambda value, where: None if value is None else kind.decode(value, where),
    )


def _tuple(*kinds: Kind) -> Kind:
    def decode(value: Any, where: str) -> Any:
        parts = zip(kinds, items(value, where, len(kinds)), strict=True)
        return tuple(kind.decode(item, f"{where}[{place}]") for place, (kind, item) in enumerate(parts))

    return Kind(lambda values: [kind.encode(item) for kind, item in zip(kinds, values, strict=True)], decode)


def _record(build: Callable[..., Any], **kinds: Kind) -> Kind:
    """The kind of values that `build` makes of its fields, by name."""

    def decode(value: Any, where: str) -> Any:
        given = record(value, where, tuple(kinds))
        parts = {name: kind.decode(given[name], f"{where}.{name}") for name, kind in kinds.items()}
        try:
            return build(**parts)
        except InvalidValue as error:
            raise Malformed(f"{where} is none: {error}") from error

    return Kind(lambda value: {name: kind.encode(getattr(value, name)) for name, kind in kinds.items()}, decode)


def _table(kind: Kind) -> Kind:
    return Kind(
        lambda table: {str(name): kind.encode(item) for name, item in table.items()},
        lambda value, where: mapping_of(value, where, kind.decode),
    )


FLOATS = _array("f", "floating-point numbers", np.float64)
INTEGERS = _array("iu", "integers", np.int64)
BOOLEANS = _array("b", "bool", None)
ANY = _array("biuf", "numbers", None)
VECTOR = _array("biuf", "numbers", None, 1)
NUMBER = Kind(encode_number, number)
BOOLEAN = Kind(bool, boolean)
INTEGER = Kind(int, integer)

_PREDICTIONS = {"logits": FLOATS, "boxes": FLOATS, "masks": _optional(FLOATS)}
_LAYER = _record(partial(Outputs, broken=True), **_PREDICTIONS)
OUTPUTS = _record(
    partial(Outputs, broken=True),
    **_PREDICTIONS,
    auxiliary=_listed(_LAYER),
    encoder=_optional(_LAYER),
    denoising=_optional(_LAYER),
)
TARGETS = _listed(_record(partial(Target, broken=True), labels=INTEGERS, boxes=FLOATS, masks=_optional(BOOLEANS)))
MATCHING = _record(Matching, queries=VECTOR, targets=VECTOR)
MATCHINGS = _listed(MATCHING)
LOSSES = _record(
    Losses, values=_table(NUMBER), weights=_optional(_table(NUMBER)), matchings=_optional(_listed(MATCHINGS))
)
GRADIENTS = _record(
    LossGradients,
    losses=LOSSES,
    total=NUMBER,
    layers=_listed(_record(LayerGradient, logits=_optional(FLOATS), boxes=_optional(FLOATS))),
)
DETECTIONS = _listed(_record(Detections, scores=FLOATS, labels=ANY, boxes=FLOATS))
FEATURES = _record(FeatureMap, features=FLOATS, positions=FLOATS, padding=BOOLEANS, queries=FLOATS)
_LINEAR = _tuple(FLOATS, FLOATS)
PARAMETERS = _record(HeadParameters, class_head=_LINEAR, box_head=_listed(_LINEAR))

_CRITERION = ((OUTPUTS, TARGETS), LOSSES)
SIGNATURES: Mapping[str, Mapping[str, tuple[tuple[Kind, ...], Kind]]] = {
    "boxes": {
        "cxcywh_to_xyxy": ((FLOATS,), FLOATS),
        "xyxy_to_cxcywh": ((FLOATS,), FLOATS),
        "iou": ((FLOATS, FLOATS), FLOATS),
        "giou": ((FLOATS, FLOATS), FLOATS),
        "elementwise_giou": ((FLOATS, FLOATS), FLOATS),
    },
    "assignment": {"solve": ((FLOATS,), MATCHING), "solve_batch": ((_listed(FLOATS),), MATCHINGS)},
    "matcher": {"call": ((OUTPUTS, TARGETS), MATCHINGS)},
    "criterion": {"call": _CRITERION},
    "masks": {"call": _CRITERION},
    "gradients": {"call": ((OUTPUTS, TARGETS, _table(NUMBER)), GRADIENTS)},
    "distributed": {"call": ((_listed(_tuple(OUTPUTS, TARGETS)),), _listed(LOSSES))},
    "postprocess": {"call": ((OUTPUTS, INTEGERS), DETECTIONS)},
    "heads": {"forward": ((FLOATS,), OUTPUTS), "parameters": ((), PARAMETERS)},
    "decoder": {
        "stacked": ((FEATURES,), FLOATS),
        "last": ((FEATURES,), FLOATS),
        "cut": ((FEATURES, INTEGER), FLOATS),
    },
    "model": {
        "call": ((_listed(FLOATS),), OUTPUTS),
        "cut": ((_listed(FLOATS), INTEGER), OUTPUTS),
        "reach": ((), INTEGER),
    },
}
"""The kinds of the arguments and of the answer of each function of each component."""

REQUIRED = {"boxes": (), "assignment": ("solve",), "heads": ("forward",), "decoder": ("stacked",), "model": ("call",)}
"""The functions that a component of several functions must have."""

UNOBSERVED = (("heads", "parameters"), ("model", "reach"))
"""The functions whose answer is the bare value."""

_TEXTS = _listed(Kind(str, text))
_SHAPE = _listed(INTEGER)
_OBSERVED = {
    "mutated": _optional(_TEXTS),
    "attached": Kind(sorted, lambda value, where: frozenset(_TEXTS.decode(value, where))),
    "differentiable": BOOLEAN,
    "dtypes": _table(Kind(str, text)),
    "shapes": _table(_SHAPE),
    "devices": _table(Kind(str, text)),
    "device": Kind(str, text),
    "call": Kind(str, text),
}


def encode_observation(observation: Observation) -> dict[str, Any]:
    """What was seen beside an answer, as JSON."""
    return {name: kind.encode(getattr(observation, name)) for name, kind in _OBSERVED.items()}


def decode_observation(value: Any, where: str) -> Observation:
    """What a testee saw beside its answer: any of the fields; raises `Malformed` for anything else."""
    given = {"mutated": None, **record(value, where, (), tuple(_OBSERVED))}
    return Observation(**{name: _OBSERVED[name].decode(item, f"{where}.{name}") for name, item in given.items()})
