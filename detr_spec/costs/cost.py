"""Matching costs: what a cost is, and what it is a function of in one image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from detr_spec.boxes import EXACT, BoxRules, corners_in
from detr_spec.masks import ComparedMasks
from detr_spec.parts import Part
from detr_spec.tolerance import Numbers, phrase_means
from detr_spec.values import Booleans, Floats, Integers, InvalidValue

LAWS = {
    "compares shapes": "it divides a box's width by its height, so that a box without height has no value",
    "sum over coordinates": "it adds the differences of the coordinates of (cx, cy, w, h)",
    "scale-invariant": "scaling all boxes along an axis leaves it unchanged",
}
"""What is true of some costs and not of others, and decides which invariants speak of them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """One image as a cost sees it: logits [Q, C] and boxes [Q, 4] of queries, labels [n] and boxes [n, 4] of targets.

    Boxes are cxcywh. has_no_object: whether the logits are those of a softmax whose last column is no object; otherwise
    each logit has a sigmoid. rules: the profile's box arithmetic. pixels: (W, H, W, H) of the image, [4], where
    overlaps are measured in them. masks: gives those of queries [Q, P] and of targets [n, P] where they are compared.
    phrases: the columns of each label, [K, C], where that is not its own alone.
    """

    logits: Numbers
    boxes: Numbers
    labels: Integers
    truth: Numbers
    has_no_object: bool
    rules: BoxRules = EXACT
    pixels: Floats | None = None
    masks: Callable[[], ComparedMasks] | None = None
    phrases: Booleans | None = None

    @cached_property
    def compared(self) -> ComparedMasks:
        """Its masks where they are compared; raises `InvalidValue` where there are none."""
        if self.masks is None:
            raise InvalidValue(
                "the outputs have no masks; expected [B, Q, h, w], for the matching cost depends on them"
            )
        return self.masks()

    def at_labels(self, of_logits: Callable[[Numbers], Numbers]) -> Numbers:
        """What a function says of each query's logit at each label; where a label has several, their mean; [Q, n]."""
        if self.phrases is None or not len(self.labels):
            return of_logits(self.logits[:, self.labels])
        labels, places = np.unique(self.labels, return_inverse=True)
        return phrase_means(self.logits, self.phrases[labels], of_logits)[:, places]

    @property
    def corners(self) -> tuple[Numbers, Numbers]:
        """The boxes of queries, and those of targets, as xyxy, in what overlaps are measured in; [Q, 4], [n, 4]."""
        return corners_in(self.boxes, self.pixels), corners_in(self.truth, self.pixels)


@dataclass(frozen=True, kw_only=True)
class Cost(Part):
    """A term of the matching cost. reads: which predictions it depends on, "logits", "boxes" and "masks"."""

    reads: ClassVar[frozenset[str]]
    is_there: ClassVar[bool] = True
    """Whether the matching has it, with whatever weight."""
    weighed_by: ClassVar[str | None] = None
    """The field of a configuration that weighs it where it is a further cost; None where the profile alone does."""

    @abstractmethod
    def value(self, pairs: Pairs) -> Numbers:
        """What each pair costs before its weight; [Q, n]."""


@dataclass(frozen=True, kw_only=True)
class ClassCost(Cost):
    """A cost of the classes."""

    reads = frozenset({"logits"})

    @property
    def of_nothing_is_finite(self) -> bool:
        """Whether it is a finite number for a probability of 0."""
        return True


@dataclass(frozen=True, kw_only=True)
class BoxCost(Cost):
    """A cost of the boxes."""

    reads = frozenset({"boxes"})


@dataclass(frozen=True, kw_only=True)
class MaskCost(Cost):
    """A cost of the masks."""

    reads = frozenset({"masks"})
