"""Strategy for set-prediction cases whose layers predict distributions of their boxes' edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.profile import Profile
from detr_spec.strategies.promises import Promised
from detr_spec.terms import EdgeTerm
from detr_spec.values import Floats, Outputs, part_dtypes, round_to

NARROWEST = 2.0**-6
"""The shortest side of a reference box."""

SAME_SHARE = 8
"""One earlier layer in so many has the last one's distributions."""


def edge_terms(profile: Profile) -> tuple[EdgeTerm, ...]:
    """The terms of edges that a dialect has."""
    return tuple(further.term for further in profile.further_losses if isinstance(further.term, EdgeTerm))


def with_edges(base: Promised[SetCase]) -> Promised[SetCase]:
    """The cases of a strategy, in which decoder layers and denoising queries predict distributions of edges.

    They do in dialects that have losses of these. Their logits are in ±4, from a seed; one earlier layer in eight has
    those of the last. Reference boxes are those of all
    layers: half of them are near some target's box, so that its edges lie among the distances, and half anywhere.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _with_edges(base, domain) if edge_terms(domain.profile) else base(domain)

    def admits(domain: Domain, drawn: SetCase, left: SetCase) -> bool:
        return base.admits(domain, drawn, left)

    return Promised(strategy, admits)


@st.composite
def _with_edges(draw: DrawFn, base: Promised[SetCase], domain: Domain) -> SetCase:
    case: SetCase = draw(base(domain))
    generator = np.random.default_rng(draw(st.integers(0, 2**16 - 1)))
    count = 4 * max(term.count for term in edge_terms(domain.profile))
    outputs = _predicted(generator, case, case.outputs, count)
    if outputs.denoising is not None:
        outputs = replace(outputs, denoising=_predicted(generator, case, outputs.denoising, count))
    return replace(case, configuration=replace(case.configuration, edges=True), outputs=outputs)


def _predicted(generator: np.random.Generator, case: SetCase, outputs: Outputs, count: int) -> Outputs:
    """Outputs with distributions of that many numbers a query in each layer, and references that all layers share."""
    dtypes = part_dtypes(case.configuration.dtype)
    references = round_to(_references(generator, case, outputs), dtypes.boxes)

    def edges() -> Floats:
        return round_to(generator.uniform(-4.0, 4.0, (outputs.batch, outputs.queries, count)), dtypes.logits)

    last = edges()
    earlier: Sequence[Outputs] = [
        replace(own, edges=edges() if generator.integers(SAME_SHARE) else last, references=references)
        for own in outputs.auxiliary
    ]
    return replace(outputs, edges=last, references=references, auxiliary=tuple(earlier))


def _references(generator: np.random.Generator, case: SetCase, outputs: Outputs) -> Floats:
    """Boxes that distances are measured from; [B, Q, 4]."""
    boxes = generator.uniform(NARROWEST, 1.0, (outputs.batch, outputs.queries, 4))
    for image, target in enumerate(case.targets):
        for query in np.flatnonzero(generator.integers(0, 2, outputs.queries)) if len(target) else ():
            near = target.boxes[generator.integers(len(target))] * generator.uniform(0.5, 1.5, 4)
            boxes[image, query] = np.clip(near, NARROWEST, 1.0)
    return boxes
