"""Batches to time: predictions of all layers and targets, in torch, of one size, regime and dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detr_conformance.bench.heads import HEADS, LEAVES
from detr_conformance.bench.sizes import Size
from detr_spec.configuration import Configuration, weights_of, with_numbers
from detr_spec.profile import Keys, Profile
from detr_spec.strategies.coco import coco_images
from detr_spec.values import Floats, Outputs, Target

DTYPE = "float32"
NOISE_OF_TRAINED = 0.03
NOISE_OF_UNTRAINED = 1e-3
SMALLEST_SIDE = 1 / 16


@dataclass(frozen=True)
class Batch:
    """What a step is computed from. logits [B, Q, C] and boxes [B, Q, 4] as cxcywh of each layer, first to last.

    labels and target_boxes: of each image, [n] int64 and [n, 4] as cxcywh. All is float32, and the predictions are
    leaves that collect a gradient. heads: the name of what makes them anew at each step from hidden states, then the
    leaves: hidden, [L, B, Q, C] and [L, B, Q, 4], there where heads are.
    """

    size: Size
    regime: str
    profile: Profile
    logits: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    target_boxes: tuple[Tensor, ...]
    heads: str = LEAVES
    hidden: tuple[Tensor, Tensor] | None = None

    @property
    def leaves(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What collects the gradients of logits and boxes, of each layer or of all together."""
        return (self.logits, self.boxes) if self.hidden is None else ((self.hidden[0],), (self.hidden[1],))

    def made_layers(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The logits and the boxes of each layer, first to last, made anew where there are heads."""
        if self.hidden is None:
            return self.logits, self.boxes
        logits, boxes = map(HEADS[self.heads], self.hidden)
        return logits, boxes

    @property
    def device(self) -> torch.device:
        """Where the predictions and targets are."""
        return self.logits[0].device

    @property
    def counts(self) -> list[int]:
        """The number of targets of each image."""
        return [len(labels) for labels in self.labels]

    def outputs(self, keys: Keys) -> dict[str, Any]:
        """The outputs as DETR's criterion takes them, under these keys: the last layer, the others as auxiliary."""
        layers = [{keys.logits: z, str(keys.boxes): b} for z, b in zip(*self.made_layers(), strict=True)]
        return {**layers[-1], keys.auxiliary: layers[:-1]}

    def targets(self, keys: Keys) -> list[dict[str, Tensor]]:
        """The targets as DETR's criterion takes them, under these keys."""
        pairs = zip(self.labels, self.target_boxes, strict=True)
        return [{keys.labels: labels, str(keys.target_boxes): boxes} for labels, boxes in pairs]

    def configuration(self, profile: Profile, fixed: Mapping[str, float]) -> Configuration:
        """What a component of that profile is built with for this batch, `fixed` being what it cannot vary."""
        base = Configuration(
            profile=profile,
            dtype=DTYPE,
            device=str(self.device),
            num_classes=self.size.columns - 1 if profile.has_no_object else self.size.columns,
            decoder_layers=self.size.layers,
            fixed=tuple(sorted(fixed)),
        )
        return with_numbers(base, {**weights_of(profile), **fixed})

    def spec_layers(self) -> list[Outputs]:
        """The predictions of each layer as the specification takes them."""
        pairs = zip(self.logits, self.boxes, strict=True)
        return [Outputs(logits.detach().cpu().numpy(), boxes.detach().cpu().numpy()) for logits, boxes in pairs]

    def spec_targets(self) -> tuple[Target, ...]:
        """The targets as the specification takes them."""
        pairs = zip(self.labels, self.target_boxes, strict=True)
        return tuple(Target(labels.cpu().numpy(), boxes.cpu().numpy()) for labels, boxes in pairs)


@dataclass(frozen=True)
class _Scene:
    """Numbers of one layer: logits [B, Q, C], boxes [B, Q, 4]."""

    logits: Floats
    boxes: Floats


def make_batch(
    size: Size, regime: str, profile: Profile, device: str = "cpu", seed: int = 0, heads: str = LEAVES
) -> Batch:
    """A batch of that size, always the same for a seed.

    In the regime "coco" its targets are those of real images, and T should be 0.
    """
    numbers = np.random.default_rng([seed, size.images, size.queries, size.columns, size.targets])
    classes = size.columns - 1 if profile.has_no_object else size.columns
    targets = (_coco_targets if regime == "coco" else _random_targets)(numbers, size, classes)
    layer = REGIMES[regime]
    scenes = [layer(numbers, size, profile, targets) for _ in range(size.layers)]

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(values, device=device, dtype=getattr(torch, DTYPE))

    batch = Batch(
        replace(size, targets=max(len(target) for target in targets)),
        regime,
        profile,
        tuple(tensor(scene.logits).requires_grad_() for scene in scenes),
        tuple(tensor(scene.boxes).requires_grad_() for scene in scenes),
        tuple(torch.as_tensor(np.array(target.labels), device=device) for target in targets),
        tuple(tensor(np.array(target.boxes)) for target in targets),
    )
    if heads == LEAVES:
        return batch
    logits, boxes = (torch.stack(layers).detach().requires_grad_() for layers in (batch.logits, batch.boxes))
    return replace(batch, heads=heads, hidden=(logits, boxes))


def _random_boxes(numbers: np.random.Generator, *shape: int) -> Floats:
    sides = numbers.uniform(SMALLEST_SIDE, 0.5, (*shape, 2))
    return np.concatenate([numbers.uniform(sides / 2, 1 - sides / 2), sides], axis=-1)


def _random_targets(numbers: np.random.Generator, size: Size, classes: int) -> list[Target]:
    return [
        Target(numbers.integers(0, classes, size.targets), _random_boxes(numbers, size.targets))
        for _ in range(size.images)
    ]


def _coco_targets(numbers: np.random.Generator, size: Size, classes: int) -> list[Target]:
    """Real objects of images drawn from the sample; labels beyond the classes begin again at 0, slivers are widened."""
    images = coco_images()
    chosen = [images[place].target for place in numbers.integers(0, len(images), size.images)]
    return [
        Target(target.labels % classes, np.clip(target.boxes, [0, 0, SMALLEST_SIDE, SMALLEST_SIDE], 1))
        for target in chosen
    ]


def _trained(numbers: np.random.Generator, size: Size, profile: Profile, targets: Sequence[Target]) -> _Scene:
    """Each target has a query near it that is sure of its label; the other queries are anywhere and say nothing."""
    shape = (size.images, size.queries)
    logits = numbers.normal(-4.0, 1.0, (*shape, size.columns))
    if profile.has_no_object:
        logits[..., -1] += 8.0
    boxes = _random_boxes(numbers, *shape)
    for image, target in enumerate(targets):
        queries = numbers.permutation(size.queries)[: len(target)]
        held = target.take(np.arange(len(queries)))
        near = held.boxes + numbers.normal(0.0, NOISE_OF_TRAINED, held.boxes.shape)
        boxes[image, queries] = np.clip(near, [0, 0, SMALLEST_SIDE, SMALLEST_SIDE], 1)
        logits[image, queries, held.labels] += 7.0
        if profile.has_no_object:
            logits[image, queries, -1] -= 8.0
    return _Scene(logits, boxes)


def _untrained(numbers: np.random.Generator, size: Size, profile: Profile, targets: Sequence[Target]) -> _Scene:  # noqa: ARG001
    """All queries say nearly the same: one box in the middle, and logits without a favourite."""
    shape = (size.images, size.queries)
    boxes = np.full((*shape, 4), [0.5, 0.5, 0.3, 0.3]) + numbers.normal(0.0, NOISE_OF_UNTRAINED, (*shape, 4))
    return _Scene(numbers.normal(0.0, 0.01, (*shape, size.columns)), boxes)


REGIMES: Mapping[str, Callable[..., _Scene]] = {"trained": _trained, "untrained": _untrained, "coco": _trained}
"""By name: predictions of a trained and of an untrained model, and trained ones of real objects."""
