"""DETR, Deformable DETR and Co-DINO as mmdetection trains them.

Carion et al. 2020; Zhu et al. 2021; Zong et al. 2023; the behaviour of mmdet 3.3 and of Co-DETR's code.
"""

from detr_spec.costs import FocalCost
from detr_spec.profile import BoxRules, DetectionRules, Keys, LossRules, MatcherRules, TargetRules, replace
from detr_spec.profiles.detr import DETR
from detr_spec.terms import ClampedCrossEntropy, Focal, QualityFocal

MMDET = replace(
    DETR,
    name="mmdet",
    summary="softmax with a no-object class, targets as corners in pixels, divided by matched pairs (mmdetection)",
    class_loss=ClampedCrossEntropy(),
    keys=Keys(
        target_boxes="bboxes",
        target_size="img_shape",
        classification="loss_cls",
        box_giou="loss_iou",
        class_error=None,
        cardinality=None,
        auxiliary_loss="d{layer}.{loss}",
    ),
    losses=LossRules(weighted=True),
    targets=TargetRules(box_format="xyxy", units="pixels"),
    matcher=MatcherRules(answer="assignment", first_target=1),
    boxes=BoxRules(least_divisor=1e-6, adjusted="areas", units="pixels", invalid="unchecked"),
    denominator="matches",
    narrow_dtypes="unchecked",
    label_beyond_range="unchecked",
    target_count="unchecked",
)

MMDET_FOCAL = replace(
    MMDET,
    name="mmdet-focal",
    summary="sigmoid focal, targets as corners in pixels, divided by matched pairs (mmdetection)",
    activation="sigmoid",
    class_cost=FocalCost(epsilon=1e-12),
    class_loss=Focal(),
    cost_weights=(2.0, 5.0, 2.0),
    loss_weights=(2.0, 5.0, 2.0),
    cardinality="score-above-half",
    detection=DetectionRules(rule="top-k", clamp=True),
)

CO_DINO = replace(
    MMDET_FOCAL,
    name="co-dino",
    summary="sigmoid quality focal loss, targets as corners in pixels, divided by matched pairs (Zong et al. 2023)",
    class_loss=QualityFocal(),
    loss_weights=(1.0, 5.0, 2.0),
    detection=DetectionRules(rule="top-k", top_k=300, clamp=True),
)
