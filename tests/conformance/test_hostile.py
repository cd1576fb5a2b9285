"""Whatever an implementation, a testee, a file or a name says, no command lets a sign of it be obeyed.

Every command is run with hostile names, messages, keys, files and folders, on a terminal, and what it writes is looked
at byte by byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.base.verdict import Verdict
from detr_conformance.commands import pytest_tests
from detr_conformance.commands.command_line import run
from detr_conformance.judging.judge import blank_judgement
from detr_spec.invariants import find_invariants

pytest.importorskip("torch")

SIGNS = "\x1b[95;41m\x1b]8;;https://x.org\x07\x9b31m\u202e\u200b\x00\r\ud800"
"""A colour, a link, a control sign of one byte, another direction, nothing wide, nothing at all, half a pair."""

ARGUMENT = SIGNS.replace("\x00", "").replace("\ud800", "\udc9b")
"""What of it a command line can have: Python takes a byte that is no UTF-8 for another half of a pair."""

COMMANDS = "\n::error::x\n  ::stop-commands::y\n##[add-mask]z ##vso[task.complete]"
MARKUP = "[/x] [link=https://x.org]y[/link] [bold] :smile:"

SOURCE = f"""
import sys
import numpy as np
from scipy.optimize import linear_sum_assignment
from detr_conformance import numpy_implementation, torch_implementation

WORDS = {(SIGNS + COMMANDS + MARKUP)!r}
HOSTILE_ERROR = type("Bad" + WORDS.replace("\\ud800", "").replace("\\x00", ""), (Exception,), {{}})

def raising(*_):
    raise HOSTILE_ERROR(WORDS)

def giou(first, second):
    return np.full((len(first), len(second)), 2.0, dtype=first.dtype)

def criterion(configuration):
    return lambda outputs, targets: {{WORDS: outputs["pred_logits"].sum()}}

def talking(cost):
    print(WORDS, file=sys.stderr)
    print(WORDS.replace("\\ud800", ""))
    return linear_sum_assignment(cost)

TALKS = numpy_implementation(name="talks", solver=talking)
IT = numpy_implementation(name={MARKUP!r}, solver=raising, boxes={{"giou": giou}})
SAME = numpy_implementation(name={MARKUP!r}, boxes={{"giou": lambda first, second: giou(first, second) / 2}})
LOSS = torch_implementation(name={MARKUP!r}, profile="detr", criterion=criterion)
"""

TESTEE = f"""
import json, os, struct, sys
text = {{"message": "refused", "text": {(SIGNS + COMMANDS)!r}, "id": 1}}
if sys.argv[1:] == ["dies"]:
    sys.stderr.write({(SIGNS + COMMANDS)!r}.encode("unicode_escape").decode().encode().decode("unicode_escape")[:40])
    sys.exit(3)
data = json.dumps(text).encode()
sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a hostile name, in which the commands are given, and the implementations in it."""
    folder = tmp_path / "in\x1b[95;41m \u202e[x]\n::error::f"
    folder.mkdir()
    (folder / "it.py").write_text(SOURCE, encoding="utf-8")
    (folder / "testee.py").write_text(TESTEE, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs a command on a pseudo-terminal; its exit code and what it wrote."""

    def on_terminal(*arguments: object) -> tuple[int, str]:
        master, slave = os.openpty()
        written: list[bytes] = []

        def listen() -> None:
            with contextlib.suppress(OSError):
                while data := os.read(master, 65536):
                    written.append(data)

        listener = threading.Thread(target=listen)
        listener.start()
        with monkeypatch.context() as patch, open(slave, "w", encoding="utf-8") as stream:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            code = run([str(argument) for argument in arguments])
            stream.flush()
        listener.join(10)
        os.close(master)
        return code, b"".join(written).decode()

    return on_terminal


OURS = re.compile(r"\x1b\[(\d+;)*\d*m|\x1b\[\?25[lh]|\x1b\[\d*[AK]|\r(?=\n|\x1b\[)|\r$")
"""What rich tells a terminal: colours, the cursor, the line of a progress bar."""


