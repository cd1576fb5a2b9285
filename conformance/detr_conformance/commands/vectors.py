"""The command `detr-spec vectors`."""

from __future__ import annotations

from pathlib import Path

import click

from detr_conformance.base.consoles import output_console
from detr_conformance.base.files import OutputPath, write_whole
from detr_conformance.base.text import counted
from detr_conformance.implementations.resolve import resolve
from detr_conformance.judging.drawing import drawn_vectors, right_solver
from detr_conformance.vectors.exporting import export, packed
from detr_conformance.vectors.schema import schema_text


@click.group()
def command() -> None:
    """Portable test vectors: cases with their expected values, as JSON."""


@command.command("export")
@click.argument("folder", type=OutputPath())
def export_vectors(folder: Path) -> None:
    """Write the set of vectors into FOLDER, a file for each component, with their schema.

    The files are the same bytes for the same version, anywhere. A file that is not of an earlier export is not touched.
    """
    count, written = export(folder)
    output_console().show(f"{folder}: {counted(count, 'vector')} in {counted(written, 'file')}")


@command.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of vectors."""
    click.echo(schema_text(), nl=False)


@command.command("draw")
@click.argument("folder", type=OutputPath(exists=True, file_okay=False))
def draw_vectors(folder: Path) -> None:
    """Draw the set anew into FOLDER, as it is kept in this package: after a change of the norm.

    It takes some minutes, and the reference, so torch.
    """
    drawn = drawn_vectors([*resolve("reference"), *resolve("dialects"), right_solver()])
    for component, content in packed(drawn).items():
        write_whole(content, folder / f"{component}.jsonl.gz")
    output_console().show(f"{folder}: {counted(len(drawn), 'vector')}")
