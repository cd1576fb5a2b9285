"""Invariants of distributed training: what ranks share, and what they do not. norm §4 and §7, D1–D5.

A criterion is called in several processes and in one, so that what it gets wrong in one process is reported by the
criterion's own invariants alone. A rank that gives no answer is reported by D5 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce

from detr_spec.calls import PLAIN
from detr_spec.cases import RankCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Distributed
from detr_spec.invariant import invariant, judging
from detr_spec.invariants.criterion_answers import (
    Comparison,
    Judged,
    Term,
    known_matchings,
    layered_terms,
    premise_same_matchings,
    require_all_same_terms,
    with_weights,
)
from detr_spec.losses import COUNTED_METRICS, boxes_counted, num_boxes, num_boxes_of_ranks
from detr_spec.profile import Profile
from detr_spec.strategies import called_cases, rank_cases
from detr_spec.values import Losses, Matching, Outputs, Targets
from detr_spec.violation import PremiseFailed, RankFailure, Violation, premise, require_equal

Build = Callable[[Configuration], Distributed]
Batch = tuple[Outputs, Targets]

LOADED_CASES = called_cases(rank_cases(loads=("uneven", "rank-without-boxes")), (PLAIN, "evaluation", "no-grad"))
MASKED_CASES = rank_cases(loads=("uneven", "rank-without-boxes"), masks=True)
CLAMPED_CASES = rank_cases(loads=("clamped", "clamped", "clamped", "all-empty"))


def averages_over_ranks(profile: Profile) -> bool:
    """Whether the dialect counts num_boxes as the mean over the ranks."""
    return profile.rank_reduction == "mean"


def counts_all_ranks(profile: Profile) -> bool:
    """Whether the dialect counts num_boxes over all ranks, as their mean or their sum."""
    return profile.rank_reduction != "local"


def share_of_rank(profile: Profile, size: int) -> float:
    """What part of the losses of the ranks is that of their union: each of the mean, or of the sum."""
    return 1 / size if averages_over_ranks(profile) else 1.0


def _losses(component: Build, configuration: Configuration, batches: Sequence[Batch]) -> tuple[Losses, ...]:
    """The losses of each rank; raises `Violation` unless there are as many as ranks."""
    answers = component(configuration)(batches).value
    require_equal("a wrong number of ranks answered", len(answers), len(batches))
    return tuple(answers)


def _ranks(component: Build, configuration: Configuration, batches: Sequence[Batch]) -> list[Judged]:
    """The answer of each rank, to be judged with the num_boxes that the profile declares; ends the check likewise."""
    answers = losses_of_ranks(component, configuration, batches)
    return with_divisors(
        [_judged(configuration, batch, losses) for batch, losses in zip(batches, answers, strict=True)]
    )


def losses_of_ranks(component: Build, configuration: Configuration, batches: Sequence[Batch]) -> tuple[Losses, ...]:
    """The losses of each rank; ends the check if one gives none, which "distributed.every-rank-joins" reports."""
    try:
        return _losses(component, configuration, batches)
    except RankFailure as failure:
        raise PremiseFailed(str(failure)) from failure


def with_divisors(ranks: Sequence[Judged]) -> list[Judged]:
    """The answers of all ranks, judged with what the ranks divide losses by together."""
    configuration = ranks[0].configuration
    counts = [boxes_counted(rank.targets, rank.last, configuration) for rank in ranks]
    normalisers = num_boxes_of_ranks(counts, configuration)
    pairs = [sum(len(matching.queries) for matching in rank.union or ()) for rank in ranks]
    divisors = zip(ranks, normalisers, num_boxes_of_ranks(pairs, configuration), strict=True)
    return with_weights([replace(rank, normaliser=own, pairs_normaliser=of_pairs) for rank, own, of_pairs in divisors])


def _alone(component: Build, configuration: Configuration, batch: Batch) -> Judged:
    """The answer to one batch on one process."""
    (losses,) = _losses(component, configuration, [batch])
    return _judged(configuration, batch, losses)


def _judged(configuration: Configuration, batch: Batch, losses: Losses) -> Judged:
    return Judged(configuration, *batch, losses, known_matchings(losses, configuration, *batch))


def _count(ranks: Sequence[Judged]) -> int:
    """What num_boxes counts, on all ranks together."""
    return sum(boxes_counted(rank.targets, rank.last, rank.configuration) for rank in ranks)


def _layers(configuration: Configuration) -> list[int | None]:
    """The auxiliary layers, and None for the last."""
    return [*range(configuration.decoder_layers - 1), None]


def _premise_same_matchings(before: Sequence[Judged], after: Judged) -> None:
    """Ends the check unless some batches, one after the other, are matched as one batch of them is, in every layer."""
    for layers in zip(*(answer.matchings for answer in (*before, after)), strict=True):
        parts: list[Matching] = [matching for part in layers[:-1] for matching in part]
        premise_same_matchings(parts, layers[-1])


@invariant(
    "distributed.mean-of-box-losses",
    number="D1",
    formula=(
        "(1/W) Σ_r L_r = L(union of the ranks' batches), where Σ n / W ≥ 1, for every loss over num_boxes; or "
        "Σ_r L_r = L(union), for every loss, where ranks are summed"
    ),
    source="norm §4 and §7: num_boxes = max(Σ_ranks Σ_b n_b / W, 1), or max(Σ_ranks Σ_b n_b, 1), as declared",
    breaks="num_boxes of each rank's own; not divided by the number of ranks, or divided twice; rank 0's for all",
    cases=LOADED_CASES,
    applies=counts_all_ranks,
    cost=2,
    rarity=3,
)
def mean_of_box_losses(component: Build, case: RankCase) -> None:
    """The mean, or the sum, over the ranks of a loss that all ranks divide alike is that of all images on one process.

    Data parallelism averages gradients over the ranks, or adds them, so that is what is trained: a run on eight devices
    then is the run on one that its recipe was found with.
    """
    configuration, size = case.configuration, len(case.batches)
    ranks = _ranks(component, configuration, case.batches)
    averages = averages_over_ranks(configuration.profile)
    premise(not averages or _count(ranks) >= size, "there are fewer boxes than ranks")
    union = _alone(component, configuration, case.union)
    _premise_same_matchings(ranks, union)
    names = configuration.terms_with("divided by boxes") if averages else configuration.trained
    share = share_of_rank(configuration.profile, size)

    def means(layer: int | None) -> dict[str, Term]:
        answers = [rank.terms(names, layer) for rank in ranks]
        shared = [name for name in answers[0] if all(name in answer for answer in answers)]
        return {name: reduce(Term.plus, (answer[name] for answer in answers)).times(share) for name in shared}

    when = f"as the {'mean' if averages else 'sum'} over {size} ranks"
    require_all_same_terms((means(layer), union.terms(layer=layer), when) for layer in _layers(configuration))


def _require_divisor_of_every_layer(component: Build, case: RankCase, ranks: Sequence[Judged]) -> None:
    """As `_require_declared_divisor`, for what is divided by num_boxes in every decoder layer."""
    names = case.configuration.terms_with("divided by boxes")
    _require_declared_divisor(component, case, ranks, names, _layers(case.configuration))


def _require_declared_divisor(
    component: Build, case: RankCase, ranks: Sequence[Judged], names: Sequence[str], layers: Sequence[int | None]
) -> None:
    """Raises `Violation` unless each rank's losses times the declared num_boxes are those of its batch, undivided."""

    def comparisons() -> Iterator[Comparison]:
        for number, (rank, batch) in enumerate(zip(ranks, case.batches, strict=True)):
            alone = _alone(component, case.configuration, batch)
            _premise_same_matchings([alone], rank)
            assert rank.normaliser is not None
            divisor, own = float(rank.normaliser.value), num_boxes(alone.targets, alone.last, alone.configuration)
            when = f"times the num_boxes of rank {number} among {len(ranks)}, which is {divisor:g}"
            for layer in layers:
                got = {name: term.times(divisor) for name, term in rank.terms(names, layer).items()}
                expected = {name: term.times(own) for name, term in alone.terms(names, layer).items()}
                yield got, expected, when

    require_all_same_terms(comparisons())


