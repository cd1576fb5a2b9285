"""The command as a user meets it: in a process of its own, with its output and its exit code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from detr_conformance.commands.command_line import COMMANDS, command, run

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_without_arguments_it_shows_help(command_line: Run) -> None:
    done = command_line()
    assert done.returncode == 0
    assert "Usage: detr-spec" in done.stdout
    assert all(name in done.stdout for name in ("check", "list", "explain"))


def test_the_version_is_told(command_line: Run) -> None:
    done = command_line("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("detr-spec ")


def test_the_list_shows_every_invariant_or_those_asked_for(command_line: Run) -> None:
    everything = command_line("list")
    assert everything.returncode == 0
    assert "matcher.optimal-cost" in everything.stdout
    assert "assignment.valid-pairs" in everything.stdout
    some = command_line("list", "--component", "assignment", "--profile", "detr", "--level", "must")
    assert "assignment.valid-pairs" in some.stdout
    assert "matcher." not in some.stdout


def test_the_list_and_explanations_load_no_framework(python_file: Callable[..., Path], command_line: Run) -> None:
    python_file("torch.py", "raise SystemExit('torch was imported')")
    assert command_line("list").returncode == 0
    assert command_line("explain", "M2").returncode == 0


def test_an_invariant_is_explained(command_line: Run) -> None:
    done = command_line("explain", "matcher.optimal-cost")
    assert done.returncode == 0
    for part in ("states", "why it matters", "formula", "source", "what breaks it"):
        assert part in done.stdout


def test_what_is_right_passes(command_line: Run, subjects: Path) -> None:
    done = command_line("check", f"{subjects}:RIGHT", "--component", "assignment", "--examples", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "assignment.valid-pairs" in done.stdout
    assert "ms a case beyond" in done.stdout
    assert re.search(
        r"\d+ cases, those tried to find smaller ones included, in .* s, summed over the workers", done.stdout
    )
    assert "right (detr) judged, nothing failing" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check"], "IMPLEMENTATION"),
        (["chek"], "'chek'"),
        (["check", "no_such_module:X"], "no module is called 'no_such_module'"),
        (["check", "no-such-name"], "no implementation is registered as 'no-such-name'"),
        (["check", "missing.py:X"], "missing.py does not exist"),
        (["check", "subjects.py:WRONG"], "subjects.py has no attribute 'WRONG'"),
        (["check", "subjects.py:greedy"], "subjects.py:greedy is a function with arguments (cost)"),
        (["check", "subjects.py:RIGHT", "--profile", "deformable"], "declares no profile deformable"),
        (["check", "subjects.py:RIGHT", "--profile", "detr2"], "no profile is called 'detr2'"),
        (["check", "subjects.py:RIGHT", "--component", "matcher"], "provides no matcher"),
        (["check", "subjects.py:RIGHT", "--invariant", "S99"], "no invariant is called 'S99'"),
        (["check", "subjects.py:RIGHT", "--level", "MAY"], "no level is called 'MAY'"),
        (["check", "subjects.py:RIGHT", "--examples", "0"], "examples is 0"),
        (["check", "subjects.py:RIGHT", "--examples", "few"], "'--examples'"),
        (["check", "subjects.py:RIGHT", "--seed", "many"], "seed is 'many'; expected an integer or 'random'"),
        (["check", "subjects.py:RIGHT", "-n", "-1"], "workers is -1"),
        (["check", "subjects.py:RIGHT", "--time-limit", "0"], "time limit is 0"),
        (["check", "subjects.py:RIGHT", "--json", "no/such/folder.json"], "cannot be written"),
        (["check", "subjects.py:RIGHT", "--ledger", "none.toml"], "none.toml cannot be read"),
        (["check", "subjects.py:RIGHT", "--shard", "4/3"], "shard is '4/3'; expected a number from 1 to 3"),
        (["check", "subjects.py:RIGHT", "--database", "ftp://cases"], "database is 'ftp://cases'"),
        (["check", "subjects.py:RIGHT", "subjects.py:RIGHT"], "two implementations are called right"),
        (["list", "--component", "macher"], "did you mean matcher?"),
        (["list", "--profile", "dert"], "no profile is called 'dert'"),
        (["explain", "matcher.optimal"], "did you mean matcher.optimal-cost"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_use_is_one_line_and_exit_code_2(
    subjects: Path,
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(subjects.parent)
    in_process = ["-n", "0"] if arguments[0] == "check" and "-n" not in arguments else []
    assert run([*arguments, *in_process]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("detr-spec: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err


def test_a_wrong_use_is_the_same_in_a_process(command_line: Run) -> None:
    done = command_line("check", "no_such_module:X")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("detr-spec: no module is called 'no_such_module'")
    assert "Traceback" not in done.stderr


SWAPPED = """
from torch import nn
from detr_conformance import torch_implementation
from detr_reference import HungarianMatcher

