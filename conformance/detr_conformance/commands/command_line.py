"""The command `detr-spec`: check implementations, list the invariants, explain one."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

import click

from detr_conformance.base import interrupts
from detr_conformance.base.errors import UsageError, one_line, place_of
from detr_conformance.base.files import OutputPath
from detr_conformance.base.interrupts import INTERRUPTED
from detr_conformance.base.streams import discard_output, open_streams
from detr_conformance.commands.bench import bench
from detr_conformance.commands.lock import lock
from detr_conformance.commands.merge import merge
from detr_conformance.commands.mutants import mutants
from detr_conformance.commands.report import render_report
from detr_conformance.commands.vectors import replay, vectors
from detr_conformance.processes.supervisor import supervised
from detr_conformance.reports.options import Outputs, output_options
from detr_conformance.testee.bounds import DEFAULT_MEMORY_LIMIT
from detr_conformance.testee.names import isolated_name


def _version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:  # noqa: ARG001
    if asked:
        from detr_conformance.base.version import installed_version  # noqa: PLC0415

        click.echo(f"detr-spec {installed_version()}")
        context.exit()


@click.group(
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Show the version.")
@click.pass_context
def command(context: click.Context) -> None:
    """What a DETR set-prediction loss must do, as executable invariants, for any implementation."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    elif sys.flags.optimize:
        raise UsageError(
            "Python leaves out assertions here, and what is judged may refuse a wrong input by one; "
            "run it without -O and PYTHONOPTIMIZE"
        )


@command.command()
@click.argument("implementation", nargs=-1, required=True)
@click.option("--profile", metavar="NAME", help="Only implementations of this profile.")
@click.option("--component", "components", metavar="NAME", multiple=True, help="Only this component; repeatable.")
@click.option("--invariant", "invariants", metavar="ID", multiple=True, help="Only this id or number; repeatable.")
@click.option("--level", metavar="MUST|SHOULD", help="Only invariants of this level.")
@click.option("--examples", type=int, default=100, show_default=True, help="Cases for each invariant.")
@click.option("--seed", default="0", show_default=True, help="An integer, or 'random' for fresh cases.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Worker processes; 0 for none.")
@output_options
@click.option(
    "--ledger", type=click.Path(path_type=Path), multiple=True, help="File of expected violations; repeatable."
)
@click.option("--vectors", "vectors_path", type=OutputPath(), help="Leave failing cases in this folder.")
@click.option("--accept", is_flag=True, help="Write what is violated into the ledger, and leave the reasons to you.")
@click.option("--lock", "lock_path", type=click.Path(path_type=Path), help="Say what moved since this lock.")
@click.option(
    "--time-limit",
    type=float,
    help="Processor seconds for each invariant, with workers; five times that where it waits.  [default: 120 or more]",
)
@click.option("--shard", metavar="NUMBER/COUNT", help="Only this part, such as 1/4, to be merged with the others.")
@click.option(
    "--database", metavar="FOLDER|URL", multiple=True, help="Where failing cases are kept, and run first; repeatable."
)
@click.option("--isolate", is_flag=True, help="Run each implementation in a process of its own.")
@click.option(
    "--memory-limit",
    type=int,
    default=DEFAULT_MEMORY_LIMIT,
    show_default=True,
    help="MiB for each process of an isolated implementation; 0 for any.",
)
def check(
    implementation: tuple[str, ...],
    profile: str | None,
    components: tuple[str, ...],
    invariants: tuple[str, ...],
    level: str | None,
    examples: int,
    seed: str,
    device: str,
    workers: int,
    outputs: Outputs,
    ledger: tuple[Path, ...],
    vectors_path: Path | None,
    accept: bool,
    lock_path: Path | None,
    time_limit: float | None,
    shard: str | None,
    database: tuple[str, ...],
    isolate: bool,
    memory_limit: int,
) -> int:
    """Judge implementations by the invariants.

    IMPLEMENTATION is package.module:attribute, path/to/file.py:attribute, or a registered name such as
    `reference`; or process:COMMAND, a program in any language that answers for itself (docs/testee.md).

    Exit code 0: nothing violated. 1: an invariant is violated, raised, timed out, crashed or unexpectedly
    holds, or a value moved by more than its lock allows. 2: usage. A vacuous invariant is reported and does not fail
    the run.
    """
    from detr_conformance.commands.check import result_console, run_check  # noqa: PLC0415
    from detr_conformance.running.run import parsed_seed, request  # noqa: PLC0415
    from detr_conformance.running.selection import Selection  # noqa: PLC0415

    selection = Selection(profile, components, invariants, level)
    names = [isolated_name(name) for name in implementation] if isolate else list(implementation)
    drawn = parsed_seed(seed)
    if accept:
        from detr_conformance.commands.accept import run_accept  # noqa: PLC0415

        if shard is not None or database:
            raise UsageError("--accept takes the violations of a whole run; expected neither --shard nor --database")
        asked = request(selection, examples=examples, seed=drawn, device=device)
        others = {"--lock": lock_path, "--vectors": vectors_path}
        return run_accept(names, asked, ledger, workers, outputs, others, time_limit, memory_limit)
    from detr_conformance.commands.lock import run_comparison  # noqa: PLC0415
    from detr_conformance.lock.recording import read_lock  # noqa: PLC0415

    asked = request(
        selection, examples=examples, seed=drawn, device=device, ledger=ledger, shard=shard, database=database
    )
    locked = None if lock_path is None else read_lock(lock_path)
    done = run_check(
        names,
        asked,
        workers=workers,
        outputs=outputs,
        vectors_path=vectors_path,
        time_limit=time_limit,
        memory_limit=memory_limit,
    )
    if lock_path is None or locked is None or done == INTERRUPTED:
        return done
    return max(done, run_comparison(names, asked, locked, lock_path, result_console(outputs)))


