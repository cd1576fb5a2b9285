"""Places: whose predictions a loss belongs to, and in which layer. norm §4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Apart: TypeAlias = Literal["encoder", "initial", "one_to_many", "denoising", "initial_denoising"]
"""Whose predictions stand apart from those of the decoder's queries."""

Whose: TypeAlias = Literal["decoder"] | Apart
"""Whose predictions have losses."""

APART: tuple[Apart, ...] = ("encoder", "initial", "one_to_many", "denoising", "initial_denoising")
ONCE: tuple[Apart, ...] = ("encoder", "initial")
"""Those of them that are matched like a layer of the decoder, whose targets have as many queries."""
DENOISING: tuple[Apart, ...] = ("denoising", "initial_denoising")
"""Those of denoising queries, of the decoder's layers and initial ones."""


@dataclass(frozen=True)
class Place:
    """Predictions of the decoder's queries, of the encoder, or of denoising queries, in one layer.

    layer: the number of a layer before the last one, and None for the last. Those of the encoder are its predictions,
    one after another. Initial predictions are one: what a head of its own says of the decoder's first layer, of its
    queries or of denoising ones.
    One-to-many ones are those of further queries of the decoder, whose targets are repeated.
    """

    whose: Whose = "decoder"
    layer: int | None = None


LAST = Place()
"""The last layer of the decoder."""


def places_of(whose: Whose, layers: int) -> tuple[Place, ...]:
    """The places of a number of layers, the last layer first."""
    return (Place(whose), *(Place(whose, layer) for layer in range(layers - 1)))
