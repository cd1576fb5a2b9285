"""Strategies for distributed calls: set-prediction cases dealt out to two or three ranks, with named loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.apart import has_losses
from detr_spec.cases import RankCase, SetCase
from detr_spec.invariant import Domain
from detr_spec.strategies.apart import MOST_GROUPS, apart_denoising_fits, grouped, joined_layers
from detr_spec.strategies.drawn_masks import masks_fit
from detr_spec.strategies.masks import fit_masks, mask_cases
from detr_spec.strategies.promises import Promised
from detr_spec.strategies.sets import DISTINCT_REGIMES, set_cases
from detr_spec.values import Outputs, Target, Targets

LOADS = ("uneven", "rank-without-boxes", "clamped", "all-empty")

WORLD_SIZES = (2, 3)

REGIMES = tuple(name for name in DISTINCT_REGIMES if name not in ("empty", "coco"))


def rank_cases(
    *,
    loads: Sequence[str] = LOADS,
    layers: tuple[int, int] = (1, 3),
    images: tuple[int, int] = (1, 3),
    masks: bool = False,
    denoising: bool = False,
) -> Promised[RankCase]:
    """Batches of some images for each of two or three ranks, with the same queries and layers.

    "uneven": each image has targets, at times more than queries. "rank-without-boxes": one rank has none. "clamped":
    fewer targets than ranks, but one. "all-empty": none at all. The regime of a case is its load; a load that is named
    twice is drawn twice as often. With `masks`, outputs and targets have masks too, and mask losses are asked for; with
    `denoising`, ranks that have targets have predictions of denoising queries. Raises `ValueError` for a load that does
    not exist.
    """
    unknown = [name for name in loads if name not in LOADS]
    if unknown:
        raise ValueError(f"no load is called {unknown[0]!r}; the loads are {', '.join(LOADS)}")

    def strategy(domain: Domain) -> SearchStrategy[RankCase]:
        return _rank_case(replace(domain, small=True), tuple(loads), layers, images, masks, denoising)

    def admits(_: Domain, drawn: RankCase, left: RankCase) -> bool:
        enough = len(left.batches) >= min(WORLD_SIZES) and all(
            len(outputs.layers) >= layers[0] and outputs.batch >= images[0] and outputs.queries >= 1
            for outputs, _ in left.batches
        )
        if not enough:
            return False
        return _masks_kept(left) and _load_kept(left) and _crowding_kept(drawn, left) and _denoising_kept(left)

    return Promised(strategy, admits)


def _batch(outputs: Outputs, targets: Targets) -> tuple[Outputs, Targets]:
    return fit_masks(outputs, targets), targets


def _masks_kept(case: RankCase) -> bool:
    return all(masks_fit(outputs, targets, case.configuration.profile.masks) for outputs, targets in case.batches)


def _denoising_kept(case: RankCase) -> bool:
    return all(apart_denoising_fits(*batch, case.configuration) for batch in case.batches)


def _load_kept(case: RankCase) -> bool:
    lengths = [[len(target) for target in targets] for _, targets in case.batches]
    if case.regime in ("uneven", "many-targets"):
        return all(map(all, lengths))
    if case.regime == "rank-without-boxes":
        return sum(not any(rank) for rank in lengths) == 1 and all(all(rank) for rank in lengths if any(rank))
    total = sum(map(sum, lengths))
    return total == 0 if case.regime == "all-empty" else case.regime == "clamped" and 0 < total < len(lengths)


def _crowding_kept(drawn: RankCase, left: RankCase) -> bool:
    """Whether no image has more targets than queries where none had before."""

    def crowded(case: RankCase) -> bool:
        return any(len(target) > outputs.queries for outputs, targets in case.batches for target in targets)

    return crowded(drawn) or not crowded(left)


@st.composite
def _rank_case(
    draw: DrawFn,
    domain: Domain,
    loads: tuple[str, ...],
    layers: tuple[int, int],
    images: tuple[int, int],
    masks: bool,
    denoising: bool,
) -> RankCase:
    load = draw(st.sampled_from(loads))
    sizes = [draw(st.integers(*images)) for _ in range(draw(st.sampled_from(WORLD_SIZES)))]
    total, count = sum(sizes), draw(st.integers(*layers))
    initial = int(denoising and has_losses(domain.profile, "initial_denoising"))
    every = count + (domain.profile.keys.denoising_layers(count) if denoising else 0) + initial
    kind = mask_cases if masks else set_cases
    scenes = kind(regimes=REGIMES, layers=(every, every), images=(total, total), queries=(1, 4), targets=(1, 4))
    whole: SetCase = draw(scenes(domain))
    dealt = [list(range(end - size, end)) for size, end in zip(sizes, accumulate(sizes), strict=True)]
    kept = _kept(draw, load, dealt, whole.targets)
    batches = []
    for own in dealt:
        outputs, targets = whole.outputs.take(images=own), tuple(kept[image] for image in own)
        decoder, others = joined_layers(outputs.layers[:count]), outputs.layers[count + initial :]
        if others:
            groups, first = draw(st.integers(1, MOST_GROUPS)), outputs.layers[count : count + initial]
            decoder = replace(
                decoder,
                denoising=grouped(groups, joined_layers(others), targets),
                initial_denoising=grouped(groups, joined_layers(first), targets) if first else None,
            )
        batches.append(_batch(decoder, targets))
    configuration = replace(whole.configuration, decoder_layers=count)
    return RankCase(configuration=configuration, regime=load, seed=whole.seed, batches=tuple(batches))


def _kept(draw: DrawFn, load: str, dealt: Sequence[Sequence[int]], targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets that a load leaves of each image's; `dealt` has the images of each rank."""
    lengths = [len(target) for target in targets]
    if load == "rank-without-boxes":
        for image in draw(st.sampled_from(dealt)):
            lengths[image] = 0
    elif load == "all-empty":
        lengths = [0] * len(targets)
    elif load == "clamped":
        where = draw(st.sampled_from([range(len(targets)), *dealt]))
        most = len(dealt) - 1
        chosen = draw(st.lists(st.sampled_from(where), min_size=draw(st.sampled_from((1, most))), max_size=most))
        lengths = [min(chosen.count(image), length) for image, length in enumerate(lengths)]
    return tuple(target.take(np.arange(length)) for target, length in zip(targets, lengths, strict=True))
