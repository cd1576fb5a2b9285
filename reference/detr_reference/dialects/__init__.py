"""The dialects that people train with since Deformable DETR, one file each, as their users call them.

`rt_detr`: varifocal targets, weighted losses, top-k with sizes as width and height. `lw_detr`: groups of queries in
training, and IoU-aware targets.
"""

from __future__ import annotations

from .lw_detr import LWDETRCriterion, LWDETRMatcher, LWDETRPostProcess
from .rt_detr import RTDETRCriterion, RTDETRMatcher, RTDETRPostProcessor

__all__ = [
    "LWDETRCriterion",
    "LWDETRMatcher",
    "LWDETRPostProcess",
    "RTDETRCriterion",
    "RTDETRMatcher",
    "RTDETRPostProcessor",
]
