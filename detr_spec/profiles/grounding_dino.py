"""The dialect of Grounding DINO, as Open-GroundingDino trains it.

Liu et al. 2023, "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection"; the behaviour
of Open-GroundingDino's code.
"""

from detr_spec.profile import DenoisingRules, replace
from detr_spec.profiles.dino import DINO
from detr_spec.terms import FocalOverPairs

GROUNDING_DINO = replace(
    DINO,
    name="grounding-dino",
    summary="the losses of dino over the tokens of phrases, classes divided by matched pairs (Liu et al. 2023)",
    labels="phrases",
    class_loss=FocalOverPairs(),
    cost_weights=(1.0, 5.0, 2.0),
    loss_weights=(2.0, 5.0, 2.0),
    keys=replace(
        DINO.keys,
        class_error=None,
        cardinality=None,
        encoder_auxiliary_loss=None,
        denoising_loss=None,
        denoising_auxiliary_loss=None,
    ),
    denoising=DenoisingRules(),
    non_finite_logits="unchecked",
)
