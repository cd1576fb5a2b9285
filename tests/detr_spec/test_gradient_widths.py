"""The range of every term's gradient is as narrow as its formula lets it be: what is too wide finds nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detr_spec.masks import ComparedMasks, MaskRules, compared_in_losses
from detr_spec.parts import known_parts
from detr_spec.profile import replace
from detr_spec.terms import Layer, Teacher, Term
from detr_spec.tolerance import SPACING, Interval, Numbers, gradient, lift
from detr_spec.values import Booleans, round_to

TERMS = {name: term for name, term in known_parts(Term).items() if term.is_judged}

WIDEST = {"box-l1": 4.5, "cross-entropy": 64.0, "class-weighted-cross-entropy": 64.0, "focal": 64.0}
"""How many spacings of a slope its range is wide, at most, in the middle of all slopes of usual scenes."""

# Slopes of two quotients of small differences of coordinates add up: of areas, and of squared lengths.
WIDEST |= {"box-diou": 1280.0, "box-ciou": 1280.0, "box-ciou-through-weight": 1280.0}

WIDEST_OF_OTHERS = 1024.0
"""Likewise of terms whose slopes are small differences of larger ones: 2·10⁻¹³ in float64, 10⁻⁴ in float32."""

IMAGES, QUERIES, CLASSES, PAIRS, EDGES = 2, 8, 5, 6, 4 * 33
MASK_SIZE = (8, 11)


def usual_layer(random: np.random.Generator, dtype: str) -> tuple[Layer, dict[str, Interval]]:
    """A layer of unsure logits and of boxes that overlap their targets, and the predictions that terms move."""
    places = random.permutation(IMAGES * QUERIES)[:PAIRS]
    images, queries = places // QUERIES, places % QUERIES
    classes = np.full((IMAGES, QUERIES), CLASSES - 1)
    classes[images, queries] = random.integers(0, CLASSES - 1, PAIRS)
    truth = np.concatenate([random.uniform(0.4, 0.6, (PAIRS, 2)), random.uniform(0.2, 0.5, (PAIRS, 2))], axis=1)
    numbers = {
        "logits": random.normal(0.0, 2.0, (IMAGES, QUERIES, CLASSES)),
        "boxes": truth + random.uniform(0.02, 0.08, (PAIRS, 4)) * random.choice([-1.0, 1.0], (PAIRS, 4)),
        "masks": random.normal(0.0, 2.0, (PAIRS, 4, 5)),
        "edges": random.normal(0.0, 2.0, (IMAGES, QUERIES, EDGES)),
    }
    references = random.uniform(0.3, 0.7, (IMAGES, QUERIES, 4))
    references[images, queries] = truth * random.uniform(0.8, 1.2, (PAIRS, 4))
    moved = {name: lift(round_to(part, dtype), dtype) for name, part in numbers.items()}
    taught = np.random.default_rng(len(dtype))
    layer = Layer(
        logits=moved["logits"],
        classes=classes,
        boxes=moved["boxes"],
        truth=lift(round_to(truth, dtype), dtype),
        images=images,
        queries=queries,
        normaliser=lift(float(PAIRS), dtype),
        masks=masks_of(moved["masks"], random.random((PAIRS, *MASK_SIZE)) < 0.5),
        edges=moved["edges"],
        teacher=Teacher(
            logits=lift(round_to(taught.normal(0.0, 2.0, (IMAGES, QUERIES, CLASSES)), dtype), dtype),
            edges=lift(round_to(taught.normal(0.0, 2.0, (IMAGES, QUERIES, EDGES)), dtype), dtype),
        ),
        references=lift(round_to(references, dtype), dtype),
    )
    return layer, moved


def shown(layer: Layer, moves: str, numbers: Numbers) -> Layer:
    """The layer with other predictions of the kind that a term moves."""
    if moves != "masks":
        return replace(layer, **{moves: numbers})
    truth = np.asarray(layer.instances.truth).reshape(-1, *MASK_SIZE)
    return replace(layer, masks=masks_of(numbers, truth))


def masks_of(logits: Numbers, truth: Booleans) -> Callable[[], ComparedMasks]:
    return lambda: compared_in_losses(logits, truth, MaskRules(), np.zeros((0, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TERMS)
def test_the_range_of_a_slope_is_a_few_spacings_wide(name: str, dtype: str) -> None:
    random, term = np.random.default_rng(0), TERMS[name]()
    widths: list[float] = []
    for _ in range(20):
        layer, moved = usual_layer(random, dtype)
        slope = gradient(lambda numbers, layer=layer: term.value(shown(layer, term.moves, numbers)), moved[term.moves])
        moving = slope.value != 0
        widths.extend(((slope.upper - slope.lower)[moving] / np.abs(slope.value[moving])).tolist())
    assert len(widths) > 20 * PAIRS
    assert np.median(widths) <= WIDEST.get(name, WIDEST_OF_OTHERS) * SPACING[dtype]
