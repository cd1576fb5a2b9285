"""The set criterion: match, then sum the losses of the matched pairs, for every decoder layer (norm §4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .batch import (
    Outputs,
    Pairs,
    Targets,
    check_masks,
    check_output_shapes,
    check_output_values,
    check_targets,
    matched_queries,
    matched_targets,
)
from .boxes import upcast_half
from .losses import (
    box_giou_loss,
    box_l1_loss,
    cardinality_error,
    class_error,
    sigmoid_focal_loss,
    weighted_cross_entropy,
)
from .masks import mask_losses

Matcher: TypeAlias = Callable[[Outputs, Targets], Pairs]

LOSSES = ("labels", "boxes", "cardinality", "masks")


class SetPredictionCriterion(nn.Module, ABC):
    """What the dialects share; a dialect adds its classification loss and what it calls a detection.

    losses: which of "labels" (loss_ce, class_error), "boxes" (loss_bbox, loss_giou), "cardinality"
    (cardinality_error) and "masks" (loss_mask, loss_dice) to compute.

    Raises ValueError if losses names anything else.
    """

    class_key = "loss_ce"
    auxiliary_key = "{name}_{layer}"
    """The name of the classification loss, and that of a loss of an auxiliary output."""

    def __init__(
        self,
        num_classes: int,
        matcher: Matcher,
        weight_dict: Mapping[str, float],
        losses: Sequence[str],
    ) -> None:
        super().__init__()
        unknown = [name for name in losses if name not in LOSSES]
        if unknown:
            raise ValueError(f"unknown losses {unknown}; choose from {list(LOSSES)}")
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight_dict = weight_dict
        self.losses = tuple(losses)

    @property
    @abstractmethod
    def num_logits(self) -> int:
        """The number of columns that the logits must have."""

    @abstractmethod
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        """Return the classification loss [] of logits [B, Q, C].

        query_classes: int64 [B, Q], the label of each query's target, and num_classes where there is none.
        """

    @abstractmethod
    def detected(self, logits: Tensor) -> Tensor:
        """Return which queries, bool [B, Q], claim an object, given logits [B, Q, C]."""

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return the losses and metrics of a batch, each a 0-dimensional tensor on the device of the outputs.

        outputs: `pred_logits` [B, Q, C], `pred_boxes` [B, Q, 4] as cxcywh in [0, 1], for masks `pred_masks`
        [B, Q, h, w], and optionally `aux_outputs`, a list of such dicts. targets: B dicts of `labels` [n],
        int64, `boxes` [n, 4] as cxcywh in [0, 1], for masks `masks` [n, H, W].

        Keys: loss_ce, class_error, loss_bbox, loss_giou, cardinality_error, loss_mask, loss_dice, as far as
        they are asked for. Each auxiliary output i is matched on its own and adds the same keys with the
        suffix `_i`, save class_error and the masks. class_error and cardinality_error are metrics and carry
        no gradient.

        Raises ValueError on wrong shapes, a wrong number of targets, labels outside [0, num_classes - 1],
        and values that are not finite (a logit of -inf excepted).
        """
        auxiliary: Sequence[Outputs] = outputs.get("aux_outputs", [])
        self._check(outputs, auxiliary, targets)
        num_boxes = self.num_boxes(outputs, targets)

        pairs = self._match(outputs, targets)
        losses = self._layer_losses(outputs, targets, pairs, num_boxes)
        if "labels" in self.losses:
            losses["class_error"] = self._class_error(outputs, targets, pairs)
        if "masks" in self.losses:
            masks = [target["masks"] for target in targets]
            losses |= mask_losses(outputs["pred_masks"], masks, pairs, num_boxes)

        for layer, layer_outputs in enumerate(auxiliary):
            layer_pairs = self._match(layer_outputs, targets)
            layer_losses = self._layer_losses(layer_outputs, targets, layer_pairs, num_boxes)
            losses |= {self.auxiliary_key.format(name=name, layer=layer): loss for name, loss in layer_losses.items()}
        return losses

    def num_boxes(self, outputs: Outputs, targets: Targets) -> float:
        """Return what the losses of matched pairs are divided by, for all decoder layers."""
        return average_num_boxes(targets, outputs["pred_logits"].device)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the training loss [], the sum of weight times loss over the keys that both have.

        Raises ValueError if they have no key in common.
        """
        weighted = [self.weight_dict[name] * loss for name, loss in losses.items() if name in self.weight_dict]
        if not weighted:
            raise ValueError(f"no loss has a weight: losses {list(losses)}, weights {list(self.weight_dict)}")
        return torch.stack(weighted).sum()

    def _check(self, outputs: Outputs, auxiliary: Sequence[Outputs], targets: Targets) -> None:
        for layer_outputs in (outputs, *auxiliary):
            check_output_shapes(layer_outputs, self.num_logits)
            check_output_values(layer_outputs)
            check_targets(targets, len(layer_outputs["pred_logits"]), self.num_classes)
        if "masks" in self.losses:
            check_masks(outputs, targets)

    def _match(self, outputs: Outputs, targets: Targets) -> Pairs:
        predictions = {name: upcast_half(outputs[name]) for name in ("pred_logits", "pred_boxes")}
        return self.matcher(predictions, targets)

    def _layer_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        """Return the terms that every decoder layer has."""
        logits: Tensor = outputs["pred_logits"]
        losses: dict[str, Tensor] = {}
        if "labels" in self.losses:
            losses[self.class_key] = self._classification(outputs, targets, pairs, num_boxes)
        if "boxes" in self.losses:
            boxes = outputs["pred_boxes"][matched_queries(pairs)]
            target_boxes = matched_targets([target["boxes"] for target in targets], pairs)
            losses["loss_bbox"] = box_l1_loss(boxes, target_boxes).sum() / num_boxes
            losses["loss_giou"] = box_giou_loss(boxes, target_boxes).sum() / num_boxes
        if "cardinality" in self.losses:
            target_counts = logits.new_tensor([len(target["labels"]) for target in targets])
            losses["cardinality_error"] = cardinality_error(self.detected(logits), target_counts)
        return losses

    def _classification(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> Tensor:
        """Return the classification loss []."""
        logits: Tensor = outputs["pred_logits"]
        query_classes = self._query_classes(logits, targets, pairs)
        return self.classification_loss(logits, query_classes, num_boxes)

    def _query_classes(self, logits: Tensor, targets: Targets, pairs: Pairs) -> Tensor:
        """Return int64 [B, Q]: the label of each query's target, and num_classes where there is none."""
        query_classes = torch.full(logits.shape[:2], self.num_classes, dtype=torch.int64, device=logits.device)
        query_classes[matched_queries(pairs)] = matched_targets([target["labels"] for target in targets], pairs)
        return query_classes

    def _class_error(self, outputs: Outputs, targets: Targets, pairs: Pairs) -> Tensor:
        labels = matched_targets([target["labels"] for target in targets], pairs)
        return class_error(outputs["pred_logits"][matched_queries(pairs)], labels)


