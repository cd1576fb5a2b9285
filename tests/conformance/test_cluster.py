"""The workers of a Dask cluster judge as this machine does, and what a lost one had to do is done by another."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict
from detr_conformance.commands.command_line import run
from detr_conformance.processes.cluster import Cluster
from detr_conformance.processes.pool import Job
from detr_conformance.processes.process import Died, Late
from detr_conformance.running.run import check

ROOT = Path(__file__).parents[2]

CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""

HOSTILE = """
import os, time
from dataclasses import replace
from detr_conformance import numpy_implementation
from detr_conformance.implementations.solver import solver

def dies(cost):
    os._exit(3)

def hangs(cost):
    while True:
        pass

right = numpy_implementation(name="right", solver=solver)
dying = numpy_implementation(name="dying", solver=dies)
hanging = numpy_implementation(name="hanging", solver=hangs)
"""


@contextmanager
def started(folder: Path, workers: int) -> Iterator[str]:
    """The address of a cluster of so many worker processes, which are no children of this process."""
    script = folder / "cluster.py"
    script.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(script), str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("cluster"), 2) as address:
        yield address


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "hostile.py"
    path.write_text(HOSTILE)
    return path


def _where(_: str) -> tuple[int, int]:
    """The process that does a job, and its parent's parent: the worker of the cluster, behind a keeper."""
    keeper = os.getppid()
    status = Path(f"/proc/{keeper}/status").read_text()
    (worker,) = re.findall(r"^PPid:\s+(\d+)", status, re.MULTILINE)
    return os.getpid(), int(worker)


def _killing_its_worker_once(marker: str) -> str:
    """Kills the worker that it was given to, unless it did so before."""
    if Path(marker).exists():
        return "done by another"
    Path(marker).touch()
    os.kill(_where("")[1], signal.SIGKILL)
    signal.pause()
    return "not killed"


def _killing_its_worker(_: str) -> None:
    os.kill(_where("")[1], signal.SIGKILL)
    signal.pause()


def comparable(report: Any) -> list[Any]:
    return [replace(item, seconds=0.0, implementation_seconds=0.0) for item in report.implementations[0].judgements]


def test_a_cluster_judges_as_this_process_does(scheduler: str) -> None:
    given: dict[str, Any] = {"profile": "detr", "components": ["postprocess", "boxes"], "examples": 5}
    assert comparable(check("reference", **given, scheduler=scheduler)) == comparable(check("reference", **given))


def test_a_violation_is_told_with_its_case(scheduler: str, tmp_path: Path) -> None:
    adapter = tmp_path / "turned.py"
    adapter.write_text(
        "from detr_conformance import numpy_implementation\n"
        "from detr_conformance.implementations.solver import solver\n"
        "implementation = numpy_implementation(name='turned', solver=lambda cost: solver(-cost))\n"
    )
    report = tmp_path / "report.json"
    name = f"{adapter}:implementation"
    asked = ["check", name, "--invariant", "assignment.optimal-total", "--json", str(report)]
    assert run([*asked, "--scheduler", scheduler]) == 1
    (item,) = json.loads(report.read_text())["implementations"]
    assert item["invariants"][0]["verdict"] == "violated"
    assert item["invariants"][0]["counterexample"] is not None


def test_what_dies_or_hangs_costs_its_own_judgement(scheduler: str, hostile: Path) -> None:
    asked: dict[str, Any] = {"invariants": ["assignment.optimal-total"], "scheduler": scheduler, "time_limit": 3.0}
    verdicts = [
        check(f"{hostile}:{name}", **asked).implementations[0].judgements[0].verdict
        for name in ("dying", "hanging", "right")
    ]
    assert verdicts == [Verdict.CRASHED, Verdict.TIMED_OUT, Verdict.HOLDS]


def test_what_a_killed_worker_had_to_do_is_done_by_another(scheduler: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    jobs = [Job(_killing_its_worker_once, (str(marker),), 60.0), *[Job(_where, ("",), 60.0)] * 6]
    with Cluster(scheduler) as cluster:
        found = dict(cluster.outcomes(jobs))
    assert found[0].value == "done by another"
    assert all(found[place].failure is None for place in range(1, 7))


def test_what_loses_every_worker_is_lost_alone(scheduler: str) -> None:
    with Cluster(scheduler) as cluster:
        found = dict(cluster.outcomes([Job(_killing_its_worker, ("",), 60.0), Job(_where, ("",), 60.0)]))
    assert type(found[0].failure).__name__ == "Lost"
    assert "KilledWorker" in str(found[0].failure)
    assert found[1].failure is None


def test_an_interrupted_run_leaves_the_workers_to_the_next(scheduler: str) -> None:
    with Cluster(scheduler) as cluster:
        running = cluster.outcomes([Job(_where, ("",), 60.0)] * 20)
        next(running)
        running.close()  # type: ignore[attr-defined]
        assert len(dict(cluster.outcomes([Job(_where, ("",), 60.0)]))) == 1


def test_what_a_cluster_tells_can_be_sent() -> None:
    import pickle

    for failure in (Died(9), Late("3 s")):
        again = pickle.loads(pickle.dumps(failure))
        assert type(again) is type(failure)
        assert str(again) == str(failure)
    assert pickle.loads(pickle.dumps(Died(9))).exit_code == -9


def test_a_bank_is_hunted_on_a_cluster(scheduler: str, tmp_path: Path) -> None:
    results = []
    for place, where in enumerate((["-n", "0"], ["--scheduler", scheduler])):
        report = tmp_path / f"{place}.json"
        options = ["--seeds", "1", "--survey-examples", "0", "--own", "--json", str(report)]
        assert run(["mutants", "solver-greedy", *options, *where]) == 0
        results.append(json.loads(report.read_text()))
    assert results[0] == results[1]


def test_an_address_without_a_scheduler_is_told() -> None:
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        Cluster("tcp://127.0.0.1:9").__enter__()


def test_a_scheduler_without_a_worker_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("detr_conformance.processes.cluster.PATIENCE", 2.0)
    with started(tmp_path, 0) as alone, pytest.raises(UsageError, match="has no worker; start some"):
        Cluster(alone).__enter__()


def test_the_page_is_executed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "page.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
    )
    assert done.stdout.strip().endswith("0"), done.stderr
