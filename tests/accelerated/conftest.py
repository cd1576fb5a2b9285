"""The CUDA kernels compiled for the host, where every thread of a block is a fibre that an adversary schedules."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from pebble import ProcessExpired, concurrent

from detr_accelerated import compiled, cuda_batch, cuda_criterion, cuda_kernels, cuda_solver

HERE = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
# As in the enumeration of the shim.
ORDERS = ("ascending", "descending", "random warps", "random threads")
OLDER = 750
"""The architecture of a device before Ampere's."""


class Launch(ctypes.Structure):
    """As in `cuda_shim.h`."""

    _fields_ = [
        ("blocks", ctypes.c_int * 2),
        ("threads", ctypes.c_int),
        ("shared_bytes", ctypes.c_size_t),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
    ]


def in_memory(argument: object) -> np.ndarray:
    """An argument of a kernel by value, as CuPy hands it on: a Python int in 8 bytes."""
    if isinstance(argument, int):
        return np.array([argument], np.int64)
    assert isinstance(argument, np.int32 | np.ndarray), f"not to be handed on: {argument!r}"
    return np.atleast_1d(argument)


@dataclass(frozen=True)
class Library:
    """The kernels of one library; a misuse of barriers, shuffles or shared memory raises RuntimeError."""

    path: Path

    def launch(
        self,
        name: str,
        blocks: tuple[int, ...],
        threads: int,
        arguments: tuple,
        shared_bytes: int,
        order: str = "random warps",
        seed: int = 0,
    ) -> None:
        """Run a kernel by its name in C++."""
        values = [in_memory(argument) for argument in arguments]
        places = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        how = Launch((ctypes.c_int * 2)(*(*blocks, 1)[:2]), threads, shared_bytes, ORDERS.index(order), seed)
        message = ctypes.create_string_buffer(256)
        if ctypes.CDLL(str(self.path)).run_kernel(ctypes.byref(how), name.encode(), places, message):
            raise RuntimeError(message.value.decode())


@dataclass(frozen=True)
class HostKernel:
    """The solver of one library."""

    library: Library

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
        turned = np.full_like(cost, np.nan)
        # What the kernel does not write stays recognisable.
        found, statuses = np.full((problems, targets), -77, np.int64), np.full(problems, -77, np.int32)
        if shared_bytes is None:
            shared_bytes = cuda_solver.shared_bytes(threads, targets, queries)
        name = f"solve<{'double' if cost.dtype == np.float64 else 'float'}, {threads}, {columns_per_thread}>"
        cost_at, turned_at, *pointers = (array.ctypes.data for array in (cost, turned, sizes, found, statuses))
        turned_at = turned_at if targets >= queries else 0
        arguments = (cost_at, turned_at, pointers[0], np.int32(targets), np.int32(queries), *pointers[1:])
        self.library.launch(name, (problems,), threads, arguments, shared_bytes, order, seed)
        return found, statuses


@pytest.fixture(scope="session")
def compile_library(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Library]:
    """The compiler: from the source of kernels and the name of what makes a library of it to the library.

    architecture: that of the device which the host plays, as `__CUDA_ARCH__` has it. defined: names for the maker.
    """
    if sys.platform != "linux":
        pytest.skip("fibres by ucontext, as the shim uses them, are Linux's")
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        pytest.skip(f"none of the C++ compilers {', '.join(COMPILERS)} is on the PATH")

    def compiled(source: str, maker: str, architecture: int = 800, *defined: str) -> Library:
        folder = tmp_path_factory.mktemp("kernel")
        (folder / "kernel.cu").write_text(source)
        # Without warnings, which are NVRTC's to give: defects are planted as they come.
        command = [
            compiler,
            "-std=c++17",
            "-O1",
            "-w",
            "-shared",
            "-fPIC",
            "-ffp-contract=off",
            "-U_FORTIFY_SOURCE",
            f"-I{HERE}",
            f"-D__CUDA_ARCH__={architecture}",
            *(f"-D{name}" for name in defined),
        ]
        command += [f'-DKERNEL="{folder / "kernel.cu"}"', str(HERE / maker), "-o", str(folder / "kernel.so")]
        subprocess.run(command, check=True)
        return Library(folder / "kernel.so")

    return compiled


@pytest.fixture(scope="session")
def compile_kernel(compile_library: Callable[..., Library]) -> Callable[..., HostKernel]:
    """The compiler of the solver."""
    return lambda source, *how: HostKernel(compile_library(source, "lsap_on_host.cpp", *how))


@pytest.fixture(scope="session")
def host_kernel(compile_kernel: Callable[..., HostKernel]) -> HostKernel:
    """The solver as it is, on the host."""
    return compile_kernel(cuda_solver.SOURCE.read_text())


