"""The softmax of the logits of all decoder layers, in torch, and what can be told from it without the logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..like_logits import LikeLogits, memory_like

MORE_THAN_HALF = 0.51
"""A probability that leaves less than half, however it is rounded, to all others together."""

FEW = 1 / 4
"""Of all queries: so many take longer to be picked out than to be looked at with the others."""


def softmax(layers: Sequence[Tensor]) -> LikeLogits:
    """Return the probabilities of all columns by the logits [B, Q, C] of each layer.

    All probabilities of a query are NaN where one of its logits is NaN or +inf, or all are -inf.
    """
    found = memory_like(layers)
    for logits, written in zip(layers, found.layers, strict=True):
        torch.softmax(logits, dim=-1, out=written)
    return found


def surprise(layers: Sequence[Tensor], probabilities: LikeLogits, classes: Tensor) -> Tensor:
    """Return -log(softmax(z)[t]), [P, Q], of each query.

    layers: logits [B, Q, C] of each. probabilities: their softmax. classes: int64 [P, Q], t.
    """
    parts = probabilities.with_parts(classes[..., None])
    of_classes = torch.cat([part.gather(2, own) for part, own in parts]).squeeze(-1)
    # A probability is rounded as finely as its logarithm, unless it is next to nothing. The host may look on the CPU.
    if of_classes.device.type == "cpu" and of_classes.min() > torch.finfo(of_classes.dtype).tiny ** 0.9:
        return -of_classes.log()
    pairs = zip(layers, torch.split(classes[..., None], len(layers[0])), strict=True)
    return -torch.cat([logits.log_softmax(dim=-1).gather(2, own) for logits, own in pairs]).squeeze(-1)


def claim_objects(layers: Sequence[Tensor], last_probability: Tensor) -> Tensor:
    """Return which queries, bool [P, Q], have another column's logit as high as that of the last one, or higher.

    layers: logits [B, Q, C] of each. last_probability: that of the last column, [P, Q].
    """
    # On the CPU most queries need not be looked at again, and to count the others keeps no device waiting.
    unsure = ~(last_probability > MORE_THAN_HALF)
    of_layer = unsure.numel() // len(layers)
    places = unsure.flatten().nonzero().squeeze(1) if unsure.device.type == "cpu" else None
    if places is None or len(places) > FEW * unsure.numel():
        return torch.cat([_other_is_highest(logits) for logits in layers])
    counts = unsure.view(len(layers), -1).sum(dim=1).tolist()
    pairs = zip(layers, torch.split(places % of_layer, counts), strict=True)
    looked_at = torch.cat([logits.flatten(0, 1).index_select(0, own) for logits, own in pairs])
    return torch.zeros_like(unsure).masked_scatter_(unsure, _other_is_highest(looked_at))


def _other_is_highest(logits: Tensor) -> Tensor:
    """Return whether another logit is as high as the last one, bool [...], of logits [..., C]."""
    last_logit = logits[..., -1]
    if logits.shape[-1] == 1:
        return torch.zeros_like(last_logit, dtype=torch.bool)
    return logits[..., :-1].amax(dim=-1) >= last_logit