@command.command()
@click.argument("implementation", nargs=-1, required=True)
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long.")
@click.option("--profile", metavar="NAME", help="Only implementations of this profile.")
@click.option("--component", "components", metavar="NAME", multiple=True, help="Only this component; repeatable.")
@click.option("--invariant", "invariants", metavar="ID", multiple=True, help="Only this id or number; repeatable.")
@click.option("--level", metavar="MUST|SHOULD", help="Only invariants of this level.")
@click.option("--examples", type=int, default=100, show_default=True, help="Cases for each invariant and seed.")
@click.option("--seed", default="random", show_default=True, help="The first seed; the others follow it.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Worker processes; 0 for none.")
@click.option("--file", "path", type=OutputPath(), help="Keep the soak here, and go on from it.")
@click.option(
    "--ledger", type=click.Path(path_type=Path), multiple=True, help="File of expected violations; repeatable."
)
def soak(
    implementation: tuple[str, ...],
    minutes: float,
    profile: str | None,
    components: tuple[str, ...],
    invariants: tuple[str, ...],
    level: str | None,
    examples: int,
    seed: str,
    device: str,
    workers: int,
    path: Path | None,
    ledger: tuple[Path, ...],
) -> int:
    """Judge implementations with one seed after the other until the time is up.

    The name `declared` stands for a right implementation of a profile that is drawn anew for each seed: what fails
    there is wrong in the invariants.

    What fails is told with the command that gives it again, and not judged any more. With --file, a soak that was
    stopped, in whatever way, goes on where it was. Exit code 0: nothing failed. 1: something did. 2: usage.
    """
    from detr_conformance.commands.soak import run_soak  # noqa: PLC0415
    from detr_conformance.running.run import parsed_seed, request  # noqa: PLC0415
    from detr_conformance.running.selection import Selection  # noqa: PLC0415

    selection = Selection(profile, components, invariants, level)
    asked = request(selection, examples=examples, seed=parsed_seed(seed), device=device, ledger=ledger)
    return run_soak(list(implementation), asked, minutes=minutes, workers=workers, path=path)


@command.command()
@click.argument("subject", metavar="MODULE:OBJECT")
@click.option("--directory", type=OutputPath(), default=Path(), help="The project's folder.  [default: this one]")
def init(subject: str, directory: Path) -> int:
    """Probe a criterion, a matcher, a module …, and write what a gate in CI needs.

    MODULE:OBJECT is what Python code would import: a class, an instance, a function, or with MODULE alone a module.
    An adapter, an empty ledger, a test for pytest and a workflow are written into the project, never over a file that
    is there; what could not be found out is left, marked, to fill in.
    """
    from detr_conformance.commands.init import run_init  # noqa: PLC0415

    return run_init(subject, directory)


@command.command("list")
@click.option("--profile", metavar="NAME", help="Only invariants that apply to this profile.")
@click.option("--component", "components", metavar="NAME", multiple=True, help="Only this component; repeatable.")
@click.option("--level", metavar="MUST|SHOULD", help="Only invariants of this level.")
def list_invariants(profile: str | None, components: tuple[str, ...], level: str | None) -> None:
    """List the invariants."""
    from detr_conformance.base.consoles import output_console  # noqa: PLC0415
    from detr_conformance.commands.explain import show_list  # noqa: PLC0415
    from detr_conformance.running.selection import Selection, chosen_invariants, known_profile  # noqa: PLC0415

    chosen = chosen_invariants(Selection(None, components, (), level))
    if profile is not None:
        chosen = tuple(item for item in chosen if item.applies(known_profile(profile)))
    show_list(chosen, output_console())


