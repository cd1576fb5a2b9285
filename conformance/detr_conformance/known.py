"""Known violations: a TOML file of the invariants that an implementation violates, with the reasons.

[[violation]]
implementation = "transformers"
profile = "deformable"          # optional; without it, every profile of the implementation
invariant = "matcher.some-name"
why = "what it does instead, and where that comes from"
evidence = "how it can be seen without this program"
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detr_conformance.errors import UsageError, close_names
from detr_conformance.judge import not_asked
from detr_conformance.verdict import Judgement, Verdict
from detr_spec.implementation import Implementation
from detr_spec.invariant import all_invariants

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REQUIRED = ("implementation", "invariant", "why", "evidence")
OPTIONAL = ("profile",)


@dataclass(frozen=True)
class KnownViolation:
    """One entry of a file of known violations, each text in one line; place is the file and the entry's number."""

    place: str
    implementation: str
    invariant: str
    why: str
    evidence: str
    profile: str | None = None

    def concerns(self, implementation: Implementation) -> bool:
        """Whether the entry is about this implementation in its profile."""
        return implementation.name == self.implementation and self.profile in (
            None,
            implementation.profile.name,
        )


def read_known(path: Path) -> tuple[KnownViolation, ...]:
    """The entries of a file; raises `UsageError` with file and entry for what is not as it should be."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    unknown = sorted(set(document) - {"violation"})
    entries = document.get("violation", [])
    if unknown or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path} holds {', '.join(unknown) or 'no such tables'}; expected only [[violation]] tables")
    return tuple(_entry(f"{path}, violation {number}", entry) for number, entry in enumerate(entries, start=1))


def _entry(place: str, entry: dict[str, Any]) -> KnownViolation:
    for field in entry:
        if field not in (*REQUIRED, *OPTIONAL):
            hint = close_names(field, (*REQUIRED, *OPTIONAL))
            listed = ", ".join(REQUIRED + OPTIONAL)
            raise UsageError(f"{place}: no field is called {field!r}{hint}; the fields are {listed}")
    for field in REQUIRED:
        if field not in entry:
            raise UsageError(f"{place}: {field} is missing")
    for field, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{place}: {field} is {value!r}; expected text")
    ids = [invariant.id for invariant in all_invariants()]
    if entry["invariant"] not in ids:
        raise UsageError(
            f"{place}: no invariant is called {entry['invariant']!r}{close_names(entry['invariant'], ids)}"
        )
    return KnownViolation(place, **{field: " ".join(text.split()) for field, text in entry.items()})


def require_applicable(known: Sequence[KnownViolation], implementations: Sequence[Implementation]) -> None:
    """Raises `UsageError` for an entry that means nothing for these implementations.

    It concerns none of them, names what is not asked of any, or says what another entry says.
    """
    asked = {invariant.id: invariant for invariant in all_invariants()}
    owners: dict[tuple[str, str, str], str] = {}
    for entry in known:
        concerned = [item for item in implementations if entry.concerns(item)]
        if not concerned:
            whose = entry.implementation + (f" in profile {entry.profile}" if entry.profile else "")
            checked = ", ".join(f"{item.name} ({item.profile.name})" for item in implementations)
            raise UsageError(f"{entry.place}: {whose} is not among those checked, which are {checked}")
        reasons = [not_asked(asked[entry.invariant], item) for item in concerned]
        if all(reasons):
            raise UsageError(
                f"{entry.place}: {entry.invariant} is not asked: {reasons[0].message if reasons[0] else ''}"
            )
        for item in concerned:
            key = (item.name, item.profile.name, entry.invariant)
            if key in owners:
                raise UsageError(f"{entry.place}: {entry.invariant} of {item.name} is listed already, in {owners[key]}")
            owners[key] = entry.place


def with_known(
    judgements: Sequence[Judgement], implementation: Implementation, known: Sequence[KnownViolation]
) -> tuple[Judgement, ...]:
    """The judgements with known violations as expected ones.

    A listed invariant that holds unexpectedly holds. An error counts as a violation, since an implementation
    that raises does not do what it must.
    """
    listed = {entry.invariant: entry for entry in known if entry.concerns(implementation)}
    return tuple(
        _with_entry(judgement, listed[judgement.id]) if judgement.id in listed else judgement
        for judgement in judgements
    )


def _with_entry(judgement: Judgement, entry: KnownViolation) -> Judgement:
    if judgement.verdict in (Verdict.VIOLATED, Verdict.ERROR):
        return replace(judgement, verdict=Verdict.EXPECTED_VIOLATION, why_expected=entry.why)
    if judgement.verdict is Verdict.HOLDS:
        message = f"listed as violated in {entry.place}: {entry.why}"
        return replace(judgement, verdict=Verdict.UNEXPECTEDLY_HOLDS, message=message)
    return judgement
