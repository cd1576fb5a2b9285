"""How a testee describes an implementation: its name, profile, components and limits, as JSON and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from detr_conformance.errors import close_names
from detr_conformance.testee.codec import boolean, items, mapping_of, number, record, text
from detr_conformance.testee.detr_testee import Malformed
from detr_conformance.text import LONGEST_NAME, is_name
from detr_spec.calls import CALLS
from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS, Implementation, Limits
from detr_spec.profile import PROFILES, Profile
from detr_spec.values import DTYPES, InvalidValue

DERIVED = ("columns", "cost_weights", "losses", "weight_dict")
"""What follows from a configuration and the profile, and is told with it."""


@dataclass(frozen=True)
class Description:
    """What a testee says of one implementation."""

    name: str
    profile: Profile
    components: tuple[str, ...]
    limits: Limits


def described(implementation: Implementation) -> dict[str, Any]:
    """The description of an implementation, as JSON."""
    return {
        "name": implementation.name,
        "profile": asdict(implementation.profile),
        "components": list(implementation.components),
        "limits": asdict(implementation.limits),
    }


def read_description(value: Any, where: str) -> Description:
    """The description that JSON holds; raises `Malformed` for anything else."""
    given = record(value, where, ("name", "profile", "components"), ("limits",))
    components = [text(name, f"{where}.components") for name in items(given["components"], f"{where}.components")]
    for name in components:
        _known(name, COMPONENTS, f"{where}.components")
    name = _name(given["name"], f"{where}.name")
    profile = read_profile(given["profile"], f"{where}.profile")
    return Description(name, profile, tuple(components), read_limits(given.get("limits", {}), f"{where}.limits"))


def _name(value: Any, where: str) -> str:
    if not is_name(value):
        raise Malformed(f"{where} is {value!a:.100}; expected 1 to {LONGEST_NAME} printable characters")
    return str(value)


def read_profile(value: Any, where: str) -> Profile:
    """A named profile, or one by its fields; those that are not given are those of `base`, or else of detr."""
    if isinstance(value, str):
        _known(value, PROFILES, where)
        return PROFILES[value]
    given = dict(record(value, where, ("name",), ("base", *(item.name for item in fields(Profile)))))
    _name(given["name"], f"{where}.name")
    base = text(given.pop("base", "detr"), f"{where}.base")
    _known(base, PROFILES, f"{where}.base")
    profile: Profile = _replaced(PROFILES[base], given, where)
    return profile


def _replaced(default: Any, given: Mapping[str, Any], where: str) -> Any:
    """The dataclass with other values of some fields; raises `Malformed` for one that is not of the field's type."""
    hints = get_type_hints(type(default))
    record(given, where, (), tuple(hints))
    parts = {}
    for name, value in given.items():
        current, place = getattr(default, name), f"{where}.{name}"
        if is_dataclass(current):
            parts[name] = _replaced(current, record(value, place, (), tuple(get_type_hints(type(current)))), place)
        else:
            parts[name] = _of_type(value, hints[name], place)
    try:
        return replace(default, **parts)
    except InvalidValue as error:
        raise Malformed(f"{where}: {error}") from error


def _of_type(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is Literal:
        _known(text(value, where), get_args(hint), where)
        return value
    if get_origin(hint) is tuple:
        parts = items(value, where, len(get_args(hint)))
        return tuple(number(part, f"{where}[{place}]") for place, part in enumerate(parts))
    if hint is float:
        return number(value, where)
    if hint is bool:
        return boolean(value, where)
    if hint is int:
        if type(value) is not int or value < 1:
            raise Malformed(f"{where} is {value!r:.60}; expected an integer of at least 1")
        return value
    return None if value is None and type(None) in get_args(hint) else text(value, where)


def read_limits(value: Any, where: str) -> Limits:
    """The limits that JSON holds; raises `Malformed` for anything else."""
    given = record(value, where, (), tuple(item.name for item in fields(Limits)))

    def dtypes(value: Any, where: str) -> tuple[str, ...]:
        names = tuple(text(name, where) for name in items(value, where))
        for name in names:
            _known(name, DTYPES, where)
        if not names:
            raise Malformed(f"{where} is empty; expected at least one dtype")
        return names

    def of_component(value: Any, where: str) -> dict[str, tuple[str, ...]]:
        return mapping_of(value, where, dtypes)

    def calls(value: Any, where: str) -> tuple[str, ...]:
        names = tuple(text(name, where) for name in items(value, where))
        for name in names:
            _known(name, CALLS, where)
        return names

    readers: dict[str, Callable[[Any, str], Any]] = {
        "dtypes": dtypes,
        "component_dtypes": of_component,
        "fixed": lambda value, where: mapping_of(value, where, number),
        "equal_shapes": boolean,
        "devices": lambda value, where: tuple(text(name, where) for name in items(value, where)),
        "calls": calls,
    }
    parts: dict[str, Any] = {name: readers[name](item, f"{where}.{name}") for name, item in given.items()}
    limits = Limits(**parts)
    for name in limits.fixed:
        _known(name, [item.name for item in fields(Configuration)], f"{where}.fixed")
    for name in limits.component_dtypes:
        _known(name, COMPONENTS, f"{where}.component_dtypes")
    return limits


def encode_configuration(configuration: Configuration) -> dict[str, Any]:
    """A configuration as JSON, without the profile, and what follows from both."""
    given = [item.name for item in fields(Configuration) if item.name != "profile"]
    return {name: getattr(configuration, name) for name in (*given, *DERIVED)}


def read_configuration(value: Mapping[str, Any], profile: Profile) -> Configuration:
    """The configuration that `encode_configuration` gave; raises `Malformed` for anything else."""
    given = {name: item for name, item in value.items() if name not in DERIVED}
    try:
        return Configuration(profile=profile, **{**given, "fixed": tuple(given["fixed"])})
    except (TypeError, KeyError, InvalidValue) as error:
        raise Malformed(f"the configuration is none: {error}") from error


def _known(name: str, known: Any, where: str) -> None:
    if name not in known:
        expected = ", ".join(map(str, known))
        raise Malformed(f"{where} is {ascii(name)[:60]}{close_names(name, known)}; expected one of {expected}")
