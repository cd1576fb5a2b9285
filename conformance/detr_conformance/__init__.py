"""Runs the invariants of `detr_spec` against implementations, judges them and reports.

What is exported is loaded when it is first used, so that importing this package loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detr_conformance.base.verdict import Verdict
    from detr_conformance.bridges.jax_bridge import jax_implementation
    from detr_conformance.bridges.keras_bridge import keras_implementation
    from detr_conformance.bridges.numpy_bridge import numpy_implementation
    from detr_conformance.bridges.onnx_bridge import onnx_implementation
    from detr_conformance.bridges.paddle_bridge import paddle_implementation
    from detr_conformance.bridges.tensorflow_bridge import tensorflow_implementation
    from detr_conformance.bridges.torch_bridge import torch_implementation
    from detr_conformance.commands.pytest_tests import conformance_tests
    from detr_conformance.running.report import Report
    from detr_conformance.running.run import check

__all__ = [
    "Report",
    "Verdict",
    "check",
    "conformance_tests",
    "jax_implementation",
    "keras_implementation",
    "numpy_implementation",
    "onnx_implementation",
    "paddle_implementation",
    "tensorflow_implementation",
    "torch_implementation",
]

_HOMES = {
    "Report": "detr_conformance.running.report",
    "Verdict": "detr_conformance.base.verdict",
    "check": "detr_conformance.running.run",
    "conformance_tests": "detr_conformance.commands.pytest_tests",
    "jax_implementation": "detr_conformance.bridges.jax_bridge",
    "keras_implementation": "detr_conformance.bridges.keras_bridge",
    "numpy_implementation": "detr_conformance.bridges.numpy_bridge",
    "onnx_implementation": "detr_conformance.bridges.onnx_bridge",
    "paddle_implementation": "detr_conformance.bridges.paddle_bridge",
    "tensorflow_implementation": "detr_conformance.bridges.tensorflow_bridge",
    "torch_implementation": "detr_conformance.bridges.torch_bridge",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
