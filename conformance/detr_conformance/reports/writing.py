"""Writes a report to the files that were asked for: each whole or not at all, and none lost because of another."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from detr_conformance.base.errors import UsageError, one_line
from detr_conformance.base.files import real_path, require_writable, write_whole
from detr_conformance.reports.junit import as_junit
from detr_conformance.reports.markdown import LARGEST, as_markdown
from detr_conformance.reports.options import STANDARD_OUTPUT, Outputs
from detr_conformance.reports.page import as_html
from detr_conformance.running.report import Report

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment's name for the file that GitHub shows as a step's summary; a step's commands append to it."""


def require_all_writable(outputs: Outputs) -> None:
    """Raises `UsageError` unless each of the files can be written, and no two of them are the same."""
    seen: dict[Path, str] = {}
    for form, path in outputs.paths.items():
        place = path if path == STANDARD_OUTPUT else real_path(path)
        if place in seen:
            raise UsageError(f"--{seen[place]} and --{form} are both {path}; expected different files")
        seen[place] = form
        if path != STANDARD_OUTPUT:
            require_writable(path)


def write_outputs(report: Report, outputs: Outputs) -> None:
    """Writes every file that was asked for; raises `UsageError` afterwards for those that could not be.

    JSON comes first, since the others can be made from it. Markdown is appended where its file is the summary of a
    step on GitHub.
    """
    failed = []
    for form, path in outputs.paths.items():
        try:
            if form == "markdown" and _is_summary(path):
                _append_summary(report, path)
            elif path == STANDARD_OUTPUT:
                click.echo(FORMS[form](report).encode(), nl=False)
            else:
                write_whole(FORMS[form](report), path)
        except UsageError as error:
            failed.append(str(error))
        except Exception as error:
            failed.append(f"{path} was not written, {one_line(error)}")
    if failed:
        raise UsageError("; ".join(failed))


FORMS: Mapping[str, Callable[[Report], str]] = {
    "json": Report.to_json,
    "junit": as_junit,
    "markdown": as_markdown,
    "html": as_html,
}


def _is_summary(path: Path) -> bool:
    summary = os.environ.get(SUMMARY)
    return bool(summary) and real_path(path) == real_path(Path(str(summary)))


def _append_summary(report: Report, path: Path) -> None:
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    write_whole(there + as_markdown(report, LARGEST - len(there.encode())), path)
