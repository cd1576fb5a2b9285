"""The bank: one TOML file for each class of component, one [[mutant]] table for each defect.

[[mutant]]
id = "giou-divides-by-union"
description = "what was planted, in one line"
provenance = "the thread where a real project had it, such as facebookresearch/detr#101, or constructed"
needs = { class_loss = "focal" }            # optional: fields of a profile with the part, law or value that it concerns
unless = { lw-detr = "why it is none there" }  # optional: later profiles in whose twins it changes nothing that is seen
expected = ["boxes.giou-definition"]        # the invariants that must find it; each profile needs one that applies
equivalent = "a proof"                      # in place of expected, where no caller can see the change within the norm
ladder = ["1e-3", "1e-5"]                   # optional: so many mutants, with each text in place of {delta}, id included

[[mutant.edit]]                             # applied in order
file = "detr_reference/boxes.py"
old = "what stands there, exactly once"
new = "what stands there instead"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import parsed_toml, read_text
from detr_conformance.base.errors import UsageError, close_names
from detr_conformance.encoding.checks import choice, items, record
from detr_conformance.encoding.files import FILES
from detr_conformance.encoding.places import Place
from detr_conformance.mutants.sources import (
    FIRST,
    LATER,
    components_reached,
    original_sources,
    provided_by,
    twins_reached,
)
from detr_spec.invariant import REGISTER, Invariant
from detr_spec.invariants import all_invariants
from detr_spec.parts import Part
from detr_spec.profile import Profile
from detr_spec.profiles import PROFILES

FOLDER = Path(__file__).parent / "bank"
RUNG = "{delta}"

TWINS = tuple(PROFILES[name] for name in (*FIRST, *LATER))
"""The profiles that the reference has a twin of, each of which inherits all mutants whose needs it meets."""


@dataclass(frozen=True)
class Edit:
    """One change of a source: the text `old`, which occurs in `file` exactly once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """One planted defect. group: the name of its file in the bank. equivalent: why it is no defect, where it is none.

    needs: fields of a profile, such as "class_loss", each with the part, the law or the value by which a profile is
    concerned. unless: later profiles in whose twins it changes nothing that is seen, as the bank explains. expected:
    the ids of the invariants that must find it, none for an equivalent mutant.
    """

    id: str
    group: str
    description: str
    provenance: str
    needs: tuple[tuple[str, str], ...]
    expected: tuple[str, ...]
    edits: tuple[Edit, ...]
    equivalent: str | None = None
    unless: tuple[str, ...] = ()

    @cached_property
    def profiles(self) -> tuple[str, ...]:
        """The profiles with a twin in the reference that have what it needs."""
        reached = set.intersection(*(set(twins_reached(edit.file, edit.old)) for edit in self.edits))
        twins = [profile for profile in TWINS if profile.name in reached and profile.name not in self.unless]
        met = [profile for profile in twins if all(_has(profile, *need) for need in self.needs)]
        return tuple(profile.name for profile in met if profile.name not in LATER or self._is_inherited_by(profile))

    def _is_inherited_by(self, profile: Profile) -> bool:
        """Whether a later profile is asked an invariant that must find it, of a component that its twin provides."""
        components = provided_by(profile.name)
        expected = (REGISTER[name] for name in self.expected)
        return any(item.component in components and item.applies(profile) for item in expected)

    @cached_property
    def components(self) -> tuple[str, ...]:
        """The components whose answers its edits can alter, in one of its profiles."""
        provided = {component for profile in self.profiles for component in provided_by(profile)}
        reached = [component for edit in self.edits for component in components_reached(edit.file)]
        return tuple(component for component in dict.fromkeys(reached) if component in provided)

    def invariants(self, profile: str) -> tuple[Invariant, ...]:
        """The invariants that could find it in one of its profiles, in the order of the norm."""
        components = set(self.components) & set(provided_by(profile))
        return tuple(
            item for item in all_invariants() if item.component in components and item.applies(PROFILES[profile])
        )

    def sources(self) -> dict[str, str]:
        """All sources with its edits; raises `UsageError` for an edit whose text does not occur exactly once."""
        sources = dict(original_sources())
        for number, edit in enumerate(self.edits, start=1):
            count = sources[edit.file].count(edit.old)
            if count != 1:
                raise UsageError(
                    f"mutant {self.id}, edit {number}: its old text occurs {count} times in {edit.file}, "
                    f"expected once: {edit.old!r}"
                )
            sources[edit.file] = sources[edit.file].replace(edit.old, edit.new)
        return sources


@cache
def bank() -> tuple[Mutant, ...]:
    """The mutants of this package, file by file."""
    return read_bank(FOLDER)


def find_mutant(id: str) -> Mutant:
    """The mutant of that id; raises `UsageError` with the nearest ids otherwise."""
    known = {mutant.id: mutant for mutant in bank()}
    if id not in known:
        raise UsageError(
            f"no mutant is called {id!r}{close_names(id, known)}; `detr-spec mutants --list` shows all {len(known)}"
        )
    return known[id]


