"""The decoder's invariants hold for right decoders, however written, and each finds its planted defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from judging import Failing, judged, own_invariants, share_fired
from subjects import move_biases_and_norms
from torch import Tensor, nn

from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import Transformer
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariants.rounding import allowances, moved, spacing
from detr_spec.profiles import DETR
from detr_spec.violation import NotProvided

EXAMPLES = 30
DECODER_IDS = [item.id for item in own_invariants("decoder")]
NARROW = ("float16", "bfloat16", "autocast")


def implementation(factory: Callable[[Configuration], Any], *dtypes: str) -> Implementation:
    limits = Limits(dtypes=dtypes or ("float32", "float64"))
    return torch_implementation(name="subject", profile=DETR, decoder=factory, limits=limits)


class Subject(Transformer):
    """The reference's transformer, with biases that are not zero, and with places where a defect can be put."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(
            configuration.hidden_dim, 2, 1, configuration.decoder_layers, 16, 0.1, configuration.return_intermediate
        )
        move_biases_and_norms(self)


# Right decoders


@pytest.mark.parametrize("id", DECODER_IDS)
@pytest.mark.parametrize("subject", IMPLEMENTATIONS, ids=lambda subject: subject.profile.name)
def test_holds_and_fires_on_the_reference(id: str, subject: Implementation) -> None:
    assert share_fired(id, subject, EXAMPLES) == 1


class InDouble(Subject):
    """Computes in float64, whatever comes in."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        self.double()
        with torch.autocast("cpu", enabled=False):
            hidden, _ = super().forward(features.double(), padding, query_embed.double(), positions.double())
        return hidden.to(features.dtype)


class OneByOne(Subject):
    """Computes one image at a time."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        forward = super().forward
        images = range(len(features))
        hidden = [
            forward(features[b : b + 1], padding[b : b + 1], query_embed, positions[b : b + 1])[0] for b in images
        ]
        return torch.cat(hidden, dim=1)


class AnotherAlgorithmByShape(Subject):
    """Computes attention with an explicit softmax for single images and where there is no padding."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        explicit = len(features) == 1 or not bool(padding.any())
        original = nn.MultiheadAttention.forward

        def forward(module: nn.MultiheadAttention, *arguments: Any, **named: Any) -> Any:
            return original(module, *arguments, **{**named, "need_weights": explicit})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn.MultiheadAttention, "forward", forward)
            return super().forward(features, padding, query_embed, positions)


class WithoutEncoder(Subject):
    """No encoder: the features are the memory."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.encoder.layers = nn.ModuleList()


@pytest.mark.parametrize(
    "dtypes",
    [pytest.param(("float32", "float64"), id="wide"), pytest.param(NARROW, id="narrow", marks=pytest.mark.thorough)],
)
@pytest.mark.parametrize("kind", [Subject, InDouble, OneByOne, AnotherAlgorithmByShape, WithoutEncoder])
def test_right_decoders_of_other_kinds_are_not_accused(
    kind: type[Subject], dtypes: tuple[str, ...], failing: Failing
) -> None:
    assert failing(implementation(kind, *dtypes)) == set()


@pytest.mark.parametrize("id", DECODER_IDS)
def test_a_function_has_no_other_form(id: str) -> None:
    def factory(configuration: Configuration) -> Any:
        return Subject(configuration).to(getattr(torch, configuration.dtype)).eval().forward

    others = ("decoder.stacked-last-is-last", "decoder.every-layer-as-if-last")
    expected = Verdict.NOT_PROVIDED if id in others else Verdict.HOLDS
    assert judged(id, implementation(factory), 10).verdict is expected


@pytest.mark.parametrize(
    ("id", "expected"),
    [("decoder.stacked-last-is-last", Verdict.NOT_PROVIDED), ("decoder.shapes", Verdict.HOLDS)],
)
def test_a_factory_without_the_other_form_says_so(id: str, expected: Verdict) -> None:
    def factory(configuration: Configuration) -> Any:
        if not configuration.return_intermediate:
            raise NotProvided("there is no such form")
        return Subject(configuration)

    assert judged(id, implementation(factory), 10).verdict is expected


def test_a_decoder_whose_parts_have_other_weights_is_not_cut() -> None:
    class WithLayerEmbeddings(Subject):
        def __init__(self, configuration: Configuration) -> None:
            super().__init__(configuration)
            self.embeddings = nn.Parameter(torch.zeros(configuration.decoder_layers))

    judgement = judged("decoder.every-layer-as-if-last", implementation(WithLayerEmbeddings), 4)
    assert judgement.verdict is Verdict.NOT_PROVIDED
    assert "other weights: embeddings" in judgement.message


