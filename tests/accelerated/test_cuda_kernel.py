"""The CUDA kernel, run by the host in adversarial orders, answers as scipy does, ties and refusals included.

Beside wrong answers the host sees races and other faults in the use of memory, whatever the order of the threads, and
misuse of barriers and shuffles. On a device compute-sanitizer looks for the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from host_cuda import MEMORY_FAULT, OLDER, ORDERS, without_a_barrier
from scipy.optimize import linear_sum_assignment

from detr_accelerated.cuda import solver as cuda_solver

# (threads, columns a thread); mostly few threads, as the time of the host grows with them.
BLOCKS = ((32, 2), (32, 1), (32, 1), (64, 1), (96, 1))
COUNT = 8


def expected(cost: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The query of each target [P, T] and the statuses [P], by scipy from the costs [Q, n] of each problem."""
    found, statuses = np.full(cost.shape[:2], -1), np.zeros(len(cost), int)
    for problem, (problem_cost, size) in enumerate(zip(cost, sizes, strict=True)):
        try:
            queries, targets = linear_sum_assignment(problem_cost[:size].T)
        except ValueError as error:
            invalid = "invalid numeric entries" in str(error)
            statuses[problem] = cuda_solver.INVALID_COST if invalid else cuda_solver.INFEASIBLE
        else:
            found[problem, targets] = queries
    return found, statuses


def integers(levels: int, offset: float = 0) -> Callable[..., np.ndarray]:
    return lambda numbers, shape: offset + numbers.integers(0, levels, shape).astype(np.float64)


