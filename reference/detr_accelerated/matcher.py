"""The matcher: the costs of each image's own queries and targets, for all decoder layers, and their assignment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from detr_reference import HungarianMatcher as ReferenceMatcher
from detr_reference import negative_probability_cost
from detr_reference.batch import Outputs, Pairs, Targets, check_output_shapes
from detr_reference.matcher import ClassCost, check_precision

from .assignment import solve
from .batch.packing import pack_batch, well_shaped
from .batch.predictions import Predictions, in_parts
from .batch.targets import PackedTargets
from .compiled.calling import compiled_for
from .cuda.batch import DeviceBatch, device_batch
from .cuda.criterion import Match, match
from .dialects import CostFormula, Dialect
from .methods import overrides, uncompiled
from .torch.box_costs import box_costs, box_costs_in_parts
from .torch.class_costs import FocalCost, add_focal_costs, is_compiled_for, subtract_probabilities, write_at_labels


class HungarianMatcher(ReferenceMatcher):
    """The reference's matcher, with all images, and for the criterion all decoder layers, in one pass.

    The class costs `negative_probability_cost` and `focal_cost()` of this package are batched; any other callable, and
    a `cost_matrix` overridden in a subclass, is called for one image after another.

    validate: whether values that set prediction is not defined for are refused. To look at them, the host waits for the
    device, twice a batch. Where it is false a criterion with this matcher waits for nothing on CUDA, and what comes of
    broken values is undefined: the kernel leaves an image without matches where a cost is not finite.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        *,
        class_cost: ClassCost = negative_probability_cost,
        validate: bool = True,
    ) -> None:
        super().__init__(cost_class, cost_bbox, cost_giou, class_cost=class_cost)
        self.validate = validate

    @uncompiled
    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """Return for each image the matched (query indices, target indices).

        outputs: `pred_logits` [B, Q, C], `pred_boxes` [B, Q, 4] as cxcywh. targets: B dicts of `labels` [n],
        int64, and `boxes` [n, 4] as cxcywh. The indices are int64 on the CPU, each of length min(Q, n);
        query indices ascend.

        Raises ValueError on wrong shapes, labels outside the columns of the logits, a NaN or +inf logit, a
        box that is not finite or has a negative size, and a cost without a value (GIoU of two boxes without
        area); TypeError on float16 or bfloat16 predictions on the CPU.
        """
        check_output_shapes(outputs)
        check_precision(outputs)
        num_labels = outputs["pred_logits"].shape[2]
        on_device = self.match_on_device([outputs], targets, num_labels)
        if on_device is not None:
            batch, found = on_device
            return matched_pairs(found.columns, batch.sizes)
        softmax = self.dialect is Dialect.SOFTMAX
        predictions, packed = pack_batch([outputs], targets, num_labels, with_softmax=softmax, validate=self.validate)
        return matched_pairs(self.match(predictions, packed), packed.sizes)

    @property
    def dialect(self) -> Dialect:
        """That of the class cost: of any but the sigmoid's focal cost the softmax dialect."""
        return Dialect.SIGMOID if isinstance(self.class_cost, FocalCost) else Dialect.SOFTMAX

    @torch.no_grad()
    def match_on_device(
        self, layers: Sequence[Outputs], targets: Targets, num_labels: int
    ) -> tuple[DeviceBatch, Match] | None:
        """Return a batch on CUDA and its matching by kernels, or None where torch is to look at it.

        It is where there are no kernels for such a batch or cost, and where a broken value has to be refused.
        """
        # A subclass with a `match` of its own has it asked, unless it has an own way here, too.
        own_way = overrides(self, HungarianMatcher, "match_on_device")
        ours = self._is_batched and (own_way or not overrides(self, HungarianMatcher, "match"))
        if not (ours and well_shaped(targets, len(layers[0]["pred_logits"]))):
            return None
        batch = device_batch(layers, targets)
        if batch is None:
            return None
        focal = vars(self.class_cost) if isinstance(self.class_cost, FocalCost) else {}
        formula = CostFormula(self.cost_class, self.cost_bbox, self.cost_giou, **focal)
        found = match(batch, self.dialect, formula, num_labels, validate=self.validate)
        return None if found is None else (batch, found)

    @torch.no_grad()
    def match(self, predictions: Predictions, targets: PackedTargets) -> Tensor:
        """Return the query of each target in each of P problems, int64 [P, T]; -1 for targets without one and padding.

        Raises ValueError on a cost without a value.
        """
        compute = self._costs if self._is_batched else self._costs_one_by_one
        cost = compute(predictions, targets)
        sizes = targets.sizes * (len(cost) // len(targets.sizes))
        if self.validate:
            _check_costs(cost, sizes, len(targets.sizes))
        return solve(cost, sizes)

    @property
    def _is_batched(self) -> bool:
        known = isinstance(self.class_cost, FocalCost) or self.class_cost is negative_probability_cost
        return known and not overrides(self, HungarianMatcher, "cost_matrix")

    def _costs(self, predictions: Predictions, targets: PackedTargets) -> Tensor:
        """Return the cost [P, T, Q] of each target of an image with each query of the same image."""
        dtype = torch.promote_types(predictions.layers[0].dtype, predictions.boxes.dtype)
        dtype = torch.promote_types(dtype, targets.boxes.dtype)
        boxes, target_boxes, labels = predictions.boxes.to(dtype), targets.boxes.to(dtype), targets.labels
        focal = self.class_cost if isinstance(self.class_cost, FocalCost) else None
        if is_compiled_for(focal, boxes):
            cost = box_costs(boxes, target_boxes, self.cost_bbox, self.cost_giou)
            if focal is None:
                subtract_probabilities(cost, predictions.softmax, labels, self.cost_class)
            else:
                add_focal_costs(cost, predictions.layers, labels, self.cost_class, focal)
            return cost
        layers = len(boxes) // len(labels)
        numbers = predictions.probabilities if focal is None else predictions.logits
        of_labels = predictions.layers[0].new_empty(len(boxes), targets.longest, boxes.shape[1])
        write_at_labels(numbers, labels.repeat(layers, 1), of_labels)
        cost = of_labels.to(dtype)
        parts = in_parts(cost[0].numel(), cost)
        of_boxes = box_costs_in_parts(boxes, target_boxes, self.cost_bbox, self.cost_giou)
        for own_boxes, (part,) in zip(of_boxes, parts, strict=True):
            if focal is None:
                torch.sub(own_boxes, part, alpha=self.cost_class, out=part)
            else:
                torch.add(own_boxes, focal.at_labels(part), alpha=self.cost_class, out=part)
        return cost

    def _costs_one_by_one(self, predictions: Predictions, targets: PackedTargets) -> Tensor:
        """Return the costs [P, T, Q] from a `cost_matrix` that speaks of one image."""
        images = len(targets.sizes)
        costs = []
        for problem, (logits, boxes) in enumerate(
            zip((image for layer in predictions.layers for image in layer), predictions.boxes, strict=True)
        ):
            image = problem % images
            own = slice(targets.sizes[image])
            cost = self.cost_matrix(logits, boxes, targets.labels[image, own], targets.boxes[image, own])
            costs.append(cost.transpose(0, 1))
        return pad_sequence(costs, batch_first=True)


def matched_pairs(columns: Tensor, sizes: Sequence[int]) -> Pairs:
    """Return for each image the (query indices, target indices) of its matches, int64 on the CPU, queries ascending.

    columns: int64 [B, T], the query of each target or -1. sizes: n of each image.
    """
    pairs = []
    for queries, size in zip(columns.cpu(), sizes, strict=True):
        ascending, order = queries[:size].sort()
        matched = ascending >= 0
        pairs.append((ascending[matched], order[matched]))
    return pairs


def _check_costs(cost: Tensor, sizes: Sequence[int], images: int) -> None:
    # A sum is finite only if every term is; it may also overflow, and so the terms themselves decide.
    kernel = compiled_for(cost, "checks", "all_finite")
    if cost.sum().isfinite() if kernel is None else kernel(cost.numpy()):
        return
    for problem, size in enumerate(sizes):
        if not cost[problem, :size].isfinite().all():
            raise ValueError(
                f"image {problem % images} has a matching cost that is NaN or infinite; either a predicted and a "
                "target box both have no area, so that their GIoU is 0/0, or all logits of a query are -inf"
            )