def test_a_decoder_of_as_many_layers_whatever_is_asked_is_not_cut() -> None:
    def factory(configuration: Configuration) -> Subject:
        return Subject(replace(configuration, decoder_layers=3))

    subject = implementation(factory)
    fixed = replace(subject, limits=replace(subject.limits, fixed={"decoder_layers": 3}))
    judgement = judged("decoder.every-layer-as-if-last", fixed, 4)
    assert judgement.verdict is Verdict.NOT_PROVIDED
    assert "cannot vary decoder_layers" in judgement.message


# Planted defects


class MaskIgnored(Subject):
    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        return super().forward(features, torch.zeros_like(padding), query_embed, positions)


class MaskInverted(Subject):
    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        inverted = ~padding if padding.any() else padding
        return super().forward(features, inverted, query_embed, positions)


class MaskInEncoderAlone(Subject):
    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        decoder = self.decoder.forward
        self.decoder.forward = lambda memory, padding, *rest: decoder(memory, torch.zeros_like(padding), *rest)


class MaskInDecoderAlone(Subject):
    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        encoder = self.encoder.forward
        self.encoder.forward = lambda features, padding, *rest: encoder(features, torch.zeros_like(padding), *rest)


class FeaturesZeroedInPlaceOfMask(MaskIgnored):
    """Padded positions are set to zero, and attended to all the same."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        outside = padding[:, None]
        return super().forward(
            features.masked_fill(outside, 0), padding, query_embed, positions.masked_fill(outside, 0)
        )


class MeanOverAllPositions(Subject):
    """The mean over all positions, padding included though set to zero, is added to the features."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        mean = features.masked_fill(padding[:, None], 0).mean(dim=(2, 3), keepdim=True)
        return super().forward(features + mean, padding, query_embed, positions)


class SmallLeak(Subject):
    """One part in a thousand of the padded positions gets into the hidden states."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        hidden, _ = super().forward(features, padding, query_embed, positions)
        return hidden * (1 + 1e-3 * (features * padding[:, None]).mean(dim=(1, 2, 3))[:, None, None].sin())


class NormedInTheStackAlone(Subject):
    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        if not configuration.return_intermediate:
            self.decoder.norm.forward = lambda states: states


class NormFedToTheNextLayer(Subject):
    """With intermediate states, each layer starts from the normed states of the one before it."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        if configuration.return_intermediate:
            for layer in self.decoder.layers:
                layer.register_forward_hook(lambda _, __, states: self.decoder.norm(states))


class NormedAtTheEndAlone(Subject):
    """Earlier layers are returned as they are, with intermediate states."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        norm, calls = self.decoder.norm.forward, iter(range(10**9))
        layers = configuration.decoder_layers if configuration.return_intermediate else 1
        self.decoder.norm.forward = lambda states: norm(states) if (next(calls) + 1) % layers == 0 else states


class LayersReversed(Subject):
    def forward(self, *given: Tensor) -> Any:
        return super().forward(*given)[0].flip(0)


class LastLayerAlone(Subject):
    def forward(self, *given: Tensor) -> Any:
        return super().forward(*given)[0][-1:]


class QueriesBeforeImages(Subject):
    def forward(self, *given: Tensor) -> Any:
        return super().forward(*given)[0].transpose(1, 2)


class QueriesViewedAsImages(Subject):
    """A view in place of a transpose."""

    def forward(self, *given: Tensor) -> Any:
        hidden = super().forward(*given)[0]
        return hidden.transpose(1, 2).reshape(hidden.shape)


class NotANumber(Subject):
    def forward(self, *given: Tensor) -> Any:
        return super().forward(*given)[0].log()


class DropoutLeftOn(Subject):
    def train(self, mode: bool = True) -> DropoutLeftOn:
        return super().train(True)


class ImagesMixed(Subject):
    """Each image's features have a share of the one before it in the batch."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        mixed = torch.where(padding[:, None] | padding.roll(1, 0)[:, None], features, features + features.roll(1, 0))
        return super().forward(mixed, padding, query_embed, positions)


class NormOverTheBatch(Subject):
    def forward(self, *given: Tensor) -> Any:
        hidden = super().forward(*given)[0]
        return hidden - hidden.mean(dim=1, keepdim=True) / 2


class ByQueryIndex(Subject):
    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        steps = 0.01 * torch.arange(len(query_embed), dtype=query_embed.dtype)
        return super().forward(features, padding, query_embed + steps[:, None], positions)