class SetCriterion(SetPredictionCriterion):
    """The criterion of DETR: a softmax over K classes and, at index K, no-object (Carion et al. 2020, eq. 2).

    loss_ce is the cross-entropy of every query, unmatched ones against no-object, as a mean weighted by 1
    for a class and eos_coef for no-object. A query claims an object if its highest logit is not that of
    no-object.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: Matcher,
        weight_dict: Mapping[str, float],
        eos_coef: float,
        losses: Sequence[str],
    ) -> None:
        super().__init__(num_classes, matcher, weight_dict, losses)
        self.eos_coef = eos_coef

    @property
    def num_logits(self) -> int:
        """K + 1, the classes and no-object."""
        return self.num_classes + 1

    def classification_loss(
        self,
        logits: Tensor,
        query_classes: Tensor,
        num_boxes: float,  # noqa: ARG002 (only the sigmoid dialect divides by it)
    ) -> Tensor:
        """Return the weighted mean cross-entropy []; num_boxes has no part in it."""
        class_weights = logits.new_ones(self.num_logits)
        class_weights[self.num_classes] = self.eos_coef
        return weighted_cross_entropy(logits, query_classes, class_weights)

    def detected(self, logits: Tensor) -> Tensor:
        """Return which queries, bool [B, Q], have their highest logit elsewhere than at no-object."""
        return logits.argmax(dim=-1) != self.num_classes


class FocalSetCriterion(SetPredictionCriterion):
    """The criterion of Deformable DETR: K sigmoids and no no-object column (norm §8; Zhu et al. 2021).

    loss_ce is the sum of the focal losses of all logits / num_boxes; unmatched queries should say no to
    every class. A query claims an object if its highest sigmoid exceeds 0.5.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: Matcher,
        weight_dict: Mapping[str, float],
        losses: Sequence[str],
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ) -> None:
        super().__init__(num_classes, matcher, weight_dict, losses)
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma

    @property
    def num_logits(self) -> int:
        """K, the classes alone."""
        return self.num_classes

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        """Return the sum of focal losses / num_boxes, []."""
        positive = query_classes[..., None] == torch.arange(self.num_classes, device=logits.device)
        return sigmoid_focal_loss(logits, positive, self.focal_alpha, self.focal_gamma).sum() / num_boxes

    def detected(self, logits: Tensor) -> Tensor:
        """Return which queries, bool [B, Q], have a sigmoid above 0.5, which is a logit above 0."""
        return (logits > 0).any(dim=-1)


def average_num_boxes(targets: Targets, device: torch.device) -> float:
    """Return the number of targets, averaged over the ranks if torch.distributed is initialised, at least 1.

    Targets are counted, not matches: with more targets than queries the surplus still counts.
    """
    count = torch.tensor(float(sum(len(target["labels"]) for target in targets)), device=device)
    num_ranks = 1
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        num_ranks = dist.get_world_size()
    return max(count.item() / num_ranks, 1.0)


def build_weight_dict(
    loss_ce: float = 1,
    loss_bbox: float = 5,
    loss_giou: float = 2,
    *,
    decoder_layers: int = 1,
    masks: bool = False,
) -> dict[str, float]:
    """Return the weights of the last decoder layer's losses, and the same for each auxiliary layer's suffix.

    With masks, loss_mask and loss_dice have weight 1. Deformable DETR has loss_ce = 2.

    Raises ValueError if decoder_layers < 1.
    """
    if decoder_layers < 1:
        raise ValueError(f"a decoder has at least one layer, got decoder_layers={decoder_layers}")
    base = {"loss_ce": loss_ce, "loss_bbox": loss_bbox, "loss_giou": loss_giou}
    if masks:
        base |= {"loss_mask": 1, "loss_dice": 1}
    auxiliary = {f"{name}_{layer}": weight for layer in range(decoder_layers - 1) for name, weight in base.items()}
    return base | auxiliary
