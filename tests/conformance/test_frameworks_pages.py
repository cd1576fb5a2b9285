"""The pages about frameworks are executed, where these are installed, and name all that a bridge may provide."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from detr_conformance.bridges.framework import BridgedFramework

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "frameworks"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "package"),
    [
        ("pytorch", "torch"),
        ("mixed-precision", "torch"),
        ("jax", "jax"),
        ("tensorflow", "tensorflow"),
        ("paddle", "paddle"),
    ],
)
def test_the_commands_of_a_page_do_what_they_say(page: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; the tox environment that has it runs this page")
    blocks = BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    commands = [line for language, text in blocks if language == "bash" for line in text.splitlines()]
    for language, text in blocks:
        if language == "python":
            (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
    uses = [command for command in commands if command.startswith("detr-spec ")]
    assert uses
    for command in uses:
        promised = re.search(r"# exits with (\d)", command)
        arguments = [
            *(sys.executable, "-c", "from detr_conformance.entry import main; main()"),
            *shlex.split(command, comments=True)[1:],
        ]
        done = subprocess.run(
            arguments, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == (int(promised[1]) if promised else 0), done.stdout + done.stderr


def test_everything_that_a_bridge_may_provide_has_its_place_on_the_page() -> None:
    page = (PAGES / "bridge.md").read_text(encoding="utf-8")
    for name, part in inspect.getmembers(BridgedFramework):
        if not name.startswith("_"):
            called = f"`{name}({', '.join(list(inspect.signature(part).parameters)[1:])})`" if callable(part) else name
            assert f"`{name}`" in page or called in page, called


def test_every_page_is_named_by_the_first() -> None:
    first = (PAGES / "README.md").read_text(encoding="utf-8")
    for page in PAGES.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in first