class CausalQueries(Subject):
    """Each query sees those before it alone."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        for layer in self.decoder.layers:
            attention = layer.self_attention.attention
            layer.self_attention.attention.forward = self.causal(attention)

    def causal(self, attention: nn.MultiheadAttention) -> Callable[..., Any]:
        forward = attention.forward

        def masked(queries: Tensor, *rest: Tensor, **named: Any) -> Any:
            later = torch.ones(len(queries), len(queries), dtype=torch.bool).triu(1)
            return forward(queries, *rest, **{**named, "attn_mask": later})

        return masked


class ByImageIndex(Subject):
    def forward(self, features: Tensor, *rest: Tensor) -> Any:
        steps = 0.01 * torch.arange(len(features), dtype=features.dtype)
        hidden, _ = super().forward(features, *rest)
        return hidden + steps[:, None, None]


class PositionsAddedInPlace(Subject):
    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        features += positions
        return super().forward(features, padding, query_embed, positions)


class ByStride(Subject):
    """Depends on how the features lie in memory."""

    def forward(self, features: Tensor, padding: Tensor, query_embed: Tensor, positions: Tensor) -> Any:
        hidden, memory = super().forward(features, padding, query_embed, positions)
        return hidden * (1 + features.stride(0)), memory


DEFECTS: dict[type[Subject], list[str]] = {
    ByStride: ["ways-of-calling"],
    MaskIgnored: ["padding-ignored", "padding-extended", "images-one-by-one"],
    MaskInverted: ["padding-ignored", "images-one-by-one"],
    MaskInEncoderAlone: ["padding-ignored", "padding-extended"],
    MaskInDecoderAlone: ["padding-ignored", "padding-extended"],
    FeaturesZeroedInPlaceOfMask: ["padding-extended", "images-one-by-one"],
    MeanOverAllPositions: ["padding-extended", "images-one-by-one"],
    SmallLeak: ["padding-ignored"],
    NormedInTheStackAlone: ["stacked-last-is-last"],
    NormFedToTheNextLayer: ["stacked-last-is-last"],
    NormedAtTheEndAlone: ["every-layer-as-if-last"],
    LayersReversed: ["stacked-last-is-last", "every-layer-as-if-last"],
    LastLayerAlone: ["shapes"],
    QueriesBeforeImages: ["shapes"],
    QueriesViewedAsImages: ["image-order", "images-one-by-one"],
    NotANumber: ["shapes"],
    DropoutLeftOn: ["repeatable"],
    ImagesMixed: ["image-order", "images-one-by-one"],
    NormOverTheBatch: ["images-one-by-one"],
    ByQueryIndex: ["query-order"],
    CausalQueries: ["query-order"],
    ByImageIndex: ["image-order", "images-one-by-one"],
    PositionsAddedInPlace: ["inputs-unchanged"],
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_planted_defect_is_found(defect: type[Subject], failing: Failing) -> None:
    expected = {f"decoder.{name}" for name in DEFECTS[defect]}
    assert failing(implementation(defect), expected) == expected


@pytest.mark.parametrize("defect", [MaskIgnored, MaskInverted, NotANumber])
def test_gross_defects_are_found_in_half_precision_too(defect: type[Subject], failing: Failing) -> None:
    assert failing(implementation(defect, "float16"), examples=60)


def test_a_small_defect_is_found_in_either_wide_dtype(failing: Failing) -> None:
    for dtype in ("float32", "float64"):
        assert "decoder.padding-ignored" in failing(implementation(SmallLeak, dtype), ["decoder.padding-ignored"])


def test_every_invariant_finds_a_defect() -> None:
    assert {f"decoder.{name}" for names in DEFECTS.values() for name in names} == set(DECODER_IDS)


# The allowance


def test_numbers_move_by_a_spacing_of_the_largest() -> None:
    generator = np.random.default_rng(0)
    for dtype in ("float64", "float32", "float16", "bfloat16", "autocast"):
        configuration = Configuration(profile=DETR, dtype=dtype)
        array = np.array([0.0, 0.25, -1.5])
        steps = np.abs(moved(array, configuration, generator) - array)
        assert (steps > 0).all()
        assert (steps <= 2 * 1.5 * spacing(configuration)).all()


def test_accelerators_may_round_factors_to_tf32() -> None:
    configuration = Configuration(profile=DETR, dtype="float32")
    assert spacing(configuration) == 2.0**-23
    assert spacing(replace(configuration, device="cuda")) == 2.0**-10
    assert spacing(replace(configuration, dtype="float64", device="cuda")) == 2.0**-52


def test_the_allowance_follows_how_the_answer_is_conditioned() -> None:
    configuration = Configuration(profile=DETR, dtype="float32")
    inputs = np.linspace(-1, 1, 5)

    def allowance(slope: float) -> float:
        def ask(generator: np.random.Generator) -> tuple[Any, ...]:
            return (slope * moved(inputs, configuration, generator),)

        return allowances(ask, (slope * inputs,), configuration, np.random.default_rng(0))[0]

    assert 2.0**-23 < allowance(1.0) < 1e-4
    assert allowance(1000.0) == pytest.approx(1000 * allowance(1.0), rel=1e-9)
