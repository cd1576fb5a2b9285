"""Files are written whole or not at all, and one process at a time changes a ledger."""

from __future__ import annotations

import ast
import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import detr_conformance
from detr_conformance.base import files
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import locked, require_writable, write_whole
from detr_conformance.commands.command_line import run

PACKAGE = Path(detr_conformance.__file__).parent


def test_writing_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("something longer than what comes")
    require_writable(path)
    write_whole("new", path)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_whole("new", tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("without_nameless_files", [False, True])
def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_the_umask(
    tmp_path: Path, without_nameless_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without_nameless_files:
        monkeypatch.setattr(sys, "platform", "some other")
    path = tmp_path / "report.json"
    for mask, mode in ((0o077, 0o600), (0o022, 0o644), (0o002, 0o664)):
        path.unlink(missing_ok=True)
        with umask(mask):
            write_whole("first", path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        write_whole("second", path)
        assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (mode, "second")
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_pair_of_surrogates_is_written_as_an_escape(tmp_path: Path) -> None:
    write_whole("a\ud800b", tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == b"a\\ud800b"


WRITER = """
import sys
from pathlib import Path
from detr_conformance.base.files import write_whole
content = sys.argv[2] * 4_000_000
print("begins", flush=True)
while True:
    write_whole(content, Path(sys.argv[1]))
"""


def test_a_kill_leaves_the_file_whole_and_nothing_half_written(tmp_path: Path) -> None:
    """Between its name and its place a file is whole already, so what a kill leaves there is a copy."""
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    path = tmp_path / "report.json"
    for seed in range(6):
        letter = "abcdef"[seed]
        command = [sys.executable, "-c", WRITER, str(path), letter]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.Random(seed).uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        assert all(left.stat().st_size == 4_000_000 for left in tmp_path.iterdir())


def test_a_device_is_written_to_directly_and_a_full_one_is_told() -> None:
    device = Path("/dev/null")
    if not device.is_char_device():
        pytest.skip("there is no /dev/null here")
    require_writable(device)
    write_whole("new", device)
    assert device.is_char_device()
    with pytest.raises(UsageError, match="/dev/full cannot be written: No space left on device"):
        write_whole("new", Path("/dev/full"))


def test_a_pipe_is_written_to_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="pipe cannot be written: No such device or address"):
        write_whole("nobody reads", pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    while not read:
        with contextlib.suppress(UsageError):
            write_whole("x" * 10**6, pipe)
        reader.join(0.05)
    assert read == ["x" * 10**6]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    refused = {
        tmp_path / "circle": "cannot be written: Too many levels of symbolic links",
        tmp_path: "is a folder; expected a file",
        tmp_path / "missing" / "report.json": "cannot be written: No such file or directory",
        tmp_path / "file" / "report.json": "cannot be written: Not a directory",
        tmp_path / ("x" * 256): "cannot be written: File name too long",
    }
    for path, told in refused.items():
        for ask in (require_writable, lambda path: write_whole("new", path)):
            with pytest.raises(UsageError, match=told):
                ask(path)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "detr-spec-test", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk cannot be mounted without the right to it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_in_a_line_and_loses_nothing(
    full_disk: Path, subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = full_disk / "old"
    old.write_text("old")
    with pytest.raises(UsageError, match="old cannot be written: No space left on device"):
        write_whole("x" * 100_000, old)
    assert old.read_text() == "old"
    assert list(full_disk.iterdir()) == [old]
    (full_disk / "rest").write_bytes(b"x" * (os.statvfs(full_disk).f_bavail * os.statvfs(full_disk).f_bsize))
    check = ["check", f"{subjects}:GREEDY", "-n", "0", "--examples", "5", "--invariant", "S1"]
    for place, (what, *command) in enumerate(
        (
            ("n/greedy-detr-assignment.valid-pairs.json", *check, "--vectors", f"{full_disk}/n"),
            ("assignment.jsonl", "vectors", "export", str(full_disk)),
            ("l.toml", *check, "--accept", "--ledger", f"{full_disk}/l.toml"),
            ("report.json", *check, "--json", f"{full_disk}/report.json", "--html", str(tmp_path / "report.html")),
        )
    ):
        assert run(list(command)) == 2, what
        told = capsys.readouterr().err.splitlines()[-1]
        assert "No space left on device" in told, (place, told)
        assert "Traceback" not in told
    assert (tmp_path / "report.html").is_file()


def test_paths_are_those_of_the_folder_in_which_the_command_was_given(
    python_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    python_file(
        "going.py",
        f"""
        import os
        from detr_conformance import numpy_implementation

        def solver(cost):
            os.chdir({str(elsewhere)!r})
            return [0], [0]

        GOING = numpy_implementation(name="going", solver=solver)
        """,
    )
    monkeypatch.chdir(tmp_path)
    how = ["going.py:GOING", "--invariant", "S1", "--examples", "5", "-n", "0"]
    reports = ["--json", "r.json", "--html", "r.html", "--junit", "r.xml", "--markdown", "r.md", "--vectors", "v"]
    for command, written in (
        (["check", *how, *reports], ["r.json", "r.html", "r.xml", "r.md", "v"]),
        (["check", *how, "--ledger", "l.toml", "--accept"], ["l.toml"]),
        (["check", *how, "--database", "d"], ["d"]),
    ):
        monkeypatch.chdir(tmp_path)
        assert run(command) in (0, 1)
        assert all((tmp_path / name).exists() for name in written), command
    assert not list(elsewhere.iterdir())


def test_a_lock_is_waited_for_and_one_that_stays_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path):
        monkeypatch.setattr(files, "PATIENCE", 0.05)
        with pytest.raises(UsageError, match="another process is changing files"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass


def test_nothing_else_writes_files() -> None:
    """But for a switch of the kernel's."""
    found = {
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("write_text", "write_bytes", "mkstemp", "touch")
    }
    assert found == {"memory.py"}
