"""The command `detr-spec`: its help, and one module of this package for each of its commands."""

from __future__ import annotations

import contextlib
import signal
import sys
from importlib import import_module

import click

from detr_conformance.base import interrupts
from detr_conformance.base.errors import UsageError, one_line, place_of
from detr_conformance.base.interrupts import INTERRUPTED
from detr_conformance.base.streams import discard_output, open_streams
from detr_conformance.base.version import installed_version
from detr_conformance.processes.supervisor import supervised

COMMANDS = {
    "bench": "Time matchers and criteria side by side.",
    "catalogue": "Print the catalogue of all invariants, as Markdown.",
    "check": "Judge implementations by the invariants.",
    "compare": "Ask two implementations the same, and say what moved and who is right.",
    "explain": "Explain an invariant, by its id or its number in the norm.",
    "init": "Probe a criterion, a matcher, a module …, and write what a gate in CI needs.",
    "judge-answers": "Judge the ANSWERS that a program wrote into a file.",
    "limits": "Measure the smallest error that each invariant detects.",
    "list": "List the invariants.",
    "merge": "Join the reports of all shards of one run.",
    "mutants": "Plant defects in the reference and see which invariants find them.",
    "replay": "Judge implementations by the vectors in FILE.",
    "report": "Show a report that `check --json` left, or write it in other forms.",
    "vectors": "Portable test vectors: cases with their expected values.",
}
"""What there is, each in the module of that name, with underscores, as `command`.

It is said here, as to import them all takes seconds."""


class _Commands(click.Group):
    """Commands that are imported when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        if sys.flags.optimize:
            raise UsageError(
                "Python leaves out assertions here, and what is judged may refuse a wrong input by one; "
                "run it without -O and PYTHONOPTIMIZE"
            )
        try:
            found: click.Command = import_module(f"{__package__}.{name.replace('-', '_')}").command
        except ModuleNotFoundError as error:
            brings = "`pip install 'detr-spec[torch]'` brings what it needs"
            raise UsageError(f"{name} needs {error.name}; {brings}") from error
        return found

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:  # noqa: ARG001
    if asked:
        click.echo(f"detr-spec {installed_version()}")
        context.exit()


@click.group(
    cls=_Commands,
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
