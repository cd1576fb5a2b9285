"""The losses and the matcher of D-FINE and DEIMv2 in Hugging Face transformers, under the dialects d-fine and deim.

Declared, as documented: key names. D-FINE's box losses are under each layer's own pairs, where its authors' are under
the union; DFineLoss says in its docstring that a matching is computed, and each matched pair then supervised. Those
of DEIMv2, with `use_dense_one_to_one`, are under the union of all predictions' pairs. There are no initial
predictions. The encoder's own come after the auxiliary layers, in their list and in the numbers of their losses. Each
rank counts its own boxes. A label that has no class, and a wrong number of targets, are not looked at; costs that are
not finite are replaced, so that broken logits rank last. What DDF is, the distillation of the last layer, is not
judged. Distributions of edges are computed in float32 alone.

What D-FINE trains with, a function of the model's tensors, is judged too, but for its gradients: it clamps boxes to
[0, 1], and there no slope is that of the definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import rt_detr
import torch
from torch import Tensor, nn
from transformers.loss.loss_d_fine import DFineForObjectDetectionLoss, DFineLoss
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
            initial_denoising_loss=None,
            denoising="dn_auxiliary_outputs",
            denoising_meta="denoising_meta_values",
            labels="class_labels",
        ),
        matching=matching,
        matcher=MatcherRules(),
        losses=LossRules(weighted=True, extra=("loss_ddf*",)),
        # Its losses of distillation are of the last layer too, and their roots are each call's own.
        further_losses=profile.further_losses[:1],
        non_finite_logits="rank-last",
        label_beyond_range="unchecked",
        target_count="unchecked",
        rank_reduction="local",
    )


OWN_PAIRS = of_transformers(D_FINE, MatchingScope())
UNITED = of_transformers(DEIM, MatchingScope(box_pairs="all-predictions"))


def settings(configuration: Configuration) -> SimpleNamespace:
    """What losses and matchers read of a model's configuration, beside what those of RT-DETR do."""
    (fgl,) = configuration.profile.further_losses
    edges = fgl.term.numbers
    return SimpleNamespace(
        **vars(rt_detr.settings(configuration)),
        weight_loss_mal=configuration.loss_class,
        weight_loss_fgl=fgl.weight,
        weight_loss_ddf=1.5,
        mal_alpha=configuration.class_loss.numbers["alpha"],
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


class AsTrained(nn.Module):
    """The function that the model trains with, given its tensors: all layers stacked, denoising queries before others.

    It always wants the encoder's predictions and distributions; where a case has none it is given some that have no
    gradient, and their losses are left out.
    """

    def __init__(self, function: Callable[..., Any], configuration: Configuration) -> None:
        super().__init__()
        self.function, self.config = function, settings(configuration)

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        keys = OWN_PAIRS.keys
        layers, encoder = [*outputs.get(keys.auxiliary, ()), outputs], outputs.get(keys.encoder)
        denoised, meta = outputs.get(keys.denoising, ()), outputs.get(keys.denoising_meta)
        counts = [own[0]["logits"].shape[1] for own in (denoised, layers) if own]
        stacked = [self._stacked(own) for own in (denoised, layers) if own]
        whole = {name: torch.cat([own[name] for own in stacked], dim=2) for name in stacked[0]}
        proposals = (encoder or [{name: outputs[name].detach() for name in ("logits", "pred_boxes")}])[0]
        _, losses, _ = self.function(
            whole["logits"][:, -1],
            targets,
            outputs["logits"].device,
            whole["pred_boxes"][:, -1],
            self.config,
            outputs_class=whole["logits"],
            outputs_coord=whole["pred_boxes"],
            enc_topk_logits=proposals["logits"],
            enc_topk_bboxes=proposals["pred_boxes"],
            denoising_meta_values={**meta, "dn_num_split": counts} if denoised else None,
            predicted_corners=whole["pred_corners"],
            initial_reference_points=whole["ref_points"],
        )
        left_out = () if encoder else (f"_aux_{len(layers) - 1}",)
        left_out += () if "pred_corners" in outputs else tuple(key for key in losses if key.startswith("loss_fgl"))
        return {key: loss for key, loss in losses.items() if not left_out or not key.endswith(left_out)}

    def _stacked(self, layers: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Each prediction of some layers as one tensor, [B, L, Q, …]."""
        size = 4 * (self.config.max_num_bins + 1)
        shape = layers[0]["pred_boxes"].shape[:2]
        absent = {"pred_corners": layers[0]["pred_boxes"].new_zeros(*shape, size)}
        absent["ref_points"] = layers[0]["pred_boxes"].new_full((*shape, 4), 0.5)
        names = ("logits", "pred_boxes", "pred_corners", "ref_points")
        return {name: torch.stack([{**absent, **layer}[name] for layer in layers], dim=1) for name in names}


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
    replace(
        torch_implementation(
            name="transformers-d-fine-as-trained",
            profile=OWN_PAIRS,
            limits=replace(LIMITS, fixed={"encoder_predictions": 1}),
            criterion=lambda configuration: AsTrained(DFineForObjectDetectionLoss, configuration),
        ),
        gradients=None,
        distributed=None,
    ),
)
