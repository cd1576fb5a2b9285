"""Cases: generated inputs, with the configuration that the implementation is built with and where they come from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.values import AnyNumbers, FeatureMap, Floats, Integers, InvalidValue, Outputs, Target, Targets


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """What all cases have: the configuration, the name of the regime, and a seed for what is derived from the case.

    Derived choices (a permutation, a scale) come from `generator`, so a case determines its check completely.
    """

    configuration: Configuration
    regime: str = "given"
    seed: int = 0

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator that depends on the case's seed and the purpose alone."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def permutation(self, size: int, purpose: str) -> Integers:
        """A permutation of 0 … size − 1 that moves something wherever that is possible; int64 [size]."""
        order = self.generator(purpose).permutation(size)
        return np.roll(order, 1) if size > 1 and (order == np.arange(size)).all() else order


def joined_images(layers: Sequence[Outputs]) -> Outputs:
    """What one decoder layer predicts for the images of several batches, one after another."""

    def joined(parts: Sequence[AnyNumbers | None]) -> Any:
        there = [part for part in parts if part is not None]
        return np.concatenate(there) if len(there) == len(parts) else None

    return Outputs(
        joined([layer.logits for layer in layers]),
        joined([layer.boxes for layer in layers]),
        joined([layer.masks for layer in layers]),
        phrases=joined([layer.phrases for layer in layers]),
        tokens=joined([layer.tokens for layer in layers]),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxCase(Case):
    """Two lists of boxes in xyxy, [n, 4] and [m, 4], that the configuration's dtype holds exactly."""

    first: Floats
    second: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class CostCase(Case):
    """Cost matrices [n, m] for a solver of assignments, one problem each."""

    costs: tuple[Floats, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class SetCase(Case):
    """Outputs and targets of a batch, and each image's size as (height, width) [B, 2] in pixels.

    Raises `InvalidValue` where the parts do not fit each other, or a label has no class, unless the parts are
    broken on purpose.
    """

    outputs: Outputs
    targets: Targets
    sizes: Integers

    def __post_init__(self) -> None:
        outputs, configuration = self.outputs, self.configuration
        if outputs.broken or any(target.broken for target in self.targets):
            return
        if len(self.targets) != outputs.batch:
            raise InvalidValue(
                f"the targets are {len(self.targets)} in number, and the images {outputs.batch}; "
                "expected one for each image"
            )
        if outputs.phrases is None and outputs.logits.shape[-1] != configuration.columns:
            raise InvalidValue(
                f"logits have {outputs.logits.shape[-1]} columns; expected {configuration.columns} for "
                f"{configuration.num_classes} classes in profile {configuration.profile.name}"
            )
        if np.shape(self.sizes) != (outputs.batch, 2):
            raise InvalidValue(f"sizes have shape {list(np.shape(self.sizes))}; expected [{outputs.batch}, 2]")
        for image, target in enumerate(self.targets):
            if len(target) and target.labels.max() >= self.classes(image):
                raise InvalidValue(
                    f"targets[{image}].labels contain {target.labels.max()}; "
                    f"expected class indices below {self.classes(image)}"
                )

    def classes(self, image: int) -> int:
        """How many classes an object of an image may have: the phrases of the image, where labels name these."""
        phrases = self.outputs.phrases_of(image)
        return self.configuration.num_classes if phrases is None else len(phrases)

    def columns(self, image: int, labels: Integers) -> Integers:
        """The logit columns of some classes of an image, each once."""
        phrases = self.outputs.phrases_of(image)
        return np.unique(labels) if phrases is None else np.flatnonzero(phrases[labels].any(axis=0))

    def targets_with(self, image: int, target: Target) -> Targets:
        """The targets, with another one for one image."""
        return (*self.targets[:image], target, *self.targets[image + 1 :])


@dataclass(frozen=True, eq=False, kw_only=True)
class RankCase(Case):
    """The outputs and targets of each rank of a distributed call.

    Raises `InvalidValue` where a batch does not have one target for each image.
    """

    batches: tuple[tuple[Outputs, Targets], ...]

    def __post_init__(self) -> None:
        for rank, (outputs, targets) in enumerate(self.batches):
            if len(targets) != outputs.batch:
                raise InvalidValue(
                    f"rank {rank}: the targets are {len(targets)} in number, and the images {outputs.batch}; "
                    "expected one for each image"
                )

    @property
    def union(self) -> tuple[Outputs, Targets]:
        """The images of all ranks as one batch, rank after rank."""
        layers = zip(*(outputs.layers for outputs, _ in self.batches), strict=True)
        *earlier, main = map(joined_images, layers)
        targets = tuple(target for _, targets in self.batches for target in targets)
        return replace(main, auxiliary=tuple(earlier)), targets


@dataclass(frozen=True, eq=False, kw_only=True)
class HiddenCase(Case):
    """Hidden states of the decoder, [L, B, Q, D]."""

    hidden: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureCase(Case):
    """What a decoder is given: features, positions, padding and query embeddings."""

    features: FeatureMap


@dataclass(frozen=True, eq=False, kw_only=True)
class ImagesCase(Case):
    """Images [3, H, W] with values in [0, 1], each of its own size."""

    images: tuple[Floats, ...]
