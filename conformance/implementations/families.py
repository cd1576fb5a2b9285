"""What packages that descend from RT-DETR and D-FINE have in common: how their parts are built and called.

Their matchers take a table of weights and answer in a dictionary or in pairs; their post-processing takes sizes as
(width, height); their criteria are given the encoder's predictions and those of denoising queries by the keys of
RT-DETR.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.profile import BoxRules, DetectionRules, MatcherRules, Profile, replace
from detr_spec.profiles import D_FINE, DEFORMABLE, DETR, RT_DETR

DENOISING = replace(RT_DETR.keys, encoder_loss=None)
"""The keys of RT-DETR's first version, whose encoder's predictions count as those of a layer."""

UNCHECKED: dict[str, Any] = dict.fromkeys(("label_beyond_range", "target_count", "surplus_columns"), "unchecked")
"""What none of them looks at."""

WIDTH_HEIGHT = DetectionRules(rule="top-k", size_order="width-height", top_k_overflow="refuse")
"""Sizes as (width, height), and a k that torch refuses where it is greater than the number of pairs."""


def cost_weights(configuration: Configuration) -> dict[str, float]:
    """The weights of the matching cost by the names of this family."""
    return dict(zip(("cost_class", "cost_bbox", "cost_giou"), configuration.cost_weights, strict=True))


def loss_weights(configuration: Configuration) -> dict[str, float]:
    """The weights of the losses by their names."""
    weights = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
    names = configuration.profile.keys.classification, "loss_bbox", "loss_giou"
    return dict(zip(names, weights, strict=True))


def matcher(kind: Callable[..., nn.Module]) -> Callable[[Configuration], nn.Module]:
    """The matcher of a package, with the focal class cost or with that of a softmax."""

    def build(configuration: Configuration) -> nn.Module:
        focal = not configuration.profile.has_no_object
        numbers = {name: configuration.class_cost.numbers[name] for name in ("alpha", "gamma") if focal}
        return kind(cost_weights(configuration), use_focal_loss=focal, **numbers)

    return build


def postprocess(kind: Callable[..., nn.Module]) -> Callable[[Configuration], nn.Module]:
    """The post-processing of a package, with sigmoids or with a softmax."""
    return lambda configuration: kind(
        num_classes=configuration.num_classes,
        use_focal_loss=not configuration.profile.has_no_object,
        num_top_queries=configuration.top_k,
    )


def box_operations(module: ModuleType) -> dict[str, Callable[..., Tensor]]:
    """The box operations of a module that has DETR's names for them."""
    return {
        "cxcywh_to_xyxy": module.box_cxcywh_to_xyxy,
        "xyxy_to_cxcywh": module.box_xyxy_to_cxcywh,
        "iou": lambda first, second: module.box_iou(first, second)[0],
        "giou": module.generalized_box_iou,
    }


def descendants(
    name: str,
    matcher_kind: Callable[..., nn.Module],
    postprocess_kind: Callable[..., nn.Module] | None,
    rules: BoxRules = DEFORMABLE.boxes,
    **parts: Any,
) -> tuple[Implementation, ...]:
    """A matcher that answers in a dictionary, with post-processing where there is one, with a softmax and without."""
    answer = MatcherRules(entry="indices")
    processing = {} if postprocess_kind is None else {"postprocess": postprocess(postprocess_kind)}
    return (
        torch_implementation(
            name=name,
            profile=replace(
                DETR,
                matcher=answer,
                detection=DetectionRules(size_order="width-height"),
                boxes=rules,
                **UNCHECKED,
            ),
            matcher=matcher(matcher_kind),
            **processing,
        ),
        torch_implementation(
            name=name,
            profile=replace(DEFORMABLE, matcher=answer, detection=WIDTH_HEIGHT, boxes=rules, **UNCHECKED),
            matcher=matcher(matcher_kind),
            **processing,
            **parts,
        ),
    )


class Criterion(nn.Module):
    """A criterion that is given only what there is, in dictionaries that it may write to.

    It is told that the encoder tells the classes apart. One of D-FINE cannot do without initial predictions: where
    there are none it is given some that nothing is matched with, and what it says of these is left out.
    """

    def __init__(self, criterion: nn.Module, **arguments: Any) -> None:
        super().__init__()
        self.criterion = criterion
        self.arguments = arguments

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        given = {key: copied(value) for key, value in outputs.items() if value is not None}
        last = {key: given[key] for key in ("pred_logits", "pred_boxes")}
        beside = {"enc_meta": {"class_agnostic": False}, "aux_outputs": [], "up": None, "reg_scale": None}
        if isinstance(getattr(self.criterion, "matcher", None), UnmatchedWhereAbsent):
            beside |= {"pre_outputs": last | {ABSENT: True}, "enc_aux_outputs": []}
        losses: dict[str, Tensor] = self.criterion(last | beside | given, targets, **self.arguments)
        if "pre_outputs" in given:
            return losses
        return {key: loss for key, loss in losses.items() if key.endswith("_dn_pre") or not key.endswith("_pre")}


def copied(value: Any) -> Any:
    """The same predictions in dictionaries and lists of their own."""
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list | tuple) else value


ABSENT = "absent"
"""The key of predictions that a case does not have."""


class UnmatchedWhereAbsent(nn.Module):
    """A matcher that matches nothing with predictions that a case does not have, in each way that criteria call it."""

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]], **options: Any) -> Any:
        """The pairs of each image."""
        if ABSENT not in outputs:
            return super().forward(outputs, targets, **options)
        nothing = torch.empty(0, dtype=torch.int64)
        return {"indices": [(nothing, nothing) for _ in targets]}

    def compute_cost_matrix(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]], **options: Any) -> Any:
        """The costs of libreyolo's matchers, of no query where there are none."""
        costs = super().compute_cost_matrix(outputs, targets, **options)  # type: ignore[misc]
        return costs[:, :0] if ABSENT in outputs else costs

    def match_many(self, layers: list[dict[str, Any]], targets: list[dict[str, Tensor]]) -> Any:
        """The pairs of several layers, as easydetect asks for them."""
        return [self(layer, targets)["indices"] for layer in layers]


def d_fine(
    name: str,
    matcher_kind: Callable[..., nn.Module],
    criterion_kind: Callable[..., nn.Module],
    arguments: Callable[[], dict[str, Any]] = dict,
    profile: Profile = D_FINE,
    **rules: Any,
) -> Implementation:
    """A criterion of D-FINE, asked for the losses of classes and boxes."""
    kind = type("Matcher", (UnmatchedWhereAbsent, matcher_kind), {})
    return torch_implementation(
        name=name,
        profile=replace(profile, further_losses=(), **UNCHECKED | rules),
        criterion=criterion(kind, criterion_kind, arguments),
    )


def criterion(
    matcher_kind: Callable[..., nn.Module],
    criterion_kind: Callable[..., nn.Module],
    arguments: Callable[[], dict[str, Any]] = dict,
) -> Callable[[Configuration], nn.Module]:
    """The criterion of a package, with a matcher of its own; `arguments` are those that it is called with beside."""

    def build(configuration: Configuration) -> nn.Module:
        loss = configuration.class_loss
        built = criterion_kind(
            matcher=matcher(matcher_kind)(configuration),
            weight_dict=loss_weights(configuration),
            losses=[configuration.profile.keys.classification.removeprefix("loss_"), "boxes"],
            alpha=loss.numbers.get("alpha", 0.0),
            gamma=loss.gamma,
            num_classes=configuration.num_classes,
        )
        return Criterion(built, **arguments())

    return build
