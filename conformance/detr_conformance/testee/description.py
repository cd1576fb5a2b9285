"""How a testee describes an implementation: its name, profile, components and limits, as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detr_conformance.base.text import LONGEST_NAME, is_name
from detr_conformance.encoding.checks import choice, record, table
from detr_conformance.encoding.encoder import Encoder
from detr_conformance.testee.detr_testee import Malformed
from detr_conformance.testee.messages import MESSAGES, Part
from detr_spec.calls import CALLS
from detr_spec.configuration import Configuration, number_names
from detr_spec.implementation import COMPONENTS, Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.profiles import DETR, PROFILES
from detr_spec.values import DTYPES

DERIVED = ("columns", "cost_weights", "class_weights", "losses", "weight_dict")
"""What follows from a configuration and the profile, and is told with it."""


@dataclass(frozen=True)
class Description:
    """What a testee says of one implementation."""

    name: str
    profile: Profile
    components: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)


def described(implementation: Implementation) -> dict[str, Any]:
    """The description of an implementation, as JSON."""
    said = Description(implementation.name, implementation.profile, implementation.components, implementation.limits)
    return MESSAGES.encoded_fields(said, Description)


def read_description(value: Any, where: str) -> Description:
    """The description that JSON holds; raises `Malformed` for anything else."""
    place = Part(where)
    given = dict(record(value, place, ("name", "profile", "components"), ("limits",)))
    profile = read_profile(given.pop("profile"), f"{where}.profile")
    description: Description = MESSAGES.decoded_fields(Description, given, place, profile=profile)
    _require_name(description.name, f"{where}.name")
    _require_known(description.components, COMPONENTS, place.within("components"))
    _require_limits(description, place.within("limits"))
    return description


def read_profile(value: Any, where: str) -> Profile:
    """A named profile, or one by its fields; those that are not given are those of `base`, or else of detr."""
    place = Part(where)
    if isinstance(value, str):
        return PROFILES[choice(value, tuple(PROFILES), place)]
    given = dict(table(value, place))
    base = PROFILES[choice(given.pop("base", DETR.name), tuple(PROFILES), place.within("base"))]
    _require_name(given.get("name"), f"{where}.name")
    profile: Profile = MESSAGES.decoded(Profile, given, place, base)
    return profile


def _require_name(value: Any, where: str) -> None:
    if not is_name(value):
        raise Malformed(f"{where} is {value!a:.100}; expected 1 to {LONGEST_NAME} printable characters")


def _require_known(names: Sequence[str], known: Sequence[str], place: Part) -> None:
    for number, name in enumerate(names):
        choice(name, known, place.within(number))


def _require_limits(description: Description, place: Part) -> None:
    limits = description.limits
    _require_known(tuple(limits.components), COMPONENTS, place.within("components"))
    every = {"": limits} | {f"components.{name}": limits.of(name) for name in limits.components}
    for path, own in every.items():
        where = place.within(path) if path else place
        if not own.dtypes:
            raise where.within("dtypes").wrong(found="empty", expected="at least one dtype")
        _require_known(own.dtypes, DTYPES, where.within("dtypes"))
        _require_known(tuple(own.fixed), number_names(description.profile), where.within("fixed"))
        _require_known(own.calls, tuple(CALLS), where.within("calls"))


def encode_configuration(configuration: Configuration, encoder: Encoder = MESSAGES) -> dict[str, Any]:
    """A configuration as JSON, without the profile, and what follows from both."""
    derived = {name: getattr(configuration, name) for name in DERIVED}
    return {**encoder.encoded_fields(configuration, Configuration, without=("profile",)), **derived}


def read_configuration(value: Mapping[str, Any], profile: Profile) -> Configuration:
    """The configuration that `encode_configuration` gave; raises `Malformed` for anything else."""
    place = Part("configuration")
    given = {name: item for name, item in table(value, place).items() if name not in DERIVED}
    configuration: Configuration = MESSAGES.decoded_fields(Configuration, given, place, profile=profile)
    return configuration
