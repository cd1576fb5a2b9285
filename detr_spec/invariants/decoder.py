"""Invariants of the decoder, or of encoder and decoder: from feature maps to hidden states. norm §1, H1 and H4–H8.

What is compared up to rounding is compared with the allowance of `detr_spec.invariants.rounding`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detr_spec.calls import CALLS, LAYOUTS
from detr_spec.cases import FeatureCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Decoder
from detr_spec.invariant import invariant
from detr_spec.invariants.calls import in_plain_way, require_way
from detr_spec.invariants.rounding import allowances, moved
from detr_spec.invariants.shared import require_unchanged, vary
from detr_spec.strategies import called_cases, feature_cases
from detr_spec.values import FeatureMap, Floats, round_to
from detr_spec.violation import NotProvided, premise, require, require_close, require_shape

Build = Callable[[Configuration], Decoder]

PADDED = feature_cases(padded=True)
COST = 2

LARGEST_IN_PADDING = {"float16": 8.0}
"""How large the numbers in padding may be before products of them overflow."""
LARGE_IN_PADDING = 64.0


def _stacked(decoder: Decoder, configuration: Configuration, given: FeatureMap) -> Floats:
    """The hidden states of every layer; raises `Violation` unless they are [L, B, Q, D] and finite."""
    hidden = decoder.stacked(given).value
    require_shape("the hidden states", hidden, _shape(configuration, given))
    _require_finite("the hidden states", hidden)
    return hidden


def _shape(configuration: Configuration, given: FeatureMap) -> tuple[int, ...]:
    return configuration.decoder_layers, len(given.features), *given.queries.shape


def _require_finite(what: str, hidden: Floats) -> None:
    broken = np.argwhere(~np.isfinite(hidden))
    if len(broken):
        where = tuple(int(index) for index in broken[0])
        require(False, f"{what}{list(where)} are not finite", expected="finite numbers", got=float(hidden[where]))


def _require_same(what: str, got: Floats, expected: Floats, decoder: Decoder, case: FeatureCase) -> None:
    """Raises `Violation` unless hidden states agree up to the rounding that is seen in the case itself."""
    if np.array_equal(got, expected):
        return
    configuration, features = case.configuration, case.features

    def ask(generator: np.random.Generator) -> tuple[Floats]:
        numbers = (features.features, features.positions, features.queries)
        first, second, third = (moved(array, configuration, generator) for array in numbers)
        return (_stacked(decoder, configuration, FeatureMap(first, second, features.padding, third)),)

    settled = _stacked(decoder, configuration, features)
    (allowance,) = allowances(ask, (settled,), configuration, case.generator("rounding"))
    require_close(f"the hidden states ({what})", got, expected, allowance)


@invariant(
    "decoder.shapes",
    number="H1",
    formula="hidden [L, B, Q, D], finite",
    source="norm §1: hidden states [L, B, Q, D]",
    breaks="[L, Q, B, D] or [B, L, Q, D]; the last layer alone; NaN from a softmax over masked positions",
    cases=feature_cases(),
)
def shapes(component: Build, case: FeatureCase) -> None:
    """The hidden states of all L decoder layers are [L, B, Q, D], and finite.

    Heads apply to the last axis whatever the others are, so an exchanged axis is noticed only by what it costs.
    """
    _stacked(component(case.configuration), case.configuration, case.features)


@invariant(
    "decoder.stacked-last-is-last",
    number="H6",
    formula="stacked[L − 1] = last[0], exactly",
    source="norm §1: the stacked last slice equals the unstacked result exactly",
    breaks="a final norm in one form only, or twice; layers stacked in reverse; states taken before the last layer",
    cases=feature_cases(),
)
def stacked_last_is_last(component: Build, case: FeatureCase) -> None:
    """The last layer of the stacked states is, number for number, what the decoder returns without intermediate states.

    Training reads the stack, and a deployed detector often the last layer alone: where they differ, it is not the
    network that was trained.
    """
    decoder = component(case.configuration)
    if decoder.last is None:
        raise NotProvided("the decoder has no form that returns the last layer alone")
    last, expected = decoder.last(case.features).value, _stacked(decoder, case.configuration, case.features)[-1:]
    require_close("the last layer's states, without the others,", last, expected, 0.0)


@invariant(
    "decoder.every-layer-as-if-last",
    number="H6",
    formula="stacked[l] = last[0] of the decoder that ends after layer l, for l = 0 … L − 2",
    source="norm §1: the output of every layer, each through the final norm",
    breaks="a final norm for the last layer alone; a norm that is fed to the next layer; layers in another order",
    cases=feature_cases(layers=(2, 3)),
    cost=COST,
    rarity=2,
)
def every_layer_as_if_last(component: Build, case: FeatureCase) -> None:
    """The states of an earlier layer are what the decoder would return if it ended there.

    The heads are shared: they read every layer through the one norm that they are trained behind.
    """
    vary(case.configuration, decoder_layers=1)
    decoder = component(case.configuration)
    if decoder.cut is None:
        raise NotProvided("the decoder cannot be cut")
    hidden = _stacked(decoder, case.configuration, case.features)
    shape = (1, *hidden.shape[1:])
    parts = [decoder.cut(case.features, layer).value for layer in range(1, len(hidden))]
    for part in parts:
        require_shape("the hidden states of a decoder that ends earlier", part[-1:], shape)
    ended = np.concatenate([*(part[-1:] for part in parts), hidden[-1:]])
    _require_same("against decoders that end after each layer", hidden, ended, decoder, case)


@invariant(
    "decoder.padding-ignored",
    number="H5",
    formula="hidden(x, p, m) = hidden(x', p', m) where x = x' and p = p' outside the padding m",
    source="norm §1: padded positions must not influence the output",
    breaks="a mask that is ignored, inverted, or used in the encoder or the decoder alone; features zeroed instead",
    cases=PADDED,
    cost=COST,
)
def padding_ignored(component: Build, case: FeatureCase) -> None:
    """Other features and positions in the padding leave the hidden states as they are.

    Otherwise the detections of an image depend on the sizes of the others in its batch.
    """
    features = case.features
    premise(bool(features.padding.any()), "no position is padding")
    generator = case.generator("padding")
    first, second = (
        np.where(features.padding[:, None], _arbitrary(case, generator, array.shape), array)
        for array in (features.features, features.positions)
    )
    decoder = component(case.configuration)
    hidden = _stacked(decoder, case.configuration, features)
    changed = _stacked(decoder, case.configuration, replace(features, features=first, positions=second))
    _require_same("with other numbers in the padding", changed, hidden, decoder, case)


@invariant(
    "decoder.padding-extended",
    number="H5",
    formula="hidden(pad(x), pad(p), pad(m)) = hidden(x, p, m)",
    source="norm §1: padded positions must not influence the output",
    breaks="a softmax over a fixed number of positions; a mean over all; a mask that is read with rows for columns",
    cases=feature_cases(),
    cost=COST,
)
def padding_extended(component: Build, case: FeatureCase) -> None:
    """More rows and columns of padding leave the hidden states as they are.

    How far a batch is padded is an accident of its composition.
    """
    features, generator = case.features, case.generator("padding")
    rows, columns = generator.integers(0, 3, 2)
    margins = (0, int(rows)), (0, int(columns) + int(rows == 0))
    padding = np.pad(features.padding, ((0, 0), *margins), constant_values=True)
    inside = np.pad(np.ones(features.features.shape, dtype=bool), ((0, 0), (0, 0), *margins))
    first, second = (
        np.where(inside, np.pad(array, ((0, 0), (0, 0), *margins)), _arbitrary(case, generator, inside.shape))
        for array in (features.features, features.positions)
    )
    decoder = component(case.configuration)
    hidden = _stacked(decoder, case.configuration, features)
    extended = FeatureMap(first, second, padding, features.queries)
    extended_hidden = _stacked(decoder, case.configuration, extended)
    _require_same("with more padding", extended_hidden, hidden, decoder, case)


def _arbitrary(case: FeatureCase, generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Numbers that the dtype holds, ordinary ones in half of the cases and large ones in the others."""
    dtype = case.configuration.dtype
    large = generator.integers(2) * LARGEST_IN_PADDING.get(dtype, LARGE_IN_PADDING)
    return round_to(generator.uniform(-1.0, 1.0, shape) * (large or 2.0), dtype)


