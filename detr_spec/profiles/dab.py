"""The dialect of DAB-DETR. Liu et al. 2022, "DAB-DETR: Dynamic Anchor Boxes are Better Queries for DETR"."""

from detr_spec.profile import BoxRules, DetectionRules, replace
from detr_spec.profiles.conditional import CONDITIONAL

DAB = replace(
    CONDITIONAL,
    name="dab",
    summary="sigmoid focal, 1e-6 added to the areas that overlaps are divided by (Liu et al. 2022)",
    loss_weights=(1.0, 5.0, 2.0),
    boxes=BoxRules(iou_epsilon=1e-6, giou_epsilon=1e-6),
    keys=replace(CONDITIONAL.keys, box_centre="loss_xy", box_size="loss_hw"),
    detection=DetectionRules(rule="top-k", top_k=300),
)
