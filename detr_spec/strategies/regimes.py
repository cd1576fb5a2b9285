"""Regimes: the named kinds of outputs and targets that set prediction meets, written once for drawn and seeded numbers.

A regime is a function `(numbers, extent) -> Scene`. Boxes are proper and costs finite unless the regime's name
says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from detr_spec.strategies.coco import coco_images
from detr_spec.strategies.numbers import Numbers
from detr_spec.tolerance import SMALLEST
from detr_spec.values import Floats, Integers, Target, round_to

SMALLEST_SIDE = 1 / 64
CONFIDENT_LOGIT = 8.0
SATURATED_LOGIT = 120.0
FURTHER = 4
"""How many times larger the largest logits are."""

UNDECIDED_LEVEL = 4
FINE_STEPS = {"float64": 2.0**-30, "float32": 2.0**-12}
COARSE_STEP = 2.0**-6
"""By how much the logits of an undecided query differ: as softmax and sigmoid in its dtype still tell, and a narrower
dtype does not."""

TINY_STEP = 2.0**-13
"""Tiny boxes have sides of 1 to 8 of these: from 0.00012 to 0.00098."""

MINUTE_STEP = 2.0**-30
"""Minute boxes have sides of 1 to 8 of these: areas from 2⁻⁶⁰, below every epsilon that is met with."""


def minute_step(dtype: str) -> float:
    """The step of minute boxes, longer in dtypes that do not hold a 64th of it; moved and halved boxes need that."""
    return max(MINUTE_STEP, 64 * SMALLEST[dtype])


@dataclass(frozen=True)
class Extent:
    """The sizes of a scene: L layers, B images, Q queries, C logit columns, K classes, n_b targets of each image."""

    layers: int
    queries: int
    columns: int
    classes: int
    lengths: tuple[int, ...]
    dtype: str

    @property
    def batch(self) -> int:
        """The number of images."""
        return len(self.lengths)


@dataclass(frozen=True, eq=False)
class Scene:
    """Predictions of all layers and the targets: logits [L, B, Q, C], boxes [L, B, Q, 4], one target an image."""

    logits: Floats
    boxes: Floats
    targets: tuple[Target, ...]


def _proper_boxes(numbers: Numbers, shape: tuple[int, ...]) -> Floats:
    centres = numbers.reals(0.0, 1.0, (*shape, 2))
    sides = numbers.reals(SMALLEST_SIDE, 1.0, (*shape, 2))
    return np.concatenate([centres, sides], axis=-1)


def _target(numbers: Numbers, extent: Extent, length: int) -> Target:
    labels = numbers.integers(0, extent.classes - 1, (length,))
    return Target(labels, _proper_boxes(numbers, (length,)))


def general(numbers: Numbers, extent: Extent) -> Scene:
    """Any logits in ±6 and any proper boxes, unrelated to the targets."""
    shape = (extent.layers, extent.batch, extent.queries)
    targets = tuple(_target(numbers, extent, length) for length in extent.lengths)
    return Scene(numbers.reals(-6.0, 6.0, (*shape, extent.columns)), _proper_boxes(numbers, shape), targets)


def order(numbers: Numbers, size: int) -> Integers:
    """A permutation of 0 … size − 1 that shrinks towards the identity."""
    return np.argsort(numbers.integers(0, 2 * size, (size,)), kind="stable")


def confident(numbers: Numbers, extent: Extent) -> Scene:
    """Each target is predicted by one query: its exact box, its label at +8 against −8; the others say no object."""
    scene = general(numbers, extent)
    logits = np.full_like(scene.logits, -CONFIDENT_LOGIT)
    boxes = scene.boxes.copy()
    if extent.columns > extent.classes:
        logits[..., -1] = CONFIDENT_LOGIT
    for layer in range(extent.layers):
        for image, target in enumerate(scene.targets):
            queries = order(numbers, extent.queries)[: len(target)]
            matched = target.take(np.arange(len(queries)))
            logits[layer, image, queries] = -CONFIDENT_LOGIT
            logits[layer, image, queries, matched.labels] = CONFIDENT_LOGIT
            boxes[layer, image, queries] = matched.boxes
    return Scene(logits, boxes, scene.targets)


def tied(numbers: Numbers, extent: Extent) -> Scene:
    """Queries that repeat one another exactly, and targets that do: many matchings are optimal."""
    scene = general(numbers, extent)
    kinds = numbers.integers(0, max(extent.queries // 2 - 1, 0), (extent.queries,))
    targets = tuple(
        target.take(numbers.integers(0, max(len(target) // 2 - 1, 0), (len(target),))) for target in scene.targets
    )
    return Scene(scene.logits[:, :, kinds], scene.boxes[:, :, kinds], targets)


def crowded(numbers: Numbers, extent: Extent) -> Scene:
    """Targets of one class that nearly coincide, with queries all around them: costs differ by little."""
    scene = general(numbers, extent)

    def near(box: Floats, shape: tuple[int, ...]) -> Floats:
        return np.clip(box + numbers.integers(-3, 3, (*shape, 4)) / 64, [0, 0, SMALLEST_SIDE, SMALLEST_SIDE], 1.0)

    centre = np.array([0.5, 0.5, 0.25, 0.25])
    targets = tuple(Target(np.minimum(target.labels, 0), near(centre, (len(target),))) for target in scene.targets)
    return Scene(scene.logits, near(centre, scene.boxes.shape[:-1]), targets)


def degenerate(numbers: Numbers, extent: Extent) -> Scene:
    """Targets or predictions of zero width or height, or both, against proper ones: every cost is still finite.

    Some are zero altogether, as what pads a list of targets is.
    """
    scene = general(numbers, extent)
    if _either(numbers):
        return replace(scene, boxes=_flattened(numbers, scene.boxes))
    targets = tuple(replace(target, boxes=_flattened(numbers, target.boxes)) for target in scene.targets)
    return replace(scene, targets=targets)


def _flattened(numbers: Numbers, boxes: Floats) -> Floats:
    """The boxes with one side of zero, or both; [..., 4] → [..., 4]."""
    flat, zero = numbers.integers(1, 3, boxes.shape[:-1]), numbers.integers(0, 1, boxes.shape[:-1])
    flattened: Floats = boxes.copy()
    flattened[flat != 2, 2] = 0.0
    flattened[flat != 1, 3] = 0.0
    flattened[(flat == 3) & (zero == 1)] = 0.0
    return flattened


def saturated(numbers: Numbers, extent: Extent) -> Scene:
    """Logits of −120, −60, 0, 60 and 120, or four times that: probabilities are 0 or 1 in every dtype, but at 0."""
    scene = general(numbers, extent)
    steps = numbers.integers(-2, 2, scene.logits.shape).astype(np.float64)
    return replace(scene, logits=steps * (SATURATED_LOGIT / 2) * (1, FURTHER)[_either(numbers)])


def undecided(numbers: Numbers, extent: Extent) -> Scene:
    """All logits of a query nearly the same, about −4, 0 or 4: which is the highest, fine digits decide.

    About 0 the highest is often 0 itself, a probability of exactly 1/2.
    """
    scene = general(numbers, extent)
    levels = UNDECIDED_LEVEL * numbers.integers(-1, 1, (*scene.logits.shape[:-1], 1))
    steps = numbers.integers(-2, 2, scene.logits.shape)
    return replace(scene, logits=levels + FINE_STEPS.get(extent.dtype, COARSE_STEP) * steps)


def _either(numbers: Numbers) -> int:
    """0 or 1."""
    return int(numbers.integers(0, 1, (1,))[0])


def tiny(numbers: Numbers, extent: Extent) -> Scene:
    """Boxes with sides below 0.001, in predictions and targets: near each other, some overlapping, or all over."""
    spread = _either(numbers)

    def boxes(shape: tuple[int, ...]) -> Floats:
        centres = numbers.reals(0.0, 1.0, (*shape, 2)) if spread else 0.5 + _steps(numbers, shape) * TINY_STEP
        return np.concatenate([centres, _sides(numbers, shape) * TINY_STEP], axis=-1)

    return _with_boxes(general(numbers, extent), boxes)


def minute(numbers: Numbers, extent: Extent) -> Scene:
    """Boxes with areas from 2⁻⁶⁰, some overlapping, at the corner of the image, where their own corners are exact."""
    step = minute_step(extent.dtype)

    def boxes(shape: tuple[int, ...]) -> Floats:
        centres = 8 + _steps(numbers, shape)
        return np.asarray(np.concatenate([centres, _sides(numbers, shape)], axis=-1) * step)

    return _with_boxes(general(numbers, extent), boxes)


def _steps(numbers: Numbers, shape: tuple[int, ...]) -> Integers:
    """How many steps centres are moved by; [..., 2]."""
    return numbers.integers(-8, 8, (*shape, 2))


def _sides(numbers: Numbers, shape: tuple[int, ...]) -> Integers:
    """How many steps sides are long; [..., 2]."""
    return numbers.integers(1, 8, (*shape, 2))


def _with_boxes(scene: Scene, boxes: Callable[[tuple[int, ...]], Floats]) -> Scene:
    """The scene with other boxes, in predictions and targets."""
    targets = tuple(replace(target, boxes=boxes((len(target),))) for target in scene.targets)
    return Scene(scene.logits, boxes(scene.boxes.shape[:-1]), targets)


def coco(numbers: Numbers, extent: Extent) -> Scene:
    """Real objects of COCO images, predicted roughly by some queries; labels are category ids, so K is 91."""
    images = coco_images()
    chosen = numbers.integers(0, len(images) - 1, (extent.batch,))

    def real(index: int, length: int) -> Target:
        whole = images[index].target
        part = whole.take(np.arange(min(length, len(whole))))
        return replace(part, boxes=round_to(part.boxes, extent.dtype))

    targets = tuple(real(index, length) for index, length in zip(chosen, extent.lengths, strict=True))
    scene = general(numbers, extent)
    boxes, logits = scene.boxes.copy(), scene.logits.copy()
    for image, target in enumerate(targets):
        queries = order(numbers, extent.queries)[: len(target)]
        held = target.take(np.arange(len(queries)))
        shift = numbers.reals(-1 / 32, 1 / 32, (extent.layers, len(queries), 4))
        boxes[:, image, queries] = round_to(np.clip(held.boxes + shift, 2.0**-10, 1.0), extent.dtype)
        logits[:, image, queries, held.labels] = 6.0
    return Scene(logits, boxes, targets)


COCO_CLASSES = 91

REGIMES: dict[str, Callable[[Numbers, Extent], Scene]] = {
    "general": general,
    "confident": confident,
    "tied": tied,
    "crowded": crowded,
    "empty": general,
    "more-targets-than-queries": general,
    "degenerate": degenerate,
    "saturated": saturated,
    "tiny-boxes": tiny,
    "minute-boxes": minute,
    "one-class": general,
    "coco": coco,
    "undecided": undecided,
}
"""All regimes by name. "empty", "more-targets-than-queries" and "one-class" differ from "general" in their extent."""
