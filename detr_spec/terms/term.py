"""Training terms: what a term is, and what it is a function of in a decoder layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, Literal

import numpy as np

from detr_spec.boxes import EXACT, BoxRules, corners_in, elementwise_iou
from detr_spec.masks import ComparedMasks
from detr_spec.parts import Part
from detr_spec.places import APART, Whose
from detr_spec.tolerance import Interval, Numbers, hull, is_coarser, is_interval, placed, rounded_like, where
from detr_spec.values import Booleans, Floats, Integers, InvalidValue

LAWS = {
    "compares shapes": "it divides a box's width by its height, so that a box without height has no value",
    "divided by boxes": "num_boxes is its only divisor, so that num_boxes times it is a sum over images",
    "pulls from afar": "its derivative by a box does not shrink with the distance from its target",
    "scale-invariant": "scaling all boxes along an axis leaves it unchanged",
    "sum over pairs": "only matched pairs contribute to it, each a share of at least 0",
    "reads logits alone": "boxes have no part in it",
    "target from logits": "its target follows the logits without a gradient, and a step against that may raise it",
    "shift-invariant": "a constant added to all logits of a query leaves it unchanged",
}
"""What is true of some terms and not of others, and decides which invariants speak of them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Teacher:
    """What a layer learns from: logits [B, Q, C], and the logits of the distributions of edges, [B, Q, E]."""

    logits: Numbers
    edges: Numbers


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """A decoder layer as a term sees it, under a matching: m pairs of a query and a target, of all images.

    logits: [B, Q, C]. classes: the class that each query is trained towards, K for no object; [B, Q]. boxes: the boxes
    of matched queries, and truth: those of their targets, cxcywh [m, 4]. images, queries: the indices of the matched
    queries; [m] each. normaliser: num_boxes, []. total_weight: that of the queries of all ranks, [], where a mean under
    weights is over these. rules: the profile's box arithmetic. pixels: (W, H, W, H) of each image, [B, 4], where
    overlaps are measured in them. masks: gives those of the matched queries and of their targets where they are
    compared. edges: the logits of the distributions of all queries' edges, [B, Q, E], and references: the boxes that
    these are measured from, [B, Q, 4]. teacher: what the last of its layers predicts. decoder_queries: of denoising
    queries alone, how many queries of the decoder have a target, and how many have none. phrases and tokens: where
    classes are phrases, which logits are those of each, [B, K, C], and which are not padding, [B, C].
    """

    logits: Numbers
    classes: Integers
    boxes: Numbers
    truth: Numbers
    images: Integers
    queries: Integers
    normaliser: Numbers
    total_weight: Numbers | None = None
    teacher: Teacher | None = None
    decoder_queries: tuple[int, int] | None = None
    rules: BoxRules = EXACT
    pixels: Floats | None = None
    masks: Callable[[], ComparedMasks] | None = None
    edges: Numbers | None = None
    references: Numbers | None = None
    phrases: Booleans | None = None
    tokens: Booleans | None = None

    @cached_property
    def positive(self) -> Booleans:
        """Which logits are those of its query's target; [B, Q, C]."""
        if self.phrases is None:
            one: Booleans = self.classes[..., None] == np.arange(self.logits.shape[-1])
            return one
        with_none = np.pad(self.phrases, ((0, 0), (0, 1), (0, 0)))
        return np.asarray(with_none[np.arange(len(self.classes))[:, None], self.classes])

    def total(self, numbers: Numbers) -> Numbers:
        """The sum of a number of each logit, those of padding left out; [B, Q, C] → []."""
        if self.tokens is not None:
            numbers = numbers[np.broadcast_to(self.tokens[:, None], self.logits.shape)]
        return numbers.reshape(-1).sum()

    @cached_property
    def instances(self) -> ComparedMasks:
        """Its masks; raises `InvalidValue` where there are none."""
        if self.masks is None:
            raise InvalidValue("the outputs have no masks; expected [B, Q, h, w], for mask losses are asked for")
        return self.masks()

    @property
    def distributions(self) -> tuple[Numbers, Numbers]:
        """Its edges and references; raises `InvalidValue` where there are none."""
        if self.edges is None or self.references is None:
            raise InvalidValue("the outputs have no distributions of edges; expected edges and references")
        return self.edges, self.references

    @property
    def taught(self) -> Teacher:
        """Its teacher; raises `InvalidValue` where there is none."""
        if self.teacher is None:
            raise InvalidValue("the last layer has no distributions of edges; expected edges in every layer")
        return self.teacher

    @cached_property
    def matched(self) -> Booleans:
        """Which queries have a target; [B, Q]."""
        matched = np.zeros(self.classes.shape, dtype=np.bool_)
        matched[self.images, self.queries] = True
        return matched

    @cached_property
    def iou(self) -> Numbers:
        """The IoU of each matched pair, as targets of classes and weights of edges have it; [m]."""
        corners = partial(corners_in, pixels=None) if self.rules.quality_units == "relative" else self.corners
        return elementwise_iou(corners(self.boxes), corners(self.truth), self.rules)

    def corners(self, boxes: Numbers) -> Numbers:
        """Boxes of the pairs as xyxy, in what overlaps are measured in; cxcywh [m, 4] → [m, 4]."""
        return corners_in(boxes, None if self.pixels is None else self.pixels[self.images])

    def at_labels(self, numbers: Numbers) -> Numbers:
        """A number of each pair in the places of its query's target among the logits, 0 elsewhere; [m] → [B, Q, C].

        An interval also holds the numbers rounded to the dtype of the logits, as a tensor of that dtype holds them, and
        what is computed from them is rounded to that dtype where it has fewer digits.
        """
        if isinstance(numbers, Interval):
            numbers = hull(numbers, rounded_like(numbers, self.logits) + 0.0)
            numbers = rounded_like(numbers, self.logits) if is_coarser(self.logits, numbers.dtype) else numbers
        of_queries = placed(numbers, self.classes.shape, (self.images, self.queries))
        return where(self.positive, of_queries[..., None], 0.0)

    def powers_at_labels(self, numbers: Numbers, exponent: float) -> Numbers:
        """A power of a number of each pair likewise; an interval also holds that of the rounded number."""
        powers = self.at_labels(numbers**exponent)
        if not is_interval(numbers):
            return powers
        return hull(powers, where(self.positive, self.at_labels(numbers) ** exponent, 0.0))


