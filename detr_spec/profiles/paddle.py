"""DETR as PaddleDetection trains it. Carion et al. 2020; the behaviour of paddledet 2.6."""

from detr_spec.costs import OneMinusGiou
from detr_spec.profile import BoxRules, Keys, LossRules, MatcherRules, replace
from detr_spec.profiles.detr import DETR

PADDLE = replace(
    DETR,
    name="paddle",
    summary="softmax with a no-object class, weighted losses, one loss of all earlier layers (PaddleDetection)",
    overlap_cost=OneMinusGiou(),
    keys=Keys(
        labels="gt_class",
        target_boxes="gt_bbox",
        classification="loss_class",
        class_error=None,
        cardinality=None,
        auxiliary_loss="{loss}_aux",
    ),
    losses=LossRules(weighted=True),
    matcher=MatcherRules(arguments=("boxes", "logits", "target_boxes", "labels")),
    boxes=BoxRules(iou_epsilon=1e-10, giou_epsilon=1e-10, invalid="unchecked"),
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    target_count="unchecked",
)
