"""The commands `detr-spec vectors` and `detr-spec replay`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from detr_conformance.base.files import OutputPath, write_whole
from detr_conformance.base.text import counted


@click.group()
def vectors() -> None:
    """Portable test vectors: cases with their expected values, as JSON."""


@vectors.command("export")
@click.argument("folder", type=OutputPath())
def export_vectors(folder: Path) -> None:
    """Write the set of vectors into FOLDER, a file for each component, with their schema.

    The files are the same bytes for the same version, anywhere. A file that is not of an earlier export is not touched.
    """
    from detr_conformance.base.consoles import output_console  # noqa: PLC0415
    from detr_conformance.vectors.exporting import export  # noqa: PLC0415

    count, written = export(folder)
    output_console().show(f"{folder}: {counted(count, 'vector')} in {counted(written, 'file')}")


@vectors.command("schema")
@click.argument("name", type=click.Choice(["vector", "lock"]), default="vector")
def print_schema(name: str) -> None:
    """Print the JSON Schema of vectors, or of locks."""
    import json  # noqa: PLC0415

    from detr_conformance.lock.schema import lock_schema  # noqa: PLC0415
    from detr_conformance.vectors.schema import vector_schema  # noqa: PLC0415

    schema = vector_schema() if name == "vector" else lock_schema()
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))


@vectors.command("draw")
@click.argument("folder", type=OutputPath(exists=True, file_okay=False))
def draw_vectors(folder: Path) -> None:
    """Draw the set anew into FOLDER, as it is kept in this package: after a change of the norm.

    It takes some minutes, and the reference, so torch.
    """
    from detr_conformance.base.consoles import output_console  # noqa: PLC0415
    from detr_conformance.implementations.reference import IMPLEMENTATIONS  # noqa: PLC0415
    from detr_conformance.judging.drawing import drawn_vectors, right_solver  # noqa: PLC0415
    from detr_conformance.vectors.exporting import packed  # noqa: PLC0415

    drawn = drawn_vectors([*IMPLEMENTATIONS, right_solver()])
    for component, content in packed(drawn).items():
        write_whole(content, folder / f"{component}.jsonl.gz")
    output_console().show(f"{folder}: {counted(len(drawn), 'vector')}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("implementation", nargs=-1, required=True)
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
def replay(file: Path, implementation: tuple[str, ...], device: str) -> int:
    """Judge implementations by the vectors in FILE, with the invariants that each names.

    FILE holds one vector, or one in each line. Exit code 0: nothing violated. 1: an invariant is violated, or the
    implementation raised. 2: usage, a file that holds no vectors, or none that says anything of the implementations.
    """
    from detr_conformance.base.consoles import output_console  # noqa: PLC0415
    from detr_conformance.base.errors import UsageError  # noqa: PLC0415
    from detr_conformance.base.verdict import Verdict  # noqa: PLC0415
    from detr_conformance.judging.replaying import replays  # noqa: PLC0415
    from detr_conformance.reports.failure_text import failure_text  # noqa: PLC0415
    from detr_conformance.reports.show import WORDS  # noqa: PLC0415
    from detr_conformance.running.judges import ThisProcess  # noqa: PLC0415
    from detr_conformance.running.selection import Subject, require_device  # noqa: PLC0415
    from detr_conformance.vectors.reading import read_vectors  # noqa: PLC0415

    placed = read_vectors(file)
    console = output_console()
    counts: Counter[Verdict] = Counter()
    reasons: Counter[str] = Counter()
    with ThisProcess() as judges:
        found = [item for name in implementation for item in judges.find(name)]
        require_device([Subject(item) for item in found], device)
        for item in replays(placed, found, device):
            judgement, owner = item.judgement, item.implementation
            counts[judgement.verdict] += 1
            if judgement.verdict.fails:
                title = f"{owner.name} ({owner.profile.name}), by {item.place}"
                console.rule(style="bright_black")
                command = f"detr-spec replay {file} {' '.join(implementation)}"
                console.show(failure_text(title, judgement, command), WORDS[judgement.verdict][1])
            elif judgement.verdict is not Verdict.HOLDS:
                reasons[f"{judgement.verdict}: {owner.name} ({owner.profile.name}): {judgement.message}"] += 1
    for reason, count in reasons.items():
        console.show(f"{count} x {reason}")
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    asked = f"{counted(len(placed), 'vector')}, {counted(sum(counts.values()), 'judgement')}"
    console.show(f"{asked}: {told}")
    if not any(verdict is Verdict.HOLDS or verdict.fails for verdict in counts):
        raise UsageError(f"no vector of {file} says anything of {', '.join(implementation)}; the reasons are above")
    return 1 if any(verdict.fails for verdict in counts) else 0
