"""The matcher, the criterion and the box overlaps of dfine-seg (https://github.com/ArgoHA/D-FINE-seg), as it detects.

Declared: labels, columns and the number of targets are not looked at. The losses of distributions are not asked for.
"""

from __future__ import annotations

from dfine_seg.model.arch import utils
from dfine_seg.model.dfine_criterion import DFINECriterion
from dfine_seg.model.matcher import HungarianMatcher
from families import d_fine, descendants

BOXES = {
    "cxcywh_to_xyxy": utils.box_cxcywh_to_xyxy,
    "iou": lambda first, second: utils.box_iou(first, second)[0],
    "giou": utils.generalized_box_iou,
}

IMPLEMENTATIONS = (
    *descendants("dfine-seg", HungarianMatcher, None, boxes=BOXES),
    d_fine("dfine-seg", HungarianMatcher, DFINECriterion),
)
