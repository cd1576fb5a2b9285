"""A value of any declared type, no part of which is what it is by default, and whether two values are the same."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.hints import (
    array_type,
    default_of,
    field_types,
    is_mapping,
    is_part,
    is_record,
    item_types,
    optional_type,
)
from detr_spec.parts import known_parts
from detr_spec.places import APART
from detr_spec.profile import (
    DetectionRules,
    FurtherCost,
    FurtherLoss,
    Keys,
    MaskRules,
    MatcherRules,
    Profile,
    TargetRules,
)
from detr_spec.terms import MaskCrossEntropy
from detr_spec.values import Outputs

LENGTHS = {
    "B": 2,
    "Q": 3,
    "C": 2,
    "h": 2,
    "w": 1,
    "H": 2,
    "W": 3,
    "K": 2,
    "D": 8,
    "E": 8,
    "n": 2,
    "m": 3,
    "k": 2,
    "L": 2,
}
"""The lengths of the dimensions that shapes name."""


def _layer() -> Outputs:
    return record(Outputs, auxiliary=(), **dict.fromkeys(APART))


def _layers() -> Outputs:
    return record(Outputs, auxiliary=(_layer(), _layer()), **dict.fromkeys(APART))


SPECIAL: dict[tuple[Any, str], Any] = {
    (Outputs, "auxiliary"): lambda: (_layer(), _layer()),
    (Outputs, "encoder"): _layers,
    (Outputs, "initial"): _layer,
    (Outputs, "one_to_many"): _layers,
    (Outputs, "denoising"): _layers,
    (Outputs, "initial_denoising"): _layer,
    (Profile, "activation"): lambda: "sigmoid",
    (DetectionRules, "drops_no_object"): lambda: False,
    (Profile, "dice_loss"): MaskCrossEntropy,
    (Profile, "masks"): lambda: record(MaskRules, padding="counted"),
    (Profile, "further_costs"): lambda: (record(FurtherCost),),
    (Profile, "further_losses"): lambda: (record(FurtherLoss),),
    (MaskRules, "oversampling"): lambda: 1.3,
    (Keys, "auxiliary_loss"): lambda: "layer {layer}, {loss}",
    (Keys, "encoder_loss"): lambda: "encoder, {loss}",
    (Keys, "encoder_auxiliary_loss"): lambda: "earlier {number} of the encoder, {loss}",
    (Keys, "initial_loss"): lambda: "initial, {loss}",
    (Keys, "one_to_many"): lambda: "further {output}",
    (Keys, "one_to_many_loss"): lambda: "of further queries, {loss}",
    (Keys, "denoising_loss"): lambda: "denoising, {loss}",
    (Keys, "denoising_auxiliary_loss"): lambda: "denoising of layer {layer}, {loss}",
    (Keys, "initial_denoising_loss"): lambda: "initial denoising, {loss}",
    (MatcherRules, "arguments"): lambda: ("boxes", "logits", "phrases", *record(TargetRules).parts),
    (Configuration, "dtype"): lambda: "float64",
    (Configuration, "call"): lambda: "sliced",
}
"""Fields that cannot be just anything of their type."""


def sample(hint: Any, default: Any = MISSING, names: str = "text") -> Any:
    """A value of a type, other than `default`; texts in it are different from each other."""
    optional = optional_type(hint)
    if optional is not None:
        return sample(optional, default, names)
    if is_record(hint):
        return record(hint)
    if is_part(hint):
        known = known_parts(hint)
        return record(known.get("focal") or next(part for part in known.values() if part() != default))
    array = array_type(hint)
    if array is not None:
        return _array(*array)
    if is_mapping(hint):
        return {f"{names} {place}": sample(get_args(hint)[1], names=f"{names} {place}") for place in "ba"}
    if get_origin(hint) is Literal:
        return next(choice for choice in get_args(hint) if choice != default)
    kinds = item_types(hint, 2)
    if kinds is not None:
        items = (sample(kind, names=f"{names} {place}") for place, kind in enumerate(kinds))
        return frozenset(items) if get_origin(hint) is frozenset else tuple(items)
    scalars = {float: 0.1 + 0.2, int: 3, bool: default is not True, str: f"{names}, with \ud800, \0 and é"}
    return scalars[hint]


def record(kind: Any, **given: Any) -> Any:
    """A dataclass of whose fields none has its default but those that are given."""
    plain = get_origin(kind) or kind
    types = field_types(kind)
    parts = dict(given)
    for field in fields(plain):
        if field.name not in parts:
            special = SPECIAL.get((plain, field.name))
            parts[field.name] = special() if special else sample(types[field.name], default_of(field), field.name)
    return plain(**parts)


def _array(scalar: Any, shape: str) -> np.ndarray[Any, Any]:
    """Numbers of the kind, with some that are special; a NaN and an infinity among floats."""
    names = shape.strip("[]").split(", ") if shape else ["m", "n"]
    lengths = [int(name) if name.isdigit() else LENGTHS[name] for name in names]
    count = int(np.prod(lengths))
    if scalar is np.float64:
        return np.linspace(0.1, 0.9, count).reshape(lengths)
    if scalar is np.bool_:
        return (np.arange(count) % 2).astype(bool).reshape(lengths)
    return np.arange(count, dtype=np.int64).reshape(lengths)


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same bit by bit, arrays with dtype and shape, numbers with type and sign."""
    if isinstance(first, np.ndarray):
        form = (first.dtype, first.shape, first.tobytes())
        return isinstance(second, np.ndarray) and form == (second.dtype, second.shape, second.tobytes())
    if isinstance(first, (tuple, list)):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    if is_dataclass(first) and not isinstance(first, type):
        return type(first) is type(second) and all(
            same(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)
        )
    if isinstance(first, dict):
        return isinstance(second, dict) and all(
            key in first and key in second and same(first[key], second[key]) for key in {**first, **second}
        )
    return type(first) is type(second) and (first == second or repr(first) == repr(second))
