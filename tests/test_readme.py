"""The README is executed: its files are written, its commands run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FILES = {
    text.splitlines()[0].removeprefix("# "): text
    for language, text in BLOCKS
    if language == "python" and re.fullmatch(r"# \w+\.py", text.splitlines()[0])
}
COMMANDS = [text.splitlines() for language, text in BLOCKS if language == "bash"]
SET_UP = [line for block in COMMANDS for line in block if line.startswith("python -m ")]
USES = [block for block in COMMANDS if not set(block) & set(SET_UP)]
"""The commands that use what is set up, block by block: within one, a command may use what those before it left."""
(VIOLATION,) = [text for language, text in BLOCKS if language == "text"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One command of the README; a comment `# exits with 1` says the exit status that it promises."""
    binaries = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    arguments = shlex.split(command, comments=True)
    environment = os.environ | {"PATH": binaries, "COLUMNS": "120"}
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def test_the_readme_has_files_and_commands() -> None:
    assert len(FILES) >= 3
    assert sum(map(len, USES)) >= 8


@pytest.mark.parametrize("commands", USES, ids=lambda commands: commands[0][:60])
def test_the_commands_of_the_readme_do_what_they_say(commands: list[str], folder: Path) -> None:
    for command in commands:
        promised = re.search(r"# exits with (\d)", command)
        done = run(command, folder)
        assert done.returncode == (int(promised[1]) if promised else 0), done.stdout + done.stderr
        if command.startswith("detr-spec check swapped.py:implementation --invariant matcher.valid-pairs"):
            assert VIOLATION in done.stdout


def test_the_commands_that_set_up_are_the_ones_that_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert SET_UP, "the README shows no command that sets up"
    for command in SET_UP:
        essence = command.split("#")[0].strip().removeprefix("python ")
        assert essence in script, f"continuous integration does not run `{command}`"
