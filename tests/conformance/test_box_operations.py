"""Box operations are taken by their names, in every framework, and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detr_conformance import numpy_implementation
from detr_conformance.base.errors import UsageError

torch_bridge = pytest.importorskip("detr_conformance.bridges.torch_bridge")

BUILDERS: dict[str, Callable[..., Any]] = {
    "numpy": lambda boxes: numpy_implementation(name="boxes", boxes=boxes),
    "torch": lambda boxes: torch_bridge.torch_implementation(name="boxes", profile="detr", boxes=boxes),
}


@pytest.mark.parametrize("framework", BUILDERS)
@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ({"gious": np.minimum}, "'gious' is no box operation; did you mean giou"),
        ({"iou": None}, "'iou'. is NoneType; expected a function"),
    ],
)
def test_another_name_or_no_function_is_told_when_it_is_given(framework: str, boxes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BUILDERS[framework](boxes)