@pytest.fixture(scope="session")
def older_kernel(compile_kernel: Callable[..., HostKernel]) -> HostKernel:
    """The solver as it is for a device whose warps find a minimum by shuffles alone, on the host."""
    return compile_kernel(cuda_solver.SOURCE.read_text(), OLDER, "SMALL")


@pytest.fixture(scope="session")
def host_criterion(compile_library: Callable[..., Library]) -> Library:
    """The kernels of matcher and criterion as they are, on the host."""
    source = "\n".join(path.read_text() for path in cuda_criterion.SOURCES)
    return compile_library(source, "criterion_on_host.cpp")


@dataclass
class Played:
    """What plays CuPy: the libraries of kernels, the order in which threads run, and the names of kernels that ran."""

    solver: Library
    criterion: Library
    order: str = "random warps"
    ran: set[str] = field(default_factory=set)


@dataclass
class PlayedKernel:
    """A kernel as CuPy gives it, which runs on the host and looks at how it is called."""

    played: Played
    name: str
    max_dynamic_shared_size_bytes: int = 48 * 1024

    def __call__(self, grid: tuple[int, ...], block: tuple[int], arguments: tuple, shared_mem: int) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert sum(in_memory(argument).nbytes for argument in arguments) <= 4096, "CUDA takes no more by value"
        self.played.ran.add(self.name)
        library = self.played.solver if self.name.startswith("solve<") else self.played.criterion
        library.launch(self.name, grid, *block, arguments, shared_mem, self.played.order)


@pytest.fixture
def played_cupy(host_kernel: HostKernel, host_criterion: Library, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """CuPy and CUDA's streams, played, so that a launch with tensors of the host runs there."""
    played = Played(host_kernel.library, host_criterion)
    sources = [cuda_solver.SOURCE.read_text(), "\n".join(path.read_text() for path in cuda_criterion.SOURCES)]

    def raw_module(*, code: str, options: tuple[str, ...], name_expressions: list[str]) -> SimpleNamespace:
        assert options == cuda_kernels.COMPILER_OPTIONS
        assert code in sources

        def get_function(name: str) -> PlayedKernel:
            assert name in name_expressions
            return PlayedKernel(played, name)

        return SimpleNamespace(get_function=get_function)

    class Device(nullcontext):
        attributes: ClassVar[dict[str, int]] = {"MaxSharedMemoryPerBlockOptin": 60_000}

    cuda = SimpleNamespace(Device=Device, Stream=SimpleNamespace(from_external=nullcontext))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda, RawModule=raw_module))
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda index: 0, raising=False)
    caches = (cuda_kernels.kernels, cuda_kernels.cupy, cuda_kernels._usable, cuda_kernels._stream)
    for cached in caches:
        cached.cache_clear()
    yield played
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def kernels_on_host(played_cupy: Played, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Matcher and criterion take tensors of the host to the played kernels."""
    monkeypatch.setattr(cuda_batch, "run_on", lambda device: device.type == "cpu")
    return played_cupy


@pytest.fixture(params=["torch", "numba", "kernels"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways of matcher and criterion: in torch alone, with what numba compiles, and in kernels, on the host."""
    if request.param == "torch":
        monkeypatch.setattr(compiled, "installed", lambda: False)
    elif request.param == "numba":
        pytest.importorskip("numba", reason="the optional package numba is not installed")
    else:
        request.getfixturevalue("kernels_on_host")
    way: str = request.param
    return way


@pytest.fixture(scope="session")
def found_apart() -> Callable[[Callable[[], bool]], bool]:
    """Whether a search for a defect finds it, or a signal ends its process: a broken kernel may write anywhere."""

    def found(search: Callable[[], bool]) -> bool:
        outcome = concurrent.process(search, context=get_context("fork"), timeout=120)()
        crash = outcome.exception()
        if crash is None:
            return bool(outcome.result())
        return isinstance(crash, ProcessExpired) and crash.exitcode < 0

    return found


COMPILED = ("functions", "sigmoid", "softmax", "class_losses", "box_losses", "costs")
"""Modules `numba_*` in an order in which each imports from those before it."""


@pytest.fixture
def run_plainly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Have the functions that numba compiles run as Python has them, with a text in one module's source replaced."""

    def run(name: str = "", healthy: str = "", broken: str = "") -> None:
        for module in (ModuleType(f"detr_accelerated.numba_{own}") for own in COMPILED):
            source = (Path(compiled.__file__).parent / f"{module.__name__.split('.')[1]}.py").read_text()
            if module.__name__.endswith(f".{name}"):
                assert source.count(healthy) == 1, "the defect cannot be planted, as the source has changed"
                source = source.replace(healthy, broken)
            module.__package__ = "detr_accelerated"
            monkeypatch.setitem(sys.modules, module.__name__, module)
            exec(source.replace("from numba import njit", "njit = lambda **_: lambda function: function"), vars(module))
        compiled.imported.cache_clear()

    yield run
    compiled.imported.cache_clear()