class Swapped(nn.Module):
    def __init__(self, configuration):
        super().__init__()
        self.matcher = HungarianMatcher(*configuration.cost_weights)

    def forward(self, outputs, targets):
        return [(second, first) for first, second in self.matcher(outputs, targets)]

IMPLEMENTATION = torch_implementation(name="swapped", profile="detr", matcher=Swapped)
"""


def test_a_matcher_with_swapped_indices_is_found_and_the_command_shown_finds_it_again(
    command_line: Run, python_file: Callable[..., Path]
) -> None:
    pytest.importorskip("torch")
    path = python_file("swapped.py", SWAPPED)
    chosen = "check swapped.py:IMPLEMENTATION --invariant matcher.valid-pairs --examples 10 --json first.json"
    first = command_line(*chosen.split())
    assert first.returncode == 1, first.stderr
    assert "VIOLATED: matcher.valid-pairs (M1, MUST), swapped (detr)" in first.stdout
    assert "query 0" in first.stdout
    reproduce = next(line for line in first.stdout.splitlines() if line.startswith("  detr-spec check"))
    again = command_line(*shlex.split(reproduce)[1:], "--json", "again.json", "-n", "0")
    assert again.returncode == 1
    found = [counterexample(path.parent / name, "matcher.valid-pairs") for name in ("first.json", "again.json")]
    assert found[0] == found[1]
    assert found[0]["case"]["outputs"]["logits"]


def counterexample(path: Path, id: str) -> Any:
    (item,) = json.loads(path.read_text())["implementations"]
    return next(entry["counterexample"] for entry in item["invariants"] if entry["id"] == id)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_an_implementation_prints_stays_out_of_the_report(command_line: Run, subjects: Path, workers: str) -> None:
    done = command_line("check", f"{subjects}:PRINTING", "--invariant", "S1", "--examples", "5", "-n", workers)
    assert done.returncode == 0
    assert "noise" not in done.stdout
    assert "noise" in done.stderr


def test_the_exit_code_is_0_when_every_violation_is_known(
    command_line: Run, subjects: Path, ledger_of: Callable[..., Path]
) -> None:
    ledger_of("greedy", "assignment.valid-pairs")
    arguments = ("check", f"{subjects}:GREEDY", "--invariant", "assignment.valid-pairs", "-n", "0")
    assert command_line(*arguments).returncode == 1
    done = command_line(*arguments, "--ledger", "ledger.toml")
    assert done.returncode == 0
    assert "expected: assignment.valid-pairs, greedy (detr): it repeats columns" in done.stdout


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    code = "from detr_conformance.commands.command_line import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_narrow_terminal_is_obeyed(command_line: Run) -> None:
    done = command_line("list", COLUMNS="60")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 60


@pytest.mark.parametrize(("name", "summary"), COMMANDS.items())
def test_the_help_says_of_each_command_what_its_own_begins_with(name: str, summary: str) -> None:
    item = command.get_command(click.Context(command), name)
    assert item is not None
    assert item.get_short_help_str(1000).startswith(summary.rstrip("."))


def test_a_command_whose_packages_are_missing_says_what_brings_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "detr_conformance.commands.bench", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["bench"]) == 2
    told = "detr-spec: bench needs torch; `pip install 'detr-spec[torch]'` brings what it needs\n"
    assert capsys.readouterr().err == told
