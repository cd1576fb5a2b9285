"""DETR, Deformable DETR, DINO and Co-DINO as mmdetection trains them.

Carion et al. 2020; Zhu et al. 2021; Zhang et al. 2022; Zong et al. 2023; the behaviour of mmdet 3.3 and of Co-DETR.
"""

from detr_spec.costs import FocalCost
from detr_spec.profile import (
    BoxRules,
    DenoisingRules,
    DetectionRules,
    Keys,
    LossRules,
    MatcherRules,
    TargetRules,
    replace,
)
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
    keys=replace(MMDET.keys, encoder_loss="enc_{loss}"),
    encoder_labels="zero",
    detection=DetectionRules(rule="top-k", clamp=True),
)

MMDET_DINO = replace(
    MMDET_FOCAL,
    name="mmdet-dino",
    summary="the losses of mmdet-focal, also of proposals with classes and of denoising queries (mmdetection)",
    loss_weights=(1.0, 5.0, 2.0),
    keys=replace(MMDET_FOCAL.keys, denoising_loss="dn_{loss}", denoising_auxiliary_loss="d{layer}.dn_{loss}"),
    encoder_labels="classes",
    denoising=DenoisingRules(denominator="all-groups", absent="zeros"),
    detection=DetectionRules(rule="top-k", top_k=300, clamp=True),
)

CO_DINO = replace(
    MMDET_DINO,
    name="co-dino",
    summary="sigmoid quality focal loss, targets as corners in pixels, divided by matched pairs (Zong et al. 2023)",
    class_loss=QualityFocal(),
    boxes=replace(MMDET_DINO.boxes, quality_units="relative"),
)
