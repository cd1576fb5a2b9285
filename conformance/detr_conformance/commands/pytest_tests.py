"""Tests for pytest: each invariant of an implementation is a test item of its own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.base.text import LONGEST_TEXT, cut, line_of, printable
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.judge import DEFAULT_DEVICE, DEFAULT_EXAMPLES, DEFAULT_SEED
from detr_conformance.judging.uncallable import told_once_more
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.judging import judge_listed
from detr_conformance.ledger.matching import entries_for, require_applicable
from detr_conformance.ledger.reading import read_ledger
from detr_conformance.reports.failure_text import failure_text
from detr_conformance.running.run import Plan, parsed_seed, require_examples
from detr_conformance.running.run import request as request_for
from detr_conformance.running.selection import Selection, Subject, require_device
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant

TOLD = pytest.StashKey[dict[str, set[str]]]()
"""What was told in this process to be impossible to call, by implementation: the first test that meets it fails."""


def conformance_tests(
    implementation: Any,
    *,
    profile: str | None = None,
    components: Sequence[str] | None = None,
    invariants: Sequence[str] | None = None,
    level: str | None = None,
    ledger: Sequence[str | Path] = (),
) -> Callable[..., None]:
    """A test function with an item for each invariant, such as `test_conformance[matcher.optimal-cost]`.

    The arguments are those of `check`; where several implementations are given, the ids begin with their names or
    profiles. What is violated fails, a violation that a ledger expects is an expected failure, and what is not
    provided, not applicable or vacuous is skipped; so are, after the first test that fails as something cannot be
    called, the others that ask for it. The options `--detr-spec-examples`, `--detr-spec-seed`, `--detr-spec-device`
    and `--detr-spec-database` say how the cases are drawn, where they are run, and where failing ones are kept;
    `--detr-spec-ledger` names one more ledger. Raises `UsageError` for what cannot be done as it is
    asked.
    """
    selection = Selection(profile, tuple(components or ()), tuple(invariants or ()), level)
    plan = request_for(selection, ledger=ledger).plan(implementation)
    parameters = [
        pytest.param(subject.implementation, invariant, id=_item_id(plan, subject.implementation, invariant))
        for subject, invariant, _ in plan.tasks
    ]

    @pytest.mark.parametrize(("implementation", "invariant"), parameters)
    def test_conformance(implementation: Implementation, invariant: Invariant, request: pytest.FixtureRequest) -> None:
        examples, seed, device = _options(request.config)
        require_device([Subject(implementation)], device)
        database = tuple(request.config.getoption("detr_spec_database", []))
        entries = entries_for(_entries(request.config, plan), invariant, implementation, device)
        judgement = judge_listed(
            invariant, implementation, entries, examples=examples, seed=seed, device=device, database=database
        )
        node = shlex.quote(request.node.nodeid)
        command = f"pytest {node} --detr-spec-seed {seed} --detr-spec-examples {examples}"
        command += "" if device == DEFAULT_DEVICE else f" --detr-spec-device {device}"
        command += "".join(f" --detr-spec-database {shlex.quote(folder)}" for folder in database)
        title = f"{implementation.name} ({implementation.profile.name})"
        told = request.config.stash.setdefault(TOLD, {}).setdefault(title, set())
        _conclude(title, told_once_more(judgement, told), command)

    return test_conformance


def _options(config: pytest.Config) -> tuple[int, int, str]:
    """The number of examples, the seed and the device; the defaults where the plugin is not loaded."""
    examples = config.getoption("detr_spec_examples", DEFAULT_EXAMPLES)
    require_examples(examples)
    seed = parsed_seed(config.getoption("detr_spec_seed", str(DEFAULT_SEED)))
    return examples, seed, config.getoption("detr_spec_device", DEFAULT_DEVICE)


def _entries(config: pytest.Config, plan: Plan) -> tuple[Entry, ...]:
    """The entries of the ledgers of the call, and of those that the options name."""
    named = tuple(config.getoption("detr_spec_ledger", None) or ())
    if not named:
        return plan.request.entries
    entries = (*plan.request.entries, *_entries_of(named))
    require_applicable(entries, [subject.implementation for subject in plan.subjects])
    return entries


@cache
def _entries_of(paths: tuple[str, ...]) -> tuple[Entry, ...]:
    return tuple(entry for path in paths for entry in read_ledger(Path(path)).entries)


def _conclude(title: str, judgement: Judgement, command: str) -> None:
    """Ends the test as the verdict says."""
    if judgement.verdict.fails:
        pytest.fail(printable(cut(failure_text(title, judgement, command), LONGEST_TEXT)), pytrace=False)
    if judgement.verdict is Verdict.EXPECTED_VIOLATION:
        pytest.xfail(line_of(judgement.why_expected))
    if judgement.verdict is not Verdict.HOLDS:
        pytest.skip(line_of(f"{judgement.verdict}: {judgement.message}"))


def _item_id(plan: Plan, implementation: Implementation, invariant: Invariant) -> str:
    """The invariant's id, behind the implementation's name and profile where the plan has several."""
    others = [subject.implementation for subject in plan.subjects]
    parts = [invariant.id]
    if any(other.profile.name != implementation.profile.name for other in others):
        parts.insert(0, implementation.profile.name)
    if any(other.name != implementation.name for other in others):
        parts.insert(0, implementation.name)
    return "-".join(parts)
