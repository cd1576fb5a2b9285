"""A worker process that breaks costs one job, and whatever it does, every job has an outcome."""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from detr_conformance.processes import pool as pools
from detr_conformance.processes import process
from detr_conformance.processes.pool import Job, Outcome, Pool
from detr_conformance.processes.process import Died, Garbled, Late
from detr_conformance.processes.serving import WorkerError

FUNCTIONS = """
import os, sys, threading, time
from detr_conformance.processes import serving

def descriptors():
    return [int(name) for name in os.listdir("/proc/self/fd")]

def scribble(*texts):
    for text in texts:
        for descriptor in descriptors():
            try:
                os.write(descriptor, text)
            except OSError:
                pass
    return "scribbled"

def close_low():
    os.closerange(0, 256)
    return "closed"

def fork():
    os.fork()
    return os.getpid()

def tell_and(end):
    serving.tell("found")
    {"die": lambda: os._exit(0), "hang": lambda: time.sleep(1000), "raise": lambda: 1 / 0}[end]()

def print_much():
    print("noise")
    os.write(1, b"noise")

def write_errors(*texts):
    for text in texts:
        os.write(2, text)

def leave_a_thread():
    threading.Thread(target=lambda: (time.sleep(0.1), os._exit(3))).start()

def unpicklable():
    return lambda: None

def interrupt():
    raise KeyboardInterrupt
"""


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """What jobs may do, in a module that workers can import."""
    folder = tmp_path_factory.mktemp("functions")
    Path(folder, "functions_of_jobs.py").write_text(FUNCTIONS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("functions_of_jobs")
    sys.path.remove(str(folder))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that hang are not waited for as long as they are elsewhere."""
    monkeypatch.setattr(pools, "START", 2.0)


def outcomes(pool: Pool, *jobs: tuple[Callable[..., object], tuple[object, ...]]) -> list[Outcome]:
    found = dict(pool.outcomes([Job(function, arguments, 0.2) for function, arguments in jobs]))
    return [found[place] for place in range(len(jobs))]


def test_what_breaks_its_worker_costs_one_job(functions: ModuleType) -> None:
    with Pool(1) as pool:
        died, raised, unsent, interrupted, after = outcomes(
            pool,
            (os._exit, (0,)),
            (math.sqrt, (-1,)),
            (functions.unpicklable, ()),
            (functions.interrupt, ()),
            (math.sqrt, (4,)),
        )
    assert isinstance(died.failure, Died)
    assert died.failure.exit_code == 0
    assert isinstance(raised.failure, WorkerError)
    assert str(raised.failure).startswith("ValueError: ")
    assert isinstance(unsent.failure, WorkerError)
    assert str(interrupted.failure) == "KeyboardInterrupt"
    assert after == Outcome(2.0)


def test_what_writes_where_it_must_not_costs_one_job(functions: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    texts = [b"hello world\\n", bytes(64), b"\x80\x04K\x01.", b"\x00\x00\x00\x05\x80\x04K\x01."]
    with Pool(1) as pool:
        for text in texts:
            garbled, after = outcomes(pool, (functions.scribble, (text,)), (math.sqrt, (4,)))
            assert isinstance(garbled.failure, Garbled)
            assert after == Outcome(2.0)
    capfd.readouterr()


def test_what_closes_or_copies_descriptors_is_answered(functions: ModuleType) -> None:
    with Pool(1) as pool:
        forked, printed, after, closed, next_one = outcomes(
            pool,
            (functions.fork, ()),
            (functions.print_much, ()),
            (os.getpid, ()),
            (functions.close_low, ()),
            (functions.print_much, ()),
        )
    assert forked.value == after.value
    assert closed == Outcome("closed")
    assert printed == next_one == Outcome(None)


def test_what_a_worker_writes_is_shown_line_by_line(
    functions: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LONGEST_TEXT", 1000)
    texts = b"\x1b[31mred\n::error::x\n##vso[", b"task]\n\xff", b"a" * 2000 + b"\nthe end"
    with Pool(1) as pool:
        assert outcomes(pool, (functions.write_errors, texts)) == [Outcome(None)]
    colour, command, azure, long, last = capsys.readouterr().err.splitlines()
    assert (colour, command, azure, last) == ("\\x1b[31mred", "\\x3a:error::x", "\\x23#vso[task]", "the end")
    assert "more characters" in long


@pytest.mark.parametrize(("end", "failure"), [("die", Died), ("hang", Late), ("raise", WorkerError)])
def test_what_was_told_is_not_lost(functions: ModuleType, end: str, failure: type[Exception]) -> None:
    with Pool(1) as pool:
        (outcome,) = outcomes(pool, (functions.tell_and, (end,)))
    assert outcome.told == "found"
    assert isinstance(outcome.failure, failure)


def test_a_worker_that_dies_when_idle_is_replaced(functions: ModuleType) -> None:
    with Pool(1) as pool:
        (first,) = outcomes(pool, (functions.leave_a_thread, ()))
        assert first == Outcome(None)
        time.sleep(1)
        assert outcomes(pool, (math.sqrt, (4,))) == [Outcome(2.0)]


def test_where_no_process_can_be_had_every_job_has_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(pools, "Process", refuse)
    with Pool(2) as pool:
        found = outcomes(pool, (math.sqrt, (4,)), (math.sqrt, (4,)))
    assert [type(outcome.failure) for outcome in found] == [BlockingIOError] * 2


def test_what_is_left_early_ends(functions: ModuleType, running: Callable[..., int]) -> None:
    with Pool(2) as pool:
        jobs = [Job(os.getpid, (), 1), *[Job(functions.tell_and, ("hang",), 1000)] * 3]
        _, outcome = next(pool.outcomes(jobs))
        assert Path("/proc", str(outcome.value)).exists()
    assert not Path("/proc", str(outcome.value)).exists()


def test_workers_are_asked_about_what_they_have_imported(functions: ModuleType) -> None:
    jobs = [Job(os.getpid, (), 1, subject=name) for name in ("a", "b", "a", "b", "a", "b")]
    with Pool(2) as pool:
        found = {place: outcome.value for place, outcome in pool.outcomes(jobs)}
        again = {place: outcome.value for place, outcome in pool.outcomes(jobs[:1])}
    if len(set(found.values())) == 2:
        assert found[0] != found[1]
    assert again[0] in found.values()
