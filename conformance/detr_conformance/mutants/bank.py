"""The bank: one TOML file for each class of component, one [[mutant]] table for each defect.

[[mutant]]
id = "giou-divides-by-union"
description = "what was planted, in one line"
provenance = "the thread where a real project had it, such as facebookresearch/detr#101, or constructed"
needs = { class_loss = "focal" }            # optional: fields of a profile with the part, law or value that it concerns
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import parsed_toml, read_text
from detr_conformance.base.errors import UsageError, close_names
from detr_conformance.mutants.sources import SOLVER_ADAPTER, components_reached, original_sources
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants
from detr_spec.parts import Part
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR, PROFILES

FOLDER = Path(__file__).parent / "bank"
TEXTS = ("id", "description", "provenance")
FIELDS = (*TEXTS, "needs", "expected", "equivalent", "ladder", "edit")
EDIT_FIELDS = ("file", "old", "new")
RUNG = "{delta}"

TWINS = (DETR, DEFORMABLE)
"""The profiles that the reference has a twin of, each of which inherits all mutants whose needs it meets."""

SOLVED = (DETR,)
"""The profile of the solver."""


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
    concerned. expected: the ids of the invariants that must find it, none for an equivalent mutant.
    """

    id: str
    group: str
    description: str
    provenance: str
    needs: tuple[tuple[str, str], ...]
    expected: tuple[str, ...]
    edits: tuple[Edit, ...]
    equivalent: str | None = None

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles with a twin in the reference that have what it needs."""
        twins = SOLVED if any(edit.file == SOLVER_ADAPTER for edit in self.edits) else TWINS
        return tuple(profile.name for profile in twins if all(_has(profile, *need) for need in self.needs))

    @property
    def components(self) -> tuple[str, ...]:
        """The components whose answers its edits can alter."""
        reached = [component for edit in self.edits for component in components_reached(edit.file)]
        return tuple(dict.fromkeys(reached))

    def invariants(self, profile: str) -> tuple[Invariant, ...]:
        """The invariants that could find it in one of its profiles, in the order of the norm."""
        components = self.components
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


def _read_file(path: Path) -> tuple[Mutant, ...]:
    document = parsed_toml(read_text(path), path)
    _require_fields(str(path), document, ("mutant",), ("mutant",))
    entries = _tables(f"{path}: mutant", document["mutant"])
    return tuple(
        _mutant(place, path.stem, rung)
        for place, entry in ((f"{path}, mutant {number}", entry) for number, entry in enumerate(entries, 1))
        for rung in _rungs(place, entry)
    )


def _rungs(place: str, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The entry itself, or for one with a ladder an entry for each rung."""
    if "ladder" not in entry:
        return [entry]
    ladder = entry["ladder"]
    if not isinstance(ladder, list) or not ladder or not all(isinstance(rung, str) for rung in ladder):
        raise UsageError(f"{place}: ladder is {ladder!r}; expected a list of texts")
    if RUNG not in str(entry.get("id")):
        raise UsageError(f"{place}: id is {entry.get('id')!r}; expected {RUNG} in it, as it has a ladder")
    rest = {key: value for key, value in entry.items() if key != "ladder"}
    return [_with_rung(rest, rung) for rung in ladder]


def _with_rung(value: Any, rung: str) -> Any:
    """A value of a TOML file with the rung's text in place of the word that stands for it, everywhere."""
    if isinstance(value, dict):
        return {key: _with_rung(item, rung) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_rung(item, rung) for item in value]
    return value.replace(RUNG, rung) if isinstance(value, str) else value


def _mutant(place: str, group: str, entry: dict[str, Any]) -> Mutant:
    _require_fields(place, entry, FIELDS, (*TEXTS, "edit"))
    texts = {name: _text(f"{place}: {name}", entry[name]) for name in TEXTS}
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", texts["id"]):
        raise UsageError(f"{place}: id is {texts['id']!r}; expected lower-case words joined by hyphens")
    mutant = Mutant(
        **texts,
        group=group,
        needs=_needs(f"{place}: needs", entry.get("needs", {})),
        expected=_expected(place, entry),
        edits=tuple(_edit(f"{place}, edit {n}", edit) for n, edit in enumerate(_tables(place, entry["edit"]), 1)),
        equivalent=_text(f"{place}: equivalent", entry["equivalent"]) if "equivalent" in entry else None,
    )
    _require_asked(place, mutant)
    return mutant


def _needs(place: str, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise UsageError(f"{place} is {value!r}; expected fields of a profile, each with a name")
    for field, name in value.items():
        if not any(_has(profile, field, name) for profile in TWINS):
            raise UsageError(f"{place}: no profile has {name!r} as its {field}")
    return tuple(value.items())


def _has(profile: Profile, field: str, name: str) -> bool:
    """Whether a field of a profile is a part of that name or with that law, or has that value."""
    try:
        found: Any = attrgetter(field)(profile)
    except AttributeError:
        return False
    return name in (found.name, *found.laws) if isinstance(found, Part) else found == name


def _expected(place: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    if ("expected" in entry) == ("equivalent" in entry):
        raise UsageError(f"{place}: expected either `expected`, or `equivalent` with a proof")
    if "equivalent" in entry:
        return ()
    known = {item.id: item for item in all_invariants()}
    return _names(f"{place}: expected", entry["expected"], "invariant", known)


def _require_asked(place: str, mutant: Mutant) -> None:
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


def _edit(place: str, entry: dict[str, Any]) -> Edit:
    _require_fields(place, entry, EDIT_FIELDS, EDIT_FIELDS)
    for name in EDIT_FIELDS:
        if not isinstance(entry[name], str):
            raise UsageError(f"{place}: {name} is {entry[name]!r}; expected text")
    edit = Edit(**entry)
    if edit.file not in original_sources():
        files = original_sources()
        raise UsageError(f"{place}: no source is called {edit.file!r}{close_names(edit.file, files)}")
    if edit.old == edit.new:
        raise UsageError(f"{place}: old and new are the same")
    return edit


def _require_fields(place: str, table: Mapping[str, Any], known: Sequence[str], required: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            raise UsageError(
                f"{place}: no field is called {name!r}{close_names(name, known)}; the fields are {', '.join(known)}"
            )
    for name in required:
        if name not in table:
            raise UsageError(f"{place}: {name} is missing")


def _tables(place: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise UsageError(f"{place}: got {value!r}; expected a list of tables")
    return value


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{place} is {value!r}; expected text")
    return " ".join(value.split())


def _names(place: str, value: Any, what: str, known: Iterable[str]) -> tuple[str, ...]:
    """A list of names, each of them known and there once."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{place} is {value!r}; expected a list of names")
    for name in value:
        if name not in known:
            raise UsageError(f"{place}: no {what} is called {name!r}{close_names(name, known)}")
    if len(set(value)) < len(value):
        raise UsageError(f"{place} is {value!r}; expected different names")
    return tuple(value)
