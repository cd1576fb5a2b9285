"""A batch as the kernels of `criterion.cu` take it: where predictions and targets lie, without a copy of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detr_reference.batch import Outputs, Targets
from detr_reference.boxes import upcast_half

from .kernels import by_value, run_on
from .solver import MOST_COLUMNS

# As in the kernels.
MOST_LAYERS = 16
MOST_IMAGES = 128

BATCH = np.dtype(
    [
        ("logits", np.uint64, MOST_LAYERS),
        ("boxes", np.uint64, MOST_LAYERS),
        ("labels", np.uint64, MOST_IMAGES),
        ("target_boxes", np.uint64, MOST_IMAGES),
        ("sizes", np.int32, MOST_IMAGES),
        *((name, np.int32) for name in ("images", "queries", "columns", "longest")),
    ]
)


@dataclass(frozen=True)
class DeviceBatch:
    """The predictions of L layers, the last one first, and the targets of B images, on one device.

    logits: [B, Q, C] of each layer. boxes: [B, Q, 4] of each layer. labels: [n] of each image. target_boxes: [n, 4] of
    each image. All are contiguous and without gradient; floating-point numbers are of one dtype, half precision upcast.
    """

    logits: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    target_boxes: tuple[Tensor, ...]

    @staticmethod
    def of_tensors(tensors: Sequence[Tensor], layers: int) -> DeviceBatch:
        """Return the batch of L layers that has these `tensors`."""
        images = len(tensors) // 2 - layers
        ends = (layers, 2 * layers, 2 * layers + images)
        return DeviceBatch(*(tuple(tensors[start:end]) for start, end in zip((0, *ends), (*ends, None), strict=True)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, of the layers and then of the images."""
        return (*self.logits, *self.boxes, *self.labels, *self.target_boxes)

    @property
    def device(self) -> torch.device:
        """Where all of it lies."""
        return self.logits[0].device

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.logits[0].dtype

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of targets of each image."""
        return tuple(map(len, self.labels))

    @property
    def longest(self) -> int:
        """T, the largest number of targets of an image."""
        return max(self.sizes)

    @property
    def problems(self) -> int:
        """P = L·B."""
        return len(self.logits) * len(self.labels)

    @cached_property
    def argument(self) -> np.ndarray[Any, Any]:
        """The batch as the kernels take it, a structure by value."""
        images, queries, columns = self.logits[0].shape
        found = np.zeros(1, BATCH)
        (batch,) = found
        for name in ("logits", "boxes", "labels", "target_boxes"):
            put_pointers(batch[name], getattr(self, name))
        batch["sizes"][:images] = self.sizes
        batch["images"], batch["queries"], batch["columns"], batch["longest"] = images, queries, columns, self.longest
        return by_value(found)


def put_pointers(places: np.ndarray[Any, Any], tensors: Sequence[Tensor | None]) -> None:
    """Write where tensors lie into the first of the places; None is null."""
    places[: len(tensors)] = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def device_batch(layers: Sequence[Outputs], targets: Targets) -> DeviceBatch | None:
    """Return the batch for the kernels, or None where they cannot take it and torch computes it.

    layers: dicts of `pred_logits` [B, Q, C] and `pred_boxes` [B, Q, 4]. targets: B dicts of `labels` [n] and `boxes`
    [n, 4]. Shapes were checked.
    """
    images, queries, _ = layers[0]["pred_logits"].shape
    device = layers[0]["pred_logits"].device
    if len(layers) > MOST_LAYERS or images > MOST_IMAGES or queries > MOST_COLUMNS or not run_on(device):
        return None
    logits, boxes = (_plain([layer[name] for layer in layers]) for name in ("pred_logits", "pred_boxes"))
    dtype = logits[0].dtype
    given = [target["boxes"] for target in targets]
    batch = DeviceBatch(
        logits,
        boxes,
        tuple(target["labels"].contiguous() for target in targets),
        tuple(box.detach().to(dtype).contiguous() for box in given),
    )
    alike = all(tensor.dtype == dtype for tensor in (*logits, *boxes)) and all(
        tensor.device == device for tensor in (*boxes, *batch.labels, *batch.target_boxes)
    )
    # Kernels have no gradient for targets.
    wanted = alike and batch.longest <= MOST_COLUMNS and not any(box.requires_grad for box in given)
    return batch if wanted else None


def _plain(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(upcast_half(tensor.detach()).contiguous() for tensor in tensors)
