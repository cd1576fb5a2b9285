"""The dialect of H-DETR. Jia et al. 2023, "DETRs with Hybrid Matching"."""

from detr_spec.profile import replace
from detr_spec.profiles.deformable import DEFORMABLE

H_DETR = replace(
    DEFORMABLE,
    name="h-detr",
    summary="the losses of deformable, and those of further queries with repeated targets (Jia et al. 2023)",
    # It trains with 6 repeats; what is true of two is true of these, and cases stay small.
    one_to_many_repeats=2,
    one_to_many_evaluation="absent",
    keys=replace(DEFORMABLE.keys, encoder_loss="{loss}_enc", one_to_many_loss="{loss}_one2many"),
    encoder_labels="zero",
)