@invariant(
    "decoder.query-order",
    number="H4",
    formula="hidden(q[π]) = hidden(q)[:, :, π]",
    source="norm §1; Carion et al. 2020, section 3.2: the decoder is permutation-invariant",
    breaks="a softmax or norm over the queries; an offset that depends on a query's index; a causal mask",
    cases=feature_cases(queries=(2, 5)),
    cost=COST,
)
def query_order(component: Build, case: FeatureCase) -> None:
    """Permuting the query embeddings permutes the hidden states.

    Queries are a set: what tells one from another is its embedding alone.
    """
    features = case.features
    order = case.permutation(len(features.queries), "queries")
    decoder = component(case.configuration)
    hidden = _stacked(decoder, case.configuration, features)
    permuted = _stacked(decoder, case.configuration, replace(features, queries=features.queries[order]))
    _require_same("queries permuted", permuted, hidden[:, :, order], decoder, case)


def _images(features: FeatureMap, chosen: np.ndarray) -> FeatureMap:
    """The chosen images of a batch, by index."""
    return replace(
        features,
        features=features.features[chosen],
        positions=features.positions[chosen],
        padding=features.padding[chosen],
    )


@invariant(
    "decoder.image-order",
    number="H4",
    formula="hidden(x[π]) = hidden(x)[:, π]",
    source="norm §1: hidden states [L, B, Q, D]",
    breaks="axes of images and queries exchanged; a view in place of a transpose; a mask that stays where it was",
    cases=feature_cases(images=(2, 3)),
    cost=COST,
)
def image_order(component: Build, case: FeatureCase) -> None:
    """Permuting the images permutes the hidden states.

    States that land in another image of the batch are trained towards that image's objects.
    """
    order = case.permutation(len(case.features.features), "images")
    decoder = component(case.configuration)
    hidden = _stacked(decoder, case.configuration, case.features)
    permuted = _stacked(decoder, case.configuration, _images(case.features, order))
    _require_same("images permuted", permuted, hidden[:, order], decoder, case)


