"""The command: what it writes, what it refuses, and how times become medians and ratios."""

from __future__ import annotations

import json
import re
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from detr_conformance.base.consoles import output_console
from detr_conformance.base.errors import UsageError
from detr_conformance.bench import contest, memory, timing
from detr_conformance.bench.registry import finds_by_dialect
from detr_conformance.bench.results import Entry, Results, Setting, as_json
from detr_conformance.bench.show import show_setting
from detr_conformance.bench.sizes import STANDARD, Size, parsed_size
from detr_conformance.bench.timing import Runs, in_turns
from detr_conformance.commands.command_line import run
from detr_conformance.processes.pool import Outcome, Pool
from detr_conformance.processes.process import Died, Late
from detr_conformance.processes.serving import WorkerError

TINY = Size(2, 6, 5, 3, layers=2)
REFERENCE = finds_by_dialect()["detr"][0]


@pytest.fixture(autouse=True)
def garbage_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """To collect all that a whole suite has left takes longer than these tests."""
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)


def timed(name: str, *seconds: float) -> Entry:
    return Entry(name, "timed", runs=Runs(dict.fromkeys(("step", "processor"), seconds)))


def results(*settings: Setting) -> Results:
    machine = {
        "date": "2026-01-01",
        "processor": "a processor",
        "cores": 2,
        "threads": 2,
        "wait_policy": "default",
        "device": "cpu",
        "system": "a system",
        "versions": {"torch": "2"},
    }
    return Results(machine, {"criterion": "fast", "assignment": "fast"}, settings)


def setting(*entries: Entry, size: Size = TINY) -> Setting:
    return Setting("criterion", "detr", "trained", size, 3, entries)


def test_ratios_are_of_medians_and_only_of_those_that_were_timed() -> None:
    found = setting(timed("fast", 1.0, 2.0, 90.0), timed("slow", 8.0, 1.0, 6.0), Entry("absent", "not installed"))
    ratios = [found.ratio(entry, "fast") for entry in found.entries]
    assert ratios == [1.0, 3.0, None]
    document = json.loads(as_json(results(found)))
    fast, slow, absent = document["settings"][0]["contestants"]
    assert (slow["ratio"], slow["median_seconds"]["step"], slow["fastest_seconds"]["step"]) == (3.0, 6.0, 1.0)
    assert fast["runs"] == 3
    assert absent == {"name": "absent", "status": "not installed"}
    assert found.ratio(found.entries[0], "absent") is None


def test_contestants_take_turns_and_stop_when_their_time_is_spent() -> None:
    order: list[str] = []
    clock = [0.0]

    def contestant(name: str, seconds: float):
        def call() -> dict[str, float]:
            order.append(name)
            clock[0] += seconds
            return {"step": seconds}

        return call

    calls = {"a": contestant("a", 1), "b": contestant("b", 10), "c": contestant("c", 2)}
    found = in_turns(calls, repeats=5, budget=5, now=lambda: clock[0])
    assert {name: runs.count for name, runs in found.items()} == {"a": 5, "b": 2, "c": 3}
    assert order[:7] == ["a", "b", "c", "b", "c", "a", "c"]
    assert in_turns({}, 3, 1) == {}


@pytest.mark.filterwarnings("ignore")  # of the packages of others, when they are imported
def test_the_command_writes_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contest, "peak_bytes", lambda *_: 3 * 2**20)
    # One of its contestants, made absent, is said to be so.
    monkeypatch.setitem(sys.modules, "transformers", None)
    path = tmp_path / "found.json"
    arguments = ["bench", "--size", "2,6,5,3", "--profile", "detr", "--regime", "trained", "--repeats", "2", "--memory"]
    assert run([*arguments, f"--json={path}"]) == 0
    document = json.loads(path.read_text())
    assert {"date", "processor", "cores", "threads", "device", "versions"} <= set(document["machine"])
    assert document["machine"]["versions"]["torch"] == version("torch")
    sliced, criterion, _ = document["settings"]
    assert [(item["kind"], item.get("heads")) for item in document["settings"]] == [
        ("criterion", "sliced"),
        ("criterion", "leaves"),
        ("assignment", None),
    ]
    assert sliced["size"] == criterion["size"]
    assert criterion["size"] == {"images": 2, "queries": 6, "columns": 5, "targets": 3, "layers": 6}
    by_name = {item["name"]: item for item in criterion["contestants"]}
    assert by_name["transformers, DETR"] == {
        "name": "transformers, DETR",
        "status": "not installed",
        "note": "not installed",
    }
    assert by_name["reference"]["status"] == "timed"
    assert by_name["reference"]["peak_bytes"] == 3 * 2**20
    assert set(by_name["reference"]["median_seconds"]) == {"step", "processor"}
    shown = capsys.readouterr().out
    assert "not installed" in shown


def test_a_disagreement_makes_the_exit_code_1() -> None:
    assert results(setting(timed("fast", 1.0))).disagreeing == []
    wrong = Entry("wrong", "disagrees", "why")
    assert [entry for _, entry in results(setting(timed("fast", 1.0), wrong)).disagreeing] == [wrong]
    console = output_console()
    with console.capture() as shown:
        show_setting(setting(timed("fast", 1.0), wrong), "fast", console)
    assert re.search("wrong .* disagrees: why", shown.get())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "8,300,92"], "the size '8,300,92' is not B,Q,C,T"),
        (["--size", "8,300,92,none"], "give four numbers such as"),
        (["--device", "nowhere"], "torch cannot compute on 'nowhere' here"),
        (["--json", "no-such-folder/found.json"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_sizes() -> None:
    assert parsed_size("8,300,92,7") in STANDARD
    with pytest.raises(UsageError, match="C at least 2"):
        parsed_size("1,1,1,1")


def test_peak_memory_grows_with_what_a_step_takes() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("resident memory is read from Linux's /proc")
    peaks = [
        memory.peak_in_this_process(REFERENCE, size, "trained", torch.get_num_threads())
        for size in (TINY, Size(8, 300, 92, 30))
    ]
    # The cost of one layer, L1 distances of each coordinate apart, is 8 x 300 x 30 x 4 floats.
    assert peaks[1] > peaks[0] + 2**20


def test_the_process_that_is_measured_is_a_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was forked would know of this change, and hang where torch had computed in threads before."""
    monkeypatch.setattr(memory, "STATUS", Path("/nowhere"))
    assert isinstance(memory.peak_bytes(REFERENCE, TINY, "trained", "cpu", 1, 120), int)


def test_the_memory_of_a_process_that_ends_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for failure, words in (
        (Late("not finished after 5 s"), "not finished after 5 s"),
        (Died(signal.SIGKILL), "by signal SIGKILL"),
        (WorkerError("MemoryError: full"), "MemoryError: full"),
    ):
        monkeypatch.setattr(Pool, "outcomes", lambda *_, failure=failure: [(0, Outcome(failure=failure))])
        assert words in str(memory.peak_bytes(REFERENCE, TINY, "trained", "cpu", 1, 5))
