"""The gates for GitHub and GitLab: valid by their schemas, and their inputs reach the command as they are given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("check_jsonschema")

from ruamel.yaml import YAML

from detr_conformance.adoption.findings import Findings
from detr_conformance.adoption.sources import Source
from detr_conformance.adoption.writing import WORKFLOW, files
from detr_spec.implementation import Limits

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
GITLAB = ROOT / "docs" / "gitlab-ci.yml"
PAGE = ROOT / "docs" / "adoption.md"


def read(text: str) -> Any:
    return YAML(typ="safe").load(text)


def valid(schema: str, *paths: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def workflow(folder: Path) -> str:
    """The workflow that `init` writes into a project."""
    return files(Findings(Source("it", "X", None), "it", (), (), (), Limits(), (), {}), folder)[WORKFLOW]


def workflows_of_the_page() -> list[str]:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "jobs:" in block]


def test_actions_of_others_are_pinned_by_commit() -> None:
    """A tag can be moved to other code; a commit cannot. The version stands behind it for a reader."""
    files = [ACTION, *(ROOT / "docs").iterdir(), *(ROOT / "conformance").rglob("*.jinja"), ROOT / "README.md"]
    named = [(path, line) for path in files if path.is_file() for line in path.read_text(errors="replace").splitlines()]
    used = [(path, line) for path, line in named if re.match(r"\s*(- )?uses:", line)]
    assert len(used) > 8
    pins: dict[str, str] = {}
    for path, line in used:
        pin = re.search(r"uses: ([\w/-]+)@([0-9a-f]{40}  # v\d+\.\d+\.\d+)$", line)
        assert pin or line.endswith("uses: OWNER/detr-spec@COMMIT"), f"{path}: {line}"
        if pin:
            assert pins.setdefault(pin[1], pin[2]) == pin[2]


def test_the_action_is_valid_and_a_broken_one_is_not(tmp_path: Path) -> None:
    assert valid("vendor.github-actions", ACTION)
    broken = tmp_path / "action.yml"
    broken.write_text(ACTION.read_text().replace("using: composite", "using: magic"))
    assert not valid("vendor.github-actions", broken)


def test_the_snippet_for_gitlab_is_valid_and_a_broken_one_is_not(tmp_path: Path) -> None:
    assert valid("vendor.gitlab-ci", GITLAB)
    broken = tmp_path / ".gitlab-ci.yml"
    broken.write_text(GITLAB.read_text().replace("parallel: 2", "parallel: two"))
    assert not valid("vendor.gitlab-ci", broken)


def test_workflows_are_valid_and_a_broken_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("torch\n")
    texts = [workflow(tmp_path), *workflows_of_the_page()]
    assert len(texts) >= 3
    assert "-r requirements.txt" in texts[0]
    paths = [tmp_path / f"{place}.yml" for place in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    assert valid("vendor.github-workflows", *paths)
    paths[0].write_text(texts[0].replace("runs-on", "runs"))
    assert not valid("vendor.github-workflows", paths[0])


def commands(text: str) -> list[str]:
    """The commands of an action or of a workflow."""
    document = read(text)
    parts = [document["runs"]] if "runs" in document else document["jobs"].values()
    return [step["run"] for part in parts for step in part["steps"] if "run" in step]


def test_no_expression_is_pasted_into_a_command() -> None:
    found = [commands(text) for text in (ACTION.read_text(), workflow(ROOT), *workflows_of_the_page())]
    assert list(map(len, found)) == [2, 2, 0, 1]
    assert not [command for one in found for command in one if "${{" in command]


def test_everything_that_is_given_is_declared_and_every_input_is_used() -> None:
    document = read(ACTION.read_text())
    used = set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text()))
    assert used == set(document["inputs"])
    given = set()
    for text in workflows_of_the_page():
        for job in read(text)["jobs"].values():
            for step in job["steps"]:
                if "detr-spec@" in step.get("uses", ""):
                    given |= set(step.get("with", {}))
    assert given
    assert given <= set(document["inputs"])


def executed(step: Mapping[str, Any], inputs: Mapping[str, str], folder: Path, fails: int = 0) -> tuple[int, list[str]]:
    """The exit code of a step's command with these inputs, and the arguments that the program in it was given."""
    folder.mkdir(exist_ok=True)
    for program in ("detr-spec", "python"):
        stub = folder / program
        stub.write_text(f'#!/bin/sh\nfor given; do printf "%s\\0" "$given"; done > "{folder}/given"\nexit {fails}\n')
        stub.chmod(0o755)
    environment = {
        name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: inputs[found[1]], value)
        for name, value in step["env"].items()
    }
    github = {
        "GITHUB_OUTPUT": "output",
        "GITHUB_STEP_SUMMARY": "summary",
        "RUNNER_TEMP": "temporary",
        "GITHUB_ACTION_PATH": "action",
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        | environment
        | {name: str(folder / value) for name, value in github.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    given = (folder / "given").read_text().split("\0")[:-1]
    return done.returncode, given


@pytest.fixture
def steps() -> dict[str, Any]:
    return {step["name"]: step for step in read(ACTION.read_text())["runs"]["steps"] if "name" in step}


@pytest.fixture
def inputs() -> dict[str, str]:
    """The inputs of the action, as they are where nothing is given."""
    return {name: one["default"] for name, one in read(ACTION.read_text())["inputs"].items()}


def test_the_action_judges_and_passes_the_verdict_on(steps: Any, inputs: dict[str, str], tmp_path: Path) -> None:
    code, given = executed(steps["Judge"], inputs, tmp_path)
    assert code == 0
    assert given[:1] == ["check"]
    assert given[-2:] == ["--", "detr_spec_adapter.py:implementation"]
    assert given[given.index("--ledger") + 1] == "detr-spec.toml"
    assert not {"--profile", "--shard", "--database", "--isolate"} & set(given)
    assert f"report={tmp_path}/temporary/detr-spec\n" in (tmp_path / "output").read_text()
    assert executed(steps["Judge"], inputs, tmp_path, fails=1)[0] == 1


def test_the_action_passes_everything_on(steps: Any, inputs: dict[str, str], tmp_path: Path) -> None:
    more = {
        "implementation": "a.py:A\nb.py:B\n",
        "profile": "detr",
        "shard": "2/4",
        "database": "cases",
        "isolate": "true",
    }
    _, given = executed(steps["Judge"], {**inputs, **more}, tmp_path)
    assert given[-3:] == ["--", "a.py:A", "b.py:B"]
    for option, value in (("--profile", "detr"), ("--shard", "2/4"), ("--database", "cases")):
        assert given[given.index(option) + 1] == value
    assert "--isolate" in given
    assert "suffix=-2-4\n" in (tmp_path / "output").read_text()


HOSTILE = "$(touch taken) `touch taken`; touch taken; \"' && touch taken | --help *"


def test_hostile_inputs_are_arguments_and_nothing_else(steps: Any, inputs: dict[str, str], tmp_path: Path) -> None:
    hostile = dict.fromkeys(inputs, HOSTILE)
    _, given = executed(steps["Judge"], hostile, tmp_path / "judge")
    assert given[-2:] == ["--", HOSTILE]
    assert given.count(HOSTILE) == 8
    _, given = executed(steps["Install the project and detr-spec"], hostile, tmp_path / "install")
    assert given == [
        "-m",
        "pip",
        "install",
        *HOSTILE.split(),
        f"{tmp_path}/install/action/reference",
        f"{tmp_path}/install/action[torch]",
    ]
    assert not list(tmp_path.rglob("taken"))
