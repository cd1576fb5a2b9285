"""Values in files, so that every bit of a float64 survives in JSON, and any language reads them simply.

A finite number is a JSON number in the shortest form that gives the same float64 again, −0.0 with its sign. The others
are strings: "inf", "-inf" and "nan"; a NaN of other bits than 0x7ff8000000000000 is "nan:" and its 16 hexadecimal
digits. An array says its dtype and shape beside its values in one list, the last dimension running fastest. A field
that may be None is left out where it is, if that is its default; the names of a dictionary are in order.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import Field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_conformance.encoding.checks import Place, boolean, choice, integer, items, record, shown
from detr_conformance.encoding.decoder import AnswerDecoder, Decoder
from detr_conformance.encoding.encoder import Encoder
from detr_spec.hints import default_of

ARRAY_DTYPES = {"f": "float64", "i": "int64", "b": "bool"}
"""The dtypes of arrays, by the kind that NumPy gives them."""

NON_FINITE = r"^(nan(:[0-9a-f]{16})?|-?inf)$"
"""What a string that stands for a number looks like."""

LARGEST_ARRAY = 2**20
"""How many numbers an array may have, its dimensions of length 0 counted as 1."""

_PLAIN_NAN = 0x7FF8000000000000


class _Files(Encoder, Decoder):
    def is_written(self, field: Field[Any], value: Any) -> bool:
        return not (value is None and default_of(field) is None)

    def entries(self, table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        return sorted(table.items())

    def encoded_number(self, number: float) -> float | str:
        number = float(number)
        if math.isfinite(number):
            return number
        if math.isinf(number):
            return "inf" if number > 0 else "-inf"
        (bits,) = struct.unpack("<Q", struct.pack("<d", number))
        return "nan" if bits == _PLAIN_NAN else f"nan:{bits:016x}"

    def decoded_number(self, data: Any, place: Place) -> float:
        if isinstance(data, str) and re.fullmatch(NON_FINITE, data):
            return _decoded_non_finite(data, place)
        if isinstance(data, bool) or not isinstance(data, (int, float)):
            raise place.wrong(found=shown(data), expected='a number, or one of "nan", "inf", "-inf"')
        try:
            number = float(data)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise place.wrong(found="a number beyond those of float64", expected='a float64, or "inf" or "-inf"')
        return number

    def encoded_array(self, array: NDArray[Any]) -> dict[str, Any]:
        dtype = ARRAY_DTYPES[array.dtype.kind]
        values = array.astype(dtype).ravel().tolist()
        return {
            "dtype": dtype,
            "shape": list(array.shape),
            "values": [self.encoded_number(value) for value in values] if dtype == "float64" else values,
        }

    def decoded_array(self, data: Any, place: Place) -> NDArray[Any]:
        record(data, place, ("dtype", "shape", "values"))
        dtype = choice(data["dtype"], tuple(ARRAY_DTYPES.values()), place.within("dtype"))
        shape = [integer(size, place.within("shape")) for size in items(data["shape"], place.within("shape"))]
        if math.prod(max(size, 1) for size in shape) > LARGEST_ARRAY:
            raise place.within("shape").wrong(found=str(shape), expected=f"at most {LARGEST_ARRAY} numbers")
        values = items(data["values"], place.within("values"))
        if math.prod(shape) != len(values):
            expected = f"{math.prod(shape)}, as of {shape}"
            raise place.within("values").wrong(found=f"{len(values)} values", expected=expected)
        read = {"float64": self.decoded_number, "int64": integer, "bool": boolean}[dtype]
        numbers = [read(value, place.within("values", number)) for number, value in enumerate(values)]
        try:
            return np.array(numbers, dtype=dtype).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise place.within("shape").wrong(found=str(shape), expected="the sizes of an array") from error


def _decoded_non_finite(data: str, place: Place) -> float:
    kind, _, digits = data.partition(":")
    if not digits:
        return float(kind)
    (number,) = struct.unpack("<d", struct.pack("<Q", int(digits, 16)))
    if not math.isnan(number):
        raise place.wrong(found=repr(data), expected="the bits of a NaN")
    return float(number)


class _AnswersInFiles(AnswerDecoder, _Files):
    pass


FILES = _Files()
"""The encoding of vectors."""

ANSWERS = _AnswersInFiles()
"""The same of answers."""
