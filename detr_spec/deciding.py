"""The numbers of a configuration and its profile that decide what a component answers: a case is shown with these."""

from __future__ import annotations

from collections.abc import Mapping

from detr_spec.configuration import Configuration, number_of
from detr_spec.profile import Profile

CRITERIA = ("criterion", "masks", "gradients", "distributed")
"""The components that match and sum losses."""

LAYERED = (*CRITERIA, "heads", "decoder", "model")
"""The components that know of several decoder layers."""

_OVERLAPS = ("iou_epsilon", "giou_epsilon", "least_divisor")


def deciding_numbers(component: str, configuration: Configuration, *, weighted: bool = False) -> Mapping[str, float]:
    """The numbers that decide a component's answer, by the names of their fields.

    weighted: whether it is asked about loss weights, which decide no loss.
    """
    profile = configuration.profile
    fields = list(_fields(component, profile))
    if component in CRITERIA and (weighted or component == "gradients"):
        fields += ["loss_class", "loss_bbox", "loss_giou"]
        fields += ["loss_mask", "loss_dice"] if configuration.masks else []
    found = {name: number_of(configuration, name) for name in dict.fromkeys(fields)}
    return found | _declared(component, profile)


def _fields(component: str, profile: Profile) -> list[str]:
    fields = [] if component in ("boxes", "assignment", "decoder") else ["num_classes"]
    fields += ["decoder_layers"] if component in LAYERED else []
    fields += ["hidden_dim"] if component in ("heads", "decoder", "model") else []
    if component in ("matcher", *CRITERIA):
        fields += ["cost_class", "cost_bbox", "cost_giou"]
        fields += [f"class_cost.{name}" for name in profile.class_cost.numbers]
    if component in CRITERIA:
        fields += [f"class_loss.{name}" for name in profile.class_loss.numbers]
    if component == "postprocess":
        fields += ["top_k"] if profile.detection.rule == "top-k" else []
        fields += ["threshold"] if profile.detection.threshold else []
    return fields


def _declared(component: str, profile: Profile) -> dict[str, float]:
    """The numbers of the profile itself that count, and are not none or 0."""
    overlaps = component in ("boxes", "matcher", *CRITERIA)
    declared = {name: getattr(profile.boxes, name) for name in _OVERLAPS} if overlaps else {}
    return {name: number for name, number in declared.items() if number}
