"""Runs the invariants of `detr_spec` against implementations, judges them and reports.

What is exported is loaded when it is first used, so that importing this package loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detr_conformance.bridges.numpy_bridge import numpy_implementation
    from detr_conformance.bridges.torch_bridge import torch_implementation
    from detr_conformance.pytest_tests import conformance_tests
    from detr_conformance.report import Report
    from detr_conformance.run import check
    from detr_conformance.verdict import Verdict

__all__ = ["Report", "Verdict", "check", "conformance_tests", "numpy_implementation", "torch_implementation"]

_HOMES = {
    "Report": "detr_conformance.report",
    "Verdict": "detr_conformance.verdict",
    "check": "detr_conformance.run",
    "conformance_tests": "detr_conformance.pytest_tests",
    "numpy_implementation": "detr_conformance.bridges.numpy_bridge",
    "torch_implementation": "detr_conformance.bridges.torch_bridge",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
