"""What a benchmark has found, as values and as a JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from detr_conformance.bench.sizes import Size
from detr_conformance.bench.timing import PROCESSOR, STEP, Runs

Status = Literal["timed", "not installed", "left out", "disagrees", "failed"]


@dataclass(frozen=True)
class Entry:
    """One contestant in one setting. note: why it has no times, or nothing.

    runs: the seconds of each run. peak_bytes: of one step, or why it is not known.
    """

    name: str
    status: Status
    note: str = ""
    runs: Runs | None = None
    peak_bytes: int | str | None = None

    def seconds(self, kind: str = STEP) -> float | None:
        """The median seconds of a step, or its processor time; None where it was not timed."""
        return None if self.runs is None else self.runs.medians()[kind]


@dataclass(frozen=True)
class Setting:
    """What contestants were timed on: matcher and criterion, with how their inputs were made, or the assignment."""

    kind: Literal["criterion", "assignment"]
    profile: str
    regime: str
    size: Size
    most_targets: int
    entries: tuple[Entry, ...]
    heads: str | None = None

    def ratio(self, entry: Entry, base: str, kind: str = STEP) -> float | None:
        """How many times as long as the contestant `base` an entry takes, by medians; None where either has no time."""
        own = entry.seconds(kind)
        other = next((item.seconds(kind) for item in self.entries if item.name == base), None)
        return None if own is None or other is None else own / other


@dataclass(frozen=True)
class Results:
    """A whole benchmark. base: the contestant of either kind that ratios are to."""

    machine: Mapping[str, Any]
    base: Mapping[str, str]
    settings: tuple[Setting, ...] = field(default=())

    @property
    def disagreeing(self) -> list[tuple[Setting, Entry]]:
        """Who was not timed because it computes something else, or fails."""
        return [
            (setting, entry)
            for setting in self.settings
            for entry in setting.entries
            if entry.status in ("disagrees", "failed")
        ]


def as_json(results: Results) -> str:
    """The document: the machine, and by setting each contestant's runs, medians and ratio."""
    document = {
        "machine": dict(results.machine),
        "ratios_to": dict(results.base),
        "settings": [_setting(setting, results.base[setting.kind]) for setting in results.settings],
    }
    return json.dumps(document, indent=1) + "\n"


def _setting(setting: Setting, base: str) -> dict[str, Any]:
    return {
        "kind": setting.kind,
        "profile": setting.profile,
        "regime": setting.regime,
        **({} if setting.heads is None else {"heads": setting.heads}),
        "size": asdict(setting.size),
        "most_targets": setting.most_targets,
        "contestants": [_entry(setting, entry, base) for entry in setting.entries],
    }


def _entry(setting: Setting, entry: Entry, base: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": entry.name, "status": entry.status}
    if entry.note:
        found["note"] = entry.note
    if entry.runs is not None:
        found |= {
            "runs": entry.runs.count,
            "median_seconds": _rounded(entry.runs.medians()),
            "fastest_seconds": _rounded(entry.runs.fastest()),
            "ratio": setting.ratio(entry, base),
            "processor_ratio": setting.ratio(entry, base, PROCESSOR),
        }
    if entry.peak_bytes is not None:
        found["peak_bytes"] = entry.peak_bytes
    return found


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds to the microsecond, which is less than they vary by."""
    return {kind: round(value, 6) for kind, value in seconds.items()}
