"""Keras is judged in whatever framework it computes with: a process for each, as Keras has one in a process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
JUDGED = Path(__file__).with_name("judged_in_keras.py")

pytest.importorskip("keras", reason="Keras is not installed; `tox run -e tensorflow` has it")


def run(program: list[str], backend: str) -> subprocess.CompletedProcess[str]:
    paths = [ROOT / "tests", ROOT / "conformance" / "implementations", *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, *program], env=environment, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_what_is_right_in_keras_holds_and_what_is_wrong_is_found(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; `tox run -e tensorflow` has it")
    done = run([str(JUDGED)], backend)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["backend"] == backend
    assert told["dtypes"] == ["float32"]
    assert set(told["right"].values()) == {"holds"}
    assert all(told["found"].values()), told["found"]


def test_a_framework_without_gradients_is_refused() -> None:
    done = run(["-c", "import keras_detr"], "numpy")
    assert (
        "UsageError: Keras computes with numpy; expected one of jax, tensorflow, torch in KERAS_BACKEND" in done.stderr
    )
