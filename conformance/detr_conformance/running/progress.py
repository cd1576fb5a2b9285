"""Progress of a check: a bar on a terminal, else lines now and then; and a line for whatever is finished."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator

from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

from detr_conformance.base.consoles import Console, progress_bar
from detr_conformance.base.text import line_of
from detr_conformance.base.verdict import Judgement
from detr_conformance.judging.uncallable import told_once_more
from detr_conformance.running.run import Plan
from detr_conformance.running.run import Progress as Callback

LINE_EVERY = 30.0
"""The least seconds between two lines of progress, where there is no terminal."""


LONG_IMPORT = 3.0
"""The seconds after which an import is named."""


@contextlib.contextmanager
def importing(address: str, console: Console) -> Iterator[None]:
    """A context that names what is imported in it, as soon as that takes long."""
    timer = threading.Timer(LONG_IMPORT, console.show, [f"importing {line_of(address)} …"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def shown_progress(plan: Plan, console: Console) -> Iterator[Callback]:
    """A callback for the judgements of a plan that shows on the console how far the check is.

    It counts what is judged; what is not asked, as it is not provided, say, is known before.
    """
    asked, count = set(plan.asked), len(plan.request.invariants)
    left = Counter(place // count for place in plan.places)
    failing: Counter[int] = Counter()
    told: defaultdict[int, set[str]] = defaultdict(set)
    lines = _Lines(len(asked), console)
    columns = MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with progress_bar(console, *columns) as bar:
        task = bar.add_task("", total=len(asked))

        def judged(plan: Plan, place: int, judgement: Judgement) -> None:
            number = place // count
            implementation = plan.subjects[number].implementation
            if judgement.seed not in (None, plan.request.seed):  # which judges again what is counted
                bar.update(task, description=f"seed {judgement.seed}, {implementation.name}: {judgement.id}")
                return
            left[number] -= 1
            failing[number] += told_once_more(judgement, told[number]).verdict.fails
            if place in asked:
                asked.discard(place)
                bar.update(task, advance=1, description=f"{implementation.name}: {judgement.id}")
            if left[number] == 0:
                bad = f"{failing[number]} failing" if failing[number] else "nothing failing"
                console.show(f"{implementation.name} ({implementation.profile.name}) judged, {bad}")
            if not console.is_terminal:
                lines.tell(len(asked), failing.total())

        yield judged


class _Lines:
    """Lines that say how far a check is, for a log."""

    def __init__(self, total: int, console: Console) -> None:
        self._total, self._console = total, console
        self._start = self._told = time.monotonic()

    def tell(self, left: int, failing: int) -> None:
        """Says what is left, unless it was said a moment ago."""
        now = time.monotonic()
        done = self._total - left
        if now - self._told < LINE_EVERY or not done or not left:
            return
        self._told = now
        minutes = (now - self._start) * left / done / 60
        self._console.show(f"{done} of {self._total} judged, {failing} failing, about {minutes:.1f} minutes left")
