"""The command `detr-spec check --ledger FILE --accept`: judges, and writes what is violated into the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from detr_conformance.base.consoles import error_console, output_console, progress_bar
from detr_conformance.base.documents import read_text
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import locked, require_writable, write_whole
from detr_conformance.base.verdict import Judgement
from detr_conformance.judging.judge import not_asked
from detr_conformance.judging.uncallable import told_once_more
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.matching import entries_for, require_applicable
from detr_conformance.ledger.reading import Ledger, parsed_ledger, read_ledger
from detr_conformance.ledger.writing import ledger_text
from detr_conformance.reports.options import Outputs
from detr_conformance.running.accepting import Accepted, accept, split_by_profile
from detr_conformance.running.judges import Judges, Task
from detr_conformance.running.run import Request, judges_for, subjects_of


def run_accept(
    names: Sequence[str],
    asked: Request,
    paths: Sequence[Path],
    workers: int,
    outputs: Outputs,
    others: Mapping[str, object],
    time_limit: float | None,
    memory_limit: int,
) -> int:
    """The exit code: 0 where the next check passes once the reasons are filled in, 1 where something still fails.

    others: what other options name. Raises `UsageError` for a wrong request before anything runs. An
    interrupt leaves the ledger as it was.
    """
    given = [*(f"--{form}" for form in outputs.paths), *(name for name, value in others.items() if value is not None)]
    if len(paths) != 1 or given:
        raise UsageError(
            "--accept writes one ledger and nothing else; expected --ledger FILE once, and no "
            f"{' or '.join(given) or '--json'}"
        )
    path = paths[0].absolute()  # since an implementation may go to another folder
    require_writable(path)
    ledger = _draft(path)
    written = None
    with judges_for(names, workers, time_limit, asked.examples, memory_limit) as judges:
        while written is None:
            accepted = _accepted(names, asked, ledger, judges)
            with locked(path.parent):
                before, ledger = ledger, _draft(path)
                if ledger.text == before.text:
                    written = _written(ledger, accepted.entries)
            if written is None:
                error_console().show(f"{path} was changed meanwhile; judging again with what it says now")
    for line in _told(accepted, written):
        output_console().show(line)
    return 1 if accepted.not_accepted else 0


def _draft(path: Path) -> Ledger:
    """The ledger that is there, or an empty one."""
    return read_ledger(path, draft=True) if path.exists() else parsed_ledger("", path, draft=True)


def _written(ledger: Ledger, entries: Sequence[Entry]) -> Ledger:
    """The ledger with these entries, which its file holds from now on."""
    text = ledger_text(ledger, entries)
    written = parsed_ledger(text, ledger.path, draft=True)
    if not ledger.path.exists() or read_text(ledger.path) != text:
        write_whole(text, ledger.path)
    return written


def _accepted(names: Sequence[str], asked: Request, ledger: Ledger, judges: Judges) -> Accepted:
    plan = asked.plan(names, judges.find)
    implementations = [subject.implementation for subject in subjects_of(names, judges.find)]
    entries = split_by_profile(ledger.entries, implementations)
    require_applicable(entries, implementations)
    tasks = [
        Task(subject, invariant, entries_for(entries, invariant, subject.implementation, asked.device))
        for subject, invariant, _ in plan.tasks
        if not_asked(invariant, subject.implementation) is None
    ]
    with progress_bar(error_console()) as bar:
        shown = bar.add_task("", total=len(tasks))

        def judged(task: Task, judgement: Judgement) -> None:
            bar.update(shown, advance=1, description=f"{task.subject.implementation.name}: {judgement.id}")

        return accept(
            tasks,
            judges,
            entries,
            examples=asked.examples,
            seed=asked.seed,
            device=asked.device,
            progress=judged,
        )


def _told(accepted: Accepted, written: Ledger) -> Iterator[str]:
    """What became of the ledger, in lines."""
    told: defaultdict[str, set[str]] = defaultdict(set)
    for task, judgement in accepted.not_accepted:
        title = f"{task.subject.implementation.name} ({task.subject.implementation.profile.name})"
        if told_once_more(judgement, told[title]) is judgement:
            message = " ".join(judgement.message.split())
            yield f"not accepted, {judgement.verdict}: {judgement.id}, {title}: {message}"
    for what, entries in (
        ("added", accepted.added),
        ("new vector", accepted.refreshed),
        ("removed, as it no longer fails", accepted.removed),
    ):
        for entry in entries:
            yield f"{what}: {_named(entry)}"
    for entry in written.entries:
        if not entry.reason:
            yield f"{entry.place}: fill in the reason of {_named(entry)}"
    changed = len(accepted.added) + len(accepted.refreshed)
    yield (
        f"{written.path}: {len(accepted.added)} added, {len(accepted.refreshed)} with a new vector, "
        f"{len(accepted.removed)} removed, {len(written.entries) - changed} kept"
    )


def _named(entry: Entry) -> str:
    profile = f" in profile {entry.profile}" if entry.profile else ""
    return f"{entry.invariant} of {entry.implementation}{profile}{entry.told_conditions}"
