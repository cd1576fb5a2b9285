"""Predictions that stand apart from the decoder's layers, and what they are trained towards. norm §4.

The encoder's own predictions (Zhu et al. 2021, section 4.2) are matched like a layer's. Denoising queries (Li et al.
2022; Zhang et al. 2022, DINO, section 3.3) are not matched: each group of them has a copy of the targets, and its place
in the group says which is a query's own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.profile import Profile
from detr_spec.values import InvalidValue, Matching, Outputs, Targets

Apart = Literal["encoder", "denoising"]
"""Whose predictions stand apart."""

APART: tuple[Apart, ...] = ("encoder", "denoising")


def has_losses(profile: Profile, name: Apart) -> bool:
    """Whether these predictions have losses in the dialect."""
    return getattr(profile.keys, f"{name}_loss") is not None


def encoder_targets(targets: Targets, configuration: Configuration) -> Targets:
    """The targets of the encoder's predictions: with their own classes, or all of class 0, as the profile says."""
    if configuration.profile.encoder_labels == "classes":
        return targets
    return tuple(replace(target, labels=np.zeros_like(target.labels)) for target in targets)


def denoising_targets(outputs: Outputs, targets: Targets) -> tuple[Targets, tuple[Matching, ...]]:
    """Each image's targets once for each group of denoising queries, and the query that each of them is given.

    The Q queries are G groups of 2n, n the most targets of an image. In each, query j is made from target j, and those
    from n on, and those beyond an image's targets, are none's. Raises `InvalidValue` where Q is no multiple of 2n.
    """
    size = 2 * max(map(len, targets))
    if not size or outputs.queries % size:
        raise InvalidValue(f"{outputs.queries} denoising queries are not groups of {size}, twice the most targets")
    starts = np.arange(0, outputs.queries, size)
    copies = [np.tile(np.arange(len(target)), len(starts)) for target in targets]
    queries = [np.repeat(starts, len(target)) + own for target, own in zip(targets, copies, strict=True)]
    matchings = tuple(Matching(own, np.arange(len(own), dtype=np.int64)) for own in queries)
    return tuple(target.take(own) for target, own in zip(targets, copies, strict=True)), matchings
