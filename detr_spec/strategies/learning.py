"""Strategy for cases to learn from: real COCO targets, and predictions that know nothing of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Cases, Domain
from detr_spec.strategies.coco import CocoImage, coco_images
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.phrases import with_phrases
from detr_spec.values import FINE_DTYPES, Floats, Outputs, Target, Targets, round_to

SPARE_QUERIES = 2
"""How many queries more there are than the fullest image has objects."""

TYPICAL_LOGIT = 0.5
"""The mean of the sides' logits at the start: a large box meets any target, and a small one few."""


SIMPLEST = 0.75
"""Where in the sample, by the number of objects, the first of draws lies: an image with one object shows little."""


def learning_cases(*, images: int = 2) -> Cases:
    """All objects of images of the COCO sample that have about as many, with random logits and large random boxes.

    The labels are numbered anew, from 0 without gaps. The configuration has the profile's own weights and, where the
    implementation computes in one, a dtype that is fine enough for small boxes. Small cases have one image.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        fine = tuple(dtype for dtype in domain.limits.dtypes if dtype in FINE_DTYPES)
        if fine and domain.dtype not in fine:
            domain = domain.in_dtypes(fine)
        cases = _learning_case(domain, 1 if domain.small else images)
        return cases.map(with_phrases) if domain.profile.labels == "phrases" else cases

    return strategy


@st.composite
def _learning_case(draw: DrawFn, domain: Domain, count: int) -> SetCase:
    sample = sorted(coco_images(), key=lambda image: len(image.target))
    first, seed = draw(st.integers(0, len(sample) - 1)), draw(st.integers(0, 255))
    simplest = int(SIMPLEST * len(sample))
    chosen = [sample[(simplest + first + place) % len(sample)] for place in range(count)]
    labels = np.unique(np.concatenate([image.target.labels for image in chosen]))
    configuration = draw_configuration(draw, domain, num_classes=max(len(labels), 1), varied=False)
    targets = tuple(_renumbered(image, labels, configuration) for image in chosen)
    return SetCase(
        configuration=configuration,
        regime="learning",
        seed=seed,
        outputs=_start([first, seed], targets, configuration.columns, configuration.dtype),
        targets=targets,
        sizes=np.array([image.size for image in chosen]),
    )


def _renumbered(image: CocoImage, labels: np.ndarray, configuration: Configuration) -> Target:
    """The image's target with its labels from 0; where there are fewer classes, several are one."""
    numbered = np.searchsorted(labels, image.target.labels) % configuration.num_classes
    return Target(numbered, round_to(image.target.boxes, configuration.dtype))


def _start(seed: list[int], targets: Targets, columns: int, dtype: str) -> Outputs:
    """Normal logits, and boxes that are the sigmoid of normal numbers, of mean 0 for centres and above for sides."""
    generator = np.random.default_rng(seed)
    shape = len(targets), max(map(len, targets)) + SPARE_QUERIES
    free = np.concatenate(
        [generator.normal(0.0, 1.0, (*shape, 2)), generator.normal(TYPICAL_LOGIT, 0.5, (*shape, 2))], axis=-1
    )
    boxes: Floats = 1.0 / (1.0 + np.exp(-free))
    return Outputs(round_to(generator.normal(0.0, 1.0, (*shape, columns)), dtype), round_to(boxes, dtype))
