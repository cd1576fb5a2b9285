"""The specification loads no framework, and the reference does not lean on the specification."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FRAMEWORKS = ("torch", "torchvision", "tensorflow", "jax", "cupy", "transformers", "paddle")

PROBE = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(module: str) -> set[str]:
    """The modules that are loaded in a fresh interpreter after importing one."""
    run = subprocess.run([sys.executable, "-c", PROBE, module], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize("module", ["detr_spec", "detr_spec.invariants", "detr_spec.strategies"])
def test_importing_the_specification_loads_no_framework(module: str) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert loaded.isdisjoint(FRAMEWORKS)
    assert not any(name.partition(".")[0] in ("detr_reference", "detr_conformance") for name in loaded)


def test_the_reference_does_not_lean_on_the_specification() -> None:
    loaded = loaded_by("detr_reference")
    assert "torch" in loaded
    assert not any(name.partition(".")[0] in ("detr_spec", "detr_conformance") for name in loaded)
