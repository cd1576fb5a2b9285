"""The dialect of Group DETR. Chen et al. 2023, "Group DETR"."""

from detr_spec.profile import MatchingScope, replace
from detr_spec.profiles.conditional import CONDITIONAL

GROUP_DETR = replace(
    CONDITIONAL,
    name="group-detr",
    summary="the losses of conditional, groups of queries in training (Chen et al. 2023)",
    # It trains with 11 groups; what is true of three is true of these, and cases stay small.
    matching=MatchingScope(groups=3),
)
