"""Numbers and arrays in JSON, so that every bit of a float64 survives, and any language reads them simply.

A finite number is a JSON number in the shortest form that gives the same float64 again, −0.0 with its sign. The others
are strings: "inf", "-inf" and "nan"; a NaN of other bits than 0x7ff8000000000000 is "nan:" and its 16 hexadecimal
digits. An array says its dtype and shape beside its values in one list, the last dimension running fastest.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_conformance.vectors.places import Place

ARRAY_DTYPES = {"f": "float64", "i": "int64", "b": "bool"}
"""The dtypes of arrays, by the kind that NumPy gives them."""

NON_FINITE = r"^(nan(:[0-9a-f]{16})?|-?inf)$"
"""What a string that stands for a number looks like."""

_PLAIN_NAN = 0x7FF8000000000000


def encoded_float(number: float) -> float | str:
    """A number as JSON holds it."""
    number = float(number)
    if math.isfinite(number):
        return number
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    (bits,) = struct.unpack("<Q", struct.pack("<d", number))
    return "nan" if bits == _PLAIN_NAN else f"nan:{bits:016x}"


def decoded_float(data: float | str, place: Place) -> float:
    """The number that `encoded_float` wrote; raises `UsageError` for what no float64 is."""
    if not isinstance(data, str):
        try:
            number = float(data)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            raise place.wrong(found="a number beyond those of float64", expected='a float64, or "inf" or "-inf"')
        return number
    kind, _, digits = data.partition(":")
    if not digits:
        return float(kind)
    (number,) = struct.unpack("<d", struct.pack("<Q", int(digits, 16)))
    if not math.isnan(number):
        raise place.wrong(found=repr(data), expected="the bits of a NaN")
    return float(number)


def encoded_array(array: NDArray[Any]) -> dict[str, Any]:
    """An array as JSON holds it: its dtype, its shape, its values in C order."""
    dtype = ARRAY_DTYPES[array.dtype.kind]
    values = array.astype(dtype).ravel().tolist()
    return {
        "dtype": dtype,
        "shape": list(array.shape),
        "values": [encoded_float(value) for value in values] if dtype == "float64" else values,
    }


def decoded_array(data: dict[str, Any], place: Place) -> NDArray[Any]:
    """The array that `encoded_array` wrote; raises `UsageError` where values and shape do not fit each other."""
    values, shape = data["values"], data["shape"]
    if math.prod(shape) != len(values):
        raise place.within("values").wrong(found=f"{len(values)} values", expected=f"{math.prod(shape)}, as of {shape}")
    if data["dtype"] == "float64":
        values = [decoded_float(value, place.within("values", number)) for number, value in enumerate(values)]
    if data["dtype"] == "int64":
        values = [decoded_integer(value, place.within("values", number)) for number, value in enumerate(values)]
    try:
        return np.array(values, dtype=data["dtype"]).reshape([int(size) for size in shape])
    except (ValueError, OverflowError) as error:
        raise place.within("shape").wrong(found=str(shape), expected="the sizes of an array") from error


def decoded_integer(data: float, place: Place) -> int:
    """A JSON number without fraction as an int64; raises `UsageError` for one beyond them."""
    number = int(data)
    if not -(2**63) <= number < 2**63:
        raise place.wrong(found="a number beyond those of int64", expected="an int64")
    return number
