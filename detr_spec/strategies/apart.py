"""Strategy for set-prediction cases with predictions of the encoder and of denoising queries beside the decoder's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.apart import Apart, has_losses
from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.strategies.promises import Promised, SetPromise
from detr_spec.strategies.sets import ALL_REGIMES, set_cases
from detr_spec.values import Outputs

MOST_GROUPS = 2


def apart_cases(
    *names: Apart,
    declared: bool = False,
    regimes: Sequence[str] = ALL_REGIMES,
    layers: tuple[int, int] = (1, 1),
    targets: tuple[int, int] = (0, 5),
) -> Promised:
    """Set cases as `set_cases` draws them, with those predictions apart; `declared`: those that have losses, alone.

    They are drawn like a decoder layer's. The encoder may have fewer queries. Denoising queries are one or two groups
    of twice as many as an image has targets at most; without targets there are none.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        given = tuple(name for name in names if not declared or has_losses(domain.profile, name))
        bounds = layers[0] + len(given), layers[1] + len(given)
        cases = set_cases(regimes=regimes, layers=bounds, targets=targets)(domain)
        return _apart_case(cases, given) if given else cases

    of_sets = SetPromise(layers=layers[0], targets=targets[0])

    def admits(domain: Domain, drawn: SetCase, left: SetCase) -> bool:
        return of_sets(domain, drawn, left) and _encoder_fits(left.outputs) and _denoising_fits(left)

    return Promised(strategy, admits)


def _encoder_fits(outputs: Outputs) -> bool:
    return outputs.encoder is None or 1 <= outputs.encoder.queries <= outputs.queries


def _denoising_fits(case: SetCase) -> bool:
    if case.outputs.denoising is None:
        return True
    groups, rest = divmod(case.outputs.denoising.queries, 2 * max(1, *map(len, case.targets)))
    return rest == 0 and 1 <= groups <= MOST_GROUPS and any(map(len, case.targets))


@st.composite
def _apart_case(draw: DrawFn, cases: SearchStrategy[SetCase], names: tuple[Apart, ...]) -> SetCase:
    case = draw(cases)
    spare, (*auxiliary, last) = case.outputs.layers[: len(names)], case.outputs.layers[len(names) :]
    apart = dict(zip(names, spare, strict=True))
    return replace(
        case,
        configuration=replace(case.configuration, decoder_layers=len(auxiliary) + 1),
        outputs=replace(
            last,
            auxiliary=tuple(auxiliary),
            encoder=_encoder(draw, apart.get("encoder")),
            denoising=_denoising(draw, apart.get("denoising"), max(map(len, case.targets))),
        ),
    )


def _encoder(draw: DrawFn, layer: Outputs | None) -> Outputs | None:
    return None if layer is None else layer.take(queries=np.arange(draw(st.integers(1, layer.queries))))


def _denoising(draw: DrawFn, layer: Outputs | None, most: int) -> Outputs | None:
    if layer is None or not most:
        return None
    count = 2 * most * draw(st.integers(1, MOST_GROUPS))
    return layer.take(queries=np.arange(count) % layer.queries)
