"""A report is written in all forms at once, or rendered from its file; nothing is lost because of another file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.commands.command_line import run
from detr_conformance.reports.options import Outputs
from detr_conformance.reports.reading import read_report
from detr_conformance.reports.writing import require_all_writable, write_outputs
from detr_conformance.running.judges import ThisProcess
from detr_conformance.running.report import Report


def in_folder(folder: Path) -> Outputs:
    return Outputs(folder / "r.json", folder / "r.xml", folder / "r.md", folder / "r.html")


def test_a_check_writes_all_forms(subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = in_folder(tmp_path)
    options = [part for form, path in files.paths.items() for part in (f"--{form}", str(path))]
    code = run(["check", f"{subjects}:GREEDY", "--invariant", "S1", "--examples", "5", "-n", "0", *options])
    assert code == 1
    assert "VIOLATED: assignment.valid-pairs" in capsys.readouterr().out
    assert [item.name for item in read_report(tmp_path / "r.json").implementations] == ["greedy"]
    for path in files.paths.values():
        assert "assignment.valid-pairs" in path.read_text(encoding="utf-8")


def test_a_saved_report_is_rendered(full: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(full.to_json(), encoding="utf-8")
    files = in_folder(tmp_path)
    options = [part for form, path in files.paths.items() for part in (f"--{form}", str(path))]
    assert run(["report", str(saved), *options]) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "r.json").read_text(encoding="utf-8") == full.to_json()
    assert all(path.stat().st_size for path in files.paths.values())
    assert run(["report", str(saved)]) == 0
    assert "VIOLATED: matcher.optimal-cost" in capsys.readouterr().out


def test_standard_output_gets_one_form_alone(
    full: Report, subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(full.to_json(), encoding="utf-8")
    assert run(["report", str(saved), "--markdown", "-"]) == 0
    assert capsys.readouterr().out.startswith("## detr-spec")
    arguments = ["check", f"{subjects}:RIGHT", "--invariant", "S1", "--examples", "2", "-n", "0", "--markdown", "-"]
    assert run(arguments) == 0
    done = capsys.readouterr()
    assert done.out.startswith("## detr-spec: nothing failed")
    assert "right (detr): 1 holds" in done.err.replace("valid-pairs", "")


def test_a_terminal_obeys_nothing_that_a_report_says(
    hostile: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(hostile.to_json(), encoding="utf-8")
    assert run(["report", str(saved)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "half \\ud800" in shown
    shown.encode("utf-8")


def test_an_interrupted_check_writes_what_it_knows(
    subjects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ThisProcess.judged

    def interrupted(self: ThisProcess, *arguments: Any, **named: Any) -> Iterator[Any]:
        yield next(whole(self, *arguments, **named))
        raise KeyboardInterrupt

    monkeypatch.setattr(ThisProcess, "judged", interrupted)
    files = in_folder(tmp_path)
    options = [part for form, path in files.paths.items() for part in (f"--{form}", str(path))]
    assert (
        run(["check", f"{subjects}:RIGHT", "--component", "assignment", "--examples", "1", "-n", "0", *options]) == 130
    )
    assert read_report(tmp_path / "r.json").interrupted
    for path in files.paths.values():
        text = path.read_text(encoding="utf-8")
        assert "partial" in text or '"interrupted": true' in text


def test_what_is_no_report_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text('{"format": "other"}')
    assert run(["report", str(tmp_path / "bad.json"), "--html", str(tmp_path / "r.html")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "its format is 'other'" in told
    assert not (tmp_path / "r.html").exists()


def test_files_are_looked_at_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--json", "--junit", "--markdown", "--html"):
        assert run(["check", "no-such-name", option, str(tmp_path / "missing" / "file")]) == 2
        assert "missing/file cannot be written" in capsys.readouterr().err
    assert run(["check", "no-such-name", "--json", str(tmp_path / "a"), "--html", f"{tmp_path}/./a"]) == 2
    assert "--json and --html are both" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_lost_because_of_another(full: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = in_folder(tmp_path)
    require_all_writable(files)
    (tmp_path / "r.xml").mkdir()
    with pytest.raises(UsageError, match=r"r\.xml is a folder; expected a file"):
        write_outputs(full, files)
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", "r.xml", "r.md", "r.html"}


def test_the_summary_of_a_step_is_appended_to(full: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", os.fspath(summary))
    write_outputs(full, Outputs(markdown=summary))
    assert summary.read_text(encoding="utf-8").startswith("# before\n## detr-spec")
    other = tmp_path / "other.md"
    other.write_text("# before\n", encoding="utf-8")
    write_outputs(full, Outputs(markdown=other))
    assert other.read_text(encoding="utf-8").startswith("## detr-spec")
