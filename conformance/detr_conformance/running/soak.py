"""A soak: round after round of fresh seeds until the time is up, kept in a file so that it can go on later.

The name `declared` stands for another implementation in each round: the reference built to the profile that the round's
seed draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import parsed_json, read_text
from detr_conformance.base.errors import UsageError
from detr_conformance.base.text import json_text
from detr_conformance.base.verdict import Judgement
from detr_conformance.base.version import installed_version
from detr_conformance.implementations.resolve import DECLARED
from detr_conformance.judging.judge import not_asked
from detr_conformance.ledger.entries import Entry
from detr_conformance.running.judges import Judges
from detr_conformance.running.report import ImplementationReport, Report
from detr_conformance.running.run import Plan, Request
from detr_conformance.vectors.places import Place
from detr_conformance.vectors.reading import one_line
from detr_conformance.vectors.validation import require_valid

Key = tuple[str, str, str]
"""Name and profile of an implementation, and the id of an invariant."""


@dataclass(frozen=True)
class Finding:
    """A judgement that failed, and the command that gives it again."""

    implementation: str
    profile: str
    invariant: str
    verdict: str
    message: str
    seed: int
    command: str

    @property
    def key(self) -> Key:
        """Whose judgement it was, on what."""
        return self.implementation, self.profile, self.invariant


@dataclass(frozen=True)
class Soak:
    """What a soak has found by now; a value, which `with_judgement` and `after_round` carry on.

    asked: what is judged, in plain data. seed: that of the round at hand. finished: how many rounds are. judged: what
    is judged of the round at hand. examples, fired: how many cases were run so far, and met the premise. seconds: how
    long the judges worked.
    """

    asked: Mapping[str, Any]
    seed: int
    finished: int = 0
    judged: frozenset[Key] = frozenset()
    examples: Mapping[Key, int] = field(default_factory=dict)
    fired: Mapping[Key, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """How many cases were run in all."""
        return sum(self.examples.values())

    @property
    def failed(self) -> frozenset[Key]:
        """What failed, and is not judged again."""
        return frozenset(finding.key for finding in self.findings)

    def with_judgement(self, key: Key, judgement: Judgement, finding: Finding | None) -> Soak:
        """The soak with one more judgement of the round at hand."""
        return replace(
            self,
            judged=self.judged | {key},
            examples={**self.examples, key: self.examples.get(key, 0) + judgement.examples},
            fired={**self.fired, key: self.fired.get(key, 0) + judgement.fired},
            findings=(*self.findings, finding) if finding else self.findings,
            seconds=self.seconds + judgement.seconds,
        )

    def after_round(self) -> Soak:
        """The soak at the beginning of its next round, whose seed follows."""
        return replace(self, seed=self.seed + 1, finished=self.finished + 1, judged=frozenset())


def names_in_round(names: Sequence[str], seed: int) -> list[str]:
    """The names of the implementations that are judged in the round of a seed."""
    return [f"{DECLARED}:{seed}" if name == DECLARED else name for name in names]


def asked_of(names: Sequence[str], plan: Plan) -> dict[str, Any]:
    """What is asked, in plain data, by the names and the plan of a round; a soak goes on only where it is the same."""
    request = plan.request
    return {
        "version": installed_version(),
        "names": list(names),
        "implementations": [_owner(item.implementation) for item in plan.subjects],
        "invariants": [invariant.id for invariant in request.invariants],
        "examples": request.examples,
        "device": request.device,
        "ledger": [_told(entry) for entry in request.entries],
    }


def _told(entry: Entry) -> list[str]:
    """What a ledger's entry says, in plain data."""
    vector = "" if entry.vector is None else one_line(entry.vector)
    conditions = (entry.profile or "", *entry.dtypes, *entry.devices)
    return [entry.implementation, entry.invariant, ",".join(conditions), entry.reason, vector]


def _owner(implementation: Any) -> tuple[str, str]:
    return implementation.name, implementation.profile.name


def rounds(soak: Soak, request: Request, plan_of: Callable[[int], Plan], judges: Judges) -> Iterator[Soak]:
    """The soak after each judgement, without end, or until everything has failed; plan_of: by a round's seed."""
    while True:
        plan = plan_of(soak.seed)
        tasks = [
            task
            for task in plan.tasks
            if not_asked(task.invariant, task.subject.implementation) is None
            and (*_owner(task.subject.implementation), task.invariant.id) not in soak.failed
        ]
        if not tasks:
            return
        left = [task for task in tasks if (*_owner(task[0].implementation), task[1].id) not in soak.judged]
        seed = soak.seed
        for place, judgement in judges.judged(left, examples=request.examples, seed=seed, device=request.device):
            subject, invariant, _ = left[place]
            key = (*_owner(subject.implementation), invariant.id)
            finding = None
            if judgement.verdict.fails:
                finding = _finding(key, subject.address, judgement, request, seed)
            soak = soak.with_judgement(key, judgement, finding)
            yield soak
        soak = soak.after_round()
        yield soak


def _finding(key: Key, address: str | None, judgement: Judgement, request: Request, seed: int) -> Finding:
    name, profile, invariant = key
    report = Report(installed_version(), seed, request.examples, (), device=request.device)
    command = report.command(ImplementationReport(name, profile, (), (), address), judgement)
    return Finding(name, profile, invariant, str(judgement.verdict), judgement.message, seed, command)


def to_json(soak: Soak) -> str:
    """The soak as strict JSON, which `read_soak` reads."""
    document = {
        "asked": soak.asked,
        "seed": soak.seed,
        "finished": soak.finished,
        "judged": sorted(soak.judged),
        "cases": [[*key, examples, soak.fired[key]] for key, examples in sorted(soak.examples.items())],
        "findings": [asdict(finding) for finding in soak.findings],
        "seconds": soak.seconds,
    }
    return json_text(document)


def read_soak(path: Path, asked: Mapping[str, Any]) -> Soak:
    """The soak that a file holds; raises `UsageError` where it holds none, or one that asked for something else."""
    document = parsed_json(read_text(path), path)
    require_valid(document, "soak", Place(str(path)))
    different = [name for name in asked if document["asked"].get(name) != asked[name]]
    if different:
        raise UsageError(f"{path} holds a soak with other {', '.join(different)}; name another file for this one")
    cases = [((name, profile, invariant), counts) for name, profile, invariant, *counts in document.pop("cases")]
    return Soak(
        **{
            **document,
            "judged": frozenset(map(tuple, document["judged"])),
            "examples": {key: examples for key, (examples, _) in cases},
            "fired": {key: fired for key, (_, fired) in cases},
            "findings": tuple(Finding(**finding) for finding in document["findings"]),
        }
    )
