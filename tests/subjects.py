"""What several tests judge: criteria of the reference, built from changed parts, right ones and wrong ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance import torch_implementation
from detr_conformance.implementations.reference import deformable_matcher, detr_matcher
from detr_reference import FocalSetCriterion, HungarianMatcher, SetCriterion
from detr_reference.batch import matched_queries, matched_targets
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.profiles import DETR

Losses = dict[str, Tensor]
Factory = Callable[[Configuration], Callable[..., Any]]


def softmax(kind: type[SetCriterion] = SetCriterion, matcher: Factory = detr_matcher) -> Factory:
    """Criteria of a kind, in the softmax dialect."""
    return lambda c: kind(c.num_classes, matcher(c), c.weight_dict, c.class_loss.eos_coef, c.losses)


def focal(kind: type[FocalSetCriterion] = FocalSetCriterion) -> Factory:
    """Criteria of a kind, in the sigmoid dialect."""
    return lambda c: kind(c.num_classes, deformable_matcher(c), c.weight_dict, c.losses, *c.class_loss.numbers.values())


def matching_by(kind: type[HungarianMatcher]) -> Factory:
    """Matchers of a kind, in the softmax dialect."""
    return lambda configuration: kind(*configuration.cost_weights)


def subject(criterion: Factory, profile: Profile = DETR, limits: Limits | None = None) -> Implementation:
    """The implementation that has these criteria."""
    return torch_implementation(name="subject", profile=profile, limits=limits, criterion=criterion)


def hidden(factory: Factory) -> Factory:
    """The criteria of a factory as functions, which show neither their matching nor their weights."""

    def build(configuration: Configuration) -> Callable[..., Any]:
        criterion = factory(configuration)

        def call(outputs: Any, targets: Any) -> Any:
            return criterion(outputs, targets)

        return call

    return build


def matched_boxes(outputs: Any, targets: Any, pairs: Any) -> tuple[Tensor, Tensor]:
    """The boxes [M, 4] of all matched queries of a batch, and those of their targets."""
    truth = matched_targets([target["boxes"] for target in targets], pairs)
    return outputs["pred_boxes"][matched_queries(pairs)], truth


def move_biases_and_norms(module: nn.Module) -> None:
    """Adds noise to biases and norms, whose zeros and ones in a new module hide what leaves them out."""
    for parameter in module.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)


class BackToFront(HungarianMatcher):
    """An optimal matcher that breaks ties the other way and lists its pairs in no order."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        flipped = {name: outputs[name].flip(1) for name in ("pred_logits", "pred_boxes")}
        last = outputs["pred_logits"].shape[1] - 1
        return [(last - queries, indices) for queries, indices in super().forward(flipped, targets)]


class InOneBuffer(HungarianMatcher):
    """Gives views of one tensor, which its next call writes over, as a matcher does that keeps its memory."""

    def __init__(self, *weights: float) -> None:
        super().__init__(*weights)
        self.buffer = torch.zeros(2, 1000, dtype=torch.int64)

    def forward(self, outputs: Any, targets: Any) -> Any:
        pairs = [torch.stack(pair) for pair in super().forward(outputs, targets)]
        lengths = [pair.shape[1] for pair in pairs]
        self.buffer[:, : sum(lengths)] = torch.cat(pairs, dim=1)
        return [tuple(part) for part in self.buffer[:, : sum(lengths)].split(lengths, dim=1)]


class FlatMatcher(HungarianMatcher):
    """Gives the pairs of all images at once: (images, queries, targets)."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        pairs = super().forward(outputs, targets)
        images = [torch.full_like(queries, image) for image, (queries, _) in enumerate(pairs)]
        return (torch.cat(images), *(torch.cat(part) for part in zip(*pairs, strict=True)))


class OfFlatPairs(SetCriterion):
    """Reads pairs of all images at once."""

    def _match(self, outputs: Any, targets: Any) -> Any:
        images, *sides = super()._match(outputs, targets)
        return [tuple(side[images == image] for side in sides) for image in range(len(targets))]


class OffsetMatcher(HungarianMatcher):
    """Counts the targets of all images on, as ultralytics does."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        return _shifted(super().forward(outputs, targets), targets, 1)


class OfOffsetPairs(SetCriterion):
    """Reads such pairs."""

    def _match(self, outputs: Any, targets: Any) -> Any:
        return _shifted(super()._match(outputs, targets), targets, -1)


def _shifted(pairs: Any, targets: Any, sign: int) -> Any:
    starts = itertools.accumulate((len(target["labels"]) for target in targets), initial=0)
    return [(queries, objects + sign * start) for (queries, objects), start in zip(pairs, starts, strict=False)]


class LargeScale(SetCriterion):
    """Not right, but wrong in its scale alone: no symmetry is broken."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        return {name: loss * 300 for name, loss in super().forward(outputs, targets).items()}


class LastClassIsNoObject(SetCriterion):
    """No-object is taken to be one of the classes."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        return super().classification_loss(logits, query_classes.clamp(max=self.num_classes - 1), num_boxes)
