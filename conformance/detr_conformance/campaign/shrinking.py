"""How small the counterexamples are that a person gets to see of each mutant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detr_conformance.base.consoles import Console
from detr_conformance.base.errors import one_line
from detr_conformance.campaign.campaign import TIME_LIMIT
from detr_conformance.judging.judge import judge
from detr_conformance.mutants.bank import Mutant
from detr_conformance.mutants.patch import mutant_implementations
from detr_conformance.processes.pool import Job, Pool
from detr_spec.invariants import find_invariants

FEW = 2
"""Up to so many queries and targets, a case is read at a glance."""


@dataclass(frozen=True)
class Shrunken:
    """The size of the case that `detr-spec check` shows of a mutant, for one invariant in one profile.

    found: whether there is a case; why: what went wrong, where there is none. queries, targets: the most of any image;
    None where the case has no such thing.
    """

    mutant: str
    profile: str
    invariant: str
    found: bool
    queries: int | None = None
    targets: int | None = None
    why: str = ""

    @property
    def readable(self) -> bool:
        """Whether the case is one of few queries and targets."""
        return self.found and max(self.queries or 0, self.targets or 0) <= FEW


def shrunken(mutant: str, profile: str, invariant: str, examples: int) -> Shrunken:
    """The size of the case that is shown of a mutant for an invariant in one of its profiles."""
    (asked,) = find_invariants(invariant)
    (implementation,) = (item for item in mutant_implementations(mutant) if item.profile.name == profile)
    counterexample = judge(asked, implementation, examples=examples).counterexample
    if counterexample is None or counterexample.case is None:
        return Shrunken(mutant, profile, invariant, found=False)
    return Shrunken(mutant, profile, invariant, True, *case_size(counterexample.case))


def case_size(case: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The most queries and the most targets of an image, from a case in plain data."""
    batches: Sequence[Any] = case.get("batches") or [(case.get("outputs"), case.get("targets"))]
    queries = [len(image) for outputs, _ in batches if outputs for image in outputs["boxes"]]
    targets = [len(target["labels"]) for _, own in batches if own for target in own]
    return max(queries, default=None), max(targets, default=None)


def cases_to_show(mutants: Sequence[Mutant]) -> list[tuple[str, str, str]]:
    """Each mutant that is a defect with each of its profiles and the first expected invariant that applies there."""
    return [
        (mutant.id, profile, next(item.id for item in mutant.invariants(profile) if item.id in mutant.expected))
        for mutant in mutants
        if mutant.expected
        for profile in mutant.profiles
    ]


def all_shrunken(asked: Sequence[tuple[str, str, str]], examples: int, workers: int) -> Iterator[Shrunken]:
    """The sizes of the `cases_to_show`, as they are found; in this process for 0 workers."""
    if workers == 0:
        yield from (shrunken(*names, examples) for names in asked)
        return
    with Pool(workers) as pool:
        jobs = [Job(shrunken, (*names, examples), TIME_LIMIT) for names in asked]
        for place, outcome in pool.outcomes(jobs):
            size: Shrunken = outcome.value
            failure = outcome.failure
            yield size if failure is None else Shrunken(*asked[place], found=False, why=one_line(failure))


def show_shrunken(sizes: Sequence[Shrunken], console: Console) -> None:
    """Prints how many of the cases are readable, and each that is not."""
    for size in sizes:
        if not size.readable:
            told = f"{size.queries} queries, {size.targets} targets" if size.found else size.why or "no case was found"
            console.show(f"{size.mutant} ({size.profile}), {size.invariant}: {told}")
    readable = sum(size.readable for size in sizes)
    console.show(f"{readable} of {len(sizes)} cases have at most {FEW} queries and {FEW} targets")


def shrunken_as_json(sizes: Sequence[Shrunken]) -> str:
    """All sizes, one a line, by mutant."""
    lines = sorted(json.dumps(asdict(size)) for size in sizes)
    return "[\n" + ",\n".join(lines) + "\n]\n"
