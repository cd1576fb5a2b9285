"""The command `detr-spec demo`: trains, evaluates, and leaves a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from detr_conformance.base.consoles import error_console, output_console, progress_bar
from detr_conformance.base.errors import UsageError, require_installed
from detr_conformance.base.files import OutputPath, require_folder
from detr_conformance.base.interrupts import INTERRUPTED
from detr_conformance.demonstration.learning import Progress as Callback
from detr_conformance.demonstration.learning import learn
from detr_conformance.demonstration.page import write_page
from detr_conformance.demonstration.scenes import scenes
from detr_reference.training import StepMetrics

SHOWN = ("loss_ce", "loss_bbox", "loss_giou")
LEAST_STEPS = 20
"""The schedule of the learning rate has a rise and a fall, which take a few steps."""
LINES = 10
"""How many lines of progress there are where no terminal shows a bar."""


@click.command()
@click.argument("folder", type=OutputPath(), default="detr-spec-demo")
@click.option("--steps", type=int, default=300, show_default=True, help="Training steps.")
@click.option("--images", type=int, default=12, show_default=True, help="How many images to learn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the weights and the batches.")
def command(folder: Path, steps: int, images: int, seed: int) -> int:
    """Train a small DETR on drawings of real COCO targets, and leave a page in FOLDER.

    It takes a minute or two on a CPU.
    """
    _require(steps, images, folder)
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
    require_installed("the demonstration", "torchvision", "matplotlib", extra="demo")
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
