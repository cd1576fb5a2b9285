"""DETR as google-research/scenic trains it. Carion et al. 2020; the behaviour of scenic's DETR."""

from detr_spec.profile import BoxRules, Keys, MatcherRules, TargetRules, replace
from detr_spec.profiles.detr import DETR
from detr_spec.terms import ClampedCrossEntropy, CornerL1

SCENIC = replace(
    DETR,
    name="scenic",
    summary="softmax whose first column is no object, padded targets, L1 loss of corners (google-research/scenic)",
    class_loss=ClampedCrossEntropy(),
    box_loss=CornerL1(),
    no_object="first",
    keys=Keys(
        classification="loss_class",
        class_error=None,
        cardinality=None,
        auxiliary_loss="{loss}_aux_{layer}",
        total="total_loss",
    ),
    targets=TargetRules(layout="padded", first_label=1),
    matcher=MatcherRules(answer="columns", padding="matched"),
    boxes=BoxRules(iou_epsilon=1e-6, giou_epsilon=1e-6, invalid="unchecked"),
    denominator="matches",
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    target_count="unchecked",
)
