"""The assignment: scipy's own choice in every problem, with ties, in either orientation, in any number of threads."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pebble import concurrent
from scipy.optimize import linear_sum_assignment

from detr_accelerated import assignment
from detr_accelerated.compiled import calling as compiled
from detr_accelerated.compiled.calling import Function
from detr_accelerated.cuda import kernels as cuda_kernels
from detr_accelerated.cuda import solver as cuda_solver

THREADS = torch.get_num_threads()


@pytest.fixture(params=["scipy", "numba"])
def solver(request: pytest.FixtureRequest) -> Function:
    if request.param == "scipy":
        return assignment.solve_with_scipy
    pytest.importorskip("numba", reason="the optional package numba is not installed")
    from detr_accelerated.compiled.kernels.solver import solve_with_numba

    return solve_with_numba


@pytest.fixture
def threads() -> Iterator[None]:
    yield
    torch.set_num_threads(THREADS)


def expected(cost: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The query of each target as the reference finds it, from costs with the queries as rows."""
    columns = np.full(cost.shape[:2], -1)
    for problem, size, found in zip(cost, sizes, columns, strict=True):
        queries, targets = linear_sum_assignment(problem[:size].T)
        found[targets] = queries
    return columns


@pytest.mark.parametrize("levels", [1, 2, 4, 20, None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_what_scipy_finds_under_many_ties(solver: Function, levels: int | None, dtype: type) -> None:
    numbers = np.random.default_rng([levels or 0, dtype().itemsize])
    for _ in range(150):
        shape = tuple(numbers.integers(1, (4, 13, 13)))
        cost = numbers.normal(size=shape) if levels is None else numbers.integers(-levels, levels, shape)
        sizes = numbers.integers(0, shape[1] + 1, shape[0])
        columns = np.full(shape[:2], -1)
        solver(cost.astype(dtype), sizes, columns)
        np.testing.assert_array_equal(columns, expected(cost.astype(dtype), sizes))


@pytest.mark.parametrize("regime", ["alike queries", "large offset"])
def test_long_augmenting_paths_and_offsets_are_exact(solver: Function, regime: str) -> None:
    numbers = np.random.default_rng(0)
    if regime == "alike queries":
        cost = numbers.random((3, 25, 1)) + 1e-3 * numbers.random((3, 1, 60)) + 1e-5 * numbers.random((3, 25, 60))
    else:
        cost = 1e4 + numbers.integers(0, 50, (3, 25, 60))
    cost, sizes, columns = cost.astype(np.float32), np.full(3, 25), np.full((3, 25), -1)
    solver(cost, sizes, columns)
    np.testing.assert_array_equal(columns, expected(cost, sizes))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_threads_share_the_problems_and_change_nothing(
    count: int, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "ELEMENTS_WORTH_A_THREAD", 1)
    torch.set_num_threads(count)
    cost = torch.randint(0, 9, (7, 4, 6), generator=torch.Generator().manual_seed(0)).float()
    sizes = [4, 0, 1, 2, 4, 3, 4]
    columns = assignment.solve(cost, sizes)
    assert columns.dtype == torch.int64
    np.testing.assert_array_equal(columns.numpy(), expected(cost.numpy(), np.array(sizes)))


def test_an_error_in_another_thread_is_raised(threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "ELEMENTS_WORTH_A_THREAD", 1)
    monkeypatch.setattr(compiled, "installed", lambda: False)
    torch.set_num_threads(2)
    cost = torch.zeros(2, 2, 3)
    cost[1] = torch.nan
    with pytest.raises(ValueError, match="invalid numeric entries"):
        assignment.solve(cost, [2, 2])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(60, 3, 5), (60, 5, 3), (60, 4, 4)])
def test_broken_costs_that_nobody_looked_at_end_nothing(broken: float, shape: tuple[int, int, int]) -> None:
    pytest.importorskip("numba", reason="the optional package numba is not installed")
    from detr_accelerated.compiled.kernels.solver import solve_with_numba

    numbers = np.random.default_rng(0)
    cost = numbers.integers(0, 3, shape).astype(np.float32)
    cost[numbers.random(shape) < numbers.choice([0.2, 0.6, 1], (shape[0], 1, 1))] = broken

    def answers() -> np.ndarray:
        columns = np.full(shape[:2], -1)
        solve_with_numba(cost, np.full(shape[0], shape[1]), columns)
        return columns

    # In a process of its own, which a search without end does not outlive.
    columns = concurrent.process(answers, context=get_context("fork"), timeout=60)().result()
    assert ((columns >= -1) & (columns < shape[2])).all()


@pytest.mark.parametrize("shape", [(3, 0, 4), (0, 2, 4)])
def test_there_may_be_nothing_to_assign(shape: tuple[int, int, int]) -> None:
    assert assignment.solve(torch.zeros(shape), [0] * shape[0]).shape == shape[:2]


@pytest.fixture
def cuda_without_cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with a CUDA device where CuPy is not installed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    for function in (cuda_kernels._usable, cuda_kernels.cupy):
        function.cache_clear()
    yield
    for function in (cuda_kernels._usable, cuda_kernels.cupy):
        function.cache_clear()


class OnDevice:
    """A tensor of the host that says that it is on a CUDA device, and may be copied from there and to there."""

    device = SimpleNamespace(type="cuda")

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        self.shape, self.copied = values.shape, 0

    def numel(self) -> int:
        return self.values.numel()

    def cpu(self) -> torch.Tensor:
        self.copied += 1
        return self.values


def test_without_cupy_costs_on_cuda_are_solved_on_the_host_and_it_says_so_once(
    cuda_without_cupy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "to", lambda columns, device: columns)
    cost = torch.randint(0, 9, (3, 4, 6), generator=torch.Generator().manual_seed(0)).float()
    given = OnDevice(cost)
    with pytest.warns(UserWarning, match=r"no kernels for CUDA: CuPy.*detr-spec\[cuda12\].*the host the assignment"):
        first = assignment.solve(given, [4, 0, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = assignment.solve(given, [4, 0, 2])
    assert given.copied == 2
    for columns in (first, second):
        np.testing.assert_array_equal(columns.numpy(), expected(cost.numpy(), np.array([4, 0, 2])))


def test_more_columns_than_the_kernel_has_room_for_are_solved_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "to", lambda columns, device: columns)
    monkeypatch.setattr(assignment, "run_on", lambda device: pytest.fail("the kernel was asked"))
    cost = torch.rand(1, 2, cuda_solver.MOST_COLUMNS + 1, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(assignment.solve(OnDevice(cost), [2]).numpy(), expected(cost.numpy(), np.array([2])))


def test_threads_are_kept_and_a_fork_has_its_own(threads: None) -> None:
    torch.set_num_threads(2)
    numbers = np.random.default_rng(0)
    cost = torch.tensor(numbers.normal(size=(40, 60, 300)), dtype=torch.float32)
    wanted = expected(cost.numpy(), np.full(40, 60))

    def is_solved() -> bool:
        return np.array_equal(assignment.solve(cost, [60] * 40).numpy(), wanted)

    assert is_solved()
    running = threading.active_count()
    assert is_solved()
    assert threading.active_count() == running
    assert concurrent.process(is_solved, context=get_context("fork"), timeout=60)().result()
