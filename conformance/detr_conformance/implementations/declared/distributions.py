"""The losses of distributions of edges that a profile declares."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detr_conformance.implementations.declared.boxes import Overlaps
from detr_conformance.implementations.declared.names import units_of
from detr_reference.batch import Outputs, Pairs, Targets, matched_queries, matched_targets
from detr_reference.boxes import box_cxcywh_to_xyxy
from detr_reference.distributions import (
    decoupled_mean,
    distillation_loss,
    edge_distances,
    edge_targets,
    fine_grained_loss,
)
from detr_spec.boxes import BoxRules
from detr_spec.profile import FurtherLoss
from detr_spec.terms import FineGrainedLocalization, Term


def edge_loss(further: FurtherLoss, outputs: Outputs, targets: Targets, pairs: Pairs, rules: BoxRules) -> Tensor:
    """A further loss of the distributions of matched queries, before it is divided; []."""
    where, boxes = matched_queries(pairs), matched_targets([target["boxes"] for target in targets], pairs)
    predicted, truth = (box_cxcywh_to_xyxy(own) for own in (outputs["pred_boxes"][where].detach(), boxes))
    logits = outputs["pred_corners"][where].unflatten(-1, (4, -1))
    given = logits, outputs["ref_points"][where], truth
    losses = EDGE_LOSSES[type(further.term)](*given, *further.term.numbers.values())
    unit = units_of(targets, pairs)
    return (Overlaps(rules).elementwise_iou(predicted * unit, truth * unit)[:, None] * losses).sum()


def queries_counted(outputs: Outputs, pairs: Pairs) -> tuple[int, int]:
    """How many queries of a batch have a target, and how many have none."""
    matched = sum(len(queries) for queries, _ in pairs)
    return matched, outputs["pred_logits"].shape[:2].numel() - matched


def distillation(
    further: FurtherLoss,
    outputs: Outputs,
    teacher: Outputs,
    targets: Targets,
    pairs: Pairs,
    counts: tuple[int, int],
    rules: BoxRules,
) -> Tensor:
    """A further loss by which a layer learns the distributions of its teacher; counts: the roots' numbers; []."""
    where, boxes = matched_queries(pairs), matched_targets([target["boxes"] for target in targets], pairs)
    unit = units_of(targets, pairs)
    predicted, truth = (box_cxcywh_to_xyxy(own) * unit for own in (outputs["pred_boxes"][where].detach(), boxes))
    matched = torch.zeros(outputs["pred_logits"].shape[:2], dtype=torch.bool)
    matched[where] = True
    weights = teacher["pred_logits"].detach().sigmoid().amax(dim=-1)
    weights[where] = Overlaps(rules).elementwise_iou(predicted, truth).to(weights)
    edges, wanted = (own["pred_corners"].unflatten(-1, (4, -1)) for own in (outputs, teacher))
    losses = weights[..., None] * distillation_loss(edges, wanted, further.term.numbers["temperature"])
    return decoupled_mean(losses, matched, *counts)


def _fine_grained(logits: Tensor, references: Tensor, truth: Tensor, *numbers: float) -> Tensor:
    reg_max, up, scale = numbers
    distances = edge_distances(int(reg_max), up, scale, truth)
    return fine_grained_loss(logits, *edge_targets(references.detach(), truth, distances, scale))


EDGE_LOSSES: dict[type[Term], Callable[..., Tensor]] = {FineGrainedLocalization: _fine_grained}
"""What answers for each loss of distributions that can be declared: from logits [m, 4, R + 1] to [m, 4]."""
