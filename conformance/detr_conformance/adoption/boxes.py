"""Box operations that a project has, found by their usual names and tried on two boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detr_conformance.adoption.sources import Source

NAMES = {
    "cxcywh_to_xyxy": ("box_cxcywh_to_xyxy", "cxcywh_to_xyxy", "center_to_corners_format"),
    "xyxy_to_cxcywh": ("box_xyxy_to_cxcywh", "xyxy_to_cxcywh", "corners_to_center_format"),
    "iou": ("box_iou",),
    "giou": ("generalized_box_iou",),
}
"""The box operations that can be judged, and the names that they go by."""


@dataclass(frozen=True)
class BoxFunction:
    """A box operation: its name among `BoxOperations`, where it is, and whether its answer is the first of several."""

    operation: str
    source: Source
    first: bool

    @property
    def expression(self) -> str:
        """How an adapter writes it."""
        if self.first:
            return f"lambda first, second: {self.source.expression}(first, second)[0]"
        return self.source.expression

    def __call__(self, *boxes: Tensor) -> Any:
        """Its answer."""
        answer = self.source.value(*boxes)
        return answer[0] if self.first else answer


def box_functions(sources: Iterable[Source], package: str) -> tuple[BoxFunction, ...]:
    """The box operations among the sources that are of that package itself; the first of each name."""
    found: dict[str, BoxFunction] = {}
    for source in sources:
        home = str(getattr(source.value, "__module__", "")).partition(".")[0]
        for operation, names in NAMES.items():
            if source.name in names and operation not in found and home == package:
                function = _tried(operation, source)
                if function is not None:
                    found[operation] = function
    return tuple(found[operation] for operation in NAMES if operation in found)


def _tried(operation: str, source: Source) -> BoxFunction | None:
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.75], [0.5, 0.25, 0.75, 1.0]])
    arguments = (boxes,) if operation.endswith(("xyxy", "cxcywh")) else (boxes, boxes[:1])
    shape = (2, 4) if len(arguments) == 1 else (2, 1)
    call: Callable[..., Any] = source.value
    try:
        answer = call(*arguments)
    except (Exception, SystemExit):
        return None
    first = isinstance(answer, (tuple, list)) and bool(answer)
    value = answer[0] if first else answer
    fits = isinstance(value, Tensor) and tuple(value.shape) == shape
    return BoxFunction(operation, source, first) if fits else None
