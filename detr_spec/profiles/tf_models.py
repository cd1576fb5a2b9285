"""DETR as the TensorFlow Model Garden trains it. Carion et al. 2020; the behaviour of tf-models-official 2.20."""

from detr_spec.profile import BoxRules, Keys, LossRules, MatcherRules, TargetRules, replace
from detr_spec.profiles.detr import DETR

TF_MODELS = replace(
    DETR,
    name="tf-models",
    summary="softmax whose first column is no object, (cy, cx, h, w), ranks that are summed (tf-models-official 2.20)",
    no_object="first",
    coordinate_order="y-first",
    ascending_queries=False,
    non_finite_logits="rank-last",
    non_finite_boxes="rank-last",
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    target_count="unchecked",
    rank_reduction="sum",
    keys=Keys(
        logits="cls_outputs",
        boxes="box_outputs",
        labels="classes",
        classification="cls_loss",
        box_l1="box_loss",
        box_giou="giou_loss",
        class_error=None,
        cardinality=None,
        auxiliary_loss="{loss}",
        total="loss",
    ),
    losses=LossRules(weighted=True, shared="sum"),
    targets=TargetRules(layout="padded", padded_to="queries", first_label=1),
    matcher=MatcherRules(answer="columns", padding="matched"),
    boxes=BoxRules(iou_epsilon=1e-8, giou_epsilon=1e-8, adjusted="areas", invalid="unchecked"),
)
