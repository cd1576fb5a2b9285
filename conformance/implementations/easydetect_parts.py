"""The matcher, the criterion and the box operations of easydetect, whose losses are those of D-FINE.

Declared: as a comment in its code says, boxes are not checked. Labels, columns and the number of targets are not looked
at, and it trains in one process. The losses of distributions are not asked for.
"""

from __future__ import annotations

from easydetect.nn import ops
from easydetect.utils.loss import EDCriterion, HungarianMatcher
from families import box_operations, d_fine, descendants

from detr_spec.profile import BoxRules

UNREFUSED = BoxRules(invalid="unchecked")

IMPLEMENTATIONS = (
    *descendants("easydetect", HungarianMatcher, None, rules=UNREFUSED, boxes=box_operations(ops)),
    d_fine("easydetect", HungarianMatcher, EDCriterion, boxes=UNREFUSED, rank_reduction="local"),
)
