"""The heads' invariants hold for right heads, however written, and each finds its planted defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from judging import failure, judged, own_invariants, share_fired
from torch import Tensor, nn

from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import DetectionHeads
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.violation import Violation

EXAMPLES = 30
HEADS_IDS = [item.id for item in own_invariants("heads")]
WEIGHT_IDS = ["heads.linear-maps", "heads.class-head", "heads.box-head"]


def implementation(factory: Callable[[Configuration], Any], profile: Profile = DETR) -> Implementation:
    return torch_implementation(name="subject", profile=profile, heads=factory)


class Heads(DetectionHeads):
    """The reference's heads, with places where a defect can be put."""

    def __init__(self, configuration: Configuration) -> None:
        columns = configuration.num_classes
        super().__init__(configuration.hidden_dim, columns, no_object=configuration.profile.has_no_object)

    def forward(self, hidden: Tensor) -> dict[str, Any]:
        logits, boxes = self.logits(hidden), self.boxes(hidden)
        layers = self.arranged([{"pred_logits": z, "pred_boxes": b} for z, b in zip(logits, boxes, strict=True)])
        return {**layers[-1], "aux_outputs": layers[:-1]}

    def logits(self, hidden: Tensor) -> Tensor:
        return self.class_embed(hidden)

    def boxes(self, hidden: Tensor) -> Tensor:
        return self.coordinates(hidden).sigmoid()

    def coordinates(self, hidden: Tensor) -> Tensor:
        return self.bbox_embed(hidden)

    def arranged(self, layers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        return layers


# Right heads


@pytest.mark.parametrize("id", HEADS_IDS)
@pytest.mark.parametrize("subject", IMPLEMENTATIONS, ids=lambda subject: subject.profile.name)
def test_holds_and_fires_on_the_reference(id: str, subject: Implementation) -> None:
    assert share_fired(id, subject, EXAMPLES) > 0.2


class ByOneDimension(Heads):
    """Sums products one dimension after another, starting from the bias."""

    def logits(self, hidden: Tensor) -> Tensor:
        return self.summed(self.class_embed, hidden)

    def boxes(self, hidden: Tensor) -> Tensor:
        first, second, last = self.bbox_embed.layers
        states = self.summed(second, self.summed(first, hidden).clamp(min=0)).clamp(min=0)
        return 1 / (1 + (-self.summed(last, states)).exp())

    def summed(self, linear: nn.Linear, states: Tensor) -> Tensor:
        total = linear.bias.expand(*states.shape[:-1], -1)
        for dimension in range(linear.in_features):
            total = total + states[..., dimension, None] * linear.weight[:, dimension]
        return total


class LargeBias(ByOneDimension):
    """As above, with class biases that dwarf the products."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        nn.init.uniform_(self.class_embed.weight, -0.05, 0.05)
        nn.init.constant_(self.class_embed.bias, -300.3)


class OneImageAtATime(Heads):
    """Evaluates every query of every image on its own."""

    def logits(self, hidden: Tensor) -> Tensor:
        rows = [self.class_embed(row) for row in hidden.flatten(0, 2)]
        return torch.stack(rows).view(*hidden.shape[:3], -1)

    def boxes(self, hidden: Tensor) -> Tensor:
        rows = [self.bbox_embed(row).sigmoid() for row in hidden.flatten(0, 2)]
        return torch.stack(rows).view(*hidden.shape[:3], 4)


@pytest.mark.parametrize("id", HEADS_IDS)
@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)
@pytest.mark.parametrize("kind", [ByOneDimension, LargeBias, OneImageAtATime])
def test_right_heads_of_other_kinds_are_not_accused(kind: type[Heads], profile: Profile, id: str) -> None:
    assert failure(id, implementation(kind, profile), EXAMPLES) is None


class Hidden:
    """Right heads whose weights cannot be read; the states go through them in an order that varies."""

    def __init__(self, configuration: Configuration) -> None:
        self._heads, self._single = Heads(configuration), OneImageAtATime(configuration)
        self._single.load_state_dict(self._heads.state_dict())
        dtype = getattr(torch, configuration.dtype)
        self._heads.to(dtype), self._single.to(dtype)

    def __call__(self, hidden: Tensor) -> Any:
        return self._single(hidden) if hidden.shape[0] == 1 else self._heads(hidden)


@pytest.mark.parametrize("id", HEADS_IDS)
def test_heads_whose_weights_cannot_be_read(id: str) -> None:
    judgement = judged(id, implementation(Hidden), EXAMPLES)
    assert judgement.verdict is (Verdict.NOT_PROVIDED if id in WEIGHT_IDS else Verdict.HOLDS), judgement


# Planted defects


class OneColumnLess(Heads):
    def logits(self, hidden: Tensor) -> Tensor:
        return self.class_embed(hidden)[..., 1:]


class AllLayersAuxiliary(Heads):
    def arranged(self, layers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        return [*layers, layers[-1]]


class NoAuxiliary(Heads):
    def arranged(self, layers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        return layers[-1:]


class FirstLayerMain(Heads):
    def arranged(self, layers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        return [*layers[1:], layers[0]]


class AuxiliaryReversed(Heads):
    def arranged(self, layers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        return [*layers[-2::-1], layers[-1]]


class LastLayerRepeated(Heads):
    def arranged(self, layers: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        return [layers[-1]] * len(layers)


class NoSigmoid(Heads):
    def boxes(self, hidden: Tensor) -> Tensor:
        return self.coordinates(hidden)


class Tanh(Heads):
    def boxes(self, hidden: Tensor) -> Tensor:
        return self.coordinates(hidden).tanh()


class TwoSigmoids(Heads):
    def boxes(self, hidden: Tensor) -> Tensor:
        return self.coordinates(hidden).sigmoid().sigmoid()


class FinalReLU(Heads):
    def coordinates(self, hidden: Tensor) -> Tensor:
        return self.bbox_embed(hidden).relu()


class Linear(Heads):
    def coordinates(self, hidden: Tensor) -> Tensor:
        for layer in self.bbox_embed.layers:
            hidden = layer(hidden)
        return hidden


class OneReLU(Heads):
    def coordinates(self, hidden: Tensor) -> Tensor:
        first, second, last = self.bbox_embed.layers
        return last(second(first(hidden).relu()))


class GELU(Heads):
    def coordinates(self, hidden: Tensor) -> Tensor:
        first, second, last = self.bbox_embed.layers
        return last(nn.functional.gelu(second(nn.functional.gelu(first(hidden)))))


class TwoBoxLayers(Heads):
    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        del self.bbox_embed.layers[1]


class NarrowBoxHead(Heads):
    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        size = configuration.hidden_dim
        widths = [(size, size // 2), (size // 2, size // 2), (size // 2, 4)]
        self.bbox_embed.layers = nn.ModuleList(nn.Linear(*pair) for pair in widths)


class SoftmaxInside(Heads):
    def logits(self, hidden: Tensor) -> Tensor:
        return self.class_embed(hidden).softmax(-1)


class TanhBefore(Heads):
    """An activation that the class head's weights do not show."""

    def logits(self, hidden: Tensor) -> Tensor:
        return self.class_embed(hidden.tanh())


class NoBias(Heads):
    def logits(self, hidden: Tensor) -> Tensor:
        return self.class_embed(hidden) - self.class_embed.bias


class NeighboursMixed(Heads):
    """Each query's logits depend on its neighbour."""

    def logits(self, hidden: Tensor) -> Tensor:
        return self.class_embed(hidden + hidden.roll(1, dims=2))


class CentredOverQueries(Heads):
    def logits(self, hidden: Tensor) -> Tensor:
        return super().logits(hidden - hidden.mean(dim=2, keepdim=True))


class ByQueryIndex(Heads):
    def boxes(self, hidden: Tensor) -> Tensor:
        return super().boxes(hidden + torch.arange(hidden.shape[2])[:, None])


class ImagesMixed(Heads):
    def logits(self, hidden: Tensor) -> Tensor:
        return self.class_embed(hidden + torch.arange(hidden.shape[1])[:, None, None])


class HeadsOfTheirOwn(Heads):
    """The logits of each decoder layer by a head of its own."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        size, columns = configuration.hidden_dim, configuration.columns
        self.others = nn.ModuleList(nn.Linear(size, columns) for _ in range(configuration.decoder_layers - 1))

    def logits(self, hidden: Tensor) -> Tensor:
        heads = [*self.others, self.class_embed][-len(hidden) :]
        return torch.stack([head(states) for head, states in zip(heads, hidden, strict=True)])


class OffsetByLayer(Heads):
    def coordinates(self, hidden: Tensor) -> Tensor:
        return self.bbox_embed(hidden) + torch.arange(len(hidden)).flip(0)[:, None, None, None]


class ByStride(Heads):
    """Depends on how the hidden states lie in memory."""

    def logits(self, hidden: Tensor) -> Tensor:
        return super().logits(hidden) * hidden.stride(-1)


class NotANumber(Heads):
    def boxes(self, hidden: Tensor) -> Tensor:
        return super().boxes(hidden) * torch.nan


DEFECTS: dict[type[Heads], list[str]] = {
    OneColumnLess: ["shapes"],
    CentredOverQueries: ["one-by-one"],
    AllLayersAuxiliary: ["shapes"],
    NoAuxiliary: ["shapes", "auxiliary-in-order"],
    FirstLayerMain: ["main-is-last-layer"],
    AuxiliaryReversed: ["auxiliary-in-order"],
    LastLayerRepeated: ["auxiliary-in-order"],
    NoSigmoid: ["boxes-in-unit-range", "box-head"],
    Tanh: ["boxes-in-unit-range", "box-head"],
    TwoSigmoids: ["box-head"],
    FinalReLU: ["box-head"],
    Linear: ["box-head"],
    OneReLU: ["box-head"],
    GELU: ["box-head"],
    TwoBoxLayers: ["linear-maps"],
    NarrowBoxHead: ["linear-maps"],
    SoftmaxInside: ["class-head", "affine-logits"],
    TanhBefore: ["class-head", "affine-logits"],
    NoBias: ["class-head"],
    NeighboursMixed: ["query-order", "class-head"],
    ByQueryIndex: ["query-order"],
    ImagesMixed: ["image-order"],
    HeadsOfTheirOwn: ["shared-across-layers", "auxiliary-in-order"],
    OffsetByLayer: ["shared-across-layers"],
    ByStride: ["ways-of-calling"],
    NotANumber: ["boxes-in-unit-range", "box-head"],
}


@pytest.mark.parametrize(
    ("defect", "id"), [(defect, f"heads.{name}") for defect, names in DEFECTS.items() for name in names]
)
def test_planted_defect_is_found(defect: type[Heads], id: str) -> None:
    assert isinstance(failure(id, implementation(defect), EXAMPLES), Violation)


@pytest.mark.parametrize("defect", [TwoBoxLayers, NarrowBoxHead])
def test_another_depth_or_width_is_told_apart_from_a_wrong_formula(defect: type[Heads]) -> None:
    assert failure("heads.box-head", implementation(defect), EXAMPLES) is None


def test_every_invariant_finds_a_defect() -> None:
    assert {f"heads.{name}" for names in DEFECTS.values() for name in names} == set(HEADS_IDS)


@pytest.mark.parametrize(
    "name", ["affine-logits", "query-order", "one-by-one", "shared-across-layers", "main-is-last-layer"]
)
def test_defects_are_found_without_the_weights_too(name: str) -> None:
    defects = {
        "affine-logits": TanhBefore,
        "query-order": ByQueryIndex,
        "one-by-one": CentredOverQueries,
        "shared-across-layers": OffsetByLayer,
        "main-is-last-layer": FirstLayerMain,
    }

    def unreadable(configuration: Configuration) -> Any:
        heads = defects[name](configuration).to(getattr(torch, configuration.dtype))
        return heads.forward

    assert isinstance(failure(f"heads.{name}", implementation(unreadable), EXAMPLES), Violation)


def test_a_sigmoid_profile_has_no_extra_column() -> None:
    def with_no_object(configuration: Configuration) -> Heads:
        return Heads(replace(configuration, profile=DETR))

    assert isinstance(failure("heads.shapes", implementation(with_no_object, DEFORMABLE), EXAMPLES), Violation)
