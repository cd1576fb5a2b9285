"""Strategies for cases with masks: set-prediction cases to which predicted masks and masks of targets are added."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.masks import common_size
from detr_spec.strategies.drawn_masks import masks_fit, with_masks
from detr_spec.strategies.promises import Promised
from detr_spec.strategies.sets import ALL_REGIMES, set_cases
from detr_spec.values import Outputs, Targets


def mask_cases(
    *,
    regimes: Sequence[str] = ALL_REGIMES,
    layers: tuple[int, int] = (1, 1),
    images: tuple[int, int] = (1, 3),
    queries: tuple[int, int] = (1, 6),
    targets: tuple[int, int] = (0, 5),
) -> Promised[SetCase]:
    """Cases of `set_cases`, whose last layer predicts masks and whose targets have masks; mask losses are asked for.

    Predicted masks [B, Q, h, w] are logits in ±6, or of −120, −60, 0, 60 and 120 in one case out of four, with sides
    of 1 to 4, and where they come from a seed to 20. The targets' masks have a size for each image, with sides of 1 to
    8, or 40, and some image's is at least as high, some at least as wide, as the predictions: what right
    implementations do with a mask that becomes smaller is not one thing. Auxiliary layers predict none, as in DETR,
    unless the dialect has masks in them.

    Where masks are compared at points, those of targets have one size. The points are given where the limits say that
    the implementation takes them; where it does not, in half of the cases each mask is the same at all its pixels. In a
    dialect that matches by masks all cases of `set_cases` are of this kind.
    """
    base = set_cases(regimes=regimes, layers=layers, images=images, queries=queries, targets=targets)

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return base(domain) if domain.profile.matches_masks else _with_masks(domain, base)

    def admits(domain: Domain, drawn: SetCase, left: SetCase) -> bool:
        return base.admits(domain, drawn, left) and masks_fit(left.outputs, left.targets, domain.profile.masks)

    return Promised(strategy, admits)


def fit_masks(outputs: Outputs, targets: Targets) -> Outputs:
    """The outputs, with masks that are predicted no larger than the largest of those targets' masks."""
    if outputs.masks is None:
        return outputs
    height, width = common_size(targets)
    return outputs.each(masks=lambda layer: None if layer.masks is None else layer.masks[..., :height, :width])


@st.composite
def _with_masks(draw: DrawFn, domain: Domain, base: Promised[SetCase]) -> SetCase:
    return with_masks(draw, domain, draw(base(domain)))
