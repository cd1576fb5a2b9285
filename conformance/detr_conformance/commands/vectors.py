"""The command `detr-spec vectors`."""

from __future__ import annotations

from pathlib import Path

import click

from detr_conformance.base.consoles import output_console
from detr_conformance.base.errors import UsageError, require_installed
from detr_conformance.base.files import OutputPath, require_writable, write_whole
from detr_conformance.base.text import counted
from detr_conformance.implementations.resolve import resolve
from detr_conformance.judging.drawing import drawn_vectors, right_solver
from detr_conformance.ledger.reading import read_ledger
from detr_conformance.recorded.questions import read_implementation
from detr_conformance.recorded.schema import answers_schema, questions_schema
from detr_conformance.running.run import parsed_seed, require_examples
from detr_conformance.vectors.exporting import export, packed, set_texts
from detr_conformance.vectors.reading import read_vectors, vectors_in
from detr_conformance.vectors.schema import schema_text, vector_schema


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


SCHEMAS = {"vectors": vector_schema, "questions": questions_schema, "answers": answers_schema}


@command.command("schema")
@click.argument("of", type=click.Choice(list(SCHEMAS)), default="vectors")
def print_schema(of: str) -> None:
    """Print the JSON Schema of vectors, or of a line of questions or of answers."""
    click.echo(schema_text(SCHEMAS[of]()), nl=False)


@command.command("questions")
@click.argument("implementation", type=click.Path(path_type=Path))
@click.argument("file", type=OutputPath())
@click.option(
    "--vectors", type=click.Path(path_type=Path), multiple=True, help="Ask for this file's in place of the set."
)
@click.option("--ledger", type=click.Path(path_type=Path), multiple=True, help="Ask for this ledger's vectors too.")
@click.option("--examples", type=int, default=10, show_default=True, help="Cases of each invariant drawn beside them.")
@click.option("--seed", default="0", show_default=True, help="What draws them, an integer or 'random'.")
def write_questions(
    implementation: Path,
    file: Path,
    vectors: tuple[Path, ...],
    ledger: tuple[Path, ...],
    examples: int,
    seed: str,
) -> None:
    """Write what the vectors ask of IMPLEMENTATION, a description as JSON, into FILE (docs/recorded-answers.md).

    A program writes its answers into a file of its own, which `detr-spec judge-answers` judges. It takes the
    reference, so torch.
    """
    require_installed("what is asked of an implementation", "torch", "detr_reference")
    from detr_conformance.recorded.asking import questions_for  # noqa: PLC0415

    if examples:
        require_examples(examples)
    require_writable(file)
    said, description = read_implementation(implementation)
    placed = [item for path in vectors for item in read_vectors(path)]
    if not vectors:
        texts = set_texts()
        placed = [item for name in description.components for item in vectors_in(texts[name], f"{name}.jsonl")]
    listed = [entry.vector for path in ledger for entry in read_ledger(path).entries if entry.vector is not None]
    given = [*(item.vector for item in placed), *listed]
    questions = questions_for(said, description, given, examples, parsed_seed(seed))
    if not questions.asked:
        raise UsageError(f"no vector fits {description.name} of {implementation}; nothing is asked of it")
    write_whole(questions.text(), file)
    asked = counted(len(questions.asked), "question")
    output_console().show(f"{file}: {asked}, for {counted(len(questions.vectors), 'vector')}")


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
