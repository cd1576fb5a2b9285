"""Mask2Former: masks in place of boxes, compared at random points.

Cheng et al. 2022, "Masked-attention Mask Transformer for Universal Image Segmentation", section 3.3; norm §15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..batch import Outputs, Pairs, Targets, check_masks, matched_queries, matched_targets
from ..boxes import upcast_half
from ..criterion import average_num_boxes
from ..losses import dice_loss, weighted_cross_entropy
from ..masks import pad_masks
from ..matcher import negative_probability_cost
from ..points import Sampler, pairwise_cross_entropy, pairwise_dice, point_sample, uncertain_points

NUM_POINTS = 112 * 112
"""The number of points at which Mask2Former compares two masks."""


class Mask2FormerMatcher(nn.Module):
    """Matches the queries of each image with its targets, by classes and by masks at points that are drawn at random.

    The points are the same for all masks of an image. Mask2Former has the weights 2, 5, 5. sampler: what draws them.

    Raises ValueError if all three weights are zero.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_mask: float = 1,
        cost_dice: float = 1,
        num_points: int = NUM_POINTS,
        sampler: Sampler = torch.rand,
    ) -> None:
        super().__init__()
        if cost_class == 0 and cost_mask == 0 and cost_dice == 0:
            raise ValueError("cost_class, cost_mask and cost_dice are all zero; at least one must count")
        self.cost_class = cost_class
        self.cost_mask = cost_mask
        self.cost_dice = cost_dice
        self.num_points = num_points
        self.sampler = sampler

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """Return for each image the matched (query indices, target indices), int64, query indices ascending.

        outputs: `pred_logits` [B, Q, K+1] and `pred_masks` [B, Q, h, w], logits. targets: B dicts of `labels` [n] and
        `masks` [n, H, W], of one size for all images.

        Raises ValueError on wrong shapes, labels outside the columns of the logits, and a cost that is not finite;
        TypeError on float16 or bfloat16 predictions on the CPU.
        """
        check_predictions(outputs, outputs["pred_logits"].shape[-1])
        check_labels(targets, outputs, outputs["pred_logits"].shape[-1])
        for name in ("pred_logits", "pred_masks"):
            if outputs[name].device.type == "cpu" and outputs[name].dtype in (torch.float16, torch.bfloat16):
                raise TypeError(f"{name} is {outputs[name].dtype} on the CPU, too coarse to rank costs")
        return [
            self._match_image(logits, masks, target["labels"], target["masks"])
            for logits, masks, target in zip(outputs["pred_logits"], outputs["pred_masks"], targets, strict=True)
        ]

    def cost_matrix(self, logits: Tensor, masks: Tensor, labels: Tensor, target_masks: Tensor) -> Tensor:
        """Return the cost [Q, n] of each query with each target of one image, at points drawn anew."""
        points = self.sampler(1, self.num_points, 2, device=masks.device)
        with torch.autocast(masks.device.type, enabled=False):
            predicted, truth = (
                point_sample(own, points.expand(len(own), -1, -1)) for own in (masks, target_masks.to(masks))
            )
            return (
                self.cost_class * negative_probability_cost(logits, labels)
                + self.cost_mask * pairwise_cross_entropy(predicted, truth)
                + self.cost_dice * pairwise_dice(predicted, truth)
            )

    def _match_image(
        self, logits: Tensor, masks: Tensor, labels: Tensor, target_masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        cost = self.cost_matrix(upcast_half(logits), upcast_half(masks), labels, target_masks)
        if not cost.isfinite().all():
            raise ValueError("a matching cost is NaN or infinite; look for a diverged training step")
        queries, objects = linear_sum_assignment(cost.cpu().numpy())
        return torch.as_tensor(queries), torch.as_tensor(objects)


class Mask2FormerCriterion(nn.Module):
    """The losses of Mask2Former: weighted cross-entropy of classes, cross-entropy and dice of masks at points.

    Points lie mostly where a predicted mask is uncertain, and are others for each pair. Mask2Former trains with the
    weights 2, 5, 5, and eos_coef 0.1. losses: which of "labels" and "masks" to compute.

    Raises ValueError if losses names anything else.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: Callable[[Outputs, Targets], Pairs],
        weight_dict: Mapping[str, float],
        eos_coef: float,
        losses: Sequence[str],
        num_points: int = NUM_POINTS,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        sampler: Sampler = torch.rand,
    ) -> None:
        super().__init__()
        unknown = [name for name in losses if name not in ("labels", "masks")]
        if unknown:
            raise ValueError(f"unknown losses {unknown}; choose from ['labels', 'masks']")
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight_dict = weight_dict
        self.eos_coef = eos_coef
        self.losses = tuple(losses)
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.sampler = sampler

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return loss_ce, loss_mask and loss_dice, 0-dimensional, and the same of each auxiliary output i with `_i`.

        outputs and targets: as for `Mask2FormerMatcher`; `aux_outputs`: a list of such outputs, each with masks.

        Raises ValueError on wrong shapes, a wrong number of targets, and labels outside [0, num_classes - 1].
        """
        auxiliary: Sequence[Outputs] = outputs.get("aux_outputs", [])
        for layer in (outputs, *auxiliary):
            check_predictions(layer, self.num_classes + 1)
        check_labels(targets, outputs, self.num_classes)
        num_masks = average_num_boxes(targets, outputs["pred_logits"].device)
        losses = self._layer_losses(outputs, targets, num_masks)
        for number, layer in enumerate(auxiliary):
            own = self._layer_losses(layer, targets, num_masks)
            losses |= {f"{name}_{number}": loss for name, loss in own.items()}
        return losses

    def _layer_losses(self, outputs: Outputs, targets: Targets, num_masks: float) -> dict[str, Tensor]:
        predictions = {name: upcast_half(outputs[name]) for name in ("pred_logits", "pred_masks")}
        pairs = self.matcher(predictions, targets)
        losses: dict[str, Tensor] = {}
        if "labels" in self.losses:
            losses["loss_ce"] = self._classification(outputs["pred_logits"], targets, pairs)
        if "masks" in self.losses:
            losses |= self._mask_losses(predictions["pred_masks"], targets, pairs, num_masks)
        return losses

    def _classification(self, logits: Tensor, targets: Targets, pairs: Pairs) -> Tensor:
        classes = torch.full(logits.shape[:2], self.num_classes, dtype=torch.int64, device=logits.device)
        classes[matched_queries(pairs)] = matched_targets([target["labels"] for target in targets], pairs)
        class_weights = logits.new_ones(self.num_classes + 1)
        class_weights[self.num_classes] = self.eos_coef
        return weighted_cross_entropy(logits, classes, class_weights)

    def _mask_losses(self, masks: Tensor, targets: Targets, pairs: Pairs, num_masks: float) -> dict[str, Tensor]:
        matched = masks[matched_queries(pairs)]
        truth = matched_targets(pad_masks([target["masks"] for target in targets]), pairs).to(masks)
        with torch.no_grad():
            points = uncertain_points(
                partial(point_sample, matched),
                len(matched),
                self.num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
                self.sampler,
                masks.device,
            )
            labels = point_sample(truth, points)
        logits = point_sample(matched, points)
        cross_entropy = binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1)
        return {
            "loss_mask": cross_entropy.sum() / num_masks,
            "loss_dice": dice_loss(logits, labels).sum() / num_masks,
        }