@invariant(
    "distributed.denominator",
    number="D1",
    formula=(
        "L_r · (Σ_ranks n / W) = L(batch r alone) · max(n_r, 1), where Σ n / W ≥ 1; without W where ranks are summed; "
        "or L_r = L(batch r alone)"
    ),
    source="norm §4: num_boxes = max(Σ_ranks Σ_b n_b / W, 1); the profile says where each rank counts for itself",
    breaks="num_boxes of each rank's own; divided by another number of ranks; matches counted in place of targets",
    cases=LOADED_CASES,
    cost=2,
    rarity=2,
)
@invariant(
    "distributed.mask-denominator",
    number="D1",
    formula="L_r · (Σ_ranks n / W) = L(batch r alone) · max(n_r, 1) for loss_mask and loss_dice, where Σ n / W ≥ 1",
    source="norm §4: the mask losses are divided by num_boxes, as the box losses are",
    breaks="masks divided by the matches of their own rank, while boxes are divided by the mean over the ranks",
    cases=MASKED_CASES,
    cost=2,
)
def denominator(component: Build, case: RankCase) -> None:
    """Each rank divides by the declared num_boxes: the mean number of boxes over the ranks, their sum, or its own.

    Where each rank divides by its own number instead of the mean, an object counts for less the more objects happen to
    be beside it on its rank.
    """
    _require_divisor_of_every_layer(component, case, _unclamped(component, case))


def _unclamped(component: Build, case: RankCase) -> list[Judged]:
    """The answer of each rank; ends the check where the declared num_boxes is the clamp's 1."""
    ranks = _ranks(component, case.configuration, case.batches)
    declared_mean = averages_over_ranks(case.configuration.profile)
    premise(not declared_mean or _count(ranks) >= len(ranks), "there are fewer boxes than ranks")
    return ranks


