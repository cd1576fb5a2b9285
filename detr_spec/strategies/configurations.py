"""Strategies for configurations, within a profile and an implementation's limits."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain

_EXACT_EOS = (0.125, 0.25, 0.5, 1.0)
"""Weights of the no-object class that every dtype holds exactly, so the dtype of an implementation's buffer cannot matter."""


def draw_configuration(
    draw: DrawFn, domain: Domain, *, num_classes: int, decoder_layers: int = 1
) -> Configuration:
    """A configuration with the profile's weights half of the time, and with drawn ones otherwise."""
    profile, fixed = domain.profile, domain.limits.fixed
    dtype = draw(st.sampled_from(domain.limits.dtypes))
    fields: dict[str, Any] = dict(
        zip(("cost_class", "cost_bbox", "cost_giou"), profile.cost_weights, strict=True),
        eos_coef=profile.eos_coef if dtype == "float32" else _EXACT_EOS[0],
    )
    fields |= zip(("loss_class", "loss_bbox", "loss_giou"), profile.loss_weights, strict=True)
    if draw(st.booleans()):
        weights = draw(st.lists(st.integers(1, 16), min_size=6, max_size=6))
        names = ("cost_class", "cost_bbox", "cost_giou", "loss_class", "loss_bbox", "loss_giou")
        fields |= {name: weight / 4 for name, weight in zip(names, weights, strict=True)}
        fields |= {
            "eos_coef": draw(st.sampled_from(_EXACT_EOS)),
            "focal_alpha": draw(st.sampled_from((0.25, 0.5, 0.75))),
            "focal_gamma": draw(st.sampled_from((2.0, 1.0, 3.0))),
            "threshold": draw(st.sampled_from((0.5, 0.25, 0.75))),
        }
    return Configuration(
        **(fields | dict(fixed)),
        profile=profile,
        dtype=dtype,
        num_classes=num_classes,
        decoder_layers=decoder_layers,
        fixed=tuple(sorted(fixed)),
    )
