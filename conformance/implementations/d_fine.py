"""The losses and the matcher of D-FINE and DEIMv2 in Hugging Face transformers, under the dialects d-fine and deim.

Declared, as documented: key names; D-FINE's box losses are under each layer's own pairs, those of DEIMv2, with
`use_dense_one_to_one`, under the union of all predictions' pairs; there are no initial predictions. The encoder's own
come after the auxiliary layers, in their list and in the numbers of their losses. Each rank counts its own boxes. A
label that has no class, and a wrong number of targets, are not looked at; costs that are not finite are replaced, so
that broken logits rank last. What DDF is, the distillation of the last layer, is not judged. Distributions of edges are
computed in float32 alone.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor
from transformers.loss.loss_d_fine import DFineLoss
from transformers.loss.loss_deimv2 import Deimv2Loss
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import LossRules, MatcherRules, MatchingScope, Profile, replace
from detr_spec.profiles import D_FINE, DEIM


def of_transformers(profile: Profile, matching: MatchingScope) -> Profile:
    """A profile as transformers writes it."""
    return replace(
        profile,
        keys=replace(
            profile.keys,
            logits="logits",
            auxiliary="auxiliary_outputs",
            encoder_loss="{loss}_aux_{layer}",
            initial_loss=None,
            denoising="dn_auxiliary_outputs",
            denoising_meta="denoising_meta_values",
            labels="class_labels",
        ),
        matching=matching,
        matcher=MatcherRules(),
        losses=LossRules(weighted=True, extra=("loss_ddf*",)),
        non_finite_logits="rank-last",
        label_beyond_range="unchecked",
        target_count="unchecked",
        rank_reduction="local",
    )


OWN_PAIRS = of_transformers(D_FINE, MatchingScope())
UNITED = of_transformers(DEIM, MatchingScope(box_pairs="all-predictions"))


def settings(configuration: Configuration) -> SimpleNamespace:
    """What losses and matchers read of a model's configuration."""
    cost_class, cost_bbox, cost_giou = configuration.cost_weights
    (fgl,) = configuration.profile.further_losses
    edges, classes = fgl.term.numbers, configuration.class_loss.numbers
    return SimpleNamespace(
        matcher_class_cost=cost_class,
        matcher_bbox_cost=cost_bbox,
        matcher_giou_cost=cost_giou,
        matcher_alpha=configuration.class_cost.numbers["alpha"],
        matcher_gamma=configuration.class_cost.numbers["gamma"],
        use_focal_loss=True,
        num_labels=configuration.num_classes,
        weight_loss_vfl=configuration.loss_class,
        weight_loss_mal=configuration.loss_class,
        weight_loss_bbox=configuration.loss_bbox,
        weight_loss_giou=configuration.loss_giou,
        weight_loss_fgl=fgl.weight,
        weight_loss_ddf=1.5,
        eos_coefficient=0.0,
        focal_loss_alpha=classes["alpha"],
        focal_loss_gamma=classes["gamma"],
        mal_alpha=classes["alpha"],
        max_num_bins=int(edges["reg_max"]),
        reg_scale=edges["scale"],
        up=edges["up"],
        use_dense_one_to_one=True,
        auxiliary_loss=True,
    )


def with_teachers(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs as transformers gives them to a loss: the encoder's among the auxiliary ones, each with a teacher."""
    keys, given = OWN_PAIRS.keys, dict(outputs)
    auxiliary = [*(_taught(layer, given) for layer in given.get(keys.auxiliary, ())), *given.get(keys.encoder, ())]
    denoised = given.get(keys.denoising, ())
    taught = {keys.denoising: [_taught(layer, denoised[-1]) for layer in denoised]} if denoised else {}
    meta = {keys.denoising_meta: given.pop(keys.denoising_meta)} if given.get(keys.denoising_meta) else {}
    given.pop(keys.denoising_meta, None)
    return {**_taught(given, given), **({keys.auxiliary: auxiliary} if auxiliary else {}), **taught, **meta}


def _taught(layer: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    if "pred_corners" not in layer:
        return layer
    return {**layer, "teacher_corners": last["pred_corners"].detach(), "teacher_logits": last["logits"].detach()}


class OwnPairsLoss(DFineLoss):
    """D-FINE's loss."""

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        losses: dict[str, Tensor] = super().forward(with_teachers(outputs), targets)
        return losses


class UnitedLoss(Deimv2Loss):
    """DEIMv2's loss."""

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        losses: dict[str, Tensor] = super().forward(with_teachers(outputs), targets)
        return losses


LIMITS = Limits(dtypes=("float32",))

IMPLEMENTATIONS = (
    torch_implementation(
        name="transformers-d-fine-loss",
        profile=OWN_PAIRS,
        limits=LIMITS,
        matcher=lambda configuration: RTDetrHungarianMatcher(settings(configuration)),
        criterion=lambda configuration: OwnPairsLoss(settings(configuration)),
    ),
    torch_implementation(
        name="transformers-deimv2-loss",
        profile=UNITED,
        limits=LIMITS,
        criterion=lambda configuration: UnitedLoss(settings(configuration)),
    ),
)
