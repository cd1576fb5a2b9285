"""Strategies for what comes before the heads: feature maps with padding, and images of several sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import FeatureCase, ImagesCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.numbers import Drawn, Numbers, Seeded
from detr_spec.strategies.promises import Promised
from detr_spec.values import Booleans, FeatureMap, Integers

HIDDEN_DIMS = (8, 16)
"""Sizes of hidden states, divisible by 4 heads; sine embeddings of two axes need a multiple of 4, too."""

DRAWN_SIDE, SEEDED_SIDE = 3, 5
"""The longest side of a feature map whose numbers are drawn one by one, and of one whose numbers come from a seed."""

SEEDED_FACTOR = 4
"""How many times more queries there are where the numbers come from a seed."""

SHORTEST_IMAGE, LONGEST_IMAGE, LONGEST_SMALL_IMAGE = 16, 48, 20


def feature_cases(
    *,
    layers: tuple[int, int] = (1, 3),
    images: tuple[int, int] = (1, 3),
    queries: tuple[int, int] = (1, 5),
    padded: bool = False,
) -> Promised[FeatureCase]:
    """What a decoder is given, with features, positions and query embeddings in ±2 that the dtype holds exactly.

    D is 8 or 16, h and w are 1 to 5. Each image has a height and width of its own, and is padded right and below to
    the largest, half of the time by one row and column more; `padded` cases have padding somewhere. Half of the
    cases that are not small have numbers from a seed.
    """

    def strategy(domain: Domain) -> SearchStrategy[FeatureCase]:
        return _feature_case(domain, layers, images, queries, padded)

    def admits(_: Domain, __: FeatureCase, left: FeatureCase) -> bool:
        padding, count = left.features.padding, len(left.features.queries)
        enough = left.configuration.decoder_layers >= layers[0] and len(padding) >= images[0] and count >= queries[0]
        # In calls with one image repeated, the batch may be as large as the images that it stands for.
        fits = enough and (left.configuration.call == "expanded" or _is_margin(padding))
        return fits and (not padded or bool(padding.any()))

    return Promised(strategy, admits)


def padding_regime(padding: Booleans) -> str:
    """The regime of feature maps with that padding."""
    return "padded" if padding.any() else "unpadded"


def _is_margin(padding: Booleans) -> bool:
    """Whether the padding is that of images in a batch that is larger by at most one row and column."""
    sizes = np.stack([(~padding).any(axis=2).sum(axis=1), (~padding).any(axis=1).sum(axis=1)], axis=1)
    return any(np.array_equal(padding, _padding(sizes, margin)) for margin in (0, 1))


@st.composite
def _feature_case(
    draw: DrawFn,
    domain: Domain,
    layers: tuple[int, int],
    images: tuple[int, int],
    queries: tuple[int, int],
    padded: bool,
) -> FeatureCase:
    configuration = _configuration(draw, domain, layers)
    seeded = not domain.small and draw(st.booleans())
    numbers: Numbers = Drawn(draw)
    if seeded:
        numbers = Seeded(draw(st.integers(0, 2**32 - 1)), configuration.dtype)
    side, factor = (SEEDED_SIDE, SEEDED_FACTOR) if seeded else (DRAWN_SIDE, 1)
    sizes = Drawn(draw).integers(1, side, (draw(st.integers(*images)), 2))
    padding = _padding(sizes, margin=draw(st.integers(0, 1)))
    if padded and not padding.any():
        padding = _padding(sizes, margin=1)
    shape = (len(sizes), configuration.hidden_dim, *padding.shape[1:])
    return FeatureCase(
        configuration=configuration,
        regime=padding_regime(padding),
        seed=draw(st.integers(0, 255)),
        features=FeatureMap(
            features=numbers.reals(-2.0, 2.0, shape),
            positions=numbers.reals(-2.0, 2.0, shape),
            padding=padding,
            queries=numbers.reals(-2.0, 2.0, (draw(st.integers(*queries)) * factor, configuration.hidden_dim)),
        ),
    )


def _configuration(draw: DrawFn, domain: Domain, layers: tuple[int, int]) -> Configuration:
    """A configuration whose sizes are drawn as far as the implementation can vary them."""
    fixed = domain.limits.fixed
    sizes = {
        "num_classes": draw(st.integers(1, 4)),
        "decoder_layers": draw(st.integers(*layers)),
        "hidden_dim": draw(st.sampled_from(HIDDEN_DIMS)),
    }
    sizes |= {name: int(fixed[name]) for name in sizes.keys() & fixed.keys()}
    others = {name: value for name, value in fixed.items() if name not in sizes}
    base = draw_configuration(
        draw,
        replace(domain, limits=replace(domain.limits, fixed=others)),
        num_classes=sizes["num_classes"],
        decoder_layers=sizes["decoder_layers"],
    )
    return replace(base, hidden_dim=sizes["hidden_dim"], fixed=tuple(sorted(fixed)))


def _padding(sizes: Integers, margin: int) -> Booleans:
    """The padding [B, h, w] of images of those (height, width) in a batch that is larger by a margin than the largest.

    The sizes are at least 1, so no image is padding alone.
    """
    height, width = sizes.max(axis=0) + margin
    below = np.arange(height)[None, :, None] >= sizes[:, 0, None, None]
    right = np.arange(width)[None, None, :] >= sizes[:, 1, None, None]
    return np.asarray(below | right)


def image_cases(
    *, layers: tuple[int, int] = (1, 3), images: tuple[int, int] = (1, 3), covering: bool = False
) -> Promised[ImagesCase]:
    """Images [3, H, W] with values in [0, 1], H and W from 16 to 48, each of its own size.

    With `covering`, the first image is as high as the highest and as wide as the widest. Their values come from a
    seed, for no single one tells a reader anything; small cases have small images.
    """

    def strategy(domain: Domain) -> SearchStrategy[ImagesCase]:
        return _images_case(domain, layers, images, covering)

    def admits(_: Domain, __: ImagesCase, left: ImagesCase) -> bool:
        sizes = np.array([image.shape[1:] for image in left.images])
        enough = left.configuration.decoder_layers >= layers[0] and len(sizes) >= images[0]
        return enough and (not covering or bool((sizes[0] == sizes.max(axis=0)).all()))

    return Promised(strategy, admits)


def sizes_regime(sizes: Integers) -> str:
    """The regime of images of those (height, width)."""
    return "one size" if (sizes == sizes[0]).all() else "several sizes"


@st.composite
def _images_case(
    draw: DrawFn, domain: Domain, layers: tuple[int, int], images: tuple[int, int], covering: bool
) -> ImagesCase:
    configuration = _configuration(draw, domain, layers)
    longest = LONGEST_SMALL_IMAGE if domain.small else LONGEST_IMAGE
    sizes = Drawn(draw).integers(SHORTEST_IMAGE, longest, (draw(st.integers(*images)), 2))
    if covering:
        sizes[0] = sizes.max(axis=0)
    numbers = Seeded(draw(st.integers(0, 2**32 - 1)), configuration.dtype)
    return ImagesCase(
        configuration=configuration,
        regime=sizes_regime(sizes),
        seed=draw(st.integers(0, 255)),
        images=tuple(numbers.reals(0.0, 1.0, (3, height, width)) for height, width in sizes.tolist()),
    )
