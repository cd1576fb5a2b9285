"""Predictions that stand apart from the decoder's layers, and what they are trained towards. norm §4.

The encoder's own predictions (Zhu et al. 2021, section 4.2) are matched like a layer's, and so are initial ones, by
another head of the decoder's first layer (Peng et al. 2024, "D-FINE", section 4.1). Further queries of the decoder
have targets that are repeated (Jia et al. 2023, "H-DETR"). Denoising queries (Li et al. 2022;
Zhang et al. 2022, DINO, section 3.3) are not matched: the position of a query in its group says which target it has.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.calls import PLAIN
from detr_spec.configuration import Configuration
from detr_spec.places import DENOISING, ONCE, Apart, Whose
from detr_spec.profile import MatchingScope, Profile
from detr_spec.values import InvalidValue, Matching, Outputs, Targets


def has_losses(profile: Profile, name: Apart) -> bool:
    """Whether these predictions have losses in the dialect."""
    return getattr(profile.keys, f"{name}_loss") is not None


def is_open(name: str, whose: Whose) -> bool:
    """Whether the value of a metric is open: what denoising and further queries count, who have several of a target."""
    return name == "cardinality" and whose in (*DENOISING, "one_to_many")


def united_apart(profile: Profile) -> tuple[Apart, ...]:
    """The predictions whose pairs are in the union with those of the decoder's layers, and whose boxes are under it."""
    if profile.matching.box_pairs != "all-predictions":
        return ()
    return tuple(name for name in ONCE if has_losses(profile, name))


def targets_of(name: Apart, targets: Targets, configuration: Configuration) -> Targets:
    """The targets of predictions apart: those of the encoder are all of class 0, where the profile says so."""
    if name != "encoder" or configuration.profile.encoder_labels == "classes":
        return targets
    return tuple(replace(target, labels=np.zeros_like(target.labels)) for target in targets)


def of_matched(name: Apart, configuration: Configuration) -> Configuration:
    """The configuration of the losses of predictions that are matched, as the decoder's or as further queries are."""
    profile = configuration.profile
    matching = replace(profile.matching, box_pairs="layer")
    if name == "one_to_many":
        matching = MatchingScope(repeats=profile.one_to_many_repeats)
    return replace(configuration, profile=replace(profile, matching=matching))


def denoising_groups(outputs: Outputs, targets: Targets) -> int:
    """The number of groups of denoising queries.

    The Q queries are G groups of 2n, n the most targets of an image. Raises `InvalidValue` unless that is so.
    """
    size = 2 * max(map(len, targets), default=0)
    if not size or outputs.queries % size:
        raise InvalidValue(f"{outputs.queries} denoising queries are not groups of {size}, twice the most targets")
    return outputs.queries // size


def denoising_matchings(outputs: Outputs, targets: Targets) -> tuple[Matching, ...]:
    """Which denoising queries of each image have a target, and which target.

    In each group, query j is made from target j; queries from n on, and those beyond an image's targets, have no
    target. Raises as `denoising_groups`.
    """
    groups = denoising_groups(outputs, targets)
    starts = np.arange(groups) * (outputs.queries // groups)
    return tuple(
        Matching(np.add.outer(starts, own).ravel(), np.tile(own, groups))
        for own in (np.arange(len(target)) for target in targets)
    )


def of_denoising(configuration: Configuration, groups: int) -> Configuration:
    """The configuration of the losses of denoising queries: of so many groups, each with one query for a target.

    They are groups in evaluation too.
    """
    profile = configuration.profile
    is_sum = profile.denoising.denominator == "one-group"
    matching = MatchingScope(groups=groups, group_losses="sum" if is_sum else "mean")
    own = replace(profile, matching=matching, denominator="targets")
    return replace(configuration, profile=own, call=PLAIN)
