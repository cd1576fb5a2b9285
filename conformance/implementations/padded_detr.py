"""What implementations of DETR on padded targets have in common, whatever framework they are written in.

A matcher says of each query which target it has. SciPy solves the assignment, and what is not finite is refused there;
nothing else is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from detr_spec.profile import MatcherRules, TargetRules
from detr_spec.profiles import DETR

PROFILE = replace(
    DETR,
    targets=TargetRules(layout="padded", label_dtype="int32"),
    matcher=MatcherRules(answer="assignment", index_dtype="int32"),
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    target_count="unchecked",
)


def assigned(costs: Any, valid: Any) -> np.ndarray[Any, Any]:
    """The target of each query at least total cost, −1 for none; costs [B, Q, N], valid [B, N] → int32 [B, Q].

    Both are arrays that NumPy can read. Raises ValueError for a cost that is not finite.
    """
    answer = np.full(costs.shape[:2], -1, np.int32)
    for own, cost, real in zip(answer, np.asarray(costs), np.asarray(valid), strict=True):
        if not np.isfinite(cost[:, real]).all():
            raise ValueError("a matching cost is not finite")
        queries, targets = linear_sum_assignment(cost[:, real])
        own[queries] = np.flatnonzero(real)[targets]
    return answer
