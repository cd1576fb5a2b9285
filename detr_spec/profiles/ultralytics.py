"""RT-DETR as Ultralytics trains it. Zhao et al. 2024; the behaviour of ultralytics 8.4, observed by running it."""

from detr_spec.costs import OneMinusGiou
from detr_spec.profile import BoxRules, DenoisingRules, Keys, LossRules, MatcherRules, TargetRules, replace
from detr_spec.profiles.deformable import DEFORMABLE
from detr_spec.terms import VarifocalOrFocal

ULTRALYTICS = replace(
    DEFORMABLE,
    name="ultralytics",
    summary="sigmoid varifocal loss, one loss of all earlier layers, targets of all images concatenated (Ultralytics)",
    overlap_cost=OneMinusGiou(),
    class_loss=VarifocalOrFocal(),
    loss_weights=(1.0, 5.0, 2.0),
    keys=Keys(
        labels="cls",
        target_boxes="bboxes",
        target_counts="gt_groups",
        classification="loss_class",
        class_error=None,
        cardinality=None,
        auxiliary_loss="{loss}_aux",
        denoising_loss="{loss}_dn",
        denoising_auxiliary_loss="{loss}_aux_dn",
        denoising_positives="dn_pos_idx",
    ),
    losses=LossRules(weighted=True),
    denoising=DenoisingRules(layout="listed", absent="zeros"),
    targets=TargetRules(layout="concatenated"),
    matcher=MatcherRules(
        arguments=("boxes", "logits", "target_boxes", "labels", "target_counts"), target_indices="batch"
    ),
    boxes=BoxRules(iou_epsilon=1e-7, giou_epsilon=1e-7, invalid="unchecked"),
    denominator="matches",
    rank_reduction="local",
    # Costs that are not finite become 0; what is missing or surplus is not looked at.
    non_finite_logits="unchecked",
    non_finite_boxes="unchecked",
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    target_count="unchecked",
)
