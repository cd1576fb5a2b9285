"""Shards: one check spread over machines, each of which judges its part of the tasks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from detr_conformance.base.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a run, by its number from 1.

    run: what tells the run from others, once its tasks are known: shards of one run have the same.
    """

    number: int
    count: int
    run: str = ""

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


class TaskName(NamedTuple):
    """What a task is called on every machine: an invariant, its component, and whose implementation it judges."""

    component: str
    implementation: str
    profile: str
    invariant: str


def parsed_shard(text: str) -> Shard:
    """The shard that a text such as "2/5" says; raises `UsageError` for any other text."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise UsageError(f"shard is {text!r}; expected NUMBER/COUNT, such as 1/4 for the first of four")
    number, count = int(found[1]), int(found[2])
    if not 1 <= number <= count:
        raise UsageError(f"shard is {text!r}; expected a number from 1 to {max(1, count)}, such as 1/{max(1, count)}")
    return Shard(number, count)


def dealt(tasks: Sequence[TaskName], count: int) -> list[list[int]]:
    """The places of the tasks, in as many parts as there are shards; each place is in exactly one.

    The tasks are sorted by component, which decides what they cost, within it by a digest, and dealt in turn: each
    part gets about as many of every component, and the same on every machine.
    """
    order = sorted(range(len(tasks)), key=lambda place: (tasks[place].component, _digest(tasks[place])))
    return [sorted(order[start::count]) for start in range(count)]


def run_digest(tasks: Sequence[TaskName]) -> str:
    """What tells a run with these tasks from runs with others."""
    return _digest(tasks)[:16]


def _digest(value: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