def require_harmless(text: str) -> None:
    assert "\x1b[95;41m" not in text
    rest = OURS.sub("", text.replace("\r\n", "\n"))
    bad = [sign for sign in rest if not sign.isprintable() and sign not in "\n\t"]
    assert not bad, repr(rest[max(0, rest.index(bad[0]) - 80) : rest.index(bad[0]) + 40])
    assert not re.search(r"^\s*::|##\[|##vso\[", rest, re.MULTILINE)
    assert "Traceback (most recent call last):\n  File" not in rest or "detr_conformance/command_line" not in rest


CHECK = ("check", "it.py:IT", "--examples", "2", "--invariant", "S1", "--invariant", "B3")


def calls() -> Iterator[tuple[tuple[object, ...], int | None]]:
    """Commands, in an order in which each finds the files that it needs, and their exit codes."""
    yield (*CHECK, "-n", "0", "--json", "r.json", "--html", "r.html", "--markdown", "r.md", "--junit", "r.xml"), 1
    yield ("check", "it.py:TALKS", "--examples", "2", "--invariant", "S1"), 0
    yield ("check", "it.py:LOSS", "--examples", "3", "--invariant", "C1", "-n", "0", "--vectors", "v\x1b[95;41m"), 1
    yield (*CHECK, "-n", "0", "--ledger", "l.toml", "--accept"), None
    yield (*CHECK, "-n", "0", "--ledger", "l.toml"), None
    compared = ("compare", "it.py:IT", "it.py:IT", "--examples", "2", "--invariant", "S1")
    yield (*compared, "--json", "c.json", "--markdown", "c.md"), 0
    yield ("report", "r.json"), 0
    for form in ("--json", "--junit", "--markdown", "--html"):
        yield ("report", "r.json", form, "-"), 0
    yield ("merge", "r.json"), 2
    yield ("vectors", "export", "e\x1b[95;41m"), 0
    yield ("replay", "e\x1b[95;41m/assignment.jsonl", "it.py:IT"), 1
    yield ("vectors", "questions", f"e{SIGNS[:4]}", "q.jsonl"), 2
    yield ("judge-answers", f"a{SIGNS[:4]}.jsonl", "--questions", "r.json"), 2
    yield ("init", f"it{SIGNS[:4]}:IT"), 2
    yield ("check", f"process:{sys.executable} -I -S testee.py", "-n", "0"), 2
    yield ("check", f"process:{sys.executable} -I -S testee.py dies", "-n", "0"), 2
    for option in ("--profile", "--component", "--invariant", "--level", "--seed", "--shard", "--database", "--device"):
        yield ("check", "it.py:IT", "-n", "0", option, ARGUMENT + MARKUP), 2
    for name in ("list", "limits", "explain", "mutants", "bench", "catalogue", "vectors"):
        yield (name, "--component" + ARGUMENT + COMMANDS), 2
    yield (ARGUMENT + COMMANDS,), 2
    yield ("vectors", "schema", ARGUMENT), 2
    yield ("vectors", "draw", ARGUMENT), 2


def test_no_command_lets_a_sign_through(folder: Path, terminal: Callable[..., tuple[int, str]]) -> None:
    assert folder.is_dir()
    for arguments, expected in calls():
        code, text = terminal(*arguments)
        require_harmless(text)
        assert code in (0, 1, 2), text
        assert expected is None or code == expected, (arguments, text)
    for form in ("json", "html", "md", "xml"):
        require_harmless((folder / f"r.{form}").read_text(encoding="utf-8"))
    require_harmless((folder / "c.md").read_text(encoding="utf-8"))
    assert json.loads((folder / "r.json").read_text())["implementations"][0]["implementation"] == MARKUP


def test_every_command_is_among_them(command_names: tuple[tuple[str, ...], ...]) -> None:
    called = [tuple(map(str, arguments)) for arguments, _ in calls()]
    for names in command_names:
        assert any(given[: len(names)] == names for given in called), names


def test_pytest_shows_no_sign_either() -> None:
    (invariant,) = find_invariants("matcher.valid-pairs")
    for verdict in Verdict:
        judgement = blank_judgement(invariant, verdict, SIGNS + COMMANDS + MARKUP)
        told: Any = ""
        try:
            pytest_tests._conclude(MARKUP, judgement, "pytest")
        except BaseException as error:
            told = str(error)
        require_harmless(told)
        assert verdict is Verdict.HOLDS or told or verdict is Verdict.EXPECTED_VIOLATION
