"""DINO: the losses of DAB-DETR, also of the encoder's proposals, and of denoising queries with targets of their own.

Zhang et al. 2022, "DINO: DETR with Improved DeNoising Anchor Boxes for End-to-End Object Detection"; norm §13.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..batch import Outputs, Targets
from ..postprocess import TopKPostProcess
from .dab_detr import DABDETRCriterion, DABDETRMatcher
from .denoising import denoising_pairs, with_suffix

DINOMatcher = DABDETRMatcher
"""DINO's matcher is that of DAB-DETR."""

DINOPostProcess = TopKPostProcess
"""DINO takes the 300 highest scores of an image."""

LAYER_LOSSES = ("loss_ce", "loss_bbox", "loss_giou", "loss_xy", "loss_hw", "cardinality_error")
"""The losses and metrics of each layer."""


class DINOCriterion(DABDETRCriterion):
    """The losses of DAB-DETR; those of the encoder's proposals under `_interm`, those of denoising queries under `_dn`.

    In training `dn_meta` may hold `num_dn_group` groups of denoising queries, `pad_size` of them in all, and their
    predictions as `output_known_lbs_bboxes`, those of the auxiliary layers in them. The first queries of a group are
    made from the targets of an image, and the others are trained towards no object.
    """

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return the losses and metrics of a batch, as `SetPredictionCriterion.forward`.

        Proposals in `interm_outputs`, and those of earlier encoder layers in `enc_outputs`, are matched each by
        themselves. Without denoising queries, and in evaluation, their losses are 0.
        """
        losses = super().forward(outputs, targets)
        num_boxes = self.num_boxes(outputs, targets)
        proposals = {f"_enc_{number}": layer for number, layer in enumerate(outputs.get("enc_outputs", []))}
        if "interm_outputs" in outputs:
            proposals["_interm"] = outputs["interm_outputs"]
        for suffix, layer in proposals.items():
            pairs = self._match(layer, targets)
            losses |= with_suffix(self._layer_losses(layer, targets, pairs, num_boxes), suffix)
        meta = outputs.get("dn_meta") if self.training else None
        if meta is None:
            return losses | self._without_denoising(losses, len(outputs.get("aux_outputs", [])))
        return losses | self._denoising_losses(meta, targets, num_boxes)

    def _denoising_losses(self, meta: Outputs, targets: Targets, num_boxes: float) -> dict[str, Tensor]:
        """Return the losses of denoising queries, which are over num_boxes for each group."""
        groups, queries = meta["num_dn_group"], meta["pad_size"]
        pairs = denoising_pairs(_first_of_each_group(targets, groups, queries // groups), targets, groups)
        known = meta["output_known_lbs_bboxes"]
        losses = with_suffix(self._layer_losses(known, targets, pairs, groups * num_boxes), "_dn")
        for layer, auxiliary in enumerate(known.get("aux_outputs", [])):
            own = self._layer_losses(auxiliary, targets, pairs, groups * num_boxes)
            losses |= with_suffix(own, f"_dn_{layer}")
        return losses

    def _without_denoising(self, losses: Mapping[str, Tensor], auxiliary_layers: int) -> dict[str, Tensor]:
        """Return a zero for each loss that denoising queries would have, so that all ranks have the same keys."""
        suffixes = ["_dn", *(f"_dn_{layer}" for layer in range(auxiliary_layers))]
        names = [name for name in LAYER_LOSSES if name in losses]
        return {f"{name}{suffix}": losses[name].new_zeros(()) for suffix in suffixes for name in names}


def _first_of_each_group(targets: Targets, groups: int, size: int) -> list[Tensor]:
    """Return for each image the first n queries of each group of so many, int64 [groups n], n its number of targets."""
    starts = torch.arange(0, groups * size, size)
    return [(starts[:, None] + torch.arange(len(target["labels"]))).flatten() for target in targets]
