"""The command `detr-spec report`: shows a saved report, and writes it in other forms."""

from __future__ import annotations

from pathlib import Path

import click

from detr_conformance.base.consoles import output_console
from detr_conformance.reports.options import Outputs, output_options
from detr_conformance.reports.reading import read_report
from detr_conformance.reports.show import show_report
from detr_conformance.reports.writing import require_all_writable, write_outputs


@click.command("report")
@click.argument("file", type=click.Path(path_type=Path))
@output_options
def command(file: Path, outputs: Outputs) -> int:
    """Show a report that `check --json` left, or write it in other forms.

    Exit code 0, whatever the report says; 2 where FILE is no report.
    """
    require_all_writable(outputs)
    report = read_report(file)
    if outputs.paths:
        write_outputs(report, outputs)
    else:
        show_report(report, output_console())
    return 0
