"""The command `detr-spec demo`: trains, evaluates, and leaves a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from detr_conformance.base.consoles import error_console, output_console, progress_bar
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import require_folder
from detr_conformance.base.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from detr_conformance.demonstration.learning import Progress as Callback
    from detr_reference.training import StepMetrics

NEEDED = ("torch", "torchvision", "matplotlib")
SHOWN = ("loss_ce", "loss_bbox", "loss_giou")
LEAST_STEPS = 20
"""The schedule of the learning rate has a rise and a fall, which take a few steps."""
LINES = 10
"""How many lines of progress there are where no terminal shows a bar."""


def run_demo(folder: Path, steps: int, images: int, seed: int) -> int:
    """The exit code: 0, or 130 where the training was interrupted; raises `UsageError` before anything is trained."""
    _require(steps, images, folder)
    from detr_conformance.demonstration.learning import learn  # noqa: PLC0415
    from detr_conformance.demonstration.page import write_page  # noqa: PLC0415
    from detr_conformance.demonstration.scenes import scenes  # noqa: PLC0415

    drawn = scenes(images)
    with _shown(steps) as progress:
        learning = learn(drawn, steps, seed, progress)
    page = write_page(folder, drawn, learning, seed)
    console = output_console()
    console.show(
        f"AP {learning.average_precision:.3f} on {len(drawn)} images, "
        f"{len(learning.history)} steps in {learning.seconds:.0f} s"
    )
    console.show(f"the page: {page}")
    if learning.interrupted:
        console.show("interrupted: this is what was learnt so far")
        return INTERRUPTED
    return 0


def _require(steps: int, images: int, folder: Path) -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the demonstration needs {', '.join(missing)}; `pip install 'detr-spec[demo]'` brings what it needs"
        )
    for name, value, least in (("steps", steps, LEAST_STEPS), ("images", images, 1)):
        if value < least:
            raise UsageError(f"{name} is {value}; expected an integer of at least {least}")
    require_folder(folder)


@contextmanager
def _shown(steps: int) -> Iterator[Callback]:
    """A callback that shows how far the training is: a bar on a terminal, else a few lines."""
    console = error_console()
    with progress_bar(console, MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=steps)

        def progress(done: int, metrics: StepMetrics) -> None:
            losses = ", ".join(f"{name} {metrics.unweighted[name]:.3f}" for name in SHOWN)
            bar.update(task, completed=done, description=losses)
            if not console.is_terminal and done % max(1, steps // LINES) == 0:
                console.show(f"step {done} of {steps}: {losses}")

        yield progress