@command.command()
@click.argument("invariant")
def explain(invariant: str) -> None:
    """Explain an invariant, by its id or its number in the norm."""
    from detr_conformance.base.consoles import output_console  # noqa: PLC0415
    from detr_conformance.commands.explain import show_explanation  # noqa: PLC0415
    from detr_conformance.running.selection import Selection, chosen_invariants  # noqa: PLC0415

    console = output_console()
    for place, item in enumerate(chosen_invariants(Selection(invariants=(invariant,)))):
        if place:
            console.rule()
        show_explanation(item, console)


@command.command()
@click.argument("folder", type=OutputPath(), default="detr-spec-demo")
@click.option("--steps", type=int, default=300, show_default=True, help="Training steps.")
@click.option("--images", type=int, default=12, show_default=True, help="How many images to learn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the weights and the batches.")
def demo(folder: Path, steps: int, images: int, seed: int) -> int:
    """Train a small DETR on drawings of real COCO targets, and leave a page in FOLDER.

    It takes a minute or two on a CPU.
    """
    from detr_conformance.commands.demo import run_demo  # noqa: PLC0415

    return run_demo(folder, steps, images, seed)


@command.command()
@click.option("--profile", metavar="NAME", help="Only in this profile.")
@click.option("--component", "components", metavar="NAME", multiple=True, help="Only this component; repeatable.")
@click.option("--invariant", "invariants", metavar="ID", multiple=True, help="Only this id or number; repeatable.")
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Worker processes; 0 for none.")
@click.option("--json", "path", type=OutputPath(), help="Write them to this file, beside other limits.")
def limits(
    profile: str | None, components: tuple[str, ...], invariants: tuple[str, ...], workers: int, path: Path | None
) -> int:
    """Measure the smallest error that each invariant detects.

    Errors of 10^-1 to 10^-16, of both signs, are planted in one term of the reference's answers after the other, in
    float32 and in float64, for 100 cases. It takes about ten minutes on one core.
    """
    from detr_conformance.commands.limits import run_limits  # noqa: PLC0415
    from detr_conformance.running.selection import Selection  # noqa: PLC0415

    return run_limits(Selection(profile, components, invariants), workers=workers, path=path)


@command.command("catalogue")
def print_catalogue() -> None:
    """Print the catalogue of all invariants, as Markdown."""
    from detr_conformance.commands.catalogue import catalogue  # noqa: PLC0415

    click.echo(catalogue(), nl=False)


command.add_command(bench)
command.add_command(lock)
command.add_command(merge)
command.add_command(mutants)
command.add_command(render_report)
command.add_command(replay)
command.add_command(vectors)


def main() -> None:
    """Runs the command; a wrong use is told in a line on standard error, and exit code 2."""
    open_streams()
    sys.exit(supervised(lambda: run(sys.argv[1:])))


def run(arguments: list[str]) -> int:
    """The exit code of the command with these arguments; where a signal ended it, the one that shells give to that."""
    code = _run(arguments)
    return code if code != INTERRUPTED else 128 + (interrupts.received() or signal.SIGINT)


def _run(arguments: list[str]) -> int:
    try:
        return int(command.main(arguments, prog_name="detr-spec", standalone_mode=False) or 0)
    except (click.ClickException, UsageError) as error:
        usage = UsageError(error.format_message()) if isinstance(error, click.ClickException) else error
        _tell(*str(usage).splitlines())
        return 2
    except BaseException as error:
        if isinstance(error, (click.Abort, KeyboardInterrupt)) or interrupts.received():
            _tell("interrupted")
            return INTERRUPTED
        if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
            discard_output()  # click makes it `SystemExit`
            return 1
        _tell(str(UsageError(_failure(error))))
        discard_output()
        return 2


def _failure(error: BaseException) -> str:
    """What nobody expected to be raised, in a line."""
    if isinstance(error, OSError) and error.filename is None:
        return f"what is said or asked does not arrive: {error.strerror}"
    return f"the command cannot be carried out: {one_line(error)}{place_of(error)}"


def _tell(*lines: str) -> None:
    """Says lines on standard error, if it takes them."""
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            click.echo(f"detr-spec: {line}", err=True)
