"""Reads a report back from the file that `Report.to_json` made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import parsed_json, read_text
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Judgement
from detr_conformance.encoding.checks import items, table, text
from detr_conformance.encoding.files import FILES
from detr_conformance.encoding.places import Place
from detr_conformance.running.report import FORMAT, ImplementationReport, Report


def read_report(path: Path) -> Report:
    """The report in a file; raises `UsageError` that says where it is not one, in one line."""
    return parsed_report(read_text(path), str(path))


def parsed_report(content: str, source: str) -> Report:
    """The report in a text; raises `UsageError` with the text's source and the place where it is not one."""
    document, place = parsed_json(content, source), Place(source)
    given = dict(document) if isinstance(document, Mapping) else {}
    name = given.pop("format", None)
    if name != FORMAT:
        raise UsageError(f"{source} is no report of this version: its format is {name!r:.60}; expected {FORMAT!r}")
    at = place.within("implementations")
    judged = [_implementation(item, at.within(n)) for n, item in enumerate(items(given.pop(at.path[-1], None), at))]
    report: Report = FILES.decoded_fields(Report, given, place, implementations=tuple(judged))
    return report


def _implementation(data: Any, place: Place) -> ImplementationReport:
    given = dict(table(data, place))
    name, judgements = (given.pop(key, None) for key in ("implementation", "invariants"))
    own = {
        "name": text(name, place.within("implementation")),
        "judgements": FILES.decoded(tuple[Judgement, ...], judgements, place.within("invariants")),
    }
    report: ImplementationReport = FILES.decoded_fields(ImplementationReport, given, place, **own)
    return report