@invariant(
    "distributed.clamp",
    number="D2",
    formula="Σ_ranks n / W < 1 ⇒ num_boxes = 1 on every rank",
    source="norm §4: num_boxes is at least 1, after the division by W",
    breaks="the clamp before the division, so that one box among eight ranks weighs eight times; no clamp",
    cases=CLAMPED_CASES,
    applies=averages_over_ranks,
    cost=2,
    rarity=2,
)
def clamp(component: Build, case: RankCase) -> None:
    """With fewer boxes than ranks, every rank divides by 1.

    The clamp keeps a nearly empty batch from having the largest gradient of the run.
    """
    crowded = any(len(target) > outputs.queries for outputs, targets in case.batches for target in targets)
    premise(not crowded, "some targets have no query, which another invariant is about")
    ranks = _ranks(component, case.configuration, case.batches)
    premise(_count(ranks) < len(ranks), "there are as many boxes as ranks")
    _require_divisor_of_every_layer(component, case, ranks)


def classes_are_local(profile: Profile) -> bool:
    """Whether the classification loss has a divisor of its own, which other ranks have no part in."""
    return "divided by boxes" not in profile.class_loss.laws and profile.rank_reduction != "sum"


@invariant(
    "distributed.local-classification",
    number="D3",
    formula="loss_ce of rank r = loss_ce of its batch alone",
    source="norm §4: a weighted mean over the queries of one rank, independent of num_boxes",
    breaks="loss_ce averaged over the ranks, whose gradients are then averaged again; divided by num_boxes",
    cases=rank_cases(loads=("uneven", "rank-without-boxes", "clamped")),
    applies=judging("classification", classes_are_local),
    cost=2,
)
def local_classification(component: Build, case: RankCase) -> None:
    """A rank's cross-entropy is that of its own batch, whatever the other ranks have.

    It is a mean over its queries already, which are as many on every rank.
    """

    def comparisons() -> Iterator[Comparison]:
        for number, rank in enumerate(_ranks(component, case.configuration, case.batches)):
            alone = _alone(component, case.configuration, case.batches[number])
            _premise_same_matchings([alone], rank)
            for layer in _layers(case.configuration):
                got, expected = (answer.terms(["classification"], layer) for answer in (rank, alone))
                yield got, expected, f"on rank {number} among {len(case.batches)}"

    require_all_same_terms(comparisons())


@invariant(
    "distributed.same-batch",
    number="D4",
    formula="L_r(x, …, x) = L(x) for every loss and metric and every rank r; L(x)/W for losses where ranks are summed",
    source="norm §7; norm §4: Σ_ranks n / W = n where every rank has n",
    breaks="num_boxes summed over ranks and not divided, or divided twice; losses averaged or summed over ranks",
    cases=rank_cases(),
    cost=2,
    rarity=2,
)
def same_batch(component: Build, case: RankCase) -> None:
    """Where all ranks have the same batch, each has its losses and metrics on one process, or its share of the losses.

    So a run can be moved to another number of devices, and its losses stay comparable.
    """
    configuration, size = case.configuration, len(case.batches)
    batch, names = case.batches[case.seed % size], layered_terms(configuration)
    alone = _alone(component, configuration, batch)
    share = 1 / size if configuration.profile.rank_reduction == "sum" else 1.0

    def expected(layer: int | None) -> dict[str, Term]:
        """The terms that a rank has; metrics of counts have no divisor that ranks share."""
        found = alone.terms(names, layer)
        return {name: term if name in COUNTED_METRICS else term.times(share) for name, term in found.items()}

    def comparisons() -> Iterator[Comparison]:
        for number, rank in enumerate(_ranks(component, configuration, [batch] * size)):
            _premise_same_matchings([alone], rank)
            for layer in _layers(configuration):
                when = f"on rank {number} of {size} with the same batch"
                yield rank.terms(names, layer), expected(layer), when

    require_all_same_terms(comparisons())


@invariant(
    "distributed.every-rank-joins",
    number="D5",
    formula="every rank answers, whatever the ranks' numbers of boxes, 0 among them, and of images",
    source="norm §7: a rank without boxes still joins every collective",
    breaks=(
        "an all-reduce under a condition, such as `if n > 0`, or one for each image; an early return, or an "
        "exception, before it"
    ),
    cases=rank_cases(),
    cost=2,
)
def every_rank_joins(component: Build, case: RankCase) -> None:
    """Every rank answers in bounded time, also when it or another rank has no boxes, or fewer images than the others.

    A collective that one rank leaves out leaves the others waiting: the run stands still until its time limit, hours
    into training, on the first batch without an object.
    """
    try:
        _losses(component, case.configuration, case.batches)
    except RankFailure as failure:
        counts = [sum(map(len, targets)) for _, targets in case.batches]
        raise Violation(str(failure), expected="an answer of every rank", boxes_of_ranks=counts) from failure