@dataclass(frozen=True, kw_only=True)
class Term(Part):
    """A training term of one decoder layer. moves: the predictions to which it gives a gradient.

    layers: whether every decoder layer may have it, and predictions apart, or those that learn from the last layer.
    whose: the predictions that may have it.
    """

    moves: ClassVar[Literal["logits", "boxes", "masks", "edges"]]
    layers: ClassVar[Literal["every", "earlier"]] = "every"
    is_judged: ClassVar[bool] = True
    """Whether it has a definition; one that has none is not asked about, and leaves the others judged."""
    whose: ClassVar[tuple[Whose, ...]] = ("decoder", *APART)

    @abstractmethod
    def value(self, layer: Layer) -> Numbers:
        """What it adds to the loss before its weight; []."""


@dataclass(frozen=True, kw_only=True)
class ClassTerm(Term):
    """A training term of the classes."""

    moves = "logits"

    def has_value(self, targets: int) -> bool:  # noqa: ARG002
        """Whether it is defined in a batch with that number of targets."""
        return True

    def class_weights(self, count: int) -> Numbers:  # noqa: ARG002
        """The weight of each of `count` classes, where it weighs classes; else empty."""
        return np.ones(0)

    def query_weights(self, classes: Integers, count: int) -> Numbers | None:  # noqa: ARG002
        """The weights of queries, by their classes among so many, where it is divided by their sum; [...] → [...]."""
        return None

    def teaches(self) -> bool:
        """Whether both objects and no object contribute to it."""
        return True


@dataclass(frozen=True, kw_only=True)
class BoxTerm(Term):
    """A training term of the boxes of matched pairs."""

    moves = "boxes"
    laws = frozenset({"divided by boxes", "sum over pairs"})


@dataclass(frozen=True, kw_only=True)
class MaskTerm(Term):
    """A training term of the masks of matched pairs. needs_pixels: whether it is not defined of masks at points."""

    moves = "masks"
    needs_pixels: ClassVar[bool] = False
    laws = frozenset({"divided by boxes", "sum over pairs"})


@dataclass(frozen=True, kw_only=True)
class EdgeTerm(Term):
    """A training term of the distributions of edges of matched pairs, which the decoder's layers have."""

    reg_max: float = 32.0
    """The number of an edge's last distance, an even number; they count from 0."""

    moves = "edges"
    whose = ("decoder", "denoising")
    laws = frozenset({"divided by boxes", "sum over pairs"})

    @property
    def count(self) -> int:
        """The number of distances that an edge may have."""
        return int(self.reg_max) + 1
