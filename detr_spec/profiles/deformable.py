"""The dialect of Deformable DETR. Zhu et al. 2021, "Deformable DETR"."""

from detr_spec.costs import FocalCost
from detr_spec.profile import DetectionRules, Profile
from detr_spec.terms import Focal

DEFORMABLE = Profile(
    name="deformable",
    summary="sigmoid focal without a no-object class, top-k post-processing (Zhu et al. 2021)",
    activation="sigmoid",
    class_cost=FocalCost(),
    class_loss=Focal(),
    cost_weights=(2.0, 5.0, 2.0),
    loss_weights=(2.0, 5.0, 2.0),
    cardinality="score-above-half",
    detection=DetectionRules(rule="top-k"),
)
