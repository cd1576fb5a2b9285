"""The numbers of a configuration and its profile that decide what a component answers: a case is shown with these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detr_spec.configuration import COST_WEIGHTS, TERM_WEIGHTS, Configuration, number_of
from detr_spec.profile import COST_PARTS, LOSS_PARTS, Profile

CRITERIA = ("criterion", "masks", "gradients", "distributed")
"""The components that match and sum losses."""

LAYERED = (*CRITERIA, "heads", "decoder", "model")
"""The components that know of several decoder layers."""

_OVERLAPS = ("iou_epsilon", "giou_epsilon", "least_divisor")


def deciding_numbers(component: str, configuration: Configuration, *, weighted: bool = False) -> Mapping[str, float]:
    """The numbers that decide a component's answer, by the names of their fields.

    weighted: whether the question is about loss weights, on which no single loss depends.
    """
    profile = configuration.profile
    fields = list(_fields(component, configuration))
    if component in CRITERIA and (weighted or component == "gradients"):
        fields += [TERM_WEIGHTS[name] for name in configuration.terms if name in TERM_WEIGHTS]
    found = {name: number_of(configuration, name) for name in dict.fromkeys(fields)}
    return found | _declared(component, profile)


def _fields(component: str, configuration: Configuration) -> list[str]:
    profile = configuration.profile
    fields = [] if component in ("boxes", "assignment", "decoder") else ["num_classes"]
    fields += ["decoder_layers"] if component in LAYERED else []
    fields += ["hidden_dim"] if component in ("heads", "decoder", "model") else []
    if component in ("matcher", *CRITERIA):
        further = [item.cost.weighed_by for item in profile.further_costs if item.cost.weighed_by is not None]
        fields += [*COST_WEIGHTS, *further, *_numbers(profile, COST_PARTS)]
    if component in CRITERIA:
        fields += ["encoder_predictions"] if profile.keys.lists_encoder else []
        fields += ["one_to_many_weight"] if profile.keys.one_to_many_loss is not None else []
        fields += _numbers(profile, [part for name, part in LOSS_PARTS.items() if name in configuration.terms])
    if component == "postprocess":
        fields += ["top_k"] if profile.detection.takes_k else []
        fields += ["threshold"] if profile.detection.threshold else []
    return fields


def _numbers(profile: Profile, parts: Sequence[str]) -> list[str]:
    return [f"{part}.{name}" for part in parts for name in getattr(profile, part).numbers]


def _declared(component: str, profile: Profile) -> dict[str, float]:
    """The numbers of the profile itself that have an effect: neither None nor 0."""
    overlaps = component in ("boxes", "matcher", *CRITERIA)
    declared = {name: getattr(profile.boxes, name) for name in _OVERLAPS} if overlaps else {}
    return {name: number for name, number in declared.items() if number}
