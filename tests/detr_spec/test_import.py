"""The specification loads no framework, and neither reference nor fast path leans on it, or the first on the second."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FRAMEWORKS = ("torch", "torchvision", "tensorflow", "jax", "keras", "cupy", "transformers", "paddle")

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


@pytest.mark.parametrize("module", ["detr_conformance", "detr_conformance.bridges.framework_bridge"])
def test_importing_the_judge_or_what_bridges_share_loads_no_framework(module: str) -> None:
    assert loaded_by(module).isdisjoint(FRAMEWORKS)


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("detr_reference", {"detr_spec", "detr_conformance", "detr_accelerated"}),
        ("detr_accelerated", {"detr_spec", "detr_conformance"}),
    ],
)
def test_what_is_judged_does_not_lean_on_what_judges_it(module: str, others: set[str]) -> None:
    loaded = loaded_by(module)
    assert "torch" in loaded
    assert others.isdisjoint(name.partition(".")[0] for name in loaded)
