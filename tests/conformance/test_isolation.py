"""What an implementation changes in the process reaches neither the next case nor the caller."""

from __future__ import annotations

import gc
import locale
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from detr_conformance.base import streams
from detr_conformance.base.isolation import isolated
from detr_conformance.base.process_state import PARTS, SHARED
from detr_conformance.base.verdict import Verdict
from detr_conformance.judging.judge import judge
from detr_conformance.testee.ended import Ended
from detr_spec.cases import CostCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant


def ask(component: Any, case: CostCase) -> None:
    component(case.configuration).solve(case.costs[0])


def test_the_callers_generators_and_settings_are_as_they_were(
    toy: Callable[..., Invariant], solver_of: Callable[..., Implementation]
) -> None:
    def careless(cost: Any) -> Any:
        random.seed(1)
        np.random.seed(1)
        np.seterr(all="raise")
        warnings.simplefilter("error")
        return linear_sum_assignment(cost)

    before = random.getstate(), np.random.get_state()[1].tolist(), np.geterr(), list(warnings.filters)  # type: ignore[index]
    judge(toy(ask), solver_of(careless), examples=5)
    after = random.getstate(), np.random.get_state()[1].tolist(), np.geterr(), list(warnings.filters)  # type: ignore[index]
    assert after == before


def test_torchs_settings_are_as_they_were() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    with isolated() as restore:
        assert torch.get_num_threads() == 1
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
        torch.set_default_device("meta")
        torch.manual_seed(5)
        restore()
        assert torch.get_default_dtype() == torch.float32
        assert torch.is_grad_enabled()
        assert torch.empty(1).device.type == "cpu"
        torch.set_grad_enabled(False)
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def close_stream() -> None:
    sys.stdout = open(os.devnull)  # noqa: SIM115


LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)

CHANGES: dict[str, Callable[[], object]] = {
    "working directory": lambda: os.chdir("/"),
    "environment": os.environ.clear,
    "streams": close_stream,
    "hooks": lambda: setattr(threading, "excepthook", print),
    "recursion limit": lambda: sys.setrecursionlimit(10**6),
    "collector": gc.disable,
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    "tracing": lambda: sys.settrace(lambda *_: None),
    "profiling": lambda: sys.setprofile(lambda *_: None),
    "handlers of signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "timers": lambda: signal.alarm(1000),
    "resource limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (500, LIMITS[1])),
    "descriptors of the streams": lambda: os.close(0),
    "subnormal numbers": lambda: pytest.importorskip("torch").set_flush_denormal(True),
}


@pytest.fixture
def streams_of_a_command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The standard streams are kept, as a command does."""
    copies = list(map(streams.out_of_reach, range(3)))
    monkeypatch.setattr(streams, "_COPIES", copies)
    yield
    for copy in copies:
        os.close(copy)


@pytest.mark.usefixtures("streams_of_a_command")
@pytest.mark.parametrize("name", PARTS)
def test_what_is_changed_in_the_process_is_put_back(name: str) -> None:
    part = PARTS[name]
    before = part.read()
    with isolated() as restore:
        within = part.read()
        CHANGES[name]()
        if name == "tracing":  # of what is traced, nothing is seen in the function that sets it
            assert sys.gettrace() is not None
        else:
            assert part.read() != within
        restore()
        assert part.read() == within
        CHANGES[name]()
    assert part.read() == before


@pytest.mark.parametrize("module", SHARED, ids=lambda module: str(module.__name__))
def test_what_is_replaced_in_modules_that_are_shared_is_put_back(
    module: Any, toy: Callable[..., Invariant], solver_of: Callable[..., Implementation]
) -> None:
    right = solver_of(linear_sum_assignment)
    before = dict(vars(module))
    nothing = {name: None for name in before if not name.startswith("__")}

    def replacing(configuration: Configuration) -> Any:
        built = right.component("assignment")(configuration)

        def solve(cost: Any) -> Any:
            answer = built.solve(cost)
            sys.setrecursionlimit(100)
            vars(module).update(nothing)
            return answer

        return replace(built, solve=solve)

    assert judge(toy(ask), replace(right, assignment=replacing), examples=2).verdict is Verdict.HOLDS
    assert dict(vars(module)) == before


def test_a_verdict_that_an_implementation_raises_is_just_an_exception(
    toy: Callable[..., Invariant], solver_of: Callable[..., Implementation]
) -> None:
    def raising(_: Any) -> Any:
        raise Ended(Verdict.HOLDS, "fine")

    judgement = judge(toy(ask), solver_of(raising), examples=2)
    assert judgement.verdict is Verdict.CANNOT_BE_CALLED
    assert "it raised Ended: fine (" in judgement.message


def test_a_working_directory_that_is_deleted_is_left(tmp_path: Path) -> None:
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    with isolated():
        os.chdir(gone)
        gone.rmdir()
    assert Path.cwd() == before


def test_a_timer_of_the_caller_goes_on() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.alarm(1000)
    try:
        with isolated() as restore:
            restore()
        assert signal.alarm(0) > 900
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_every_case_starts_from_the_same_state(
    toy: Callable[..., Invariant], solver_of: Callable[..., Implementation]
) -> None:
    drawn: set[float] = set()

    def drawing(cost: Any) -> Any:
        drawn.update((random.random(), float(np.random.random())))
        return linear_sum_assignment(cost)

    random.seed(99)
    assert judge(toy(ask), solver_of(drawing), examples=10).verdict is Verdict.HOLDS
    assert len(drawn) == 2


def test_what_is_printed_goes_to_standard_error(
    toy: Callable[..., Invariant],
    solver_of: Callable[..., Implementation],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def printing(cost: Any) -> Any:
        print("noise")
        return linear_sum_assignment(cost)

    judge(toy(ask), solver_of(printing), examples=3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "noise" in captured.err


def test_importing_the_package_loads_no_framework() -> None:
    code = (
        "import sys, detr_conformance, detr_conformance.commands.command_line, detr_conformance.pytest_plugin; "
        "detr_conformance.check, detr_conformance.conformance_tests, detr_conformance.numpy_implementation; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_export_is_named() -> None:
    import detr_conformance

    with pytest.raises(AttributeError, match="has no attribute 'chek'"):
        _ = detr_conformance.chek
    assert set(detr_conformance.__all__) <= set(dir(detr_conformance))
