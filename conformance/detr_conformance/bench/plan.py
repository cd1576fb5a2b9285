"""What one run of the benchmark times, setting after setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from detr_conformance.bench.contest import How, assignment_contest, criterion_contest
from detr_conformance.bench.contestant import Find
from detr_conformance.bench.results import Setting
from detr_conformance.bench.sizes import LARGE_PROBLEMS, Size
from detr_conformance.bench.solvers import SolverContestant
from detr_spec.profiles import DETR, PROFILES


@dataclass(frozen=True)
class Plan:
    """Sizes and regimes, who takes part in each, and how they are timed.

    heads: how the inputs of matcher and criterion are made.
    finds: by the name of a dialect, its contestants. solvers: the contestants of the assignment alone.
    large_problems: whether solvers are timed on batches of large problems, too.
    """

    sizes: tuple[Size, ...]
    regimes: tuple[str, ...]
    heads: tuple[str, ...]
    finds: Mapping[str, tuple[Find, ...]]
    solvers: tuple[SolverContestant, ...]
    how: How
    large_problems: bool

    def settings(self) -> Iterator[Setting]:
        """Match and criterion in all sizes, and the assignment alone where targets are equally many."""
        for regime in self.regimes:
            real = regime == "coco"
            for size in dict.fromkeys(replace(size, targets=0) if real else size for size in self.sizes):
                for name, finds in self.finds.items():
                    for heads in self.heads:
                        yield criterion_contest(finds, size, regime, PROFILES[name], self.how, heads)
                if self.solvers and not real:
                    yield assignment_contest(self.solvers, size, regime, DETR, self.how)
            if self.solvers and self.large_problems and not real:
                for size in LARGE_PROBLEMS:
                    yield assignment_contest(self.solvers, size, regime, DETR, self.how)
