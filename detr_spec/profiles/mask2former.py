"""The dialect of Mask2Former, which has masks and no boxes. Cheng et al. 2022, "Mask2Former", section 3.3."""

from detr_spec.costs import MaskCrossEntropyCost, MaskDiceCost
from detr_spec.profile import FurtherCost, Keys, MaskRules, Profile
from detr_spec.terms import CrossEntropy, MaskCrossEntropy, MaskDice

MASK2FORMER = Profile(
    name="mask2former",
    summary="softmax with a no-object class, masks compared at points, no boxes (Cheng et al. 2022)",
    class_loss=CrossEntropy(),
    box_cost=None,  # type: ignore[arg-type]
    overlap_cost=None,  # type: ignore[arg-type]
    box_loss=None,  # type: ignore[arg-type]
    overlap_loss=None,  # type: ignore[arg-type]
    mask_loss=MaskCrossEntropy(),
    dice_loss=MaskDice(),
    further_costs=(
        FurtherCost(cost=MaskCrossEntropyCost(), weight=5.0),
        FurtherCost(cost=MaskDiceCost(), weight=5.0),
    ),
    cost_weights=(2.0, 0.0, 0.0),
    loss_weights=(2.0, 0.0, 0.0),
    mask_weights=(5.0, 5.0),
    # It trains with 12544 points; what is true of 16 is true of these, and cases stay small.
    masks=MaskRules(compared="points", layers="every"),
    keys=Keys(boxes=None, target_boxes=None, class_error=None, cardinality=None),
)
