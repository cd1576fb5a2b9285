"""Documents are read strictly, in linear time, and within bounds, whatever they hold and wherever they come from."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from detr_conformance.base import documents
from detr_conformance.base.documents import MOST_DIGITS, parsed_json, parsed_toml, read_text, strict_json
from detr_conformance.base.errors import UsageError
from detr_conformance.commands.command_line import run

MANY = 30_000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("\ufeff{}", "Unexpected UTF-8 BOM"),
        ('{"a": 1, "a": 2}', "the key 'a' comes twice in one object"),
        ("[NaN]", "NaN is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("[1e999]", "1e999 is beyond float64"),
        ("9" * (MOST_DIGITS + 1), "has more than 300 digits"),
        ("[" * 65 + "]" * 65, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "0," * 2**22 + "0]", "has more than 4194304 parts"),
        ("{" + ", ".join(f'"k{place}": 1' for place in range(MANY)) + f', "k{MANY - 1}": 2}}', "comes twice"),
    ],
)
def test_what_is_no_json_is_refused_at_once(text: str, told: str) -> None:
    start = time.perf_counter()
    with pytest.raises(UsageError, match="here: no JSON that can be read: ") as refusal:
        parsed_json(text, "here")
    assert told in str(refusal.value)
    assert time.perf_counter() - start < 5


def test_what_is_json_is_read_as_it_is() -> None:
    assert strict_json('{"a": [1, -0.0, "\\ud800", null, true]}') == {"a": [1, -0.0, "\ud800", None, True]}
    assert strict_json("9" * MOST_DIGITS) == 10**MOST_DIGITS - 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "Expected '='"),
        (".".join(["a"] * 20_000) + " = 1", "a key has more than 64 parts"),
        (" . ".join(['"a"'] * 20_000) + " = 1", "a key has more than 64 parts"),
        ("[" + ".".join(["a"] * 20_000) + "]", "a key has more than 64 parts"),
        ("x = " + "9" * 5000, "a number has more than 300 digits"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("x = " + "[" * 70 + "]" * 70, "nested too deeply"),
        ("\n".join(f"k{place} = 1" for place in range(MANY)) + f"\nk{MANY - 1} = 2", "Cannot overwrite a value"),
        ('x = """' + "y" * 3_000_000, "Unterminated string"),
    ],
)
def test_what_is_no_toml_is_refused_at_once(text: str, told: str) -> None:
    start = time.perf_counter()
    with pytest.raises(UsageError, match="here: no TOML that can be read: ") as refusal:
        parsed_toml(text, "here")
    assert told in str(refusal.value)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "text",
    [
        "#" + "x" * 3_000_000,
        "# x\n" * 200_000,
        "x = '''" + "a.b " * 500_000 + "'''",
        "\n" * 500_000,
        "x = 1 #" + "a.b," * 500_000,
        "a" * 3_000_000 + " = 1",
    ],
)
def test_what_is_long_is_read_in_linear_time(text: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    parsed_toml(text, "here")
    path = tmp_path / "ledger.toml"
    path.write_text(text)
    run(["check", "reference", "--ledger", str(path), "--component", "heads", "--invariant", "M1"])
    assert time.perf_counter() - start < 10


READERS = {
    "report": ["report"],
    "merge": ["merge"],
    "vectors": ["replay", "{file}", "detr-spec-solver"],
    "ledger": ["check", "detr-spec-solver", "--ledger"],
}


def refused(command: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which a command refuses a file."""
    given = [str(file) if part == "{file}" else part for part in command]
    assert run(given if "{file}" in command else [*given, str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_by_every_command(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(documents, "PATIENCE", 0.2)
    monkeypatch.setattr(documents, "LARGEST", 2**21)
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    large.write_bytes(bytes(2**21 + 1))
    expected = {
        Path("/dev/zero"): "is larger than 2 MiB",
        large: "is larger than 2 MiB",
        pipe: "gives nothing for 0.2 s",
        tmp_path / ("x" * 256): "File name too long",
        tmp_path / "x" / "y": "No such file or directory",
        tmp_path: "cannot be read: Is a directory",
    }
    for path, told in expected.items():
        assert told in refused(READERS[reader], path, capsys)
    bad = tmp_path / "bad"
    bad.write_bytes(b"\xff\xfe{")
    assert "is no text in UTF-8, at byte 0" in refused(READERS[reader], bad, capsys)


def test_a_pipe_is_read_as_long_as_something_comes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("w") as file:
            for part in ("a\r\n", "b" * 200_000, "c"):
                file.write(part)
                file.flush()
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_text(pipe) == "a\n" + "b" * 200_000 + "c"
    writer.join()