def alike_queries(numbers: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    problems, targets, queries = shape
    spread = 1e-3 * numbers.random((problems, 1, queries)) + 1e-5 * numbers.random(shape)
    return numbers.random((problems, targets, 1)) + spread


def with_infinities(numbers: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Problems in which some or most pairs are forbidden, and one in three also has a NaN or -inf somewhere."""
    cost = numbers.integers(0, 4, shape).astype(np.float64)
    cost[numbers.random(shape) < numbers.choice([0.2, 0.6, 0.9], (shape[0], 1, 1))] = np.inf
    for problem in cost[::3]:
        problem[tuple(numbers.integers(0, problem.shape))] = numbers.choice([np.nan, -np.inf])
    return cost


REGIMES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "two levels": integers(2),
    "all equal": integers(1),
    "six levels": integers(6),
    # Equal sums in decimals, which rounding makes unequal, one way or the other.
    "tenths": lambda numbers, shape: numbers.integers(-9, 10, shape) / 10,
    "negative": lambda numbers, shape: -numbers.integers(0, 5, shape).astype(np.float64),
    "zeros of both signs": lambda numbers, shape: numbers.choice([-0.0, 0.0, 1.0], shape),
    "normal": lambda numbers, shape: numbers.normal(size=shape),
    "offset 1e4": integers(50, 1e4),
    "offset 1e8": integers(50, 1e8),
    "tenths at 1e6": lambda numbers, shape: 1e6 + numbers.integers(0, 20, shape) / 10,
    "alike queries": alike_queries,
    "infinities": with_infinities,
}


@dataclass(frozen=True)
class Batch:
    cost: np.ndarray
    sizes: np.ndarray
    threads: int
    columns_per_thread: int
    order: str
    seed: int

    def disagrees(self, kernel: Callable[..., tuple[np.ndarray, np.ndarray]]) -> bool:
        """Whether the answers of the kernel are not scipy's."""
        answers = kernel(
            self.cost,
            self.sizes,
            threads=self.threads,
            columns_per_thread=self.columns_per_thread,
            order=self.order,
            seed=self.seed,
        )
        pairs = zip(answers, expected(self.cost, self.sizes), strict=True)
        return not all(np.array_equal(answer, wanted) for answer, wanted in pairs)


def batches(regime: str, order: str, count: int) -> Iterator[Batch]:
    """Batches of ten problems of all shapes, small ones and some that fill a warp, in float32 and float64."""
    numbers = np.random.default_rng([list(REGIMES).index(regime), ORDERS.index(order)])
    for seed in range(count):
        threads, columns_per_thread = BLOCKS[seed % len(BLOCKS)]
        shortest, longest = (1, 9) if seed % 3 else (25, min(threads * columns_per_thread, 40))
        targets, queries = numbers.integers(shortest, longest + 1, 2)
        if seed % 4 == 0:
            targets = queries
        elif seed % 4 == 1:
            targets, queries = max(targets, queries), min(targets, queries)
        cost = REGIMES[regime](numbers, (10, targets, queries)).astype(numbers.choice([np.float32, np.float64]))
        sizes = numbers.integers(0, targets + 1, 10)
        sizes[::3] = targets
        yield Batch(cost, sizes, threads, columns_per_thread, order, seed)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("regime", REGIMES)
def test_it_answers_as_scipy_does(host_kernel: Callable, regime: str, order: str) -> None:
    for batch in batches(regime, order, count=COUNT):
        assert not batch.disagrees(host_kernel), batch


@pytest.mark.parametrize("regime", REGIMES)
def test_on_an_older_device_too(older_kernel: Callable, regime: str) -> None:
    for batch in batches(regime, "random warps", count=COUNT):
        assert not batch.disagrees(older_kernel), batch


@pytest.mark.parametrize("regime", ["two levels", "tenths", "alike queries"])
@pytest.mark.parametrize("shape", [(3, 12, 300), (1, 60, 90), (2, 130, 9), (1, 4, 600)])
def test_large_problems_in_blocks_as_they_are_launched(
    host_kernel: Callable, regime: str, shape: tuple[int, int, int]
) -> None:
    cost = REGIMES[regime](np.random.default_rng(0), shape).astype(np.float32)
    threads, columns_per_thread = cuda_solver.block_shape(*shape[1:])
    sizes = np.array([shape[1], shape[1] // 2, 1])[: shape[0]]
    assert not Batch(cost, sizes, threads, columns_per_thread, "random warps", 0).disagrees(host_kernel)


def test_each_regime_and_orientation_does_occur() -> None:
    statuses, orientations = set(), set()
    for batch in batches("infinities", "ascending", count=COUNT):
        statuses |= set(expected(batch.cost, batch.sizes)[1])
        orientations |= set(np.sign(batch.sizes - batch.cost.shape[2]))
    assert statuses == {cuda_solver.SOLVED, cuda_solver.INVALID_COST, cuda_solver.INFEASIBLE}
    assert orientations == {-1, 0, 1}


@pytest.mark.parametrize("shape", [(2, 3, 0), (2, 1, 1), (1, 1, 5), (3, 4, 4)])
def test_empty_and_smallest_problems(host_kernel: Callable, shape: tuple[int, int, int]) -> None:
    cost = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    for sizes in (np.zeros(shape[0], int), np.full(shape[0], shape[1])):
        assert not Batch(cost, sizes, 32, 1, "random warps", 0).disagrees(host_kernel)


def test_what_lies_beyond_the_size_is_not_looked_at(host_kernel: Callable) -> None:
    cost = np.random.default_rng(0).integers(0, 3, (4, 6, 5)).astype(np.float64)
    sizes = np.array([0, 2, 5, 6])
    for problem_cost, size in zip(cost, sizes, strict=True):
        problem_cost[size:] = np.nan
    found, statuses = host_kernel(cost, sizes, threads=32, columns_per_thread=1)
    np.testing.assert_array_equal(found, expected(cost, sizes)[0])
    assert not statuses.any()


def test_a_size_out_of_range_is_refused_and_disturbs_no_other_problem(host_kernel: Callable) -> None:
    cost = np.random.default_rng(0).normal(size=(4, 3, 5))
    found, statuses = host_kernel(cost, np.array([3, 4, -1, 2]), threads=32, columns_per_thread=1)
    bad = cuda_solver.INVALID_SIZE
    assert statuses.tolist() == [cuda_solver.SOLVED, bad, bad, cuda_solver.SOLVED]
    np.testing.assert_array_equal(found, expected(cost, np.array([3, 0, 0, 2]))[0])


def test_an_invalid_cost_goes_before_an_infeasible_problem(host_kernel: Callable) -> None:
    cost = np.full((1, 3, 4), np.inf)
    cost[0, 2, 1] = np.nan
    found, statuses = host_kernel(cost, np.array([3]), threads=32, columns_per_thread=1)
    assert statuses.tolist() == [cuda_solver.INVALID_COST]
    assert (found == -1).all()


# The second one's rows and columns take less than the tile by which it is turned.
@pytest.mark.parametrize("shape", [(1, 5, 9), (1, 40, 33)])
def test_the_shared_memory_of_the_launch_suffices_and_not_a_byte_less(
    host_kernel: Callable, shape: tuple[int, int, int]
) -> None:
    needed = cuda_solver.shared_bytes(32, *shape[1:])
    run = {"cost": np.zeros(shape), "sizes": np.array([shape[1]]), "threads": 32, "columns_per_thread": 2}
    host_kernel(**run, shared_bytes=needed)
    with pytest.raises(RuntimeError, match="memory that the launch was not given"):
        host_kernel(**run, shared_bytes=needed - 1)


def solve_all(kernel: Callable, regime: str, order: str) -> bool:
    """Solve all batches until an answer is not scipy's, and return whether there was none."""
    return not any(batch.disagrees(kernel) for batch in batches(regime, order, COUNT))


UNGUARDED = without_a_barrier(cuda_solver.SOURCE.read_text())


@pytest.mark.thorough
@pytest.mark.parametrize("line", UNGUARDED)
def test_without_any_of_its_barriers_memory_is_at_fault_in_every_order(compile_kernel: Callable, line: int) -> None:
    kernel = compile_kernel(UNGUARDED[line], 800, "SMALL")
    for order in ORDERS:
        with pytest.raises(RuntimeError, match=MEMORY_FAULT):
            solve_all(kernel, "two levels", order)


# By name: the regime that shows it, the text of the source that is changed, and what it becomes.
DEFECTS = {
    "what other threads have met not learnt": ("infinities", "__syncthreads_or(met.invalid)", "met.invalid"),
    "one thread's row without a column": ("infinities", "!__syncthreads_or(met.infeasible)", "!met.infeasible"),
    "one set of places for the reduction": ("two levels", "(step++ % 2) *", "(step++ * 0) *"),
    "a barrier that one thread passes twice": (
        "two levels",
        "            nearest = first_of_block",
        "            if (thread == 5) __syncthreads();\n            nearest = first_of_block",
    ),
    "a minimum without some lanes": (
        "two levels",
        "    const unsigned least_high =",
        "    if (rank == REACHED) return rank;\n    const unsigned least_high =",
    ),
    "the upper half of distances alone": ("tenths", "&& low == least_low", ""),
    "the lower half of any distance": ("tenths", "high == least_high ? low : 0xffffffff", "low"),
    "negative distances among the positive ones": (
        "negative",
        "return bits ^ (bits >> 63 | SIGN);",
        "return bits & ~SIGN;",
    ),
    "negative distances read as positive": ("negative", "(~(bits >> 63) | SIGN)", "SIGN"),
    "every lane writes what it has": ("two levels", "if (own.rank == rank && (rank", "if ((rank"),
    "nothing written where nothing is left": (
        "infinities",
        "(rank != REACHED || thread % WARP == 0)",
        "rank != REACHED",
    ),
    "the last warp left out": ("two levels", "warp = 1; warp < WARPS;", "warp = 1; warp < WARPS - 1;"),
    "costs of another row": (
        "two levels",
        "k < COLUMNS; ++k) c[k] = cost[row *",
        "k < COLUMNS; ++k) c[k] = cost[row / 2 *",
    ),
    "first choices of another row": (
        "two levels",
        "k < AT_ONCE; ++k) c[k] = cost[row *",
        "k < AT_ONCE; ++k) c[k] = cost[min(row + 1, num_rows - 1) *",
    ),
    "turned costs not read": ("two levels", "(rows_are_targets ? costs : turned)", "costs"),
    "rows of turned costs as short as the problem": (
        "two levels",
        "num_queries : most_targets;",
        "num_queries : num_targets;",
    ),
    "a tile read as it was written": ("two levels", "tile[lane * TILE_STRIDE + i]", "tile[i * TILE_STRIDE + lane]"),
    "<= for <": ("two levels", "is_open && through < distance[k]", "is_open && through <= distance[k]"),
    "columns that do not exist": ("two levels", "is_open && through < distance[k]", "through < distance[k]"),
    "the first unmatched of the nearest": ("two levels", "unmatched ? 0x7fffu :", "unmatched ? 0u :"),
    "the last matched of the nearest": ("two levels", ": 0x8000u) << 16 | column", ": 0xbfffu) << 16 | column"),
    "matched and unmatched alike": (
        "two levels",
        "base_of_rank(column, matched_row[k] == NONE)",
        "base_of_rank(column, true)",
    ),
    "no place of the last column": ("two levels", "? rank_at(place, base[k]) : rank[k]", "? rank[k] : rank[k]"),
    "rows matched since not learnt": (
        "two levels",
        "matched_row[k] = column < num_columns ?",
        "if (start == 0) matched_row[k] = column < num_columns ?",
    ),
    "the row of another column": ("two levels", "rank[k], matched_row[k]};", "rank[k], matched_row[0]};"),
    "float32 prices of columns": ("tenths", "double v[COLUMNS], distance", "float v[COLUMNS]; double distance"),
    "float32 distances": ("tenths", "double v[COLUMNS], distance", "float distance[COLUMNS]; double v"),
    "another order of the sum": (
        "tenths at 1e6",
        "length + c[k] - u_of_row - v[k]",
        "length + (c[k] - u_of_row - v[k])",
    ),
    "prices of rows not kept": ("six levels", "u[matched_row[k]] += length - distance[k];", ""),
    "prices of columns not kept": ("six levels", "v[k] -= length - distance[k];", ""),
    "the price of the start not kept": ("six levels", "u[start] = length;", "u[start] = 0;"),
    "targets as rows of square problems": ("two levels", "num_targets < num_queries;", "num_targets <= num_queries;"),
    "all rows for the size": ("two levels", "static_cast<int>(sizes[problem]) : 0", "most_targets : 0"),
    "NaN let through": ("infinities", "return !(cost > -infinity());", "return cost == -infinity();"),
    "-inf let through": ("infinities", "return !(cost > -infinity());", "return !(cost >= -infinity());"),
    "costs not looked at": ("infinities", "met.invalid |= is_invalid(c[k]);", ""),
    "one row in two looked at": ("two levels", "row += WARPS) {", "row += 2 * WARPS) {"),
    "the last of several first choices": ("two levels", "nearest = c[k] < least ?", "nearest = c[k] <= least ?"),
    "the first choice of a lane": ("six levels", "= first_rank_of_warp(order_of(price), nearest)", "= nearest"),
    "-0 before 0": ("zeros of both signs", "price = 0.0 + least;", "price = least;"),
    "a first choice without its price": ("six levels", "u[row] = price;", "u[row] = 0;"),
    "first choices that are taken": (
        "two levels",
        "start < num_rows && row_of[column_of[start]] == NONE",
        "start < num_rows",
    ),
    "first choices after a price rose": ("tenths", "= prices_only_fell ?", "= true ?"),
    "costs of the row after the last start": (
        "two levels",
        "if (start != loaded) load_costs",
        "if (loaded == NONE) load_costs",
    ),
    "an infeasible problem called solved": ("infinities", ": feasible ? SOLVED : INFEASIBLE", ": SOLVED"),
}


# The same of what changes no answer, and is a fault in the use of memory all the same.
DEFECTS_OF_MEMORY = {
    "a column behind the last": (
        "two levels",
        "min(thread + k * THREADS, num_columns - 1)];\n    };",
        "thread + k * THREADS];\n    };",
    ),
    "a first choice behind the last": ("two levels", "min(column + k * WARP, num_columns - 1)", "column + k * WARP"),
    "columns that nobody has left unmatched": ("two levels", "row_of[column] = NONE;", ""),
    "the same price by all threads": ("two levels", "if (thread == 0) u[start] = length;", "u[start] = length;"),
    "the same path by two threads": ("two levels", "if (thread == 0) augment(", "if (thread < 2) augment("),
    "the same status by all threads": ("two levels", "if (thread == 0) {\n        statuses", "{\n        statuses"),
}


# The same of what only devices before Ampere's run.
DEFECTS_OF_OLDER = {
    "a shuffle without some lanes": (
        "two levels",
        "        unsigned other =",
        "        if (value == REACHED) continue;\n        unsigned other =",
    ),
    "a shuffle with lanes that are not there": ("two levels", "offset = WARP / 2", "offset = WARP"),
    "half of the lanes left out": ("two levels", "offset = WARP / 2", "offset = WARP / 4"),
}
PLANTED = [(800, name, defect) for name, defect in (DEFECTS | DEFECTS_OF_MEMORY).items()]
PLANTED += [(OLDER, name, defect) for name, defect in DEFECTS_OF_OLDER.items()]


@pytest.mark.thorough
@pytest.mark.parametrize(("architecture", "defect"), [pytest.param(a, d, id=name) for a, name, d in PLANTED])
def test_a_planted_defect_is_found(
    compile_kernel: Callable, found_apart: Callable, architecture: int, defect: tuple[str, str, str]
) -> None:
    regime, healthy, broken = defect
    source = cuda_solver.SOURCE.read_text()
    assert source.count(healthy) == 1, "the defect cannot be planted, as the source has changed"
    kernel = compile_kernel(source.replace(healthy, broken), architecture, "SMALL")

    def is_found() -> bool:
        try:
            return not all(solve_all(kernel, regime, order) for order in ORDERS)
        except RuntimeError:
            return True

    assert found_apart(is_found)
