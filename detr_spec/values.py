"""The values that flow through a check: outputs, targets, matchings, losses, detections. Frozen, NumPy inside.

Every array is float64 (or int64), read-only and in C order, whatever dtype the implementation under test works in: a
case rounds its numbers to that dtype first (see `round_to`), so the implementation and the definitions start from the
same numbers exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from detr_spec.calls import PLAIN
from detr_spec.places import APART, Apart

# Spelt out, as these types are read where values become plain data: from NumPy 2.5 on, NDArray is an alias that does
# not show that it is an array.
Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Booleans: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
AnyIntegers: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.integer]]
AnyNumbers: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]

Index: TypeAlias = (
    int | slice | EllipsisType | AnyIntegers | Booleans | tuple[int | slice | EllipsisType | AnyIntegers | None, ...]
)
"""What an array is indexed by."""

Array = TypeVar("Array", bound=AnyNumbers)

NARROW_DTYPES = ("float16", "bfloat16")
FINE_DTYPES = ("float32", "float64")

UNIFORM_DTYPES = ("float64", "float32", "float16", "bfloat16", "autocast")
"""The dtypes of calls whose numbers are all in one. "autocast" stands for float32 numbers in a call that may compute in
bfloat16 what it likes."""


@dataclass(frozen=True)
class PartDtypes:
    """The dtypes of a call's parts: of predicted logits and masks, of predicted boxes, and of target boxes."""

    logits: str
    boxes: str
    targets: str


MIXED_DTYPES = {
    **{f"{narrow}-predictions": PartDtypes(narrow, narrow, "float32") for narrow in NARROW_DTYPES},
    **{f"{narrow}-logits": PartDtypes(narrow, "float32", "float32") for narrow in NARROW_DTYPES},
}
"""Mixed precision as training has it: narrow predictions beside targets in float32, or narrow logits beside boxes in
float32."""

DTYPES = (*UNIFORM_DTYPES, *MIXED_DTYPES)
"""The dtypes of cases."""

_GRIDS = {"autocast": "bfloat16", **{name: parts.logits for name, parts in MIXED_DTYPES.items()}}
"""The dtype whose numbers a case in another dtype has: any that autocast may convert to holds them exactly, and of
mixed dtypes it is the narrow one."""


def part_dtypes(dtype: str) -> PartDtypes:
    """The dtypes of the parts of a call in one of `DTYPES`."""
    return MIXED_DTYPES.get(dtype, PartDtypes(dtype, dtype, dtype))


class InvalidValue(ValueError):
    """A value was given a wrong shape, dtype, range or a non-finite number; the message names the field."""


