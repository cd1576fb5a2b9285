"""Accepts what an implementation violates: judges again and again, with what was found as entries, until none fails.

So the next check with the same seed finds nothing that the ledger does not list, and nothing in it that holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.encoding.places import Place
from detr_conformance.judging.judge import DEFAULT_DEVICE
from detr_conformance.ledger.entries import Entry
from detr_conformance.running.judges import Judges, Task
from detr_conformance.vectors.vector import Vector, from_document
from detr_spec.implementation import Implementation

MOST_ROUNDS = 8
"""How often a task is judged at most; one that fails and does not, on the same case, would never end."""


@dataclass
class Accepted:
    """What became of a ledger: its entries, and which of them were added, given a new vector, removed.

    not_accepted: what failed without a case that can be written down, and how.
    """

    entries: list[Entry] = field(default_factory=list)
    added: list[Entry] = field(default_factory=list)
    refreshed: list[Entry] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    not_accepted: list[tuple[Task, Judgement]] = field(default_factory=list)


def split_by_profile(entries: Sequence[Entry], implementations: Sequence[Implementation]) -> tuple[Entry, ...]:
    """The entries, one that concerns several profiles as one for each; a vector goes to its own profile."""
    found: list[Entry] = []
    for entry in entries:
        profiles = [item.profile.name for item in implementations if entry.concerns(item)]
        if len(profiles) < 2:
            found.append(entry)
            continue
        for profile in profiles:
            own = entry.vector is not None and entry.vector.case.configuration.profile.name == profile
            found.append(replace(entry, profile=profile, vector=entry.vector if own else None))
    return tuple(found)


Progress = Callable[[Task, Judgement], None]


def accept(
    tasks: Sequence[Task],
    judges: Judges,
    entries: Sequence[Entry],
    *,
    examples: int,
    seed: int,
    device: str,
    progress: Progress,
) -> Accepted:
    """What becomes of a ledger's entries after these tasks, whose own entries are those of the ledger about them."""
    work = [_Work(task, device) for task in tasks]
    pending = work
    for _ in range(MOST_ROUNDS):
        asked = [item.task for item in pending]
        judged = dict(judges.judged(asked, examples=examples, seed=seed, device=device))
        for place, item in enumerate(pending):
            item.take(judged[place])
            if item.done:
                progress(item.task, judged[place])
        pending = [item for item in pending if not item.done]
        if not pending:
            break
    accepted = Accepted()
    about = {id(entry) for item in work for entry in item.all_entries}
    accepted.entries += [entry for entry in entries if id(entry) not in about]
    for item in work:
        item.conclude(accepted)
    return accepted


class _Work:
    """One task on its way: the entries that hold, those without a vector that fails, and the last judgement."""

    def __init__(self, task: Task, device: str) -> None:
        self.all_entries = task.entries
        self._device = device
        self._open = [entry for entry in task.entries if entry.vector is None]
        self._listed = [entry for entry in task.entries if entry.vector is not None]
        self._new: Entry | None = None
        self._refreshed: set[str] = set()
        self._subject, self._invariant = task.subject, task.invariant
        self._last: Judgement | None = None
        self.done = False

    @property
    def task(self) -> Task:
        """What is to be judged next."""
        listed = [*self._listed, *([self._new] if self._new else [])]
        return Task(self._subject, self._invariant, tuple(listed))

    def take(self, judgement: Judgement) -> None:
        """Draws what follows from the task's judgement."""
        self._last = judgement
        if judgement.verdict is Verdict.UNEXPECTEDLY_HOLDS:
            gone = [entry for entry in self._listed if entry.place in judgement.entries]
            self._open += gone
            self._listed = [entry for entry in self._listed if entry not in gone]
            if self._new is not None and self._new.place in judgement.entries:
                self._new = None
            return
        vector = judgement.counterexample.vector if judgement.counterexample else None
        if judgement.verdict not in (Verdict.VIOLATED, Verdict.ERROR) or vector is None:
            self.done = True
            return
        self._put(from_document(vector, Place(f"the counterexample of {judgement.id}")))

    def _put(self, vector: Vector) -> None:
        """Gives the vector to an entry that waits for one of its dtype, else to a new entry."""
        dtype = vector.case.configuration.dtype
        waiting = next((entry for entry in self._open if entry.of_dtypes([dtype])), None)
        if waiting is not None:
            self._open.remove(waiting)
            self._listed.append(replace(waiting, vector=vector))
            self._refreshed.add(waiting.place)
            return
        known = self._subject.implementation.limits.of(self._invariant.component).dtypes
        before = (self._new.dtypes or known) if self._new else ()
        dtypes = tuple(name for name in known if name in (*before, dtype))
        elsewhere = () if self._device == DEFAULT_DEVICE else (self._device,)
        self._new = Entry(
            place=f"new: {self._invariant.id}",
            number=-1,
            implementation=self._subject.implementation.name,
            profile=self._subject.implementation.profile.name,
            invariant=self._invariant.id,
            dtypes=() if dtypes == known else dtypes,
            devices=elsewhere,
            reason="",
            vector=self._new.vector if self._new else vector,
        )

    def conclude(self, accepted: Accepted) -> None:
        """Adds what became of this task."""
        failed = self._last is None or not self.done or self._last.verdict.fails
        if failed and self._last is not None:
            accepted.not_accepted.append((self.task, self._last))
            accepted.entries += self.all_entries
            return
        accepted.entries += self.task.entries
        accepted.added += [self._new] if self._new else []
        accepted.refreshed += [entry for entry in self._listed if entry.place in self._refreshed]
        accepted.removed += self._open
