"""The contestants that others publish. They are run as they are installed, each with its documented arguments.

Known differences: rf-detr adds no epsilon in the logarithms of its focal cost, and is asked for the plain focal loss,
as the loss that it trains with by default, which depends on the IoU, is another formula. ultralytics adds 1e-7 to
heights, unions and enclosing areas, sums the auxiliary layers and divides by matches. DETR itself, and transformers,
compute the costs of each image's queries with the targets of all images; the others pad the targets of each image.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from detr_conformance.bench.batches import SMALLEST_SIDE, Batch
from detr_conformance.bench.contestant import TERMS, Contestant, Package, Pairs, Step, usual_step
from detr_conformance.bench.heads import HEADS
from detr_spec.costs import FocalCost
from detr_spec.profile import Keys
from detr_spec.profiles import DEFORMABLE, DETR

LOSSES = ["labels", "boxes", "cardinality"]


def facebook_detr(batch: Batch) -> Step:
    """A step of DETR's own loss."""
    import torchvision  # noqa: PLC0415

    # Its modules read the version as a number of one digit after the point, and take today's for an old one.
    with patch.object(torchvision, "__version__", "0.9"):
        from models.detr import SetCriterion  # noqa: PLC0415
        from models.matcher import HungarianMatcher  # noqa: PLC0415

    matcher = HungarianMatcher(*batch.profile.cost_weights)
    (eos_coef,) = batch.profile.class_loss.numbers.values()
    criterion = SetCriterion(batch.size.columns - 1, matcher, {}, eos_coef, LOSSES).to(batch.device)
    return usual_step(batch, batch.profile.keys, criterion, matcher)


TRANSFORMERS_KEYS = Keys(logits="logits", auxiliary="auxiliary_outputs", labels="class_labels")


def transformers_detr(batch: Batch) -> Step:
    """A step of transformers' DETR loss."""
    from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss  # noqa: PLC0415

    matcher = HungarianMatcher(*batch.profile.cost_weights)
    (eos_coef,) = batch.profile.class_loss.numbers.values()
    criterion = ImageLoss(matcher, batch.size.columns - 1, eos_coef, LOSSES).to(batch.device)
    return usual_step(batch, TRANSFORMERS_KEYS, criterion, matcher)


def transformers_deformable(batch: Batch) -> Step:
    """A step of transformers' Deformable DETR loss."""
    from transformers.loss import loss_deformable_detr as module  # noqa: PLC0415

    matcher = module.DeformableDetrHungarianMatcher(*batch.profile.cost_weights)
    criterion = module.DeformableDetrImageLoss(matcher, batch.size.columns, 0.25, LOSSES).to(batch.device)
    return usual_step(batch, TRANSFORMERS_KEYS, criterion, matcher)


def rf_detr(batch: Batch) -> Step:
    """A step of rf-detr's criterion, whose matcher takes all layers at once."""
    from rfdetr.models.criterion import SetCriterion  # noqa: PLC0415
    from rfdetr.models.matcher import HungarianMatcher  # noqa: PLC0415

    class Recording(SetCriterion):  # type: ignore[misc]
        """Keeps the matchings and computes no loss."""

        def get_loss(self, loss: str, outputs: Any, targets: Any, indices: Pairs, *rest: Any, **named: Any) -> Any:  # noqa: ARG002
            self.found.append(indices)
            return {}

    def built(base: Any, losses: list[str]) -> Any:
        return base(batch.size.columns, HungarianMatcher(*batch.profile.cost_weights), {}, 0.25, losses)

    def matchings() -> list[Pairs]:
        recording = built(Recording, ["labels"])
        recording.found = []
        recording(batch.outputs(keys), batch.targets(keys))
        return [*recording.found[1:], recording.found[0]]

    keys, criterion = batch.profile.keys, built(SetCriterion, LOSSES).to(batch.device)
    return replace(usual_step(batch, keys, criterion, criterion.matcher), matchings=matchings)


ULTRALYTICS_EPSILON = 1e-7


def ultralytics(batch: Batch) -> Step:
    """A step of ultralytics' DETR loss, which takes the layers stacked."""
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())
    from ultralytics.models.utils.loss import DETRLoss  # noqa: PLC0415

    gains = {"class": 1, "bbox": 1, "giou": 1}
    criterion = DETRLoss(batch.size.columns, gains, use_fl=True, gamma=2.0, alpha=0.25).to(batch.device)
    criterion.matcher.cost_gain = dict(zip(gains, batch.profile.cost_weights, strict=True))
    hidden = batch.hidden
    logits, boxes = hidden or (torch.stack(layers).detach().requires_grad_() for layers in (batch.logits, batch.boxes))

    def stacked() -> tuple[Tensor, Tensor]:
        """Boxes and logits as its decoder hands them out: of a head for each layer, stacked; or one leaf of each."""
        if hidden is None:
            return boxes, logits
        return torch.stack(HEADS["separate"](boxes)), torch.stack(HEADS["separate"](logits))

    counts = batch.counts
    labels, target_boxes = torch.cat(batch.labels), torch.cat(batch.target_boxes)
    targets = {"cls": labels, "bboxes": target_boxes, "gt_groups": counts}
    starts = [sum(counts[:image]) for image in range(len(counts))]

    def terms(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        keys = dict(zip(TERMS, ("loss_class", "loss_bbox", "loss_giou"), strict=True))
        return {name: losses[key] + losses[f"{key}_aux"] for name, key in keys.items()}

    def matchings() -> list[Pairs]:
        found = [criterion.matcher(b, z, target_boxes, labels, counts) for b, z in zip(*stacked(), strict=True)]
        return [[(i, j - start) for (i, j), start in zip(layer, starts, strict=True)] for layer in found]

    return Step(lambda: criterion(*stacked(), targets), terms, matchings, (logits,), (boxes,))


FACEBOOK_DETR = Package("detr", "models", common=True)
TRANSFORMERS = Package("transformers", "transformers")
RF_DETR = Package("rfdetr", "rfdetr")
ULTRALYTICS = Package("ultralytics-opencv-headless", "ultralytics")

_EPSILONS = replace(
    DEFORMABLE.boxes, iou_epsilon=ULTRALYTICS_EPSILON, giou_epsilon=ULTRALYTICS_EPSILON, zero_over_zero="unchecked"
)

TRANSFORMERS_DETR = "transformers, DETR"

OTHERS = (
    Contestant("facebookresearch/detr", DETR, FACEBOOK_DETR, facebook_detr),
    Contestant(TRANSFORMERS_DETR, DETR, TRANSFORMERS, transformers_detr),
    Contestant("transformers, Deformable DETR", DEFORMABLE, TRANSFORMERS, transformers_deformable),
    Contestant("rf-detr", replace(DEFORMABLE, class_cost=FocalCost(epsilon=0.0)), RF_DETR, rf_detr),
    Contestant(
        "ultralytics",
        replace(DEFORMABLE, boxes=_EPSILONS, denominator="matches"),
        ULTRALYTICS,
        ultralytics,
        # What is added to a union is at most that many times more of a side of the smallest box.
        box_slack=2 * ULTRALYTICS_EPSILON / SMALLEST_SIDE,
    ),
)
