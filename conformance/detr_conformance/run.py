"""Plans and runs a check: which invariants are asked of which implementations, in this process or in workers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detr_spec.invariant import Invariant

from detr_conformance.errors import UsageError
from detr_conformance.judge import DEFAULT_EXAMPLES, DEFAULT_SEED, judge, not_asked
from detr_conformance.known import KnownViolation, read_known, require_applicable, with_known
from detr_conformance.report import ImplementationReport, Report, installed_version
from detr_conformance.resolve import implementations, resolve
from detr_conformance.selection import Selection, Subject, chosen_invariants, chosen_subjects
from detr_conformance.verdict import Judgement

Progress = Callable[["Plan", int, Judgement], None]
"""Called with the plan, the place of the task that was finished, and its judgement."""


@dataclass(frozen=True)
class Plan:
    """What a check will do. known: the violations that are expected."""

    subjects: tuple[Subject, ...]
    invariants: tuple[Invariant, ...]
    examples: int
    seed: int
    known: tuple[KnownViolation, ...] = ()

    @property
    def tasks(self) -> tuple[tuple[Subject, Invariant], ...]:
        """Each invariant of each subject."""
        return tuple((subject, invariant) for subject in self.subjects for invariant in self.invariants)

    def judgements(self, *, workers: int, time_limit: float | None = None) -> Iterator[tuple[int, Judgement]]:
        """The judgements with the places of their tasks, as they are finished."""
        asked: list[int] = []
        for place, (subject, invariant) in enumerate(self.tasks):
            judgement = not_asked(invariant, subject.implementation)
            if judgement is not None:
                yield place, judgement
            else:
                asked.append(place)
        tasks = [self.tasks[place] for place in asked]
        for index, judgement in self._judged(tasks, workers, time_limit):
            yield asked[index], judgement

    def _judged(
        self, tasks: Sequence[tuple[Subject, Invariant]], workers: int, time_limit: float | None
    ) -> Iterator[tuple[int, Judgement]]:
        if workers == 0:
            for index, (subject, invariant) in enumerate(tasks):
                yield index, judge(invariant, subject.implementation, examples=self.examples, seed=self.seed)
            return
        from detr_conformance.pool import judged_by_workers  # noqa: PLC0415

        limit = default_time_limit(self.examples) if time_limit is None else time_limit
        yield from judged_by_workers(
            tasks, examples=self.examples, seed=self.seed, workers=workers, time_limit=limit
        )

    def report(self, judgements: Mapping[int, Judgement]) -> Report:
        """The report of what is known so far; interrupted unless every task is judged."""
        count = len(self.invariants)
        items = []
        for number, subject in enumerate(self.subjects):
            places = range(number * count, (number + 1) * count)
            judged = tuple(judgements[place] for place in places if place in judgements)
            implementation = subject.implementation
            items.append(
                ImplementationReport(
                    name=implementation.name,
                    profile=implementation.profile.name,
                    dtypes=implementation.limits.dtypes,
                    judgements=with_known(judged, implementation, self.known),
                    address=subject.address,
                )
            )
        return Report(
            installed_version(), self.seed, self.examples, tuple(items), len(judgements) < len(self.tasks)
        )


def default_time_limit(examples: int) -> float:
    """The seconds that one invariant may take: generous, since a search for a small failing case takes longest."""
    return max(120.0, 1.2 * examples)


def check(
    implementation: Any,
    *,
    profile: str | None = None,
    components: Sequence[str] | None = None,
    invariants: Sequence[str] | None = None,
    level: str | None = None,
    examples: int = DEFAULT_EXAMPLES,
    seed: int | Literal["random"] = DEFAULT_SEED,
    workers: int = 0,
    time_limit: float | None = None,
    expected: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Report:
    """The report on an implementation: an `Implementation`, a name as `resolve` takes it, or a list of those.

    profile, components, invariants (ids, or numbers of the norm) and level narrow what is asked. workers: 0 judges in
    this process; more judge in so many worker processes, for which implementations are given by name, with `time_limit`
    seconds for each invariant. expected: files of known violations. The judgements do not depend on the number of
    workers. Raises `UsageError` for what cannot be done as it is asked.
    """
    require_run_options(workers, time_limit)
    plan = planned(
        implementation,
        selection=Selection(profile, tuple(components or ()), tuple(invariants or ()), level),
        examples=examples,
        seed=seed,
        expected=expected,
    )
    judgements: dict[int, Judgement] = {}
    for place, judgement in plan.judgements(workers=workers, time_limit=time_limit):
        judgements[place] = judgement
        if progress is not None:
            progress(plan, place, judgement)
    return plan.report(judgements)


def planned(
    implementation: Any,
    *,
    selection: Selection,
    examples: int = DEFAULT_EXAMPLES,
    seed: int | Literal["random"] = DEFAULT_SEED,
    expected: Sequence[str | Path] = (),
) -> Plan:
    """What a check with these arguments will do; raises `UsageError` for what cannot be done as it is asked."""
    require_examples(examples)
    drawn = drawn_seed(seed)
    chosen = chosen_invariants(selection)
    subjects = subjects_of(implementation)
    known = tuple(entry for path in expected for entry in read_known(Path(path)))
    require_applicable(known, [subject.implementation for subject in subjects])
    return Plan(chosen_subjects(subjects, selection, chosen), chosen, examples, drawn, known)


def require_examples(examples: int) -> None:
    """Raises `UsageError` unless at least one case is to be drawn."""
    _require("examples", examples, 1)


def require_run_options(workers: int, time_limit: float | None) -> None:
    """Raises `UsageError` for a number of workers or a time limit that makes no sense."""
    _require("workers", workers, 0)
    if time_limit is not None and not time_limit > 0:
        raise UsageError(f"time limit is {time_limit:g}; expected a positive number of seconds")


def subjects_of(given: Any) -> tuple[Subject, ...]:
    """The implementations that were given as objects, as names, or as a list of both."""
    if isinstance(given, str):
        return tuple(Subject(item, given, place) for place, item in enumerate(resolve(given)))
    if isinstance(given, (list, tuple)) and any(isinstance(item, str) for item in given):
        return tuple(subject for item in given for subject in subjects_of(item))
    return tuple(Subject(item) for item in implementations(given, "the implementation"))


def drawn_seed(seed: int | str) -> int:
    """The seed itself, or a fresh one for "random"; raises `UsageError` for anything else."""
    if seed == "random":
        return secrets.randbelow(2**32)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"seed is {seed!r}; expected an integer or 'random'")
    return seed


def parsed_seed(text: str) -> int:
    """The seed that a text says, fresh for "random"; raises `UsageError` for anything but that and an integer."""
    try:
        return int(text)
    except ValueError:
        return drawn_seed(text)


def _require(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is {value!r}; expected an integer of at least {least}")
