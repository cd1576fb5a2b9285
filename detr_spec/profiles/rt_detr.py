"""The dialect of RT-DETR. Zhao et al. 2024, "DETRs Beat YOLOs on Real-time Object Detection"."""

from detr_spec.profile import DenoisingRules, DetectionRules, Keys, LossRules, replace
from detr_spec.profiles.deformable import DEFORMABLE
from detr_spec.terms import Varifocal

RT_DETR = replace(
    DEFORMABLE,
    name="rt-detr",
    summary="sigmoid varifocal loss whose targets are overlaps, losses weighted already (Zhao et al. 2024)",
    class_loss=Varifocal(),
    loss_weights=(1.0, 5.0, 2.0),
    keys=Keys(
        classification="loss_vfl",
        class_error=None,
        cardinality=None,
        auxiliary_loss="{loss}_aux_{layer}",
        encoder="enc_aux_outputs",
        encoder_loss="{loss}_enc_{number}",
        denoising="dn_aux_outputs",
        denoising_loss="{loss}_dn_{layer}",
        denoising_auxiliary_loss="{loss}_dn_{layer}",
    ),
    losses=LossRules(weighted=True),
    denoising=DenoisingRules(layout="listed"),
    detection=DetectionRules(rule="top-k", top_k=300, size_order="width-height"),
)
