"""Reads a report back from the file that `Report.to_json` made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from detr_conformance.errors import UsageError
from detr_conformance.report import FORMAT, ImplementationReport, Report
from detr_conformance.sharding import Shard
from detr_conformance.text import line_of
from detr_conformance.verdict import Counterexample, Judgement, Verdict

DEEPEST = 64
"""How deep lists and tables may be nested; no case comes near it."""


def read_report(path: Path) -> Report:
    """The report in a file; raises `UsageError` that says where it is not one, in one line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: {error}") from error
    return parsed_report(text, str(path))


def parsed_report(text: str, source: str) -> Report:
    """The report in a text; raises `UsageError` with the text's source and the place where it is not one."""
    try:
        document = json.loads(
            text, object_pairs_hook=_unrepeated, parse_constant=_refused_number, parse_float=_finite_number
        )
    except RecursionError as error:
        raise UsageError(f"{source} is no report: it is nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"{source} is no JSON as a report has it: {line_of(str(error))}") from error
    _require_shallow(document, source)
    _require_valid(document, source)
    return _report(document)


def report_schema() -> dict[str, Any]:
    """The JSON Schema of reports."""
    text = (files("detr_conformance") / "schemas" / "report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    return Draft202012Validator(report_schema())


def _require_valid(document: Any, source: str) -> None:
    given = document.get("format") if isinstance(document, Mapping) else None
    if given != FORMAT:
        told = line_of(repr(given))
        raise UsageError(f"{source} is no report of this version: its format is {told}; expected {FORMAT!r}")
    error = next(_validator().iter_errors(document), None)
    if error is not None:
        raise UsageError(f"{source} is no report, at {line_of(error.json_path)}: {line_of(error.message)}")


def _require_shallow(document: Any, source: str) -> None:
    """Raises `UsageError` for nesting that later steps, which call themselves, could not follow."""
    level = [document]
    for _ in range(DEEPEST):
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise UsageError(f"{source} is no report: it is nested too deeply")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return table


def _refused_number(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is beyond every float64")
    return number


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
