"""Strategies for configurations, within a profile and an implementation's limits."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from detr_spec.configuration import Configuration, weights_of
from detr_spec.invariant import Domain
from detr_spec.strategies.numbers import Drawn

_EXACT_EOS = 0.125
"""A weight of the no-object class that every dtype holds exactly, so the dtype of a buffer cannot matter."""

_CHOICES = {
    "eos_coef": (0.25, 0.5, 1.0, 0.0),
    "focal_alpha": (0.25, 0.5, 0.75, 0.0),
    "focal_gamma": (2.0, 1.0, 3.0, 1.5, 0.0, 2.5),
    "threshold": (0.5, 0.25, 0.75),
}
"""What else is drawn, and from what; the numbers of options divide 12."""


def draw_configuration(
    draw: DrawFn, domain: Domain, *, num_classes: int, decoder_layers: int = 1, varied: bool = True
) -> Configuration:
    """A configuration with the profile's weights half of the time (always, if not `varied`), else with drawn ones."""
    profile, fixed = domain.profile, domain.limits.fixed
    dtype = domain.dtype or draw(st.sampled_from(domain.limits.usual_dtypes))
    fields: dict[str, Any] = dict(weights_of(profile), eos_coef=profile.eos_coef if dtype == "float32" else _EXACT_EOS)
    if varied and draw(st.booleans()):
        numbers = Drawn(draw)
        names = ("cost_class", "cost_bbox", "cost_giou", "loss_class", "loss_bbox", "loss_giou")
        weights = numbers.integers(1, 16, (len(names),))
        fields |= {name: float(weight) / 4 for name, weight in zip(names, weights, strict=True)}
        choices = numbers.integers(0, 11, (len(_CHOICES),))
        fields |= {
            name: options[choice % len(options)]
            for choice, (name, options) in zip(choices, _CHOICES.items(), strict=True)
        }
    return Configuration(
        **(fields | dict(fixed)),
        profile=profile,
        dtype=dtype,
        device=domain.device,
        num_classes=num_classes,
        decoder_layers=decoder_layers,
        fixed=tuple(sorted(fixed)),
    )
