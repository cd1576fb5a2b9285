"""Reads a report back from the file that `Report.to_json` made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import parsed_json, read_text
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Counterexample, Judgement, Verdict
from detr_conformance.running.report import FORMAT, ImplementationReport, Report
from detr_conformance.running.sharding import Shard
from detr_conformance.vectors.places import Place
from detr_conformance.vectors.validation import require_valid


def read_report(path: Path) -> Report:
    """The report in a file; raises `UsageError` that says where it is not one, in one line."""
    return parsed_report(read_text(path), str(path))


def parsed_report(text: str, source: str) -> Report:
    """The report in a text; raises `UsageError` with the text's source and the place where it is not one."""
    document = parsed_json(text, source)
    given = document.get("format") if isinstance(document, Mapping) else None
    if given != FORMAT:
        raise UsageError(f"{source} is no report of this version: its format is {given!r:.60}; expected {FORMAT!r}")
    require_valid(document, "report", Place(source))
    return _report(document)


def _report(document: Mapping[str, Any]) -> Report:
    return Report(
        version=document["version"],
        seed=int(document["seed"]),
        examples=int(document["examples"]),
        implementations=tuple(map(_implementation, document["implementations"])),
        interrupted=document["interrupted"],
        device=document["device"],
        shard=None if document["shard"] is None else Shard(**document["shard"]),
        database=tuple(document["database"]),
    )


def _implementation(entry: Mapping[str, Any]) -> ImplementationReport:
    return ImplementationReport(
        name=entry["implementation"],
        profile=entry["profile"],
        dtypes=tuple(entry["dtypes"]),
        judgements=tuple(map(_judgement, entry["invariants"])),
        address=entry["address"],
    )


def _judgement(entry: Mapping[str, Any]) -> Judgement:
    counterexample = entry["counterexample"]
    return Judgement(
        **{
            **entry,
            "verdict": Verdict(entry["verdict"]),
            "entries": tuple(entry["entries"]),
            "counterexample": None if counterexample is None else Counterexample(**counterexample),
        }
    )
