"""The dialect of DINO. Zhang et al. 2022, "DINO: DETR with Improved DeNoising Anchor Boxes"."""

from detr_spec.profile import DenoisingRules, replace
from detr_spec.profiles.dab import DAB

DINO = replace(
    DAB,
    name="dino",
    summary="the losses of dab, also of the encoder's proposals and of denoising queries (Zhang et al. 2022)",
    keys=replace(
        DAB.keys,
        encoder="interm_outputs",
        encoder_loss="{loss}_interm",
        encoder_auxiliary="enc_outputs",
        encoder_auxiliary_loss="{loss}_enc_{number}",
        denoising="output_known_lbs_bboxes",
        denoising_groups="num_dn_group",
        denoising_loss="{loss}_dn",
        denoising_auxiliary_loss="{loss}_dn_{layer}",
    ),
    denoising=DenoisingRules(layout="within-meta", absent="zeros", evaluation="absent"),
)