def chosen_mutants(names: Sequence[str]) -> tuple[Mutant, ...]:
    """The mutants of those ids and groups, all where there are no names; raises `UsageError` for another name."""
    groups = {mutant.group for mutant in bank()}
    ids = {find_mutant(name).id for name in names if name not in groups}
    return tuple(mutant for mutant in bank() if not names or mutant.id in ids or mutant.group in names)


def read_bank(folder: Path) -> tuple[Mutant, ...]:
    """The mutants of all TOML files in a folder; raises `UsageError` with file and entry for what is not as described.

    Each edit is applied once, to see that it can be.
    """
    mutants = tuple(mutant for path in sorted(folder.glob("*.toml")) for mutant in _read_file(path))
    seen: dict[str, str] = {}
    for mutant in mutants:
        if mutant.id in seen:
            raise UsageError(f"{mutant.group}.toml: mutant {mutant.id!r} is there already, in {seen[mutant.id]}.toml")
        seen[mutant.id] = mutant.group
        mutant.sources()
    return mutants


@dataclass(frozen=True)
class _Entry:
    """A table of a file, field by field as it is written."""

    id: str
    description: str
    provenance: str
    edit: tuple[Edit, ...]
    needs: Mapping[str, str] = field(default_factory=dict)
    unless: Mapping[str, str] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    equivalent: str = ""
    ladder: tuple[str, ...] = ()


def _read_file(path: Path) -> tuple[Mutant, ...]:
    place = Place(str(path))
    document = record(parsed_toml(read_text(path), path), place, ("mutant",))
    return tuple(
        _mutant(place.within("mutant", number), path.stem, rung)
        for number, table in enumerate(items(document["mutant"], place.within("mutant")))
        for rung in _rungs(place.within("mutant", number), table)
    )


def _rungs(place: Place, table: Any) -> list[_Entry]:
    """The entry of a table, or for one with a ladder an entry for each rung."""
    entry = FILES.decoded(_Entry, table, place)
    if not entry.ladder:
        return [entry]
    if RUNG not in entry.id:
        raise place.within("id").wrong(found=repr(entry.id), expected=f"{RUNG} in it, as it has a ladder")
    return [FILES.decoded(_Entry, _with_rung(table, rung), place) for rung in entry.ladder]


def _with_rung(value: Any, rung: str) -> Any:
    """A value of a TOML file with the rung's text in place of the word that stands for it, everywhere."""
    if isinstance(value, dict):
        return {key: _with_rung(item, rung) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_rung(item, rung) for item in value]
    return value.replace(RUNG, rung) if isinstance(value, str) else value


def _mutant(place: Place, group: str, entry: _Entry) -> Mutant:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.id):
        raise place.within("id").wrong(found=repr(entry.id), expected="lower-case words joined by hyphens")
    if bool(entry.expected) == bool(entry.equivalent):
        raise UsageError(f"{place}: expected either `expected`, or `equivalent` with a proof")
    _require_known(place, entry)
    mutant = Mutant(
        entry.id,
        group,
        " ".join(entry.description.split()),
        " ".join(entry.provenance.split()),
        tuple(entry.needs.items()),
        entry.expected,
        entry.edit,
        " ".join(entry.equivalent.split()) or None,
        tuple(entry.unless),
    )
    _require_asked(place, mutant)
    return mutant


def _require_known(place: Place, entry: _Entry) -> None:
    """Raises `UsageError` for a part of a profile, an invariant or a source that is none, and for an empty edit."""
    for name, value in entry.needs.items():
        if not any(_has(profile, name, value) for profile in TWINS):
            raise UsageError(f"{place}: no profile has {value!r} as its {name}")
    for name in entry.unless:
        choice(name, list(LATER), place.within("unless"))
    for number, name in enumerate(entry.expected):
        choice(name, [item.id for item in all_invariants()], place.within("expected", number))
    for number, edit in enumerate(entry.edit):
        choice(edit.file, tuple(original_sources()), place.within("edit", number, "file"))
        if edit.old == edit.new:
            raise UsageError(f"{place.within('edit', number)}: old and new are the same")


def _has(profile: Profile, field: str, name: str) -> bool:
    """Whether a field of a profile is a part of that name or with that law, or has that value."""
    try:
        found: Any = attrgetter(field)(profile)
    except AttributeError:
        return False
    return name in (found.name, *found.laws) if isinstance(found, Part) else found == name


def _require_asked(place: Place, mutant: Mutant) -> None:
    """Raises `UsageError` where no expected invariant applies, or one is of a component that the edits do not reach."""
    for profile in mutant.profiles:
        applying = {item.id for item in all_invariants() if item.applies(PROFILES[profile])}
        if mutant.expected and not applying.intersection(mutant.expected):
            raise UsageError(f"{place}: none of its expected invariants applies to profile {profile}")
    asked = {item.id for profile in mutant.profiles for item in mutant.invariants(profile)}
    for name in mutant.expected:
        if name not in asked:
            reached = ", ".join(mutant.components)
            raise UsageError(f"{place}: {name} is not asked of it; its edits reach {reached}, in its profiles")