def round_to(numbers: ArrayLike, dtype: str) -> Floats:
    """The nearest numbers that `dtype`, one of `DTYPES`, can hold, as float64; for "autocast" those of bfloat16.

    For mixed dtypes they are those of the narrow one.

    Raises `InvalidValue` for another dtype. Ties round to even; numbers beyond the range become infinite. bfloat16 is
    rounded by way of float32, as frameworks convert to it.
    """
    wide = np.asarray(numbers, dtype=np.float64)
    dtype = _GRIDS.get(dtype, dtype)
    if dtype == "float64":
        return wide
    with np.errstate(over="ignore"):
        single = wide.astype(np.float32)
        if dtype == "float32":
            return single.astype(np.float64)
        if dtype == "float16":
            return wide.astype(np.float16).astype(np.float64)
    if dtype == "bfloat16":
        bits = single.view(np.uint32).astype(np.uint64)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32)
        return np.where(np.isfinite(single), rounded.view(np.float32), single).astype(np.float64)
    raise InvalidValue(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array


def _floats(name: str, given: ArrayLike, shape: str, *, last: int | None = None) -> Floats:
    """`given` as a read-only float64 array of as many dimensions as `shape` names, e.g. "[B, Q, 4]"."""
    raw = np.asarray(given)
    if raw.dtype.kind not in "fiu":
        raise InvalidValue(f"{name} has dtype {raw.dtype}; expected numbers of shape {shape}")
    dimensions = shape.count(",") + 1
    if raw.ndim != dimensions or (last is not None and raw.shape[-1] != last):
        raise InvalidValue(f"{name} has shape {list(raw.shape)}; expected {shape}")
    return _frozen(np.array(raw, dtype=np.float64, order="C"))


def _integers(name: str, given: ArrayLike, shape: str) -> Integers:
    raw = np.asarray(given)
    if raw.size == 0:
        raw = raw.astype(np.int64)
    if raw.dtype.kind not in "iu":
        raise InvalidValue(f"{name} has dtype {raw.dtype}; expected integers of shape {shape}")
    if raw.ndim != shape.count(",") + 1:
        raise InvalidValue(f"{name} has shape {list(raw.shape)}; expected {shape}")
    return _frozen(np.array(raw, dtype=np.int64))


def _refuse_non_finite(name: str, numbers: Floats) -> None:
    finite = np.isfinite(numbers)
    if not finite.all():
        where = tuple(int(index) for index in np.argwhere(~finite)[0])
        raise InvalidValue(f"{name}{list(where)} is {numbers[where]}; expected finite numbers")


def _refuse_bad_boxes(name: str, boxes: Floats) -> None:
    _refuse_non_finite(name, boxes)
    within = (boxes >= 0) & (boxes <= 1)
    if not within.all():
        where = tuple(int(index) for index in np.argwhere(~within)[0])
        raise InvalidValue(
            f"{name}{list(where)} is {boxes[where]}; expected (cx, cy, w, h) relative to the image, each in [0, 1]"
        )


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a detector's heads return, from one decoder layer, with the earlier layers in `auxiliary`.

    logits [B, Q, C] (C = K + 1 with a no-object class, K without), boxes [B, Q, 4] as (cx, cy, w, h) in [0, 1],
    masks [B, Q, h, w] logits or None, auxiliary: the outputs of layers 0 … L−2 in order, without auxiliary of their
    own. encoder, initial, one_to_many, denoising and initial_denoising: predictions of the encoder, the first of the
    decoder's queries, by another head, those of further queries, those of denoising queries, and the first of these,
    which stand apart, each with those before in `auxiliary`. edges: the logits of the distributions of each box's left,
    top, right and lower edge, one after another, [B, Q, E], or None, and references: the boxes that these are measured
    from, [B, Q, 4]. phrases: where labels name phrases of an image, which logit columns are the tokens of each,
    [B, K, C], none behind its last phrase; tokens: which columns are tokens, and not padding, [B, C]. Raises
    `InvalidValue` on a wrong shape, and on non-finite numbers or boxes outside [0, 1] unless `broken` says that the
    case is meant to carry them. Logits of padding may be
    any; those that are no numbers become −∞.
    """

    logits: Annotated[Floats, "[B, Q, C]"]
    boxes: Annotated[Floats, "[B, Q, 4]"]
    masks: Annotated[Floats, "[B, Q, h, w]"] | None = None
    auxiliary: tuple[Outputs, ...] = ()
    broken: bool = False
    encoder: Outputs | None = None
    initial: Outputs | None = None
    one_to_many: Outputs | None = None
    denoising: Outputs | None = None
    initial_denoising: Outputs | None = None
    edges: Annotated[Floats, "[B, Q, E]"] | None = None
    references: Annotated[Floats, "[B, Q, 4]"] | None = None
    phrases: Annotated[Booleans, "[B, K, C]"] | None = None
    tokens: Annotated[Booleans, "[B, C]"] | None = None

    def __post_init__(self) -> None:
        logits = _floats("logits", self.logits, "[B, Q, C]")
        boxes = _floats("boxes", self.boxes, "[B, Q, 4]", last=4)
        object.__setattr__(self, "logits", logits)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "auxiliary", tuple(self.auxiliary))
        if boxes.shape[:2] != logits.shape[:2]:
            raise InvalidValue(
                f"boxes have shape {list(boxes.shape)}; "
                f"expected [B, Q, 4] with B, Q = {list(logits.shape[:2])} as the logits"
            )
        if logits.shape[-1] == 0:
            raise InvalidValue("logits have no class column; expected shape [B, Q, C] with C of at least 1")
        if self.masks is not None:
            masks = _floats("masks", self.masks, "[B, Q, h, w]")
            if masks.shape[:2] != logits.shape[:2]:
                raise InvalidValue(
                    f"masks have shape {list(masks.shape)}; expected [B, Q, h, w] with B, Q = {list(logits.shape[:2])}"
                )
            object.__setattr__(self, "masks", masks)
        for name, shape in (("edges", "[B, Q, E]"), ("references", "[B, Q, 4]")):
            if (given := getattr(self, name)) is not None:
                part = _floats(name, given, shape, last=4 if name == "references" else None)
                if part.shape[:2] != logits.shape[:2]:
                    raise InvalidValue(
                        f"{name} have shape {list(part.shape)}; expected {shape} with B, Q = {list(logits.shape[:2])}"
                    )
                object.__setattr__(self, name, part)
        if self.phrases is not None and self.tokens is not None:
            self._take_phrases(logits, np.asarray(self.phrases), np.asarray(self.tokens))
        if not self.broken:
            _refuse_non_finite("logits", logits if self.tokens is None else self.counted_logits)
            _refuse_bad_boxes("boxes", boxes)
            if self.masks is not None:
                _refuse_non_finite("masks", self.masks)
        for layer, outputs in enumerate(self.auxiliary):
            if outputs.auxiliary:
                raise InvalidValue(f"auxiliary[{layer}] has auxiliary outputs of its own; expected one level only")
            if outputs.logits.shape != logits.shape:
                raise InvalidValue(
                    f"auxiliary[{layer}].logits have shape {list(outputs.logits.shape)}; "
                    f"expected {list(logits.shape)} as in the last layer"
                )
        for name, apart in self.apart.items():
            if apart is not None and apart.logits.shape[::2] != logits.shape[::2]:
                raise InvalidValue(
                    f"{name}.logits have shape {list(apart.logits.shape)}; "
                    f"expected [B, any, C] with B, C = {list(logits.shape[::2])} as in the last layer"
                )

    def _take_phrases(self, logits: Floats, phrases: Booleans, tokens: Booleans) -> None:
        """Refuses phrases that do not fit the logits, and puts −∞ where the logits of padding are no numbers."""
        batch, _, columns = logits.shape
        shapes = (batch, columns) == tokens.shape and (batch, columns) == phrases.shape[::2]
        if not self.broken and not (shapes and phrases.dtype.kind == tokens.dtype.kind == "b"):
            raise InvalidValue(
                f"phrases have shape {list(phrases.shape)} and dtype {phrases.dtype}, tokens {list(tokens.shape)} and "
                f"{tokens.dtype}; expected bool [B, K, C] and [B, C] with B, C = {[batch, columns]} as the logits"
            )
        there = np.asarray(phrases.any(axis=-1))
        if not there[:, :1].all() or (there[:, 1:] > there[:, :-1]).any() or (phrases & ~tokens[:, None]).any():
            raise InvalidValue("a phrase has no token, or one that is padding; expected a token of each, one at least")
        if not self.broken:
            padding = ~tokens[:, None] & ~np.isfinite(logits)
            object.__setattr__(self, "logits", _frozen(np.where(padding, -np.inf, logits)))
        object.__setattr__(self, "phrases", _frozen(np.array(phrases)))
        object.__setattr__(self, "tokens", _frozen(np.array(tokens)))

    @property
    def counted_logits(self) -> Floats:
        """The logits, 0 in place of those of padding; [B, Q, C]."""
        return self.logits if self.tokens is None else np.where(self.tokens[:, None], self.logits, 0.0)

    def phrases_of(self, image: int) -> Booleans | None:
        """The logit columns of each phrase of an image, [K_b, C]; None where labels name columns."""
        if self.phrases is None:
            return None
        own: Booleans = self.phrases[image]
        return own[own.any(axis=-1)]

    @property
    def layers(self) -> tuple[Outputs, ...]:
        """All layers from the first to the last, each without auxiliary outputs."""
        return (*self.auxiliary, self.main)

    @property
    def main(self) -> Outputs:
        """The last decoder layer alone."""
        if not self.auxiliary and not any(self.apart.values()):
            return self
        changes: Any = dict.fromkeys(APART)
        return replace(self, auxiliary=(), **changes)

    @property
    def apart(self) -> dict[Apart, Outputs | None]:
        """The predictions that stand apart, by name."""
        return {name: getattr(self, name) for name in APART}

    def with_decoder_queries(self, queries: ArrayLike) -> Outputs:
        """The outputs with queries of the decoder's layers selected or reordered by index; others stay as they are."""
        return self.with_apart(dict.fromkeys(APART)).take(queries=queries).with_apart(self.apart)

    def with_apart(self, apart: Mapping[Apart, Outputs | None]) -> Outputs:
        """The outputs with others of the predictions that stand apart, by name."""
        changes: Any = apart
        return replace(self, **changes)

    @property
    def batch(self) -> int:
        """The number of images."""
        return int(self.logits.shape[0])

    @property
    def queries(self) -> int:
        """The number of queries."""
        return int(self.logits.shape[1])

    def each(self, **changes: Callable[[Outputs], AnyNumbers | None]) -> Outputs:
        """The outputs with other logits, boxes or masks in every layer and apart, each made from the layer's own."""
        changed: dict[str, Any] = {name: change(self) for name, change in changes.items()}
        changed |= {name: part and part.each(**changes) for name, part in self.apart.items()}
        return replace(self, auxiliary=tuple(layer.each(**changes) for layer in self.auxiliary), **changed)

    def take(self, *, images: ArrayLike | None = None, queries: ArrayLike | None = None) -> Outputs:
        """The outputs with images, or queries of every image, selected or reordered by index, in all layers."""

        def of_images(array: AnyNumbers | None) -> Any:
            return array if array is None or images is None else array[np.asarray(images, dtype=np.int64)]

        def select(array: Floats | None) -> Floats | None:
            chosen: Floats | None = of_images(array)
            return chosen if chosen is None or queries is None else chosen[:, np.asarray(queries, dtype=np.int64)]

        return self.each(
            logits=lambda layer: select(layer.logits),
            boxes=lambda layer: select(layer.boxes),
            masks=lambda layer: select(layer.masks),
            edges=lambda layer: select(layer.edges),
            references=lambda layer: select(layer.references),
            phrases=lambda layer: of_images(layer.phrases),
            tokens=lambda layer: of_images(layer.tokens),
        )


@dataclass(frozen=True, eq=False)
class Target:
    """The objects of one image: labels [n] int64, boxes [n, 4] as (cx, cy, w, h) in [0, 1], masks [n, H, W] or None.

    size: the (height, width) of the image, where boxes are in pixels; valid: which of them are objects, where others
    are padding. Only targets in a dialect's own form have these. Raises `InvalidValue` on wrong shapes, differing
    lengths and negative labels, and on non-finite numbers or boxes outside [0, 1] unless `broken` says that the case is
    meant to carry them. The upper end of the label range depends on the configuration: `SetCase` checks it.
    """

    labels: Annotated[Integers, "[n]"]
    boxes: Annotated[Floats, "[n, 4]"]
    masks: Annotated[Booleans, "[n, H, W]"] | None = None
    broken: bool = False
    size: Annotated[Integers, "[2]"] | None = None
    valid: Annotated[Booleans, "[n]"] | None = None

    def __post_init__(self) -> None:
        labels = _integers("labels", self.labels, "[n]")
        boxes = _floats(
            "boxes", np.reshape(self.boxes, (0, 4)) if np.size(self.boxes) == 0 else self.boxes, "[n, 4]", last=4
        )
        if len(labels) != len(boxes):
            raise InvalidValue(
                f"a target's labels are {len(labels)} in number, and its boxes {len(boxes)}; "
                "expected one label for each box"
            )
        if not self.broken:
            if (labels < 0).any():
                raise InvalidValue(f"labels contain {labels.min()}; expected class indices from 0")
            _refuse_bad_boxes("boxes", boxes)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "boxes", boxes)
        if self.masks is not None:
            masks = np.asarray(self.masks)
            if masks.ndim != 3 or len(masks) != len(labels) or masks.dtype.kind != "b":
                raise InvalidValue(
                    f"masks have shape {list(masks.shape)} and dtype {masks.dtype}; "
                    f"expected bool [n, H, W] with n = {len(labels)}"
                )
            object.__setattr__(self, "masks", _frozen(np.array(masks)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, order: ArrayLike) -> Target:
        """The target's objects selected or reordered by index."""
        index = np.asarray(order, dtype=np.int64)
        masks = None if self.masks is None else self.masks[index]
        return Target(self.labels[index], self.boxes[index], masks, self.broken)


Targets = tuple[Target, ...]


@dataclass(frozen=True, eq=False)
class Matching:
    """Which query is assigned to which target: two index vectors of one length, as the implementation returned them.

    Nothing is checked here: invariants check whether the indices are in range, distinct and int64.
    """

    queries: Annotated[AnyIntegers, "[k]"]
    targets: Annotated[AnyIntegers, "[k]"]

    def pairs(self) -> list[tuple[int, int]]:
        """The (query, target) pairs in the order returned."""
        return [(int(query), int(target)) for query, target in zip(self.queries, self.targets, strict=True)]

    def by_target(self) -> dict[int, int]:
        """The query of each matched target."""
        return {target: query for query, target in self.pairs()}


@dataclass(frozen=True, eq=False)
class Losses:
    """What a criterion returned: each term by the implementation's own key, as a float.

    `weights` is the implementation's weight table where it shows one. `matchings` holds, for each decoder layer
    from the first to the last, its own matching of each image, where it shows them.
    """

    values: Mapping[str, float]
    weights: Mapping[str, float] | None = None
    matchings: tuple[tuple[Matching, ...], ...] | None = None


@dataclass(frozen=True, eq=False)
class LayerGradient:
    """The gradient by one decoder layer's predictions: logits [B, Q, C], boxes [B, Q, 4], masks [B, Q, h, w].

    None for a prediction that the loss is not connected to, which is not the same as a gradient of zeros, and for masks
    that the layer does not predict.
    """

    logits: Annotated[Floats, "[B, Q, C]"] | None
    boxes: Annotated[Floats, "[B, Q, 4]"] | None
    masks: Annotated[Floats, "[B, Q, h, w]"] | None = None
    edges: Annotated[Floats, "[B, Q, E]"] | None = None


@dataclass(frozen=True, eq=False)
class LossGradients:
    """What a criterion returned, Σ weight · loss, and its gradient in each decoder layer, first to last.

    encoder, initial, one_to_many, denoising, initial_denoising: likewise by each of the predictions that stand apart,
    where they were given.
    """

    losses: Losses
    total: float
    layers: tuple[LayerGradient, ...]
    encoder: tuple[LayerGradient, ...] = ()
    initial: tuple[LayerGradient, ...] = ()
    one_to_many: tuple[LayerGradient, ...] = ()
    denoising: tuple[LayerGradient, ...] = ()
    initial_denoising: tuple[LayerGradient, ...] = ()

    @property
    def apart(self) -> dict[str, tuple[LayerGradient, ...]]:
        """The gradients by predictions that stand apart, by name."""
        return {name: getattr(self, name) for name in APART}


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image: scores [n], labels [n] int64, boxes [n, 4] as (x0, y0, x1, y1) in pixels."""

    scores: Annotated[AnyNumbers, "[n]"]
    labels: Annotated[AnyNumbers, "[n]"]
    boxes: Annotated[AnyNumbers, "[n, 4]"]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """What a decoder is given: features and positions [B, D, h, w], padding [B, h, w], query embeddings [Q, D].

    padding is true where a position lies outside its image. Raises `InvalidValue` on shapes that do not fit each
    other, on numbers that are not finite, and where an image is padding alone.
    """

    features: Annotated[Floats, "[B, D, h, w]"]
    positions: Annotated[Floats, "[B, D, h, w]"]
    padding: Annotated[Booleans, "[B, h, w]"]
    queries: Annotated[Floats, "[Q, D]"]

    def __post_init__(self) -> None:
        for name, shape in (("features", "[B, D, h, w]"), ("positions", "[B, D, h, w]"), ("queries", "[Q, D]")):
            numbers = _floats(name, getattr(self, name), shape)
            _refuse_non_finite(name, numbers)
            object.__setattr__(self, name, numbers)
        padding = np.asarray(self.padding)
        batch, size, height, width = self.features.shape
        if self.positions.shape != self.features.shape or self.queries.shape[1] != size:
            raise InvalidValue(
                f"features have shape {list(self.features.shape)}, positions {list(self.positions.shape)}, "
                f"queries {list(self.queries.shape)}; expected [B, D, h, w] twice, and [Q, D]"
            )
        if padding.dtype.kind != "b" or padding.shape != (batch, height, width) or padding.all(axis=(1, 2)).any():
            raise InvalidValue(
                f"padding has shape {list(padding.shape)} and dtype {padding.dtype}; "
                f"expected bool {[batch, height, width]}, false somewhere in each image"
            )
        object.__setattr__(self, "padding", _frozen(np.array(padding)))


LinearMap: TypeAlias = tuple[Annotated[Floats, "[m, n]"], Annotated[Floats, "[m]"]]
"""A matrix and a bias."""


@dataclass(frozen=True, eq=False)
class HeadParameters:
    """The weights of detection heads: the class head's matrix [C, D] and bias [C], and each box layer's, in order."""

    class_head: LinearMap
    box_head: tuple[LinearMap, ...]


@dataclass(frozen=True)
class Observation:
    """What was seen beside an answer's numbers, by the name of the part of the answer.

    mutated: the inputs that the call changed, None if that cannot be seen. attached: the results that carry a gradient;
    differentiable: whether the framework records gradients, so that a result outside `attached` carries none. dtypes,
    shapes, devices: of the results; `device` is where the inputs were. call: the way in which the call was made,
    according to the caller, who may know the plain way alone. What a framework does not show is left out.
    """

    mutated: tuple[str, ...] | None = ()
    attached: frozenset[str] = frozenset()
    differentiable: bool = False
    dtypes: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    call: str = PLAIN


Value = TypeVar("Value")


@dataclass(frozen=True)
class Answer(Generic[Value]):
    """An implementation's answer, and what was observed about it."""

    value: Value
    observation: Observation = Observation()