def check_predictions(outputs: Outputs, num_logits: int) -> None:
    """Raise ValueError unless logits are [B, Q, num_logits], none of them NaN or +inf."""
    logits: Tensor = outputs["pred_logits"]
    if logits.dim() != 3 or logits.numel() == 0 or logits.shape[2] != num_logits:
        raise ValueError(
            f"pred_logits must have shape [B, Q, {num_logits}] with at least one image and query, "
            f"got {list(logits.shape)}"
        )
    if not (logits < torch.inf).all():
        raise ValueError("pred_logits holds NaN or +inf; look for a diverged training step")


def check_labels(targets: Targets, outputs: Outputs, num_labels: int) -> None:
    """Raise ValueError unless each image has a target, with masks, and labels in [0, num_labels - 1]."""
    num_images = len(outputs["pred_logits"])
    if len(targets) != num_images:
        raise ValueError(f"there is not one target for each image: images {num_images}, targets {len(targets)}")
    for image, target in enumerate(targets):
        labels = target["labels"]
        if labels.dim() != 1 or labels.dtype != torch.int64:
            raise ValueError(
                f"targets[{image}]['labels'] must be int64 of shape [n], got {labels.dtype} {list(labels.shape)}"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_labels:
            raise ValueError(f"targets[{image}]['labels'] must lie in [0, {num_labels - 1}], got {labels.tolist()}")
    check_masks(outputs, targets)
