"""The dialect of RF-DETR with segmentation: LW-DETR with masks at points, as rfdetr 1.11 trains it."""

from detr_spec.costs import FocalCost, MaskCrossEntropyCost, MaskDiceCost
from detr_spec.profile import FurtherCost, MaskRules, replace
from detr_spec.profiles.lw_detr import LW_DETR
from detr_spec.terms import MaskCrossEntropy

RF_DETR_SEG = replace(
    LW_DETR,
    name="rf-detr-seg",
    summary="as LW-DETR, with masks compared at points in costs and losses (as rfdetr 1.11 trains it)",
    class_cost=FocalCost(epsilon=0.0),
    loss_weights=(5.0, 5.0, 2.0),
    mask_loss=MaskCrossEntropy(),
    mask_weights=(5.0, 5.0),
    further_costs=(
        FurtherCost(cost=MaskCrossEntropyCost(), weight=5.0),
        FurtherCost(cost=MaskDiceCost(), weight=5.0),
    ),
    # It trains with 16 pixels a point; what is true of four is true of these, and cases stay small.
    masks=MaskRules(compared="points", layers="every", pixels_per_point=4, labels="nearest", outside="edge"),
    keys=replace(LW_DETR.keys, mask="loss_mask_ce", dice="loss_mask_dice"),
)