@invariant(
    "decoder.images-one-by-one",
    number="H8",
    formula="hidden(x)[:, b] = hidden(x_b) with x_b cropped to its image",
    source="norm §1: padded positions must not influence the output",
    breaks="attention, a softmax or a norm over the batch; queries of the first image for all; a mean over padding",
    cases=feature_cases(images=(2, 3)),
    cost=COST,
)
def images_one_by_one(component: Build, case: FeatureCase) -> None:
    """Each image alone, cropped of its padding, has the hidden states that it has in its batch.

    A detector is trained on batches and used on single images.
    """
    features, decoder = case.features, component(case.configuration)
    hidden = _stacked(decoder, case.configuration, features)
    alone = [
        _stacked(decoder, case.configuration, _cropped(_images(features, np.array([image]))))
        for image in range(len(features.features))
    ]
    _require_same("of each image alone", np.concatenate(alone, axis=1), hidden, decoder, case)


def _cropped(features: FeatureMap) -> FeatureMap:
    """One image without the rows and columns that are all padding."""
    rows = ~features.padding[0].all(axis=1)
    columns = ~features.padding[0].all(axis=0)
    return replace(
        features,
        features=features.features[:, :, rows][..., columns],
        positions=features.positions[:, :, rows][..., columns],
        padding=features.padding[:, rows][..., columns],
    )


@invariant(
    "decoder.repeatable",
    number="H7",
    formula="hidden(x) = hidden(x), exactly",
    source="norm §1: the hidden states are a function of features, positions, padding and queries",
    breaks="dropout left on in evaluation; noise; a state that a call changes",
    cases=feature_cases(),
)
def repeatable(component: Build, case: FeatureCase) -> None:
    """In evaluation, the same call twice gives the same hidden states.

    A detector that answers differently each time can be neither compared nor debugged.
    """
    decoder = component(case.configuration)
    first, second = (_stacked(decoder, case.configuration, case.features) for _ in range(2))
    require_close("the hidden states, asked for again,", second, first, 0.0)


@invariant(
    "decoder.inputs-unchanged",
    number="H7",
    formula="x, p, m, q after the call = before",
    source="norm §1: the hidden states are a function of features, positions, padding and queries",
    breaks="positions added to the features in place; padded features zeroed in place; the mask inverted in place",
    cases=feature_cases(),
)
def inputs_unchanged(component: Build, case: FeatureCase) -> None:
    """The call leaves features, positions, padding and query embeddings as they are.

    Query embeddings are parameters: what is written into them in evaluation is lost training.
    """
    require_unchanged(component(case.configuration).stacked(case.features), "the decoder")


@invariant(
    "decoder.ways-of-calling",
    number="H9",
    formula="hidden(x) called in any way = hidden(x) called in the plain way",
    source="norm §1: the hidden states are a function of features, positions, padding and queries",
    breaks="`view` of what is not contiguous; features flattened in the order in which they lie in memory",
    cases=called_cases(feature_cases(images=(2, 3)), LAYOUTS),
    cost=2,
    rarity=2,
)
def ways_of_calling(component: Build, case: FeatureCase) -> None:
    """The hidden states do not depend on how features, positions, padding and queries lie in memory.

    Features come out of a backbone channels last, and out of a batch as a slice.
    """
    decoder, plain = component(case.configuration), component(in_plain_way(case))
    require_way(decoder.stacked(case.features), plain.stacked(case.features), case)
    got, expected = (_stacked(one, case.configuration, case.features) for one in (decoder, plain))
    _require_same(f"called {CALLS[case.configuration.call]}", got, expected, plain, case)
