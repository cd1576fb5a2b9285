"""The dialect of Conditional DETR. Meng et al. 2021, "Conditional DETR for Fast Training Convergence"."""

from detr_spec.profile import replace
from detr_spec.profiles.deformable import DEFORMABLE

CONDITIONAL = replace(
    DEFORMABLE,
    name="conditional",
    summary="the losses of deformable, of the decoder's queries alone (Meng et al. 2021)",
)
