"""What NVRTC makes of the kernels, for which no device is needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from detr_accelerated.cuda import criterion as cuda_criterion
from detr_accelerated.cuda import kernels as cuda_kernels
from detr_accelerated.cuda import solver as cuda_solver

# Of every number of columns, those that a launch takes for it.
SHAPES = sorted({cuda_solver.block_shape(1, queries) for queries in range(1, cuda_solver.MOST_COLUMNS + 1)})


def compiler_report(sources: tuple[Path, ...], architecture: str, names: list[str]) -> str:
    """What NVRTC and ptxas say of the kernels of those names, which need no device."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")

    def call(function: Callable, *arguments: object) -> object:
        status, *result = function(*arguments)
        assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, log() if function is nvrtc.nvrtcCompileProgram else function
        return result[0] if result else None

    def log() -> str:
        buffer = b" " * call(nvrtc.nvrtcGetProgramLogSize, program)
        call(nvrtc.nvrtcGetProgramLog, program, buffer)
        return buffer.rstrip(b"\0 \n").decode()

    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:
        pytest.skip(f"the library NVRTC is not installed ({error})")
    code = "\n".join(source.read_text() for source in sources)
    program = call(nvrtc.nvrtcCreateProgram, code.encode(), b"kernels.cu", 0, [], [])
    for name in names:
        call(nvrtc.nvrtcAddNameExpression, program, name.encode())
    options = [*cuda_kernels.COMPILER_OPTIONS, f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    call(nvrtc.nvrtcCompileProgram, program, len(options), [option.encode() for option in options])
    return log()


KERNELS = {
    "solver": (
        (cuda_solver.SOURCE,),
        [f"solve<{cost}, {threads}, {columns}>" for cost in ("float", "double") for threads, columns in SHAPES],
        65536 // cuda_solver.MOST_THREADS,
        0,
    ),
    "matcher and criterion": (
        cuda_criterion.SOURCES,
        [
            f"{kernel}<{real}, {dialect.value}>"
            for kernel in cuda_criterion.KERNELS
            for real in ("float", "double")
            for dialect in cuda_criterion.Dialect
        ],
        65536 // cuda_criterion.THREADS,
        # Around the calls of pow, which is a function of its own.
        32,
    ),
}
"""By what they do: their sources, their names, and the registers and spilled bytes that a thread may have."""


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("what", KERNELS)
def test_it_compiles_without_a_warning_and_keeps_its_state_in_registers(what: str, architecture: str) -> None:
    sources, names, most_registers, most_spilled = KERNELS[what]
    report = compiler_report(sources, architecture, names)
    assert "warning" not in report
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) >= len(names)
    assert max(int(loads) for *_, loads in spills) <= most_spilled
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", report)]
    assert len(registers) == len(names)
    assert max(registers) <= most_registers
