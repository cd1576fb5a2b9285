"""What a benchmark ran on: the machine, the threads, and the version of everything that took part."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import torch

from detr_conformance.bench.contestant import NOT_INSTALLED, version_of
from detr_conformance.bench.registry import CONTESTANTS
from detr_conformance.bench.solvers import SOLVERS

OURS = ("torch", "numpy", "scipy", "numba", "cupy-cuda12x", "cupy-cuda13x")
CPU_INFORMATION = Path("/proc/cpuinfo")


def described_machine(device: str) -> dict[str, Any]:
    """The date, processor, cores, threads, device, system, and installed versions by distribution."""
    packages = [*(item.package for item in CONTESTANTS), *(item.package for item in SOLVERS)]
    names = (*OURS, *(package.distribution for package in packages if package is not None))
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version_of(name) or NOT_INSTALLED for name in dict.fromkeys(names)},
    }


def _processor() -> str:
    if CPU_INFORMATION.is_file():
        for line in CPU_INFORMATION.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
