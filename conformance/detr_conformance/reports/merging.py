"""Joins the reports of the shards of one run into the report that the run gives on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from detr_conformance.base.errors import UsageError
from detr_conformance.causes.fingerprints import with_likeness
from detr_conformance.judging.uncallable import told_once
from detr_conformance.running.report import ImplementationReport, Report
from detr_spec.invariants import all_invariants

SAME = {
    "version": "detr-spec {}",
    "seed": "seed {}",
    "examples": "{} examples",
    "device": "device {}",
}
"""What the shards of one run have in common, and how it is told."""


def merged(reports: Sequence[tuple[str, Report]]) -> Report:
    """The report of the whole run, from the reports of all its shards, each with the name of its file.

    It is interrupted where one of them is. Raises `UsageError` for reports that are not the shards of one run, each
    once, and says what differs, or which are missing.
    """
    first_name, first = reports[0]
    for name, report in reports:
        if report.shard is None:
            raise UsageError(f"{name} is the report of a whole run, not of a shard; there is nothing to merge it with")
        _require_same_run(first_name, first, name, report)
    _require_each_once(reports)
    parts = zip(*(report.implementations for _, report in reports), strict=True)
    whole = tuple(map(_joined, parts))
    return replace(
        first, implementations=whole, interrupted=any(report.interrupted for _, report in reports), shard=None
    )


def _require_same_run(first_name: str, first: Report, name: str, report: Report) -> None:
    for field, told in SAME.items():
        expected, got = getattr(first, field), getattr(report, field)
        if got != expected:
            raise UsageError(
                f"{name} was judged with {told.format(got)}, {first_name} with {told.format(expected)}; "
                "expected the shards of one run"
            )
    assert first.shard is not None
    assert report.shard is not None
    if report.shard.count != first.shard.count:
        raise UsageError(f"{name} is shard {report.shard}, {first_name} is shard {first.shard}; expected equal counts")
    if report.shard.run != first.shard.run or _titles(report) != _titles(first):
        raise UsageError(
            f"{name} was asked for other implementations or invariants than {first_name}; "
            "expected the shards of one run"
        )


def _require_each_once(reports: Sequence[tuple[str, Report]]) -> None:
    files: dict[int, str] = {}
    for name, report in reports:
        assert report.shard is not None
        number, count = report.shard.number, report.shard.count
        if number in files:
            raise UsageError(f"{files[number]} and {name} are both shard {report.shard}; expected each shard once")
        files[number] = name
    missing = [str(number) for number in range(1, count + 1) if number not in files]
    if missing:
        raise UsageError(f"of {count} shards, {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


def _titles(report: Report) -> list[str]:
    return [item.title for item in report.implementations]


def _joined(parts: Sequence[ImplementationReport]) -> ImplementationReport:
    """All judgements on one implementation, in the order of the norm; at the end those that it does not have."""
    order = {invariant.id: place for place, invariant in enumerate(all_invariants())}
    judgements = [judgement for part in parts for judgement in part.judgements]
    judgements.sort(key=lambda judgement: order.get(judgement.id, len(order)))
    causes = tuple(dict.fromkeys(cause for part in parts for cause in part.causes))
    return replace(parts[0], judgements=told_once(judgements), causes=with_likeness(causes, judgements))
