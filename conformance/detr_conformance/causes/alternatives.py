"""What a profile might declare in place of what it does: one field with another value, by the fields' types.

Values are those worth trying (`detr_spec.declarable`), those that other profiles have, and, of names, those that the
findings themselves speak of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from detr_conformance.base.verdict import Judgement
from detr_spec.configuration import weights_of
from detr_spec.declarable import declarable_values, parts
from detr_spec.profile import Profile
from detr_spec.profiles import PROFILES
from detr_spec.terms import Term
from detr_spec.values import InvalidValue

LONGEST_NAME = 60
"""Characters of a text that may be a name."""

MOST_NAMES = 40
"""Names of the findings that are tried, the first of them."""


@dataclass(frozen=True)
class Alternative:
    """A profile that differs from its base in one field, by its path such as "keys.cardinality"."""

    path: str
    value: Any
    profile: Profile
    base: Profile

    @property
    def line(self) -> str:
        """What is to be written in the call of `replace` that makes the profile."""
        part, _, name = self.path.rpartition(".")
        written = json.dumps(self.value) if isinstance(self.value, str) else repr(self.value)
        line = f"{part}=replace(profile.{part}, {name}={written})" if part else f"{name}={written}"
        return f"{line}, and in its limits fixed={self.kept!r}" if self.kept else line

    @property
    def kept(self) -> dict[str, float]:
        """The weights that it says the implementation keeps, whatever it is asked for."""
        return kept_weights(self.profile, self.base)


def alternatives(profile: Profile, names: Sequence[str]) -> Iterator[Alternative]:
    """Every alternative to a profile that makes sense; none that leaves a training term open. names: of `names_in`."""
    inner = [(f"{name}.", name, kind) for name, kind in parts().items()]
    for prefix, part, kind in [("", None, Profile), *inner]:
        hints = get_type_hints(kind)
        for name, known in declarable_values(kind).items():
            own = _at(profile, part, name)
            others = [_at(other, part, name) for other in PROFILES.values()]
            for value in _different([*known, *others, *_named(hints[name], known, profile, names)], own):
                if isinstance(value, Term) and not value.is_judged:
                    continue
                changed = changed_in(profile, f"{prefix}{name}", value)
                if changed is not None:
                    yield Alternative(f"{prefix}{name}", value, changed, profile)


def kept_weights(profile: Profile, base: Profile) -> dict[str, float]:
    """The weights in which a profile differs, by the names that limits take: an implementation keeps to them."""
    known = weights_of(base)
    return {name: weight for name, weight in weights_of(profile).items() if weight != known[name]}


def changed_in(profile: Profile, path: str, value: Any) -> Profile | None:
    """The profile with another value of a field; None where that contradicts the others."""
    part, _, name = path.rpartition(".")
    try:
        changes = {part: replace(getattr(profile, part), **{name: value})} if part else {name: value}
        return replace(profile, **changes)
    except (InvalidValue, TypeError):
        return None


def names_in(judgements: Sequence[Judgement]) -> tuple[str, ...]:
    """The names that findings speak of: in quotes in what they say, and among the numbers that disagree."""
    found: list[str] = []
    for judgement in judgements:
        found += re.findall(r"['\"]([^'\"\s]+)['\"]", judgement.message)
        shown = judgement.counterexample
        if shown is not None:
            found += [text for value in (shown.got, shown.details) for text in _texts(value)]
    return tuple(dict.fromkeys(name for name in found if 0 < len(name) <= LONGEST_NAME))[:MOST_NAMES]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and not re.search(r"\s", value):
        yield value


def _at(profile: Profile, part: str | None, name: str) -> Any:
    return getattr(profile if part is None else getattr(profile, part), name)


def _different(values: Sequence[Any], own: Any) -> list[Any]:
    return [value for value in dict.fromkeys(values) if value != own]


def _named(hint: Any, known: Sequence[Any], profile: Profile, names: Sequence[str]) -> Iterator[Any]:
    """Values of a field that is a name, several, or a template of names, from those that there are."""
    if hint == tuple[str, ...]:
        yield from ((name,) for name in names)
    if hint not in (str, str | None):
        return
    templates = [value for value in known if isinstance(value, str) and "{" in value]
    if not templates:
        yield from names
        return
    stems = {field: text for field, text in vars(profile.keys).items() if isinstance(text, str) and "{" not in text}
    places = {place for template in templates for place in re.findall(r"{(\w+)}", template)}
    for name in names:
        for stem in stems.values():
            if stem in name and stem != name:
                yield from _as_templates(name, stem, places)


def _as_templates(name: str, stem: str, places: set[str]) -> Iterator[str]:
    """The templates that a name may come from, with what it is named after in place of the loss or the output."""
    whole = next((place for place in ("loss", "output") if place in places), None)
    if whole is None:
        return
    before, _, after = name.partition(stem)
    yield f"{before}{{{whole}}}{after}"
    for place in sorted(places - {whole}):
        changed = [re.sub(r"\d+", f"{{{place}}}", text, count=1) for text in (before, after)]
        yield f"{changed[0]}{{{whole}}}{changed[1]}"
