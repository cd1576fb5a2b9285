"""Ranks as processes: reused, bounded in time whatever they do, and gone when nobody needs them."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from detr_conformance.bridges import torch_ranks
from detr_conformance.bridges.torch_ranks import Group, RankError, Ranks, ranks_available
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_conformance.processes.pool import Job, Pool
from detr_spec.configuration import Configuration
from detr_spec.implementation import Criterion
from detr_spec.profiles import DETR
from detr_spec.values import Answer, Losses, Observation, Outputs, Target, Targets
from detr_spec.violation import NotProvided, RankFailure, Violation

pytestmark = pytest.mark.skipif(not ranks_available(), reason="needs gloo, and a process that may fork")

CONFIGURATION = Configuration(profile=DETR)
PATIENCE = 0.5
OWN_COMMAND = Path("/proc/self/cmdline").read_bytes()

Batch = tuple[Outputs, Targets]
Count = Callable[[int], float]


def batch(boxes: int) -> Batch:
    outputs = Outputs(np.zeros((1, 2, 2)), np.full((1, 2, 4), 0.5))
    return outputs, (Target(np.zeros(boxes, dtype=np.int64), np.full((boxes, 4), 0.5)),)


def batches(*boxes: int) -> list[Batch]:
    return [batch(count) for count in boxes]


def component(count: Count, patience: float = 20.0) -> Ranks:
    """Ranks that answer with what `count` says of their number of boxes, as the loss "count"."""

    def build(_: Configuration) -> Criterion:
        def call(outputs: Outputs, targets: Targets) -> Answer[Losses]:
            seen = Observation(mutated=("boxes",), dtypes={"count": "float32"})
            return Answer(Losses({"count": count(len(targets[0]))}), seen)

        return call

    return Ranks(build, patience=patience)


def counts(ranks: Ranks, *boxes: int) -> list[float]:
    answer = ranks(CONFIGURATION)(batches(*boxes))
    return [losses.values["count"] for losses in answer.value]


def summed(number: float) -> float:
    total = torch.tensor(float(number))
    if dist.is_initialized():
        dist.all_reduce(total)
    return float(total)


def children() -> list[int]:
    """The processes that this one forked, zombies too; not that of multiprocessing, which runs another program."""
    found = map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    return [pid for pid in found if Path(f"/proc/{pid}/cmdline").read_bytes() in (b"", OWN_COMMAND)]


def close_all() -> None:
    for group in torch_ranks._groups.values():
        group.close()
    torch_ranks._groups.clear()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    close_all()
    before = set(children())
    yield
    close_all()
    assert set(children()) == before


@pytest.mark.parametrize("boxes", [(1, 2), (0, 5), (3, 0, 1)])
def test_ranks_reduce_over_one_another(boxes: tuple[int, ...]) -> None:
    assert counts(component(summed), *boxes) == [sum(boxes)] * len(boxes)


def test_each_rank_gets_its_own_batch_and_what_was_seen_is_told_by_rank() -> None:
    answer = component(float)(CONFIGURATION)(batches(2, 0, 1))
    assert [losses.values for losses in answer.value] == [{"count": 2}, {"count": 0}, {"count": 1}]
    assert answer.observation.mutated == ("boxes of rank 0", "boxes of rank 1", "boxes of rank 2")
    assert answer.observation.dtypes["count of rank 2"] == "float32"


def test_one_batch_is_answered_here_and_without_a_group() -> None:
    assert counts(component(lambda _: os.getpid() * (not dist.is_initialized())), 1) == [os.getpid()]
    assert not children()


def test_a_rank_is_what_a_launcher_starts() -> None:
    def described(_: int) -> float:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        rank, local, size, local_size = (int(os.environ[name]) for name in names)
        same = (rank, size) == (dist.get_rank(), dist.get_world_size()) == (local, local_size)
        return rank + 10 * same + 100 * (torch.get_num_threads() == 1)

    assert counts(component(described), 1, 1, 1) == [110, 111, 112]
    assert "RANK" not in os.environ
    assert not dist.is_initialized()


def test_ranks_stay_for_the_next_case() -> None:
    ranks = component(lambda _: os.getpid())
    first = counts(ranks, 1, 1)
    assert counts(ranks, 0, 2) == first
    assert len({os.getpid(), *first, *counts(ranks, 1, 1, 1)}) == 6
    assert counts(ranks, 1, 1) == first


def test_few_groups_are_kept() -> None:
    for _ in range(3):
        counts(component(float), 1, 1)
    assert len(children()) == 2 * torch_ranks.MOST_GROUPS


def test_every_call_starts_from_the_same_random_state_in_every_rank() -> None:
    ranks = component(lambda _: random.random() + np.random.random() + float(torch.rand(())))
    torch.rand(3)
    first = counts(ranks, 1, 1)
    assert first[0] == first[1]
    assert counts(ranks, 0, 1) == first
    close_all()
    torch.rand(3)
    assert counts(ranks, 1, 1) == first


def test_forward_passes_work_after_gradients_and_threads_in_the_parent() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        matrix = torch.rand(300, 300, requires_grad=True)
        (matrix @ matrix).softmax(-1).sum().backward()
        assert (
            counts(component(lambda _: float((torch.ones(300, 300) @ torch.ones(300, 300)).sum())), 1, 1)
            == [300.0**3] * 2
        )
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("item", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
def test_the_reference_answers_on_ranks(item: Any) -> None:
    configuration = Configuration(profile=item.profile)
    outputs = Outputs(np.zeros((1, 3, configuration.columns)), np.full((1, 3, 4), 0.5))
    given = [(outputs, (Target(np.zeros(n, dtype=np.int64), np.full((n, 4), 0.25)),)) for n in (1, 3)]
    losses = item.component("distributed")(configuration)(given).value
    assert [one.values["loss_bbox"] for one in losses] == [0.5, 1.5]
    assert losses[1].matchings is not None


def waits_for_the_others(boxes: int) -> float:
    return summed(boxes) if boxes else 0.0


def test_a_rank_that_waits_in_vain_is_told_in_bounded_time() -> None:
    ranks = component(waits_for_the_others, PATIENCE)
    start = time.monotonic()
    with pytest.raises(RankFailure, match=r"^rank 1 answered; rank 0 did not answer within 0.5 s and may wait"):
        counts(ranks, 1, 0)
    assert time.monotonic() - start < 15
    assert not children()
    assert counts(ranks, 1, 2) == [3, 3]


def test_what_takes_long_the_first_time_is_no_failure() -> None:
    done: list[bool] = []

    def imports_something_large(boxes: int) -> float:
        if not done:
            time.sleep(4 * PATIENCE)
            done.append(True)
        return boxes

    assert counts(component(imports_something_large, PATIENCE), 1, 2) == [1, 2]


def test_what_is_slow_here_too_may_be_slow_in_ranks() -> None:
    def slow(boxes: int) -> float:
        time.sleep(2 * PATIENCE)
        return boxes

    assert counts(component(slow, PATIENCE), 1, 2) == [1, 2]


def test_a_failure_must_come_again_in_fresh_ranks(tmp_path: Path) -> None:
    def once(boxes: int) -> float:
        if dist.is_initialized() and not (tmp_path / "there").exists():
            (tmp_path / "there").mkdir(exist_ok=True)
            os._exit(1)
        return boxes

    assert counts(component(once), 1, 2) == [1, 2]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda: os._exit(7), "rank 1 died, with exit code 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "rank 1 died, by signal SIGKILL"),
    ],
)
def test_a_rank_that_dies_is_told(end: Callable[[], None], message: str) -> None:
    def dies(boxes: int) -> float:
        if dist.is_initialized() and dist.get_rank() == 1:
            end()
        return summed(boxes)

    with pytest.raises(RankFailure, match=message):
        counts(component(dies), 1, 1, 1)
    assert not children()


def test_ranks_that_died_between_two_cases_are_replaced() -> None:
    ranks = component(lambda _: os.getpid())
    os.kill(int(counts(ranks, 1, 1)[0]), signal.SIGKILL)
    assert len(counts(ranks, 1, 1)) == 2


def test_what_a_rank_raises_names_the_rank_and_keeps_the_group() -> None:
    def raises(boxes: int) -> float:
        if boxes == 0:
            raise ValueError("there are no boxes")
        return os.getpid()

    ranks = component(raises)
    before = counts(ranks, 1, 1)
    with pytest.raises(RankError, match=r"^rank 1: ValueError: there are no boxes$") as error:
        counts(ranks, 1, 0)
    assert "in raises" in str(error.value.__cause__)
    assert counts(ranks, 1, 1) == before


def test_a_rank_that_raises_while_others_wait_is_named() -> None:
    def raises(boxes: int) -> float:
        return summed(1 / boxes)

    with pytest.raises(RankFailure, match=r"rank 0 raised ZeroDivisionError.*; rank 1 did not answer"):
        counts(component(raises, PATIENCE), 0, 1)


def test_exits_and_violations_arrive() -> None:
    def ends(boxes: int) -> float:
        if boxes:
            raise Violation("wrong", expected=1, got=[2])
        return sys.exit(4)

    with pytest.raises(RankError, match="rank 0: SystemExit: 4"):
        counts(component(ends), 0, 0)
    with pytest.raises(Violation, match="wrong") as violation:
        counts(component(ends), 1, 1)
    assert (violation.value.expected, violation.value.got) == (1, [2])


def test_an_answer_that_cannot_be_sent_is_told() -> None:
    with pytest.raises(RankError, match="cannot be sent"):
        counts(component(lambda _: lambda: None), 1, 1)  # type: ignore[arg-type, return-value]


def test_nothing_is_printed_and_interrupts_are_the_parents(capfd: pytest.CaptureFixture[str]) -> None:
    def speaks(_: int) -> float:
        print("printed")
        print("printed", file=sys.stderr)
        os.system("echo printed")
        os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    assert counts(component(speaks), 1, 1) == [1, 1]
    assert capfd.readouterr() == ("", "")


def test_other_devices_are_not_provided() -> None:
    with pytest.raises(NotProvided, match="not on cuda"):
        component(float)(Configuration(profile=DETR, device="cuda"))


def test_ranks_that_cannot_be_started_are_not_provided(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(NotProvided, match="ranks cannot be started: no more processes"):
        counts(component(float), 1, 1)


def test_ranks_that_do_not_meet_are_not_provided(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no such interface")

    monkeypatch.setattr(dist, "init_process_group", refuse)
    with pytest.raises(NotProvided, match="no such interface"):
        counts(component(float), 1, 1)
    assert not children()


def test_a_group_that_is_forgotten_ends() -> None:
    group = Group(component(float)._build, 2)
    assert len(children()) == 2
    del group
    gc.collect()
    assert not children()


def in_a_worker() -> tuple[list[float], list[int]]:
    return counts(component(summed), 1, 2), children()


def test_ranks_work_in_a_worker_process_and_end_with_it() -> None:
    with Pool(1) as pool:
        ((_, outcome),) = pool.outcomes([Job(in_a_worker, (), 120)])
        answer, processes = outcome.value
        assert answer == [3, 3]
        assert all(map(alive, processes))
    assert_ended(processes)


def alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def assert_ended(processes: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(map(alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import test_torch_ranks as here

ranks = here.component({count})
print(*map(int, here.counts(here.component(lambda _: os.getpid()), 1, 1)), flush=True)
here.counts(ranks, 1, 0)
{end}
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("count", "end", "number"),
    [
        ("float", "", None),
        ("float", "os._exit(0)", None),
        ("float", "time.sleep(600)", signal.SIGKILL),
        ("here.waits_for_the_others", "", signal.SIGINT),
        ("here.waits_for_the_others", "", signal.SIGKILL),
    ],
    ids=["end", "hard end", "killed", "interrupted in a call", "killed in a call"],
)
def test_ranks_end_with_the_process_that_judges(count: str, end: str, number: int | None, tmp_path: Path) -> None:
    script = SCRIPT.format(folder=str(Path(__file__).parent), count=count, end=end)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    ) as judge:
        assert judge.stdout is not None
        processes = [int(pid) for pid in judge.stdout.readline().split()]
        assert len(processes) == 2
        if number is not None:
            time.sleep(1)
            processes += map(int, Path(f"/proc/{judge.pid}/task/{judge.pid}/children").read_text().split())
            judge.send_signal(number)
        judge.wait(60)
    assert_ended(processes)
    assert list(tmp_path.iterdir()) == []
