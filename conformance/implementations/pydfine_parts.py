"""Matcher, criterion, box operations and post-processing of pydfine, a library of D-FINE (module `dfine`).

Declared: labels, columns and the number of targets are not looked at. The losses of distributions are not asked for.
"""

from __future__ import annotations

from dfine.backends.native import box_ops
from dfine.backends.native.criterion import DFINECriterion
from dfine.backends.native.matcher import HungarianMatcher
from dfine.backends.native.postprocessor import DFINEPostProcessor
from families import box_operations, d_fine, descendants

IMPLEMENTATIONS = (
    *descendants("pydfine", HungarianMatcher, DFINEPostProcessor, boxes=box_operations(box_ops)),
    d_fine("pydfine", HungarianMatcher, DFINECriterion),
)
