"""H-DETR: the losses of Deformable DETR, and those of further queries, each target of which has several.

Jia et al. 2023, "DETRs with Hybrid Matching"; norm §13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..batch import Outputs, Targets
from ..criterion import Matcher
from ..postprocess import TopKPostProcess
from .conditional_detr import ConditionalDETRCriterion, ConditionalDETRMatcher
from .denoising import with_suffix

HDETRMatcher = ConditionalDETRMatcher
"""H-DETR's matcher is that of Deformable DETR."""

HDETRPostProcess = TopKPostProcess
"""H-DETR takes the 100 highest scores of an image, of the first queries alone."""


class HDETRCriterion(ConditionalDETRCriterion):
    """The losses of Deformable DETR; of the encoder's proposals they are called `_enc`, of further queries `_one2many`.

    For further queries each target is there k_one2many times, in the matching and in num_boxes; their losses, and
    metrics, are multiplied by lambda_one2many. H-DETR trains with k = 6 and 1500 of them.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: Matcher,
        weight_dict: Mapping[str, float],
        focal_alpha: float,
        losses: Sequence[str],
        focal_gamma: float = 2.0,
        k_one2many: int = 5,
        lambda_one2many: float = 1.0,
    ) -> None:
        super().__init__(num_classes, matcher, weight_dict, focal_alpha, losses, focal_gamma)
        self.k_one2many = k_one2many
        self.lambda_one2many = lambda_one2many

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return the losses and metrics of a batch, as `SetPredictionCriterion.forward`.

        Proposals are in `enc_outputs`, and are trained towards class 0. Predictions of further queries have the names
        of the others with `_one2many` behind, as in `pred_logits_one2many`; in evaluation they have no losses.
        """
        losses = super().forward(outputs, targets)
        if "enc_outputs" in outputs:
            binary = [{**target, "labels": torch.zeros_like(target["labels"])} for target in targets]
            pairs = self._match(outputs["enc_outputs"], binary)
            num_boxes = self.num_boxes(outputs, targets)
            losses |= with_suffix(self._layer_losses(outputs["enc_outputs"], binary, pairs, num_boxes), "_enc")
        names = ("pred_logits", "pred_boxes", "aux_outputs")
        further = {name: outputs[f"{name}_one2many"] for name in names if f"{name}_one2many" in outputs}
        if further and self.training:
            repeated = [{name: _repeated(values, self.k_one2many) for name, values in own.items()} for own in targets]
            own = super().forward(further, repeated)
            losses |= with_suffix({name: self.lambda_one2many * loss for name, loss in own.items()}, "_one2many")
        return losses


def _repeated(values: Tensor, count: int) -> Tensor:
    """Return labels [n] or boxes [n, 4] so many times, one after another."""
    return values.repeat(count, *[1] * (values.dim() - 1))
