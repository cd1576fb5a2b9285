"""The CUDA kernels compiled for the host, where every thread of a block is a fibre that an adversary schedules."""

from __future__ import annotations

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
from host_cuda import OLDER, Extent, HostKernel, Library, in_memory
from pebble import ProcessExpired, concurrent

from detr_accelerated.compiled import calling as compiled
from detr_accelerated.compiled import kernels
from detr_accelerated.cuda import batch as cuda_batch
from detr_accelerated.cuda import criterion as cuda_criterion
from detr_accelerated.cuda import kernels as cuda_kernels
from detr_accelerated.cuda import solver as cuda_solver

HERE = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")


@pytest.fixture(scope="session")
def compile_source(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The C++ compiler: from a source and options to a file without a name of its own."""
    if sys.platform != "linux":
        pytest.skip("fibres by ucontext, as the scheduler uses them, are Linux's")
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        pytest.skip(f"none of the C++ compilers {', '.join(COMPILERS)} is on the PATH")

    def compiled(*options: str | Path) -> Path:
        product = tmp_path_factory.mktemp("compiled") / "product"
        # Without warnings, which are NVRTC's to give: defects are planted as they come.
        options = ("-std=c++17", "-O1", "-w", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE", *options)
        subprocess.run([compiler, *map(str, options), "-o", str(product)], check=True)
        return product

    return compiled


@pytest.fixture(scope="session")
def scheduler(compile_source: Callable[..., Path]) -> Path:
    """What runs kernels on the host, compiled."""
    return compile_source("-c", HERE / "cuda_scheduler.cpp")


@pytest.fixture(scope="session")
def compile_library(
    compile_source: Callable[..., Path], scheduler: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Library]:
    """The compiler: from the source of kernels and the name of what makes a library of it to the library.

    architecture: that of the device which the host plays, as `__CUDA_ARCH__` has it. defined: names for the maker.
    """

    def compiled(source: str, maker: str, architecture: int = 800, *defined: str) -> Library:
        kernel = tmp_path_factory.mktemp("kernel") / "kernel.cu"
        kernel.write_text(source)
        names = [f"-D{name}" for name in (f"__CUDA_ARCH__={architecture}", f'KERNEL="{kernel}"', *defined)]
        # Each load and store calls back. Linked apart, as the compiler would link what it has itself for that.
        kernels = compile_source("-fsanitize=thread", f"-I{HERE}", *names, "-c", HERE / maker)
        return Library(compile_source("-shared", "-Wl,--no-undefined", scheduler, kernels))

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
    """What plays CuPy: the libraries of kernels and the order in which threads run.

    ran: the names of kernels that did. handed_on: the bytes of each tensor whose address was asked for.
    """

    solver: Library
    criterion: Library
    order: str = "random warps"
    ran: set[str] = field(default_factory=set)
    handed_on: dict[int, int] = field(default_factory=dict)


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
        library.launch(self.name, grid, *block, arguments, shared_mem, self.memory(arguments), self.played.order)

    def memory(self, arguments: tuple) -> Iterator[Extent]:
        """The tensors that the arguments point to, of which nobody here knows what is written."""
        for argument in map(in_memory, arguments):
            for address in argument.view(np.uint8)[: argument.nbytes // 8 * 8].view(np.uint64).tolist():
                if address in self.played.handed_on:
                    yield Extent(address, self.played.handed_on[address], True)


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

    def data_ptr(tensor: torch.Tensor) -> int:
        address = torch._C.TensorBase.data_ptr(tensor)
        played.handed_on[address] = tensor.nbytes
        return address

    monkeypatch.setattr(torch.Tensor, "data_ptr", data_ptr)
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
"""Modules of `kernels` in an order in which each imports from those before it."""


@pytest.fixture
def run_plainly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Have the functions that numba compiles run as Python has them, with a text in one module's source replaced."""

    def run(name: str = "", healthy: str = "", broken: str = "") -> None:
        for module in (ModuleType(f"{kernels.__name__}.{own}") for own in COMPILED):
            source = (Path(kernels.__path__[0]) / f"{module.__name__.rpartition('.')[2]}.py").read_text()
            if module.__name__.endswith(f".{name}"):
                assert source.count(healthy) == 1, "the defect cannot be planted, as the source has changed"
                source = source.replace(healthy, broken)
            module.__package__ = kernels.__name__
            monkeypatch.setitem(sys.modules, module.__name__, module)
            exec(source.replace("from numba import njit", "njit = lambda **_: lambda function: function"), vars(module))
        compiled.imported.cache_clear()

    yield run
    compiled.imported.cache_clear()
