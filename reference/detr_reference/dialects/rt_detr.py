"""RT-DETR: varifocal targets, losses that are weighted already, top-k with sizes as width and height.

Zhao et al. 2024, "DETRs Beat YOLOs on Real-time Object Detection"; norm §11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..batch import Outputs, Pairs, Targets
from ..criterion import FocalSetCriterion, Matcher
from ..matcher import HungarianMatcher, focal_cost
from ..postprocess import TopKPostProcess
from ..quality import varifocal_loss
from .denoising import denoising_pairs, with_suffix
from .targets import overlap_targets

LOSSES = ("vfl", "boxes")


class RTDETRMatcher(HungarianMatcher):
    """Matches with the focal class cost.

    weight_dict: `cost_class`, `cost_bbox`, `cost_giou`; RT-DETR trains with 2, 5, 2.
    """

    def __init__(self, weight_dict: Mapping[str, float], alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__(**weight_dict, class_cost=focal_cost(alpha, gamma))


class RTDETRCriterion(FocalSetCriterion):
    """The losses `loss_vfl`, `loss_bbox` and `loss_giou`, each times its weight: the training loss is their sum.

    Those of auxiliary output i are called `loss_vfl_aux_i` and so on, those of the encoder's proposals
    `loss_vfl_enc_i`, and those of denoising queries in each layer `loss_vfl_dn_i`. weight_dict: by the names of the
    last layer's losses, which count for every layer; RT-DETR trains with 1, 5, 2. losses: which of "vfl" and "boxes"
    to compute.

    Raises ValueError if losses names anything else.
    """

    class_key = "loss_vfl"
    auxiliary_key = "{name}_aux_{layer}"

    def __init__(
        self,
        matcher: Matcher,
        weight_dict: Mapping[str, float],
        losses: Sequence[str] = LOSSES,
        alpha: float = 0.75,
        gamma: float = 2.0,
        num_classes: int = 80,
    ) -> None:
        unknown = [name for name in losses if name not in LOSSES]
        if unknown:
            raise ValueError(f"unknown losses {unknown}; choose from {list(LOSSES)}")
        names = ["labels" if name == "vfl" else name for name in losses]
        super().__init__(num_classes, matcher, weight_dict, names, alpha, gamma)

    def _classification(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> Tensor:
        positive, quality = overlap_targets(outputs, targets, pairs)
        logits: Tensor = outputs["pred_logits"]
        return varifocal_loss(logits, positive, quality, self.focal_alpha, self.focal_gamma).sum() / num_boxes

    def _layer_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        return {name: self.weight_dict[name] * loss for name, loss in losses.items() if name in self.weight_dict}

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return the weighted losses of a batch, as `SetPredictionCriterion.forward`; class_error is none of them.

        Proposals of the encoder are in the list `enc_aux_outputs`, each matched by itself. Predictions of denoising
        queries are in the list `dn_aux_outputs`, one for each decoder layer; `dn_meta` says how many groups they are,
        as `dn_num_group`, and which queries of each image have targets, as `dn_positive_idx`. It is None without them.
        """
        losses = super().forward(outputs, targets)
        losses.pop("class_error", None)
        num_boxes = self.num_boxes(outputs, targets)
        for number, proposals in enumerate(outputs.get("enc_aux_outputs", [])):
            pairs = self._match(proposals, targets)
            losses |= with_suffix(self._layer_losses(proposals, targets, pairs, num_boxes), f"_enc_{number}")
        meta = outputs.get("dn_meta")
        if meta is not None:
            groups = meta["dn_num_group"]
            pairs = denoising_pairs(meta["dn_positive_idx"], targets, groups)
            for layer, denoised in enumerate(outputs["dn_aux_outputs"]):
                own = self._layer_losses(denoised, targets, pairs, groups * num_boxes)
                losses |= with_suffix(own, f"_dn_{layer}")
        return losses


class RTDETRPostProcessor(nn.Module):
    """The k highest scores of an image, with boxes in the pixels of the original image; k = 300 in RT-DETR.

    Raises ValueError if num_top_queries < 1.
    """

    def __init__(self, num_top_queries: int = 300) -> None:
        super().__init__()
        self.top_k = TopKPostProcess(num_top_queries)

    @torch.no_grad()
    def forward(self, outputs: Outputs, orig_target_sizes: Tensor) -> list[dict[str, Tensor]]:
        """Return `scores`, `labels` and `boxes` of each image as `TopKPostProcess`.

        orig_target_sizes: [B, 2], the (width, height) of each image, in this order.
        """
        detections: list[dict[str, Tensor]] = self.top_k(outputs, orig_target_sizes.flip(-1))
        return detections
