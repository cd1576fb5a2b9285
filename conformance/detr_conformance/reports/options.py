"""The files that a report is written to, as options of a command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from detr_conformance.base.files import OutputPath

STANDARD_OUTPUT = Path("-")

_FILE = OutputPath()


@dataclass(frozen=True)
class Outputs:
    """Where a report is to be written, in each of its forms; None for a form that is not asked for."""

    json: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    html: Path | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """The paths that were given, by form, in the order in which they are written."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {form: path for form, path in given.items() if path is not None}

    @property
    def to_standard_output(self) -> bool:
        """Whether one of them is standard output, where nothing else may then go."""
        return STANDARD_OUTPUT in self.paths.values()


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command --json, --junit, --markdown and --html, and its function one argument `outputs` for them."""

    @click.option("--json", metavar="FILE", type=_FILE, help="Write the report to this file; - for standard output.")
    @click.option("--junit", metavar="FILE", type=_FILE, help="Write it as JUnit XML.")
    @click.option("--markdown", metavar="FILE", type=_FILE, help="Write it as Markdown, for a CI summary.")
    @click.option("--html", metavar="FILE", type=_FILE, help="Write it as one HTML page, with pictures.")
    @functools.wraps(function)
    def with_outputs(
        *arguments: Any, json: Path | None, junit: Path | None, markdown: Path | None, html: Path | None, **named: Any
    ) -> Any:
        return function(*arguments, outputs=Outputs(json, junit, markdown, html), **named)

    return with_outputs
