"""The command `detr-spec judge-answers`."""

from __future__ import annotations

from pathlib import Path

import click

from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import OutputPath, require_folder, require_writable, write_whole
from detr_conformance.base.text import counted
from detr_conformance.commands.check import concluded, judged_by
from detr_conformance.commands.options import selection_options
from detr_conformance.reports.options import Outputs, output_options
from detr_conformance.reports.writing import require_all_writable
from detr_conformance.running.recorded import RecordedAnswers
from detr_conformance.running.run import request
from detr_conformance.running.selection import Selection


@click.command()
@click.argument("answers", type=click.Path(path_type=Path))
@click.option("--questions", metavar="FILE", type=click.Path(path_type=Path), required=True, help="What was asked.")
@selection_options
@output_options
@click.option(
    "--ledger", type=click.Path(path_type=Path), multiple=True, help="File of expected violations; repeatable."
)
@click.option("--vectors", "vectors_path", type=OutputPath(), help="Leave failing cases in this folder.")
@click.option("--further", metavar="FILE", type=OutputPath(), help="Write what is to be asked beside into this file.")
def command(
    answers: Path,
    questions: Path,
    selection: Selection,
    outputs: Outputs,
    ledger: tuple[Path, ...],
    vectors_path: Path | None,
    further: Path | None,
) -> int:
    """Judge the ANSWERS that a program wrote into a file.

    docs/recorded-answers.md describes both files.

    Exit code 0: nothing violated. 1: an invariant is violated, raised, or unexpectedly holds. 2: usage, a question
    without an answer, or questions that follow from the answers and were not asked.
    """
    require_all_writable(outputs)
    if vectors_path is not None:
        require_folder(vectors_path)
    if further is not None:
        require_writable(further)
    judges = RecordedAnswers(questions, answers)
    asked = request(selection, examples=max(1, judges.vectors), ledger=ledger)
    report = judged_by(judges, [judges.address], asked)
    code = concluded(report, outputs, vectors_path)
    if judges.unanswered and further is not None:
        write_whole(judges.further.text(), further)
    if judges.unanswered and not code:
        where = further or "with --further FILE, that file"
        more = counted(judges.unanswered, "further question")
        raise UsageError(f"{more} follow from the answers, so the verdicts are not whole; {where} asks all of them")
    return code
