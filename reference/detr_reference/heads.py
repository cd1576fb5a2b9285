"""Detection heads: from decoder hidden states to classes and boxes (norm §1)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn


class MLP(nn.Module):
    """A chain of linear maps, input_dim -> hidden_dim -> ... -> output_dim, with a ReLU between them.

    Raises ValueError if num_layers < 1.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"an MLP needs at least one layer, got num_layers={num_layers}")
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    def forward(self, features: Tensor) -> Tensor:
        """Return the features [..., output_dim] computed from features [..., input_dim]."""
        *hidden_layers, last_layer = self.layers
        for layer in hidden_layers:
            features = layer(features).relu()
        projected: Tensor = last_layer(features)
        return projected


class DetectionHeads(nn.Module):
    """One class head and one box head, shared by all decoder layers.

    `class_embed` is a linear map D -> K+1 whose last column is the no-object class; with no_object=False it
    is D -> K, for the sigmoid dialect. `bbox_embed` is an MLP D -> D -> D -> 4 followed by a sigmoid.
    """

    def __init__(self, hidden_dim: int, num_classes: int, aux_loss: bool = True, no_object: bool = True) -> None:
        super().__init__()
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1 if no_object else num_classes)
        self.bbox_embed = MLP(hidden_dim, hidden_dim, 4, num_layers=3)
        self.aux_loss = aux_loss

    def forward(self, hidden: Tensor) -> dict[str, Any]:
        """Return the predictions of the last decoder layer, and of those before it as auxiliary outputs.

        hidden: the normalised hidden states [L, B, Q, D] of the L decoder layers.

        The result holds `pred_logits` [B, Q, C] and `pred_boxes` [B, Q, 4], cxcywh in [0, 1] relative to the
        image, of the last layer; with aux_loss also `aux_outputs`, a list of L-1 such dicts, first layer
        first.

        Raises ValueError if hidden is not [L, B, Q, D] with L >= 1 and D as constructed.
        """
        hidden_dim = self.class_embed.in_features
        if hidden.dim() != 4 or hidden.shape[0] == 0 or hidden.shape[3] != hidden_dim:
            raise ValueError(f"hidden must have shape [L, B, Q, {hidden_dim}] with L >= 1, got {list(hidden.shape)}")
        logits: Tensor = self.class_embed(hidden)
        boxes: Tensor = self.bbox_embed(hidden).sigmoid()
        *auxiliary, outputs = [
            {"pred_logits": layer_logits, "pred_boxes": layer_boxes}
            for layer_logits, layer_boxes in zip(logits, boxes, strict=True)
        ]
        return {**outputs, "aux_outputs": auxiliary} if self.aux_loss else outputs
