"""Faults in the use of memory are seen by the host's CUDA in any order of threads, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from host_cuda import ORDERS, Extent, Library

THREADS, BLOCKS = 64, 2

SOUND = {
    "each thread its own": "shared[thread] = given[thread]; *own = shared[thread];",
    "written twice by one thread": "shared[thread] = 1; shared[thread] += 2;",
    "read by all": "*own = given[0] + given[1];",
    "read behind a barrier": "shared[thread] = 1; __syncthreads(); *own = shared[last - thread];",
    "read behind a barrier that tells something": (
        "shared[thread] = 1; __syncthreads_or(thread == 3); *own = shared[last - thread];"
    ),
    "written behind a barrier": (
        "shared[thread] = 1; __syncthreads(); *own = shared[0]; __syncthreads(); shared[last - thread] = 2;"
    ),
    "in pieces": "shared[thread] = 1; __syncthreads(); if (thread < 16) pairs[thread] = {1, 2};",
    "a place of one output by each block": "if (thread == 0) found[block] = 1;",
    "one place of shared memory by each block": "if (thread == 0) shared[0] = block, *own = shared[0];",
    "another lane's by a shuffle": "*own = __shfl_xor_sync(0xffffffff, thread, 1);",
    "on the stack": "int many[40]; for (int k = 0; k < 40; ++k) many[k * 7 % 40] = k; *own = many[given[thread] % 40];",
}

RACE, UNWRITTEN, OUTSIDE = "with no barrier between", "where nobody has written", "that the launch was not given"

FAULTS = {
    "one place written by two threads": (RACE, "shared[thread / 2] = thread;"),
    "the same written by all": (RACE, "shared[0] = 1;"),
    "read where another writes": (
        RACE,
        "shared[thread] = 1; __syncthreads(); if (thread == 5) shared[0] = 2; if (thread == 50) *own = shared[0];",
    ),
    "written where several read": (
        RACE,
        "shared[thread] = 1; __syncthreads(); *own = shared[0]; if (thread == 0) shared[0] = 2;",
    ),
    "lanes that only a shuffle keeps apart": (
        RACE,
        "shared[thread] = 1; __syncthreads(); *own = shared[thread]; __shfl_xor_sync(0xffffffff, thread, 1);"
        "shared[thread ^ 1] = 2;",
    ),
    "a part of what another reads": (
        RACE,
        "shared[thread] = 1; __syncthreads(); if (thread == 0) pairs[0] = {1, 2}; if (thread == 9) *own = shared[3];",
    ),
    "one place of an output by two blocks": (RACE, "if (thread == 0) found[7] = 1;"),
    "what another block writes": (
        RACE,
        "if (thread == 0 && block == 0) found[0] = 1; if (thread == 0 && block == 1) *own = found[0];",
    ),
    "what another block reads": (
        RACE,
        "if (thread == 0 && block == 0) *own = given[0]; if (block == 1) const_cast<int*>(given)[thread] = 1;",
    ),
    "shared memory before it is written": (UNWRITTEN, "*own = shared[thread];"),
    "shared memory of the block before": (UNWRITTEN, "if (block == 0) shared[thread] = 1; else *own = shared[thread];"),
    "an output before it is written": (UNWRITTEN, "shared[thread] = *own;"),
    "behind the end": (OUTSIDE, "*own = given[thread + 1];"),
    "before the beginning": (OUTSIDE, "*own = given[thread - 1];"),
    "partly behind the end": (OUTSIDE, "if (thread == 0) *reinterpret_cast<Pair*>(shared + last - 1) = {1, 2};"),
    "shared memory that was not asked for": (OUTSIDE, "if (thread == 0) shared[last + 1] = 1;"),
}

BODIES = [*SOUND.values(), *(body for _, body in FAULTS.values())]

# Each thread has a number in `given` and in `shared`, and one of each block in `found`.
PROBE = """
struct alignas(16) Pair { double first, second; };

__global__ void probe(int body, const int* given, int* found) {
    extern __shared__ __align__(16) double shared_memory[];
    int* shared = reinterpret_cast<int*>(shared_memory);
    Pair* pairs = reinterpret_cast<Pair*>(shared_memory);
    const int thread = threadIdx.x, block = blockIdx.x, last = blockDim.x - 1;
    int* own = found + block * blockDim.x + thread;
    switch (body) {
        CASES
    }
}
""".replace("CASES", "\n".join(f"case {number}: {{ {body} }} break;" for number, body in enumerate(BODIES)))


@pytest.fixture(scope="session")
def run_probe(compile_library: Callable[..., Library]) -> Callable[[str, str], None]:
    """Runs a kernel of one of the bodies in an order of its threads."""
    library = compile_library(PROBE, "probe_on_host.cpp")

    def run(body: str, order: str) -> None:
        given, found = np.ones(THREADS, np.int32), np.zeros(BLOCKS * THREADS, np.int32)
        memory = [Extent.of(given, is_written=True), Extent.of(found, is_written=False)]
        arguments = (np.int32(BODIES.index(body)), given.ctypes.data, found.ctypes.data)
        library.launch("probe", (BLOCKS,), THREADS, arguments, 4 * THREADS, memory, order)

    return run


@pytest.mark.parametrize("use", SOUND)
def test_a_sound_use_of_memory_is_let_pass(run_probe: Callable[[str, str], None], use: str) -> None:
    for order in ORDERS:
        run_probe(SOUND[use], order)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen_in_any_order_of_threads(run_probe: Callable[[str, str], None], fault: str) -> None:
    said, body = FAULTS[fault]
    for order in ORDERS:
        with pytest.raises(RuntimeError, match=said):
            run_probe(body, order)
