"""The solver for CUDA: what it launches, by a CuPy that is played; and, on a device, it all."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from detr_accelerated.cuda import kernels as cuda_kernels
from detr_accelerated.cuda import solver as cuda_solver

MOST_COLUMNS_PER_THREAD = 8

UNAVAILABLE = cuda_kernels.reason_unavailable()
on_a_device = pytest.mark.skipif(UNAVAILABLE is not None, reason=f"needs a CUDA device and CuPy: {UNAVAILABLE}")


def expected(cost: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    found = torch.full(cost.shape[:2], -1)
    for problem, size in enumerate(sizes):
        queries, targets = linear_sum_assignment(cost[problem, :size].T.cpu().numpy())
        found[problem, targets] = torch.as_tensor(queries)
    return found


@pytest.mark.parametrize(
    "shape", [(3, 5, 9), (2, 9, 5), (2, 6, 6), (2, 4, 70), (1, 1, 1), (0, 3, 4), (2, 0, 4), (2, 3, 0)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_launch_hands_on_what_the_kernel_takes(
    played_cupy: None, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    numbers = torch.Generator().manual_seed(0)
    cost = torch.randint(0, 4, shape, generator=numbers).to(dtype)
    sizes = torch.randint(0, shape[1] + 1, shape[:1], generator=numbers)
    found, statuses = cuda_solver.solve_unchecked(cost, sizes)
    assert found.dtype == torch.int64
    assert torch.equal(found, expected(cost, sizes.tolist()))
    assert statuses.tolist() == [cuda_solver.SOLVED] * shape[0]


def test_costs_and_sizes_may_be_views_and_sizes_of_any_integer_type(played_cupy: None) -> None:
    cost = torch.randint(0, 4, (9, 5, 2), generator=torch.Generator().manual_seed(0)).float().permute(2, 1, 0)
    sizes = torch.tensor([3, 0, 5, 0], dtype=torch.int32)[::2]
    assert torch.equal(cuda_solver.solve_unchecked(cost, sizes)[0], expected(cost, [3, 5]))


def test_more_shared_memory_than_any_kernel_has_is_asked_for(played_cupy: None) -> None:
    kernel = SimpleNamespace(max_dynamic_shared_size_bytes=cuda_solver.SHARED_BYTES_OF_ANY_KERNEL)
    for needed in (50_000, 49_500):
        cuda_solver._allow_shared_bytes(kernel, torch.device("cpu"), needed)
        # Never less than an earlier launch asked for.
        assert kernel.max_dynamic_shared_size_bytes == 50_000


def test_more_shared_memory_than_the_device_has_is_refused(played_cupy: None) -> None:
    with pytest.raises(ValueError, match="take 82436 bytes of shared memory, and the device has 60000"):
        cuda_solver.solve_unchecked(torch.zeros(1, 4096, 4096), torch.tensor([4096]))


@pytest.mark.parametrize("columns", [1, 32, 33, 100, 128, 129, 300, 900, 2048, 2049, cuda_solver.MOST_COLUMNS])
def test_a_block_covers_the_columns_with_whole_warps(columns: int) -> None:
    for targets, queries in ((1, columns), (columns, 1)):
        threads, columns_per_thread = cuda_solver.block_shape(targets, queries)
        assert threads % cuda_kernels.WARP == 0
        assert threads <= cuda_solver.MOST_THREADS
        assert threads * (columns_per_thread - 1) < columns <= threads * columns_per_thread
        assert columns_per_thread <= MOST_COLUMNS_PER_THREAD


@pytest.mark.parametrize(
    ("cost", "sizes", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(3), r"costs are \[3, 4\]"),
        (torch.zeros(2, 3, 4), torch.tensor([1]), r"sizes \[1\]; give \[P, T, Q\] and \[P\]"),
        (torch.zeros(1, 3, 4).half(), torch.tensor([1]), "costs are torch.float16; convert them"),
        (torch.zeros(1, 3, 4), torch.tensor([1.0]), "sizes are torch.float32 on cpu; give integers on cpu"),
        (torch.zeros(1, 1, 4097), torch.tensor([1]), "the queries are 4097 in number, and the targets 1.*at most 4096"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused(cost: torch.Tensor, sizes: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cuda_solver.solve_unchecked(cost, sizes)


def test_costs_on_the_host_are_refused() -> None:
    with pytest.raises(ValueError, match="the costs are on cpu"):
        cuda_solver.solve(torch.zeros(1, 1, 1), torch.tensor([1]))


@pytest.mark.parametrize(
    ("cost", "size", "message"),
    [
        (float("nan"), 1, "problem 1 has a cost that is NaN or -inf"),
        (float("-inf"), 1, "problem 1 has a cost that is NaN or -inf"),
        (float("inf"), 1, "problem 1 has no assignment without a cost of"),
        (0.0, 2, "problem 1 has a size that is negative or more than the rows"),
    ],
)
def test_a_problem_without_an_answer_is_said_where_it_is_asked_for(
    played_cupy: None, cost: float, size: int, message: str
) -> None:
    found, statuses = cuda_solver.solve_unchecked(torch.tensor([[[0.0]], [[cost]]]), torch.tensor([1, size]))
    assert found.tolist() == [[0], [-1]]
    with pytest.raises(ValueError, match=message):
        cuda_solver._check(statuses)


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_kernels.reason_unavailable() is not None
    assert cuda_kernels.reason_unavailable() == "torch sees no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda_kernels.cupy.cache_clear()
    assert cuda_kernels.reason_unavailable() is not None
    assert "install detr-spec[cuda12] or detr-spec[cuda13]" in str(cuda_kernels.reason_unavailable())
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace())
    assert cuda_kernels.reason_unavailable() is None
    cuda_kernels.cupy.cache_clear()


@on_a_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 50, None])
@pytest.mark.parametrize(
    "shape", [(48, 7, 300), (16, 100, 300), (4, 300, 300), (2, 50, 900), (4, 120, 40), (1, 3, 4096), (1, 2500, 3000)]
)
def test_on_a_device_it_answers_as_scipy_does(
    dtype: torch.dtype, levels: int | None, shape: tuple[int, int, int]
) -> None:
    numbers = torch.Generator().manual_seed(0)
    cost = torch.rand(shape, generator=numbers, dtype=dtype)
    if levels is not None:
        cost = (cost * levels).floor()
    sizes = torch.randint(0, shape[1] + 1, shape[:1], generator=numbers)
    found = cuda_solver.solve(cost.cuda(), sizes.cuda(), check=True)
    assert torch.equal(found.cpu(), expected(cost, sizes.tolist()))


@on_a_device
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_on_a_device_the_host_does_not_wait() -> None:
    cost = torch.rand(48, 7, 300, device="cuda")
    sizes = torch.full((48,), 7, device="cuda")
    wanted = cuda_solver.solve(cost, sizes)
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        busy = torch.cuda.Event()
        torch.cuda._sleep(200_000_000)
        found = cuda_solver.solve(cost, sizes)
        busy.record()
        # torch's mode sees torch alone; that the device is still busy shows that CuPy did not wait either.
        assert not busy.query()
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert torch.equal(found, wanted)


@on_a_device
def test_on_a_device_it_runs_on_the_current_stream() -> None:
    stream = torch.cuda.Stream()
    cost = torch.zeros(8, 20, 100, device="cuda")
    sizes = torch.full((8,), 20, device="cuda")
    filled = torch.rand(8, 20, 100, generator=torch.Generator().manual_seed(0)).cuda()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        cost.copy_(filled)
        found = cuda_solver.solve(cost, sizes)
    stream.synchronize()
    assert torch.equal(found.cpu(), expected(filled, [20] * 8))


@on_a_device
def test_on_a_device_a_problem_without_an_answer_is_said() -> None:
    cost = torch.zeros(2, 3, 4, device="cuda")
    cost[1, 2, 3] = torch.nan
    sizes = torch.tensor([3, 3], device="cuda")
    assert cuda_solver.solve(cost, sizes)[1].tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match="problem 1 has a cost that is NaN"):
        cuda_solver.solve(cost, sizes, check=True)
