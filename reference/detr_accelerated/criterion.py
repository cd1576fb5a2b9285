"""The set criterion: match, then sum the losses of the matched pairs, of all decoder layers in one pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor

from detr_reference import FocalSetCriterion as ReferenceFocalSetCriterion
from detr_reference import SetCriterion as ReferenceSetCriterion
from detr_reference.batch import Outputs, Targets, check_masks, check_output_shapes
from detr_reference.boxes import upcast_half
from detr_reference.criterion import SetPredictionCriterion, average_num_boxes
from detr_reference.masks import mask_losses

from .batch.batch import Batch
from .batch.packing import pack_batch
from .batch.predictions import Predictions
from .batch.softmax import claim_objects
from .batch.targets import PADDING_SIDE
from .cpu.criterion import losses_on_host
from .cuda.criterion import layer_losses
from .dialects import Dialect, LossFormula
from .layer_losses import LayerLosses
from .matcher import HungarianMatcher, matched_pairs
from .methods import overrides, uncompiled
from .torch.boxes import corners, generalized_iou, l1_distance
from .torch.class_losses import Positive, sigmoid_focal_loss, weighted_cross_entropy

TERMS = {
    "labels": ("loss_ce",),
    "boxes": ("loss_bbox", "loss_giou"),
    "cardinality": ("cardinality_error",),
}
"""The terms that every decoder layer has, by what `losses` of a criterion says."""


class Found(NamedTuple):
    """What is found of a batch: of each layer, the last one first, by name, and of the last layer alone.

    of_layers: 0-dimensional tensors. class_error: [], or None where it is not asked for. columns: int64 [B, T], the
    query of each target, or -1.
    """

    of_layers: Mapping[str, Sequence[Tensor]]
    class_error: Tensor | None
    columns: Tensor
    num_boxes: float


class BatchedCriterion(SetPredictionCriterion):
    """What the dialects share: the reference's forward, for all layers at once.

    What cannot be batched goes through the reference's forward, layer by layer: a matcher of another kind or one that
    is watched by hooks, auxiliary outputs of other shapes, and a subclass with a loss of its own for one layer.
    """

    _reference: ClassVar[type[SetPredictionCriterion]]
    dialect: ClassVar[Dialect]

    @abstractmethod
    def loss_formula(self, num_boxes: float) -> LossFormula:
        """Return what kernels, and compiled losses, need to know beside a batch."""

    @abstractmethod
    def classification_losses(self, batch: Batch) -> Tensor:
        """Return the classification loss of each layer, [L]."""

    @abstractmethod
    def detected_queries(self, predictions: Predictions) -> Tensor:
        """Return which queries, bool [P, Q], claim an object."""

    @uncompiled
    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return the losses and metrics of a batch, each a 0-dimensional tensor on the device of the outputs.

        Arguments, keys and errors are those of the reference. A backward pass with create_graph=True, for
        gradients of gradients, is refused with RuntimeError.
        """
        auxiliary: Sequence[Outputs] = outputs.get("aux_outputs", [])
        layers = [outputs, *auxiliary]
        matcher = self.matcher
        if not (_is_ours(matcher) and self._is_batched(layers)):
            return super().forward(outputs, targets)
        for layer in layers:
            check_output_shapes(layer, self.num_logits)
        found = self._on_device(matcher, layers, targets) or self._on_host(matcher, layers, targets)
        losses = {name: values[0] for name, values in found.of_layers.items()}
        if found.class_error is not None:
            losses["class_error"] = found.class_error
        if "masks" in self.losses:
            check_masks(outputs, targets)
            pairs = matched_pairs(found.columns, [len(target["labels"]) for target in targets])
            masks = [target["masks"] for target in targets]
            losses |= mask_losses(outputs["pred_masks"], masks, pairs, found.num_boxes)
        for number in range(len(auxiliary)):
            losses |= {f"{name}_{number}": values[number + 1] for name, values in found.of_layers.items()}
        return losses

    def _on_device(self, matcher: HungarianMatcher, layers: Sequence[Outputs], targets: Targets) -> Found | None:
        """Return what the kernels for CUDA find, or None where torch is to look at the batch."""
        # The losses need what the costs of the same dialect leave of each query.
        if self._has_own_losses or matcher.dialect is not self.dialect:
            return None
        matched = matcher.match_on_device(layers, targets, self.num_classes)
        if matched is None:
            return None
        batch, match = matched
        num_boxes = _num_boxes(targets, batch.device)
        logits, boxes = ([layer[name] for layer in layers] for name in ("pred_logits", "pred_boxes"))
        found = layer_losses(batch, match, self.loss_formula(num_boxes), logits, boxes)
        return self._found(found, layers[0], match.columns[: len(targets)], num_boxes)

    def _on_host(self, matcher: HungarianMatcher, layers: Sequence[Outputs], targets: Targets) -> Found:
        """Return what is found by numba on the CPU, and by torch on any device."""
        softmax = self.dialect is Dialect.SOFTMAX
        predictions, packed = pack_batch(
            layers, targets, self.num_classes, with_softmax=softmax, validate=matcher.validate
        )
        columns = matcher.match(predictions, packed)
        batch = Batch(layers, predictions, packed, columns, _num_boxes(targets, columns.device))
        found = None
        if not self._has_own_losses:
            found = losses_on_host(self.dialect, batch, self.loss_formula(batch.num_boxes))
        if found is not None:
            return self._found(found, layers[0], columns[: len(targets)], batch.num_boxes)
        # Each has memory of its own, so that it may be multiplied in place by its weight.
        of_layers = {
            name: [value.clone() for value in values.unbind()] for name, values in self._losses_of_layers(batch).items()
        }
        class_error = _class_error(batch) if "labels" in self.losses else None
        return Found(of_layers, class_error, columns[: len(targets)], batch.num_boxes)

    @property
    def _has_own_losses(self) -> bool:
        return overrides(self, BATCHED[self.dialect], "classification_losses", "detected_queries")

    def _found(self, found: LayerLosses, layer: Outputs, columns: Tensor, num_boxes: float) -> Found:
        """Return those losses that are asked for, in the dtypes that they have in torch."""
        logits = layer["pred_logits"]
        of_layers = {
            "loss_ce": _of_dtype(found.class_loss, _loss_dtype(logits)),
            "loss_bbox": found.l1_loss,
            "loss_giou": found.giou_loss,
            "cardinality_error": _of_dtype(found.cardinality_error, logits.dtype),
        }
        wanted = [name for loss in ("labels", "boxes", "cardinality") if loss in self.losses for name in TERMS[loss]]
        class_error = found.class_error.to(logits.dtype) if "labels" in self.losses else None
        return Found({name: of_layers[name] for name in wanted}, class_error, columns, num_boxes)

    def _is_batched(self, layers: Sequence[Outputs]) -> bool:
        return not overrides(self, self._reference, "classification_loss", "detected", "num_boxes") and all(
            len({(layer[name].shape, layer[name].dtype, layer[name].device) for layer in layers}) == 1
            for name in ("pred_logits", "pred_boxes")
        )

    def _losses_of_layers(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms that every decoder layer has, [L] each."""
        losses: dict[str, Tensor] = {}
        if "labels" in self.losses:
            losses["loss_ce"] = self.classification_losses(batch).to(_loss_dtype(batch.layers[0]["pred_logits"]))
        if "boxes" in self.losses:
            l1_loss, giou_loss = _box_losses(batch)
            losses["loss_bbox"] = batch.by_layer(l1_loss) / batch.num_boxes
            losses["loss_giou"] = batch.by_layer(giou_loss) / batch.num_boxes
        if "cardinality" in self.losses:
            losses["cardinality_error"] = self._cardinality_errors(batch)
        return losses

    def _cardinality_errors(self, batch: Batch) -> Tensor:
        """Return for each layer the mean, [L], over images of how many detections there are too many or too few."""
        target_counts = torch.tensor(batch.targets.sizes).to(batch.columns.device, non_blocking=True)
        detections = self.detected_queries(batch.predictions).sum(dim=1).view(-1, len(target_counts))
        errors = (detections - target_counts).abs()
        return errors.to(batch.layers[0]["pred_logits"].dtype).mean(dim=1)


class SetCriterion(BatchedCriterion, ReferenceSetCriterion):
    """The criterion of DETR: a softmax over K classes and, at index K, no-object; see `detr_reference.SetCriterion`."""

    _reference = ReferenceSetCriterion
    dialect = Dialect.SOFTMAX

    def loss_formula(self, num_boxes: float) -> LossFormula:
        """Return the weight of no-object and num_boxes."""
        return LossFormula(eos_coef=self.eos_coef, alpha=0, gamma=0, num_boxes=num_boxes)

    def classification_losses(self, batch: Batch) -> Tensor:
        """Return the weighted mean cross-entropy of each layer, [L]."""
        classes = _query_classes(batch, self.num_classes)
        weights = torch.ones_like(classes, dtype=batch.predictions.layers[0].dtype)
        weights.masked_fill_(classes == self.num_classes, self.eos_coef)
        return weighted_cross_entropy(batch.logits, batch.predictions, classes, weights)

    def detected_queries(self, predictions: Predictions) -> Tensor:
        """Return which queries, bool [P, Q], have a class's logit as high as that of no-object, or higher."""
        return claim_objects(predictions.layers, predictions.last_probability)


class FocalSetCriterion(BatchedCriterion, ReferenceFocalSetCriterion):
    """The criterion of Deformable DETR: K sigmoids and no no-object column; see `detr_reference.FocalSetCriterion`."""

    _reference = ReferenceFocalSetCriterion
    dialect = Dialect.SIGMOID

    def loss_formula(self, num_boxes: float) -> LossFormula:
        """Return the focal loss's alpha and gamma, and num_boxes."""
        return LossFormula(eos_coef=0, alpha=self.focal_alpha, gamma=self.focal_gamma, num_boxes=num_boxes)

    def classification_losses(self, batch: Batch) -> Tensor:
        """Return the sum of focal losses / num_boxes of each layer, [L]."""
        positive = Positive(batch.columns, batch.labels, batch.matched)
        losses = sigmoid_focal_loss(batch.logits, batch.predictions, positive, self.focal_alpha, self.focal_gamma)
        return losses / batch.num_boxes

    def detected_queries(self, predictions: Predictions) -> Tensor:
        """Return which queries, bool [P, Q], have a sigmoid above 0.5, which is a logit above 0."""
        return predictions.highest > 0


BATCHED: Mapping[Dialect, type[BatchedCriterion]] = {Dialect.SOFTMAX: SetCriterion, Dialect.SIGMOID: FocalSetCriterion}


def _is_ours(matcher: object) -> TypeGuard[HungarianMatcher]:
    """Return whether a matcher gives what `HungarianMatcher.match` does, with nobody watching its calls by hooks."""
    return (
        isinstance(matcher, HungarianMatcher)
        and not overrides(matcher, HungarianMatcher, "forward", "__call__")
        and not matcher._forward_hooks
        and not matcher._forward_pre_hooks
    )


def _query_classes(batch: Batch, num_classes: int) -> Tensor:
    """Return int64 [P, Q]: the label of each query's target, and num_classes where there is none."""
    problems, num_queries, _ = batch.predictions.boxes.shape
    classes = batch.columns.new_full((problems, num_queries + 1), num_classes)
    # Targets without a query write behind the last one, where nobody reads.
    classes.scatter_(1, torch.where(batch.matched, batch.columns, num_queries), batch.labels)
    return classes[:, :num_queries]


def _box_losses(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the L1 distance and 1 - GIoU, [P, T] each, of each target and its query, and 0 where it has none."""
    predicted = torch.cat([upcast_half(layer["pred_boxes"]) for layer in batch.layers])
    boxes = predicted.gather(1, batch.columns.clamp(min=0)[..., None].expand(-1, -1, 4))
    target_boxes = upcast_half(batch.targets.boxes).repeat(len(batch.layers), 1, 1)
    # A target without a query may have no area, and its GIoU no gradient that a mask could take away.
    target_boxes = torch.where(batch.matched[..., None], target_boxes, PADDING_SIDE)
    queries, objects = boxes.unbind(-1), target_boxes.unbind(-1)
    l1_loss = l1_distance(queries, objects)
    giou_loss = 1 - generalized_iou(corners(queries), corners(objects))
    return torch.where(batch.matched, l1_loss, 0), torch.where(batch.matched, giou_loss, 0)


@torch.no_grad()
def _class_error(batch: Batch) -> Tensor:
    """Return the percentage [] of matched queries of the last layer whose highest logit is not at their label."""
    logits: Tensor = batch.layers[0]["pred_logits"]
    images, _, columns = logits.shape
    matched = batch.matched[:images]
    logits_of_targets = logits.gather(1, batch.columns[:images].clamp(min=0)[..., None].expand(-1, -1, columns))
    correct = (logits_of_targets.argmax(dim=-1) == batch.targets.labels) & matched
    return 100 - 100 * correct.sum().to(logits.dtype) / matched.sum().clamp(min=1)


def _num_boxes(targets: Targets, device: torch.device) -> float:
    """Return the number of targets that sums are divided by; without ranks no device is asked."""
    if dist.is_available() and dist.is_initialized():
        return average_num_boxes(targets, device)
    return max(float(sum(len(target["labels"]) for target in targets)), 1.0)


def _loss_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype of the reference's loss_ce: that of the logits, but float32 for halves under autocast."""
    autocast = torch.is_autocast_enabled(logits.device.type)
    return upcast_half(logits[:0]).dtype if autocast else logits.dtype


def _of_dtype(values: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [value.to(dtype) for value in values]
