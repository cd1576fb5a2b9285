"""RT-DETRv2's criterion, the matcher, boxes and post-processing of LightlyTrain (https://docs.lightly.ai/train).

Declared: losses are weighted already; labels, columns and numbers of targets are not looked at. As documented
in its code, predicted boxes that are not finite are replaced and all are clamped to the image before they are
matched or trained, so they are never broken; a cost that is not finite becomes 1. The criterion is told how many
ranks there are.
"""

from __future__ import annotations

import lightly_train._task_models.object_detection_components.box_ops as box_ops
import torch.distributed
from families import UNCHECKED, box_operations, criterion, d_fine, descendants
from lightly_train._task_models.object_detection_components.dfine_criterion import DFINECriterion
from lightly_train._task_models.object_detection_components.matcher import HungarianMatcher
from lightly_train._task_models.object_detection_components.rtdetr_postprocessor import RTDETRPostProcessor
from lightly_train._task_models.object_detection_components.rtdetrv2_criterion import RTDETRCriterionv2

from detr_conformance import torch_implementation
from detr_spec.profile import BoxRules, MatcherRules, replace
from detr_spec.profiles import RT_DETR


def ranks() -> dict[str, int]:
    """How many ranks there are, as the criteria are told."""
    return {"world_size": torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1}


IMPLEMENTATIONS = (
    *descendants("lightly-train", HungarianMatcher, RTDETRPostProcessor),
    d_fine("lightly-train", HungarianMatcher, DFINECriterion, ranks, boxes=BoxRules(invalid="unchecked")),
    torch_implementation(
        name="lightly-train",
        profile=replace(
            RT_DETR,
            **UNCHECKED,
            matcher=MatcherRules(entry="indices"),
            boxes=BoxRules(invalid="unchecked"),
            non_finite_boxes="unchecked",
        ),
        boxes=box_operations(box_ops),
        criterion=criterion(HungarianMatcher, RTDETRCriterionv2, ranks),
    ),
)
