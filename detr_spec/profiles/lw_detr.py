"""The dialect of LW-DETR and RF-DETR. Chen et al. 2024, "LW-DETR"; Chen et al. 2023, "Group DETR"."""

from detr_spec.profile import DetectionRules, MatchingScope, replace
from detr_spec.profiles.deformable import DEFORMABLE
from detr_spec.terms import IouAware

LW_DETR = replace(
    DEFORMABLE,
    name="lw-detr",
    summary="sigmoid IoU-aware loss, groups of queries in training (Chen et al. 2024)",
    class_loss=IouAware(),
    loss_weights=(1.0, 5.0, 2.0),
    # It trains with 13 groups; what is true of three is true of these, and cases stay small.
    matching=MatchingScope(groups=3),
    detection=DetectionRules(rule="top-k", top_k=300),
)
