"""The CUDA kernel compiled for the host, where every thread of a block is a fibre that an adversary schedules."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from detr_accelerated import cuda_solver

HERE = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
# As in the enumeration of the shim.
ORDERS = ("ascending", "descending", "random warps", "random threads")


class Launch(ctypes.Structure):
    """As in `lsap_on_host.cpp`."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("columns_per_thread", "threads", "problems", "targets", "queries")),
        ("shared_bytes", ctypes.c_size_t),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
    ]


@dataclass(frozen=True)
class HostKernel:
    """The kernel of one library; a misuse of barriers, shuffles or shared memory raises RuntimeError."""

    library: Path

    def __call__(
        self,
        cost: np.ndarray,
        sizes: np.ndarray,
        *,
        threads: int,
        columns_per_thread: int,
        shared_bytes: int | None = None,
        order: str = "random warps",
        seed: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the query of each target, int64 [P, T], and the statuses, int32 [P], from costs [P, T, Q]."""
        problems, targets, queries = cost.shape
        cost, sizes = np.ascontiguousarray(cost), np.ascontiguousarray(sizes, np.int64)
        # What the kernel does not write stays recognisable.
        found, statuses = np.full((problems, targets), -77, np.int64), np.full(problems, -77, np.int32)
        if shared_bytes is None:
            shared_bytes = cuda_solver.shared_bytes(threads, targets, queries)
        launch = Launch(
            columns_per_thread, threads, problems, targets, queries, shared_bytes, ORDERS.index(order), seed
        )
        self.launch(launch, cost.dtype == np.float64, *(array.ctypes.data for array in (cost, sizes, found, statuses)))
        return found, statuses

    def launch(self, launch: Launch, is_double: bool, *pointers: int) -> None:
        message = ctypes.create_string_buffer(256)
        library = ctypes.CDLL(str(self.library))
        if library.lsap(ctypes.byref(launch), int(is_double), *map(ctypes.c_void_p, pointers), message):
            raise RuntimeError(message.value.decode())


@pytest.fixture(scope="session")
def compile_kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HostKernel]:
    """The compiler: from the source of a kernel to the kernel on the host."""
    if sys.platform != "linux":
        pytest.skip("fibres by ucontext, as the shim uses them, are Linux's")
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        pytest.skip(f"none of the C++ compilers {', '.join(COMPILERS)} is on the PATH")

    def compiled(source: str) -> HostKernel:
        folder = tmp_path_factory.mktemp("kernel")
        (folder / "lsap.cu").write_text(source)
        # Without warnings, which are NVRTC's to give: defects are planted as they come.
        command = [compiler, "-std=c++17", "-O1", "-w", "-shared", "-fPIC", f"-I{HERE}"]
        command += [f'-DKERNEL="{folder / "lsap.cu"}"', str(HERE / "lsap_on_host.cpp"), "-o", str(folder / "lsap.so")]
        subprocess.run(command, check=True)
        return HostKernel(folder / "lsap.so")

    return compiled


@pytest.fixture(scope="session")
def host_kernel(compile_kernel: Callable[[str], HostKernel]) -> HostKernel:
    """The kernel as it is, on the host."""
    return compile_kernel(cuda_solver.SOURCE.read_text())


@pytest.fixture(scope="session")
def launch_type() -> type[Launch]:
    """The description of a launch that `HostKernel.launch` takes."""
    return Launch
