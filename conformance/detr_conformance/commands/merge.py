"""The command `detr-spec merge`: joins the reports of shards, shows the whole and writes it."""

from __future__ import annotations

from pathlib import Path

import click

from detr_conformance.base.consoles import error_console, output_console
from detr_conformance.reports.merging import merged
from detr_conformance.reports.options import Outputs, output_options
from detr_conformance.reports.reading import read_report
from detr_conformance.reports.show import show_report
from detr_conformance.reports.writing import require_all_writable, write_outputs


@click.command()
@click.argument("report", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_options
def command(report: tuple[Path, ...], outputs: Outputs) -> int:
    """Join the reports of all shards of one run, as `check --shard 1/4 --json REPORT` leaves them.

    Exit code as of `check`: 0 where nothing is violated in the whole run, 1 where something is, 130 where a shard was
    interrupted; 2 for reports of different runs, and where a shard is missing or there twice.
    """
    require_all_writable(outputs)
    whole = merged([(str(path), read_report(path)) for path in report])
    try:
        show_report(whole, error_console() if outputs.to_standard_output else output_console())
    finally:
        write_outputs(whole, outputs)
    return whole.exit_code
