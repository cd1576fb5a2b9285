"""Reports: all judgements of a run, whether they let it pass, and their file."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from detr_conformance.base.cause import Cause
from detr_conformance.base.interrupts import INTERRUPTED
from detr_conformance.base.text import counted, json_text
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.judge import DEFAULT_DEVICE
from detr_conformance.running.sharding import Shard
from detr_conformance.testee.names import RECORDED

FORMAT = "detr-spec-report/1"
"""What a report's file says that it is; `schemas/report.schema.json` is the schema of that version."""


@dataclass(frozen=True)
class ImplementationReport:
    """All judgements on one implementation, in the order of the norm.

    address: the name by which it was given, None for an object. dtypes: those that its limits allow.
    causes: what would explain several of its findings, or one.
    """

    name: str
    profile: str
    dtypes: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    address: str | None = None
    causes: tuple[Cause, ...] = ()

    @property
    def title(self) -> str:
        """Its name and profile."""
        return f"{self.name} ({self.profile})"

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many invariants have each verdict."""
        return Counter(judgement.verdict for judgement in self.judgements)


@dataclass(frozen=True)
class Report:
    """All judgements of one run, what it was run with, and whether it was stopped before its end.

    shard: which part of a run it is, where it is one. database: where cases were kept that failed before.
    """

    version: str
    seed: int
    examples: int
    implementations: tuple[ImplementationReport, ...]
    interrupted: bool = False
    device: str = DEFAULT_DEVICE
    shard: Shard | None = None
    database: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[tuple[ImplementationReport, Judgement]]:
        for implementation in self.implementations:
            for judgement in implementation.judgements:
                yield implementation, judgement

    def with_verdict(self, *verdicts: Verdict) -> tuple[tuple[ImplementationReport, Judgement], ...]:
        """The judgements of those verdicts, each with its implementation."""
        return tuple(pair for pair in self if pair[1].verdict in verdicts)

    @property
    def violated(self) -> tuple[tuple[ImplementationReport, Judgement], ...]:
        """The judgements that say violated, each with its implementation; not the expected violations."""
        return self.with_verdict(Verdict.VIOLATED)

    @property
    def failing(self) -> tuple[tuple[ImplementationReport, Judgement], ...]:
        """The judgements for which the run fails, each with its implementation."""
        return tuple(pair for pair in self if pair[1].verdict.fails)

    @property
    def exit_code(self) -> int:
        """0 if nothing failed, else 1; 130 if interrupted.

        Violated, error, timed out, crashed, what cannot be called and what unexpectedly holds fail; vacuous is reported
        and does not.
        """
        if self.interrupted:
            return INTERRUPTED
        return 1 if self.failing else 0

    @cached_property
    def cost(self) -> Cost:
        """What the cases cost."""
        judgements = [judgement for _, judgement in self]
        return Cost(
            sum(judgement.examples for judgement in judgements),
            sum(judgement.seconds for judgement in judgements),
            sum(judgement.implementation_seconds for judgement in judgements),
        )

    def command(self, implementation: ImplementationReport, judgement: Judgement) -> str:
        """The command that gives this judgement again; a call in Python for an object without address."""
        seed = self.seed if judgement.seed is None else judgement.seed
        elsewhere = self.device != DEFAULT_DEVICE
        if implementation.address is None:
            device = f", device={self.device!r}" if elsewhere else ""
            device += f", database={list(self.database)!r}" if self.database else ""
            return (
                f"check({implementation.name}, profile={implementation.profile!r}, "
                f"invariants=[{judgement.id!r}], seed={seed}, examples={self.examples}{device})"
            )
        if implementation.address.startswith(RECORDED):
            files = shlex.split(implementation.address.removeprefix(RECORDED))
            return shlex.join(["detr-spec", "judge-answers", *files, "--invariant", judgement.id])
        options = {
            "--profile": implementation.profile,
            "--invariant": judgement.id,
            "--seed": str(seed),
            "--examples": str(self.examples),
        }
        if elsewhere:
            options["--device"] = self.device
        given = [part for option in options.items() for part in option]
        given += [part for location in self.database for part in ("--database", location)]
        return shlex.join(["detr-spec", "check", implementation.address, *given])

    def to_json(self) -> str:
        """The report as strict JSON under `schemas/report.schema.json`, in ASCII; what is not finite is a string.

        `reports.reading.read_report` gives it back.
        """
        return json_text(_document(self))


@dataclass(frozen=True)
class Cost:
    """How many cases were run, how long they took, and how much of that the implementations took.

    The cases of searches for smaller ones count, and the times of workers that run side by side are added up.
    """

    examples: int
    seconds: float
    implementation_seconds: float

    @property
    def told(self) -> str:
        """The cases and their time in words."""
        cases = counted(self.examples, "case")
        return f"{cases}, those tried to find smaller ones included, in {self.seconds:.1f} s, summed over the workers"

    @property
    def beyond(self) -> float:
        """Seconds for each case beyond the implementation's own: drawing, comparing, shrinking."""
        return (self.seconds - self.implementation_seconds) / max(1, self.examples)


def missing_components(items: Sequence[ImplementationReport]) -> tuple[str, ...]:
    """The components of which none of the implementations provides anything.

    What an interrupted run has not judged is not known to be missing, so that an invariant does not apply says nothing.
    """
    verdicts: dict[str, set[Verdict]] = {}
    for item in items:
        for judgement in item.judgements:
            verdicts.setdefault(judgement.component, set()).add(judgement.verdict)
    unasked = {Verdict.NOT_PROVIDED, Verdict.NOT_APPLICABLE}
    return tuple(name for name, seen in verdicts.items() if Verdict.NOT_PROVIDED in seen and seen <= unasked)


def _document(report: Report) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **_fields_of(report),
        "shard": report.shard and vars(report.shard),
        "implementations": [
            {
                "implementation": item.name,
                **_fields_of(item, "name", "judgements", "causes"),
                "causes": [vars(cause) for cause in item.causes],
                "invariants": [
                    {**vars(judgement), "counterexample": judgement.counterexample and vars(judgement.counterexample)}
                    for judgement in item.judgements
                ],
            }
            for item in report.implementations
        ],
    }


def _fields_of(value: Any, *left_out: str) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name not in left_out}
