"""D-FINE: losses of boxes under the union of the pairs of all predictions, which all layers learn from.

Peng et al. 2024, "D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution Refinement"; norm §12.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..batch import Outputs, Pairs, Targets, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, elementwise_box_iou, upcast_half
from ..criterion import FocalSetCriterion, average_num_boxes
from ..distributions import (
    decoupled_mean,
    distillation_loss,
    edge_distances,
    edge_targets,
    fine_grained_loss,
)
from ..losses import box_giou_loss, box_l1_loss
from ..quality import varifocal_loss
from .denoising import denoising_pairs
from .rt_detr import RTDETRMatcher, RTDETRPostProcessor
from .targets import overlap_targets

DFINEPostProcessor = RTDETRPostProcessor
"""D-FINE takes the 300 highest scores of an image, as RT-DETR does."""


class DFINEMatcher(nn.Module):
    """Matches with the focal class cost.

    weight_dict: `cost_class`, `cost_bbox`, `cost_giou`; D-FINE trains with 2, 5, 2.
    """

    def __init__(self, weight_dict: Mapping[str, float], alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        self.pairs = RTDETRMatcher(weight_dict, alpha, gamma)

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Pairs]:
        """Return the pairs of each image as `HungarianMatcher`, by the key `indices`."""
        return {"indices": self.pairs(outputs, targets)}


class DFINECriterion(FocalSetCriterion):
    """The losses `loss_vfl`, `loss_bbox` and `loss_giou`, each times its weight: the training loss is their sum.

    Those of auxiliary output i are called `loss_vfl_aux_i` and so on, those of the initial predictions `loss_vfl_pre`,
    of the encoder's prediction i `loss_vfl_enc_i`, of denoising queries in layer i `loss_vfl_dn_i`, and of the initial
    predictions of these `loss_vfl_dn_pre`. Each but the denoising queries is matched on its own. The losses of boxes
    are under the union of all these pairs, of which each query keeps the target that it has most often, and are divided
    by their number. So is `loss_fgl`, of the distributions of edges, which predictions with `pred_corners` have.

    matcher: answers `{"indices": pairs}`. weight_dict: by the names of the last layer's losses, which count for every
    layer; D-FINE trains with 1, 5, 2, 0.15 and 1.5. losses: which of "vfl", "boxes" and "local" to compute. reg_max, up
    and reg_scale: as for `edge_distances`. temperature: as for `distillation_loss`.

    Raises ValueError if losses names anything else.
    """

    matcher: Callable[..., Any]
    class_key = "loss_vfl"
    class_loss = "vfl"

    def __init__(
        self,
        matcher: Callable[..., Any],
        weight_dict: Mapping[str, float],
        losses: Sequence[str] = ("vfl", "boxes", "local"),
        alpha: float = 0.75,
        gamma: float = 2.0,
        num_classes: int = 80,
        reg_max: int = 32,
        up: float = 0.5,
        reg_scale: float = 4.0,
        temperature: float = 5.0,
    ) -> None:
        known = (self.class_loss, "boxes", "local")
        unknown = [name for name in losses if name not in known]
        if unknown:
            raise ValueError(f"unknown losses {unknown}; choose from {list(known)}")
        super().__init__(num_classes, matcher, weight_dict, (), alpha, gamma)
        self.losses = tuple(losses)
        self.reg_max, self.up, self.reg_scale = reg_max, up, reg_scale
        self.temperature = temperature

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, each a 0-dimensional tensor on the device of the outputs.

        outputs: `pred_logits` [B, Q, K], `pred_boxes` [B, Q, 4] as cxcywh in [0, 1], and optionally of the same form
        `pre_outputs`, the lists `aux_outputs` and `enc_aux_outputs`, and, of denoising queries, `dn_outputs`, a list of
        all layers, and `dn_pre_outputs`, with `dn_meta`: `dn_num_group` and, for each image, `dn_positive_idx`. Decoder
        layers and denoising queries may have `pred_corners` [B, Q, 4 (reg_max + 1)] and `ref_points` [B, Q, 4], cxcywh.
        targets: as `SetPredictionCriterion.forward`, whose exceptions it raises.
        """
        layers = matched_predictions(outputs)
        for layer in layers.values():
            self._check(layer, (), targets)
        pairs = {suffix: self._match(layer, targets) for suffix, layer in layers.items()}
        union = most_frequent_targets(list(pairs.values()))
        device = outputs["pred_logits"].device
        num_boxes = average_num_boxes(targets, device)
        num_pairs = average_num_boxes([{"labels": queries} for queries, _ in union], device)
        matched = sum(len(queries) for queries, _ in union)
        counts = matched, outputs["pred_logits"].shape[:2].numel() - matched

        losses: dict[str, Tensor] = {}
        for suffix, layer in layers.items():
            own = self._class_losses(layer, targets, pairs[suffix], num_boxes)
            own |= self._box_losses(layer, targets, union, num_pairs)
            own |= self._edge_losses(layer, targets, union, num_pairs)
            if suffix:
                own |= self._distillation(layer, outputs, targets, union, counts)
            losses |= self._reported(own, suffix)
        return losses | self._denoising_losses(outputs, targets, num_boxes, counts)

    def _denoising_losses(
        self, outputs: Outputs, targets: Targets, num_boxes: float, counts: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Return the losses of denoising queries, each group of which has every target once.

        counts: how many queries of the decoder are matched, and how many are not.
        """
        meta = outputs.get("dn_meta")
        if meta is None:
            return {}
        groups = meta["dn_num_group"]
        pairs = denoising_pairs(meta["dn_positive_idx"], targets, groups)
        layers = {f"_dn_{number}": layer for number, layer in enumerate(outputs["dn_outputs"])}
        layers |= {"_dn_pre": outputs["dn_pre_outputs"]} if "dn_pre_outputs" in outputs else {}
        losses: dict[str, Tensor] = {}
        for place, layer in layers.items():
            own = self._class_losses(layer, targets, pairs, num_boxes * groups)
            own |= self._box_losses(layer, targets, pairs, num_boxes * groups)
            own |= self._edge_losses(layer, targets, pairs, num_boxes * groups)
            own |= self._distillation(layer, outputs["dn_outputs"][-1], targets, pairs, counts)
            losses |= self._reported(own, place)
        return losses

    def _reported(self, losses: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
        return {f"{name}{suffix}": self.weight_dict[name] * loss for name, loss in losses.items()}

    def _match(self, outputs: Outputs, targets: Targets) -> Pairs:
        predictions = {name: upcast_half(outputs[name]) for name in ("pred_logits", "pred_boxes")}
        pairs: Pairs = self.matcher(predictions, targets)["indices"]
        return pairs

    def _class_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        if self.class_loss not in self.losses:
            return {}
        positive, quality = overlap_targets(outputs, targets, pairs)
        return {self.class_key: self.quality_loss(outputs["pred_logits"], positive, quality).sum() / num_boxes}

    def quality_loss(self, logits: Tensor, positive: Tensor, quality: Tensor) -> Tensor:
        """Return the classification loss of each logit, [B, Q, K], given which are positive, and the overlaps there."""
        return varifocal_loss(logits, positive, quality, self.focal_alpha, self.focal_gamma)

    def _box_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_pairs: float) -> dict[str, Tensor]:
        if "boxes" not in self.losses:
            return {}
        boxes = outputs["pred_boxes"][matched_queries(pairs)]
        target_boxes = matched_targets([target["boxes"] for target in targets], pairs)
        return {
            "loss_bbox": box_l1_loss(boxes, target_boxes).sum() / num_pairs,
            "loss_giou": box_giou_loss(boxes, target_boxes).sum() / num_pairs,
        }

    def _edge_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_pairs: float) -> dict[str, Tensor]:
        if "local" not in self.losses or "pred_corners" not in outputs:
            return {}
        where = matched_queries(pairs)
        target_boxes = box_cxcywh_to_xyxy(matched_targets([target["boxes"] for target in targets], pairs))
        iou = elementwise_box_iou(box_cxcywh_to_xyxy(outputs["pred_boxes"][where].detach()), target_boxes)
        distances = edge_distances(self.reg_max, self.up, self.reg_scale, target_boxes)
        references = outputs["ref_points"][where].detach()
        below, nearness = edge_targets(references, target_boxes, distances, self.reg_scale)
        logits = outputs["pred_corners"][where].unflatten(-1, (4, self.reg_max + 1))
        losses = iou[:, None] * fine_grained_loss(logits, below, nearness)
        return {"loss_fgl": losses.sum() / num_pairs}

    def _distillation(
        self, outputs: Outputs, teacher: Outputs, targets: Targets, pairs: Pairs, counts: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Return the loss by which a layer's distributions approach those of the last layer, its teacher."""
        if "local" not in self.losses or "pred_corners" not in outputs:
            return {}
        if torch.equal(outputs["pred_corners"], teacher["pred_corners"]):
            return {"loss_ddf": outputs["pred_corners"].sum() * 0}
        where = matched_queries(pairs)
        target_boxes = box_cxcywh_to_xyxy(matched_targets([target["boxes"] for target in targets], pairs))
        weights = teacher["pred_logits"].detach().sigmoid().amax(dim=-1)
        boxes = box_cxcywh_to_xyxy(outputs["pred_boxes"].detach())[where]
        weights[where] = elementwise_box_iou(boxes, target_boxes).to(weights)
        matched = torch.zeros_like(weights, dtype=torch.bool)
        matched[where] = True
        edges, wanted = (layer["pred_corners"].unflatten(-1, (4, self.reg_max + 1)) for layer in (outputs, teacher))
        losses = weights[..., None] * distillation_loss(edges, wanted, self.temperature)
        return {"loss_ddf": decoupled_mean(losses, matched, *counts)}


def matched_predictions(outputs: Outputs) -> dict[str, Outputs]:
    """Return all predictions that are matched, by the suffix of their losses; the last layer's, "", come first."""
    layers = {"": outputs}
    layers |= {f"_aux_{number}": layer for number, layer in enumerate(outputs.get("aux_outputs", ()))}
    layers |= {"_pre": outputs["pre_outputs"]} if "pre_outputs" in outputs else {}
    layers |= {f"_enc_{number}": layer for number, layer in enumerate(outputs.get("enc_aux_outputs", ()))}
    return layers


def most_frequent_targets(layers: Sequence[Pairs]) -> Pairs:
    """Return for each image its queries that are matched in some layer, each with the target that it has most often.

    Of several that are as frequent it is the one of the first layer that has one of them.
    """
    union: Pairs = []
    for image in zip(*layers, strict=True):
        pairs = [pair for queries, targets in image for pair in zip(queries.tolist(), targets.tolist(), strict=True)]
        target_of: dict[int, int] = {}
        for (query, target), _ in Counter(pairs).most_common():
            target_of.setdefault(query, target)
        sides = list(target_of), list(target_of.values())
        union.append((torch.tensor(sides[0], dtype=torch.int64), torch.tensor(sides[1], dtype=torch.int64)))
    return union
