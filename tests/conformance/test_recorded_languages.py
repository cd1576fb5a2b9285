"""Programs in three languages answer questions in a file, as docs/recorded-answers.md says; a slip in each is found."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from detr_conformance.base.verdict import Verdict
from detr_conformance.commands.command_line import run
from detr_conformance.commands.vectors import SCHEMAS
from detr_conformance.reports.reading import read_report

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "conformance" / "implementations" / "recorded"
PAGE = (ROOT / "docs" / "recorded-answers.md").read_text(encoding="utf-8")
(COMMANDS,) = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def has_header() -> bool:
    """Whether the C++ compiler finds nlohmann's header."""
    asked = ["g++", "-E", "-x", "c++", "-include", "nlohmann/json.hpp", "/dev/null"]
    return shutil.which("g++") is not None and subprocess.run(asked, capture_output=True, check=False).returncode == 0


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no program node")
needs_header = pytest.mark.skipif(
    not has_header(), reason="g++ does not find <nlohmann/json.hpp> of nlohmann-json3-dev"
)
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="there is no program go")


def compiled(source: Path, folder: Path) -> list[str]:
    program = str(folder / "program")
    flags = ["-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *flags, "-o", program, str(source)], check=True)
    return [program]


LANGUAGES = {
    "detections.mjs": pytest.param(
        "detections.mjs",
        lambda source, folder: ["node", str(source), "/dev/stdin"],
        ("[height, width])", "[width, height])", "postprocess.pixels-of-each-axis"),
        marks=needs_node,
    ),
    "boxes.cpp": pytest.param(
        "boxes.cpp",
        compiled,
        ("(enclosing - together) / enclosing", "(enclosing - together)", "boxes.giou-definition"),
        marks=needs_header,
    ),
    "matcher.go": pytest.param(
        "matcher.go",
        lambda source, folder: ["go", "run", str(source)],
        ("- weights[2]*giou", "+ weights[2]*giou", "matcher.optimal-cost"),
        marks=needs_go,
    ),
}

Start = Callable[[Path, Path], list[str]]


@pytest.mark.parametrize(("name", "start", "slip"), LANGUAGES.values(), ids=list(LANGUAGES))
def test_a_program_holds_and_a_slip_in_it_is_found(
    name: str, start: Start, slip: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOCACHE", str(tmp_path / "cache"))
    questions, answers, report = (tmp_path / part for part in ("questions.jsonl", "answers.jsonl", "report.json"))
    description = PROGRAMS / Path(name).with_suffix(".json")
    assert run(["vectors", "questions", str(description), str(questions)]) == 0
    source = (PROGRAMS / name).read_text(encoding="utf-8")
    right, wrong, invariant = slip
    assert right in source
    for text, code in ((source, 0), (source.replace(right, wrong), 1)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with questions.open("rb") as asked, answers.open("wb") as said:
            subprocess.run(start(tmp_path / name, tmp_path), stdin=asked, stdout=said, check=True, timeout=300)
        validator = jsonschema.Draft202012Validator(SCHEMAS["answers"]())
        for line in answers.read_text(encoding="utf-8").splitlines()[:5]:
            validator.validate(json.loads(line))
        assert run(["judge-answers", str(answers), "--questions", str(questions), "--json", str(report)]) == code
        (item,) = read_report(report).implementations
        found = {judgement.id: judgement.verdict for judgement in item.judgements}
        assert found[invariant] is (Verdict.VIOLATED if code else Verdict.HOLDS)
        assert list(found.values()).count(Verdict.HOLDS) >= 10


@needs_node
def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("detections.mjs", "detections.json"):
        shutil.copy(PROGRAMS / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    ask, answer, judge = COMMANDS.splitlines()
    assert run(shlex.split(ask)[1:]) == 0
    subprocess.run(answer, shell=True, check=True)
    assert run(shlex.split(judge)[1:]) == 0


def test_the_examples_of_the_page_are_what_it_says_they_are() -> None:
    description, line = map(json.loads, re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert description == json.loads((PROGRAMS / "detections.json").read_text())
    jsonschema.validate(line, SCHEMAS["answers"]())
    for name in ("question", "component", "builds", "calls", "built", "function", "arguments", "value", "raised"):
        assert f"`{name}`" in PAGE or f"| {name} |" in PAGE or f'"{name}"' in PAGE
