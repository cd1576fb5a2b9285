"""Progress of a check: a bar on a terminal, else a line for each implementation that is finished."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from detr_conformance.consoles import Console, progress_bar
from detr_conformance.run import Plan
from detr_conformance.run import Progress as Callback
from detr_conformance.verdict import Judgement


@contextlib.contextmanager
def shown_progress(plan: Plan, console: Console) -> Iterator[Callback]:
    """A callback for the judgements of a plan that shows on the console how far the check is."""
    total, count = len(plan.places), len(plan.request.invariants)
    left = Counter(place // count for place in plan.places)
    failing: Counter[int] = Counter()
    with progress_bar(console) as bar:
        task = bar.add_task("", total=total)

        def judged(plan: Plan, place: int, judgement: Judgement) -> None:
            number = place // count
            implementation = plan.subjects[number].implementation
            left[number] -= 1
            failing[number] += judgement.verdict.fails
            bar.update(task, advance=1, description=f"{implementation.name}: {judgement.id}")
            if left[number] == 0:
                bad = f"{failing[number]} failing" if failing[number] else "nothing failing"
                console.show(f"{implementation.name} ({implementation.profile.name}) judged, {bad}")

        yield judged
