"""Strategies for configurations, within a profile and an implementation's limits."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from detr_spec.configuration import PARTS, Configuration, drawn_numbers, varied_weights, weights_of, with_numbers
from detr_spec.invariant import Domain
from detr_spec.strategies.numbers import Drawn

_THRESHOLDS = (0.5, 0.25, 0.75)
"""What thresholds are drawn from, which every dtype holds exactly; the numbers of options of all choices divide 12."""


def draw_configuration(
    draw: DrawFn, domain: Domain, *, num_classes: int, decoder_layers: int = 1, varied: bool = True
) -> Configuration:
    """A configuration with the profile's weights half of the time (always, if not `varied`), else with drawn ones."""
    profile, fixed = domain.profile, domain.limits.fixed
    dtype = domain.dtype or draw(st.sampled_from(domain.limits.usual_dtypes))
    numbers = dict(weights_of(profile))
    if varied and draw(st.booleans()):
        drawn = Drawn(draw)
        names = varied_weights(profile)
        weights = drawn.integers(1, 16, (len(names),))
        numbers |= {name: float(weight) / 4 for name, weight in zip(names, weights, strict=True)}
        options = {"threshold": _THRESHOLDS, **drawn_numbers(profile)}
        choices = drawn.integers(0, 11, (len(options),))
        numbers |= {name: own[choice % len(own)] for choice, (name, own) in zip(choices, options.items(), strict=True)}
    base = Configuration(
        profile=profile,
        dtype=dtype,
        device=domain.device,
        num_classes=num_classes,
        decoder_layers=decoder_layers,
        fixed=tuple(sorted(fixed)),
        **{name: getattr(profile, name) if dtype == "float32" else getattr(profile, name).exact() for name in PARTS},
    )
    return with_numbers(base, numbers | dict(fixed))
