"""The matcher that a profile declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

import detr_reference as reference
from detr_conformance.implementations.declared.boxes import Overlaps
from detr_conformance.implementations.declared.masks import MASK_COSTS, compared_in_matching
from detr_conformance.implementations.declared.names import (
    OWN,
    UNIT,
    outputs_of_reference,
    targets_of_reference,
    with_known_labels,
)
from detr_conformance.implementations.declared.spelling import answer_of_matcher, given_to_matcher, require_padding
from detr_reference.batch import Outputs, Pairs, Targets
from detr_reference.boxes import upcast_half
from detr_reference.matcher import ClassCost
from detr_spec import costs
from detr_spec.configuration import Configuration


class DeclaredMatcher(nn.Module):
    """Takes outputs and targets under the profile's names, and treats what is not finite as it declares."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.profile = configuration.profile
        self.configuration = configuration
        MatcherOfBoxes(configuration)  # refuses a matcher without weights

    @torch.no_grad()
    def forward(self, *arguments: Any) -> Any:
        """Which target each query has, as the profile says it, from what the profile calls a matcher with."""
        outputs, targets = given_to_matcher(arguments, self.profile)
        given, truth = (
            outputs_of_reference(outputs, self.profile),
            targets_of_reference(targets, self.profile),
        )
        if self.profile.label_beyond_range == "unchecked":
            truth = with_known_labels(truth, given["pred_logits"].shape[-1], given.get(OWN.phrases, ()))
        if self.profile.narrow_dtypes == "unchecked":
            given |= {name: upcast_half(given[name]) for name in ("pred_logits", "pred_boxes")}
        if self.profile.non_finite_logits == "unchecked":
            given["pred_logits"] = given["pred_logits"].nan_to_num(0.0, 50.0, -50.0)
        if self.profile.non_finite_boxes == "unchecked":
            given["pred_boxes"] = given["pred_boxes"].nan_to_num(0.5)
            truth = [{**target, "boxes": target["boxes"].nan_to_num(0.5)} for target in truth]
        counts, queries = [len(target["labels"]) for target in truth], given["pred_boxes"].shape[1]
        require_padding(targets, counts, queries, self.profile)
        return answer_of_matcher(self._pairs_of_groups(given, truth), counts, queries, self.profile)

    def _pairs_of_groups(self, outputs: Outputs, targets: Targets) -> Pairs:
        """Each group is matched by itself, in training, with targets that are there as often as they are repeated."""
        scope = self.profile.matching
        names = ("labels", "boxes", *(("masks",) if self.profile.matches_masks else ()))
        repeated = [
            {UNIT: target[UNIT]} | {name: target[name].repeat_interleave(scope.repeats, dim=0) for name in names}
            for target in targets
        ]
        if self.profile.labels == "phrases":
            maps = outputs[OWN.phrases]
            repeated = [{**target, OWN.phrases: own} for target, own in zip(repeated, maps, strict=True)]
        size = outputs["pred_logits"].shape[1] // (scope.groups if self.training else 1)
        starts = range(0, outputs["pred_logits"].shape[1], size) if size else [0]
        predictions = ("pred_logits", "pred_boxes", *(("pred_masks",) if self.profile.matches_masks else ()))
        parts = [
            self._pairs({name: outputs[name][:, start : start + size] for name in predictions}, repeated)
            for start in starts
        ]
        queries = [[start + own for own, _ in part] for start, part in zip(starts, parts, strict=True)]
        objects = [[own // scope.repeats for _, own in part] for part in parts]
        return [
            (torch.cat([part[image] for part in queries]), torch.cat([part[image] for part in objects]))
            for image in range(len(targets))
        ]

    def _pairs(self, outputs: Outputs, targets: Targets) -> Pairs:
        logits = outputs["pred_logits"]
        images = zip(
            logits, outputs["pred_boxes"], outputs.get("pred_masks", [None] * len(logits)), targets, strict=True
        )
        return [self._pairs_of_image(*image) for image in images]

    def _pairs_of_image(
        self, logits: Tensor, boxes: Tensor, masks: Tensor | None, target: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Sound queries are matched as if there were no others; these take what is left, in their order."""
        broken = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        if self.profile.non_finite_logits == "rank-last":
            broken |= ~(logits < torch.inf).all(dim=1)
        if self.profile.non_finite_boxes == "rank-last":
            broken |= ~boxes.isfinite().all(dim=1)
        sound, spare = (part.nonzero()[:, 0].cpu() for part in (~broken, broken))
        queries = objects = torch.zeros(0, dtype=torch.int64)
        if len(sound):
            given = {"pred_logits": logits[~broken][None], "pred_boxes": boxes[~broken][None]}
            of_masks = None if masks is None else (masks[~broken], target["masks"])
            matcher = MatcherOfBoxes(self.configuration, target[UNIT], of_masks, target.get(OWN.phrases))
            ((found, objects),) = matcher(given, [target])
            queries = sound[found]
        left = torch.tensor(sorted(set(range(len(target["labels"]))) - set(objects.tolist())), dtype=torch.int64)
        count = min(len(left), len(spare))
        queries, objects = torch.cat([queries, spare[:count]]), torch.cat([objects, left[:count]])
        order = queries.argsort()
        return queries[order], objects[order]


class MatcherOfBoxes(reference.HungarianMatcher):
    """The reference's matcher with the profile's costs and overlaps."""

    def __init__(
        self,
        configuration: Configuration,
        unit: Tensor | None = None,
        masks: tuple[Tensor, Tensor] | None = None,
        phrases: Tensor | None = None,
    ) -> None:
        # The weights are with the costs; the reference refuses a matcher without any.
        super().__init__(cost_class=float(bool(configuration.costs)), cost_bbox=0.0, cost_giou=0.0)
        self.unit, self.phrases = torch.ones(4) if unit is None else unit, phrases
        self.compared = masks and compared_in_matching(configuration, *masks)
        self.costs = [(COSTS[type(cost)](configuration, cost), weight) for cost, weight in configuration.costs]

    def cost_matrix(self, logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor) -> Tensor:
        """The cost [Q, n] of each query with each target of one image."""
        nothing = boxes.new_zeros(len(boxes), len(labels))
        phrases = None if self.phrases is None else self.phrases[labels].to(logits)
        image = Image(logits, boxes, labels, target_boxes, self.unit, self.compared, phrases)
        return sum((weight * cost(image) for cost, weight in self.costs), nothing)


class Image(NamedTuple):
    """What the costs of an image depend on: logits [Q, C], boxes [Q, 4], labels [n] and target boxes [n, 4], cxcywh.

    unit: (W, H, W, H), in which overlaps are measured. compared: masks of queries and of targets, at points. phrases: 1
    in the columns of each target's phrase, [n, C], where labels name phrases.
    """

    logits: Tensor
    boxes: Tensor
    labels: Tensor
    target_boxes: Tensor
    unit: Tensor
    compared: tuple[Tensor, Tensor] | None = None
    phrases: Tensor | None = None

    def scores(self, configuration: Configuration) -> Tensor:
        """The probability that each query gives each label; [Q, n]."""
        softmax = configuration.profile.has_no_object
        return self.at_labels(self.logits.softmax(dim=-1) if softmax else self.logits.sigmoid())

    def at_labels(self, numbers: Tensor) -> Tensor:
        """A number of each logit at each label, [Q, C] → [Q, n]: the mean over the tokens of a phrase."""
        if self.phrases is None:
            return numbers[:, self.labels]
        means = [numbers[:, own > 0].mean(dim=1) for own in self.phrases]
        return torch.stack(means, dim=1) if means else numbers[:, :0]

    @property
    def corners(self) -> tuple[Tensor, Tensor]:
        """Both boxes as xyxy, in the unit of overlaps."""
        queries, targets = map(reference.box_cxcywh_to_xyxy, (self.boxes, self.target_boxes))
        return queries * self.unit, targets * self.unit


PairCost: TypeAlias = Callable[[Image], Tensor]
"""The costs [Q, n] of an image."""


def _focal_cost(_: Configuration, cost: costs.Cost) -> PairCost:
    alpha, gamma, epsilon = cost.numbers.values()
    classes = reference.focal_cost(alpha, gamma, epsilon) if epsilon else focal_cost_of_logits(alpha, gamma)
    return lambda image: (
        classes(image.logits, image.labels)
        if image.phrases is None
        else image.at_labels(classes(image.logits, torch.arange(image.logits.shape[1])))
    )


def focal_cost_of_logits(alpha: float, gamma: float) -> ClassCost:
    """The focal cost without an epsilon, whose logarithms are taken from the logits and so are finite."""

    def cost(logits: Tensor, labels: Tensor) -> Tensor:
        own = logits[:, labels]
        cost_of_yes = alpha * (-own).sigmoid() ** gamma * -logsigmoid(own)
        cost_of_no = (1 - alpha) * own.sigmoid() ** gamma * -logsigmoid(-own)
        return cost_of_yes - cost_of_no

    return cost


def _mask_cost(_: Configuration, cost: costs.Cost) -> PairCost:
    def pairwise(image: Image) -> Tensor:
        assert image.compared is not None
        return MASK_COSTS[type(cost)](*image.compared)

    return pairwise


def _overlap_cost(configuration: Configuration, _: costs.Cost) -> PairCost:
    overlaps = Overlaps(configuration.profile.boxes)
    return lambda image: -overlaps.giou(*image.corners)


def _one_minus_overlap(configuration: Configuration, _: costs.Cost) -> PairCost:
    overlaps = Overlaps(configuration.profile.boxes)
    return lambda image: 1 - overlaps.giou(*image.corners)


def _distance_cost(configuration: Configuration, cost: costs.Cost) -> PairCost:
    overlaps = Overlaps(configuration.profile.boxes)
    overlap = overlaps.ciou if isinstance(cost, costs.CiouCost) else overlaps.diou

    def value(image: Image) -> Tensor:
        queries, targets = image.corners
        return -overlap(queries[:, None], targets[None])

    return value


def _score_times_overlap(configuration: Configuration, cost: costs.Cost) -> PairCost:
    overlaps, exponent = Overlaps(configuration.profile.boxes), cost.numbers["exponent"]
    return lambda image: -image.scores(configuration) * overlaps.iou(*image.corners) ** exponent


COSTS: dict[type[costs.Cost], Callable[[Configuration, costs.Cost], PairCost]] = {
    costs.NegativeProbability: lambda configuration, _: lambda image: -image.scores(configuration),
    costs.FocalCost: _focal_cost,
    costs.L1Cost: lambda *_: lambda image: (image.boxes[:, None] - image.target_boxes[None]).abs().sum(dim=-1),
    costs.GiouCost: _overlap_cost,
    costs.OneMinusGiou: _one_minus_overlap,
    costs.DiouCost: _distance_cost,
    costs.CiouCost: _distance_cost,
    costs.ScoreTimesOverlap: _score_times_overlap,
    **dict.fromkeys(MASK_COSTS, _mask_cost),
}
"""What answers for each cost that can be declared."""
