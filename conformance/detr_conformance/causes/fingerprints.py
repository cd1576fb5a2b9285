"""Which invariants find the defects of the bank, and which of these an implementation is most like.

A file has these fingerprints: `detr-spec mutants --fingerprints FILE` renews what it says of the mutants that it is
given. What was asked of both counts alone, so that neither a short check nor a short survey makes a difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from detr_conformance.base.cause import Cause
from detr_conformance.base.verdict import Judgement, Verdict

PLACE = "data/fingerprints.json"
"""The file, within this package."""

FORMAT = "detr-spec-fingerprints/1"

NEIGHBOURS = 3
"""The nearest fingerprints, which agree on the class of a defect before the nearest of that class is named."""

FEWEST = 10
"""Invariants that have to be asked of both: by fewer, too many defects are alike."""

LEAST = 0.25
"""How like a defect has to be, from 0 to 1."""


@dataclass(frozen=True)
class Fingerprint:
    """A defect, its group in the bank, what was planted, and the ids of the invariants that find it or hold for it."""

    name: str
    group: str
    what: str
    found_by: frozenset[str]
    held_by: frozenset[str]

    def beside(self, other: Fingerprint) -> tuple[int, int]:
        """How many invariants find both, and how many find either, of those that were asked of both."""
        asked = (self.found_by | self.held_by) & (other.found_by | other.held_by)
        return len(self.found_by & other.found_by), len((self.found_by | other.found_by) & asked)

    def asked_with(self, other: Fingerprint) -> int:
        """How many invariants were asked of both."""
        return len((self.found_by | self.held_by) & (other.found_by | other.held_by))

    def likeness(self, other: Fingerprint) -> float:
        """The part of these that find both, from 0 to 1."""
        both, either = self.beside(other)
        return both / either if either else 0.0


def read_fingerprints(text: str) -> tuple[Fingerprint, ...]:
    """The fingerprints in a file that `fingerprints_text` made."""
    document = json.loads(text)
    ids = document["invariants"]

    def named(places: Iterable[int]) -> frozenset[str]:
        return frozenset(ids[place] for place in places)

    return tuple(
        Fingerprint(one["id"], one["group"], one["what"], named(one["found_by"]), named(one["held_by"]))
        for one in document["defects"]
    )


def fingerprints_text(fingerprints: Sequence[Fingerprint]) -> str:
    """The fingerprints as a file: invariants by their places in one list, and a defect a line."""
    ids = sorted({name for one in fingerprints for name in one.found_by | one.held_by})
    places = {name: place for place, name in enumerate(ids)}

    def line(one: Fingerprint) -> str:
        found, held = (sorted(places[name] for name in names) for names in (one.found_by, one.held_by))
        return json.dumps({"id": one.name, "group": one.group, "what": one.what, "found_by": found, "held_by": held})

    lines = ",\n".join(line(one) for one in sorted(fingerprints, key=lambda one: one.name))
    head = f'"format": {json.dumps(FORMAT)},\n"invariants": {json.dumps(ids)}'
    return f'{{\n{head},\n"defects": [\n{lines}\n]\n}}\n'


@cache
def known_fingerprints() -> tuple[Fingerprint, ...]:
    """Those that come with this package."""
    return read_fingerprints((files("detr_conformance") / PLACE).read_text(encoding="utf-8"))


def with_likeness(causes: Sequence[Cause], judgements: Sequence[Judgement]) -> tuple[Cause, ...]:
    """The declarations among the causes, and of what they leave over the known defect that it is most like."""
    declared = [cause for cause in causes if cause.kind == "declaration"]
    explained = [name for cause in declared for name in cause.invariants]
    if not any(one.verdict is Verdict.VIOLATED and one.id not in explained for one in judgements):
        return tuple(declared)
    like = most_like(judgements, explained, known_fingerprints())
    return tuple(declared) if like is None else (*declared, like)


def most_like(judgements: Sequence[Judgement], explained: Sequence[str], known: Sequence[Fingerprint]) -> Cause | None:
    """The defect that an implementation is most like; None where none is like it.

    explained: the ids of violations that have another cause.
    """
    failing = frozenset(one.id for one in judgements if one.verdict is Verdict.VIOLATED and one.id not in explained)
    holding = frozenset(one.id for one in judgements if one.verdict is Verdict.HOLDS)
    own = Fingerprint("", "", "", failing, holding)
    alike = [one for one in known if own.asked_with(one) >= FEWEST]
    near = sorted(alike, key=lambda one: -own.likeness(one))[:NEIGHBOURS]
    if not near or own.likeness(near[0]) < LEAST:
        return None
    votes = {one.group: sum(own.likeness(other) for other in near if other.group == one.group) for one in near}
    best = max(near, key=lambda one: (votes[one.group], own.likeness(one)))
    both, either = own.beside(best)
    named = tuple(one.id for one in judgements if one.id in failing & best.found_by)
    return Cause("defect", best.name, f"{best.what} ({best.group})", named, both, either) if named else None
