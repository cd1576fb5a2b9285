"""Invariants of the matcher for NaN and infinity, narrow dtypes and wrong labels: refused, or ranked last. norm §3.

M15 and M17–M19.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import SHOULD, Domain, invariant
from detr_spec.invariants.matcher import Build, answered, matched, matched_as_drawn
from detr_spec.invariants.shared import (
    one_to_one,
    require_optimal,
    require_optimal_matchings,
    require_refusal,
    require_refused,
    vary,
    with_broken_label,
)
from detr_spec.matching.costs import image_costs
from detr_spec.profile import Profile
from detr_spec.strategies import Promised, set_cases
from detr_spec.values import NARROW_DTYPES, UNIFORM_DTYPES, Booleans, Floats, Integers, Matching, Outputs, part_dtypes
from detr_spec.violation import Raised, premise, require

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SOUND_REGIMES = ("general", "confident", "crowded", "one-class")
SOUND_CASES = set_cases(regimes=SOUND_REGIMES, images=(1, 2), targets=(1, 5))
FEW_QUERIES_REGIMES = ("general", "crowded", "more-targets-than-queries")
"""Regimes in which, with few queries and as many targets, a broken query is matched beside the sound ones."""

VANISHING_LOGIT = -700.0
"""A finite logit whose probability is below 10⁻³⁰³, as good as the 0 of −∞."""


def _refuses_logits(profile: Profile) -> bool:
    return profile.non_finite_logits == "refuse"


def _ranks_some_last(profile: Profile) -> bool:
    return one_to_one(profile) and "rank-last" in (profile.non_finite_logits, profile.non_finite_boxes)


def _premise_classes_count(configuration: Configuration) -> None:
    """Ends the check if the classes do not enter the cost: an implementation may ignore what has no weight."""
    premise(configuration.is_matched_by("logits"), "classes have no part in the cost")


def _with_logit(case: SetCase, number: float) -> Outputs:
    """The case's predictions with one logit replaced, of a class that one of the image's targets has."""
    generator = case.generator("broken logit")
    logits = case.outputs.logits.copy()
    image, query = generator.integers(case.outputs.batch), generator.integers(case.outputs.queries)
    columns = case.columns(int(image), case.targets[image].labels)
    logits[image, query, generator.choice(columns)] = number
    return replace(case.outputs.main, logits=logits, broken=True)


@invariant(
    "matcher.nan-logit-refused",
    number="M15",
    formula="z_i[y_j] = NaN ⇒ an exception",
    source="norm §3: a NaN logit is refused; the profile's `non_finite_logits`",
    breaks="NaN costs replaced although the profile does not say so; a solver that accepts NaN",
    applies=_refuses_logits,
    cases=SOUND_CASES,
)
def nan_logit_refused(component: Build, case: SetCase) -> None:
    """A NaN logit of a target's class is refused, as the profile says.

    A diverged network must stop the run. Matched in silence, its NaN reaches the losses steps later, far
    from the cause.
    """
    _premise_classes_count(case.configuration)
    require_refused("a NaN logit", component, case, outputs=_with_logit(case, np.nan))


@invariant(
    "matcher.infinite-logit-refused",
    number="M15",
    formula="z_i[k] = +∞ ⇒ softmax(z_i) = NaN ⇒ an exception",
    source="norm §3: a +inf logit is refused; the profile's `non_finite_logits`",
    breaks="NaN costs replaced although the profile does not say so; a solver that accepts NaN",
    applies=lambda profile: profile.has_no_object and _refuses_logits(profile),
    cases=SOUND_CASES,
)
def infinite_logit_refused(component: Build, case: SetCase) -> None:
    """A logit of +inf is refused by a softmax matcher, as the profile says.

    The softmax of +inf is NaN: overflow is how networks in narrow dtypes diverge first.
    """
    _premise_classes_count(case.configuration)
    require_refused("a logit of +inf", component, case, outputs=_with_logit(case, np.inf))


@invariant(
    "matcher.nan-box-refused",
    number="M15",
    formula="NaN in b̂_i or b_j ⇒ an exception",
    source="norm §2 and §3: a NaN box is refused; the profile's `non_finite_boxes`; detr issue 101",
    breaks="boxes that are not checked; NaN costs replaced; a comparison that NaN passes",
    applies=lambda profile: profile.non_finite_boxes == "refuse" and profile.matches_by("boxes"),
    cases=SOUND_CASES,
)
def nan_box_refused(component: Build, case: SetCase) -> None:
    """A NaN in a predicted or a target box is refused, as the profile says.

    A NaN box has no distance to anything; an answer would be an accident of how the solver compares NaN.
    """
    premise(case.configuration.is_matched_by("boxes"), "boxes have no part in the cost")
    generator = case.generator("broken box")
    image, coordinate = generator.integers(case.outputs.batch), generator.integers(4)
    boxes, targets = case.outputs.boxes.copy(), list(case.targets)
    if predicted := bool(generator.integers(2)):
        boxes[image, generator.integers(case.outputs.queries), coordinate] = np.nan
    else:
        target_boxes = targets[image].boxes.copy()
        target_boxes[generator.integers(len(target_boxes)), coordinate] = np.nan
        targets[image] = replace(targets[image], boxes=target_boxes, broken=True)
    broken = replace(case.outputs.main, boxes=boxes, broken=True)
    require_refused(f"a NaN in a {'predicted' if predicted else 'target'} box", component, case, broken, tuple(targets))


@invariant(
    "matcher.minus-infinite-logit",
    number="M15",
    formula="z_i[k] = −∞ ⇒ p_i[k] = 0, and M is the optimum",
    source="norm §3: a −inf logit is fine",
    breaks="every logit that is not finite refused; 0 · ∞ in a formula with logarithms of probabilities",
    applies=lambda profile: profile.class_cost.of_nothing_is_finite,
    cases=SOUND_CASES,
)
def minus_infinite_logit(component: Build, case: SetCase) -> None:
    """A logit of −inf counts as a probability of 0: it is accepted, and the matching is optimal.

    Models mask classes with −inf; every cost stays finite.
    """
    configuration = case.configuration
    masked = _masked_columns(case)
    logits = case.outputs.logits
    given = replace(case.outputs.main, logits=np.where(masked, -np.inf, logits), broken=True)
    meant = replace(case.outputs.main, logits=np.where(masked, VANISHING_LOGIT, logits))
    matched_as_drawn(component, configuration, case.outputs, case.targets)
    matchings = answered(component, configuration, given, case.targets)
    require_optimal_matchings("the matching with logits of -inf", matchings, meant, case.targets, configuration)


def _narrow_cases(domain: Domain) -> SearchStrategy[SetCase]:
    """Cases in the narrow dtypes that the implementation does not declare; in float32 where it declares both."""
    declared = {part_dtypes(dtype).logits for dtype in domain.limits.dtypes}
    undeclared = tuple(dtype for dtype in NARROW_DTYPES if dtype not in declared)
    return SOUND_CASES(domain.in_dtypes(undeclared or ("float32",)))


@invariant(
    "matcher.narrow-dtype-refused",
    number="M17",
    level=SHOULD,
    formula="dtype(z, b̂) ∈ {float16, bfloat16} on the CPU, and not declared ⇒ an exception",
    source="norm §3: float16 and bfloat16 on the CPU are refused; the profile's `narrow_dtypes`",
    breaks="costs computed in three digits, in which most queries tie; a silent conversion of one input alone",
    applies=lambda profile: profile.narrow_dtypes == "refuse",
    cases=Promised(_narrow_cases, SOUND_CASES.admits),
    undeclared_dtypes=True,
)
def narrow_dtype_refused(component: Build, case: SetCase) -> None:
    """On the CPU, predictions in float16 or bfloat16 are refused, unless the implementation says it computes in them.

    In bfloat16 a cost has three digits, and hundreds of queries tie: the matching is then decided by their order.
    """
    configuration = case.configuration
    premise(configuration.dtype in NARROW_DTYPES, "the implementation computes in every narrow dtype")
    premise(configuration.device == "cpu", "only on the CPU are narrow dtypes refused")
    matcher = component(configuration)
    require_refusal(
        f"predictions in {configuration.dtype}, which is not among the declared dtypes,",
        sound=lambda: _answered_in_another_dtype(component, case),
        broken=lambda: matcher(case.outputs, case.targets),
    )


def _answered_in_another_dtype(component: Build, case: SetCase) -> object:
    """What a matcher gives in the finest dtype in which it answers; raises what it raises in the finest of all."""
    refusals = []
    for dtype in UNIFORM_DTYPES:
        if dtype != case.configuration.dtype:
            try:
                return component(replace(case.configuration, dtype=dtype))(case.outputs, case.targets)
            except Raised as refusal:
                refusals.append(refusal)
    raise refusals[0]


def _columns(case: SetCase, image: int) -> int:
    """How many columns labels may name in an image, or phrases."""
    return case.configuration.columns if case.outputs.phrases is None else case.classes(image)


def _require_label_refused(component: Build, case: SetCase, labels: Callable[[int], Sequence[int]]) -> None:
    """Raises `Violation` unless one of some labels, in place of a target's own, is refused.

    labels: given how many columns these may name.
    """
    _premise_classes_count(case.configuration)
    generator = case.generator("foreign label")
    image = int(generator.integers(case.outputs.batch))
    label = int(generator.choice(labels(_columns(case, image))))
    targets = with_broken_label(case, image, label, generator)
    what = f"a target of label {label}, where the number of columns is {_columns(case, image)},"
    require_refused(what, component, case, targets=targets)


@invariant(
    "matcher.foreign-label-refused",
    number="M18",
    formula="y_j ≥ C ⇒ an exception, C the number of logit columns",
    source="norm §3: a label beyond K is refused; the profile's `label_beyond_range`",
    breaks="labels clamped to the last column, or wrapped round; category ids in place of class indices",
    applies=lambda profile: profile.label_beyond_range == "refuse",
    cases=SOUND_CASES,
)
def foreign_label_refused(component: Build, case: SetCase) -> None:
    """A target whose label has no logit column is refused, as the profile says.

    Clamped, a category id beyond num_classes is matched, and trained, as whatever class is the last.
    """
    _require_label_refused(component, case, lambda columns: (columns, columns + 1, columns + 100))


@invariant(
    "matcher.negative-label-refused",
    number="M18",
    level=SHOULD,
    formula="y_j < 0 ⇒ an exception",
    source="norm §3: classes are 0 … K − 1; the published DETR lets −1 pass; the profile's `label_beyond_range`",
    breaks="a negative label that indexes from the end; an ignore index left in the targets",
    applies=lambda profile: profile.label_beyond_range == "refuse",
    cases=SOUND_CASES,
)
def negative_label_refused(component: Build, case: SetCase) -> None:
    """A target whose label is negative is refused, as the profile says.

    Most frameworks count it from the end: −1, the mark of what is to be ignored, is matched as the last column.
    """
    _require_label_refused(component, case, lambda columns: (-1, -columns, -100))


@invariant(
    "matcher.no-weight-refused",
    number="M19",
    level=SHOULD,
    formula="λ_class = λ_bbox = λ_giou = 0 ⇒ an exception",
    source="norm §3: all three weights zero is refused",
    breaks="weights that are not looked at: every matching is then optimal, and training follows none",
    cases=SOUND_CASES,
    applies=lambda profile: not profile.further_costs,
    cost=10,
    rarity=3,
)
def no_weight_refused(component: Build, case: SetCase) -> None:
    """A matcher whose three cost weights are all zero is refused, when it is built or when it is asked.

    With no term left every matching costs the same: a misspelt option, and not an ablation.
    """
    weightless = vary(case.configuration, cost_class=0.0, cost_bbox=0.0, cost_giou=0.0)
    require_refusal(
        "a matcher of three zero weights",
        sound=lambda: component(case.configuration)(case.outputs, case.targets),
        broken=lambda: component(weightless)(case.outputs, case.targets),
    )


def _masked_columns(case: SetCase) -> Booleans:
    """For about half of the queries, one logit column; bool [B, Q, C]."""
    generator = case.generator("masked logits")
    batch, queries, columns = case.outputs.logits.shape
    masked = np.arange(columns) == generator.integers(columns, size=(batch, queries, 1))
    return np.asarray(masked & (generator.integers(2, size=(batch, queries, 1)) == 1))


def _with_broken_queries(case: SetCase) -> tuple[Outputs, Integers]:
    """The predictions with some queries broken as the profile ranks last, and the sound ones' indices.

    The same queries in every image: one or two, but not all. Ends the check where there is no second query.
    """
    configuration, generator = case.configuration, case.generator("broken queries")
    queries = case.outputs.queries
    premise(queries > 1, "the only query cannot be ranked")
    broken = generator.permutation(queries)[: generator.integers(1, min(2, queries - 1), endpoint=True)]
    logits, boxes = case.outputs.logits.copy(), case.outputs.boxes.copy()
    ranked = [
        configuration.profile.non_finite_logits == "rank-last" and configuration.is_matched_by("logits"),
        configuration.profile.non_finite_boxes == "rank-last" and configuration.is_matched_by("boxes"),
    ]
    premise(any(ranked), "what can be broken has no part in the cost")
    if generator.choice(np.flatnonzero(ranked)) == 0:
        logits[:, broken] = _broken_logits(case, generator)
    else:
        boxes[:, broken, generator.integers(4)] = np.nan
    return replace(case.outputs.main, logits=logits, boxes=boxes, broken=True), np.setdiff1d(np.arange(queries), broken)


def _broken_logits(case: SetCase, generator: np.random.Generator) -> Floats:
    """Logits [C] that make every class cost NaN: NaN throughout, or in a softmax one NaN or +inf."""
    columns = case.outputs.logits.shape[-1]
    if not case.configuration.profile.has_no_object:
        return np.full(columns, np.nan)
    row = np.zeros(columns)
    row[generator.integers(columns)] = generator.choice([np.nan, np.inf])
    return row


@invariant(
    "matcher.broken-queries-rank-last",
    number="M15",
    formula="a broken query is matched ⇒ every sound query is; |M ∩ broken| = max(0, min(Q, n) − |sound|)",
    source="norm §7, M15; the profile's `non_finite_logits` and `non_finite_boxes`",
    breaks="NaN replaced by 0, by a number below some sound cost, or by the cost of a perfect pair",
    applies=_ranks_some_last,
    cases=set_cases(regimes=SOUND_REGIMES, images=(1, 2), queries=(2, 6), targets=(1, 6)),
)
def broken_queries_rank_last(component: Build, case: SetCase) -> None:
    """A query with broken predictions is matched only when every sound query is, as the profile says.

    Whoever replaces NaN costs promises that training survives a few broken queries; one that takes an object
    from a sound query breaks that promise.
    """
    outputs, sound = _with_broken_queries(case)
    for image, matching in enumerate(matched(component, case.configuration, outputs, case.targets)):
        expected = min(len(sound), len(case.targets[image]))
        got = int(np.isin(matching.queries, sound).sum())
        require(
            got == expected,
            f"image {image}: a broken query is matched in place of a sound one",
            expected=f"{expected} matched queries among the sound ones, {sound.tolist()}",
            got=matching.pairs(),
        )


@invariant(
    "matcher.sound-queries-stay-optimal",
    number="M15",
    formula="Σ C_ij over the pairs of sound queries = min over their assignments",
    source="norm §7, M15; the profile's `non_finite_logits` and `non_finite_boxes`",
    breaks="NaN replaced by the dtype's largest number, in whose roundings the sound costs vanish",
    applies=_ranks_some_last,
    cases=set_cases(regimes=FEW_QUERIES_REGIMES, images=(1, 2), queries=(4, 5), targets=(4, 5)),
)
def sound_queries_stay_optimal(component: Build, case: SetCase) -> None:
    """Beside broken queries, the sound ones are matched at least total cost.

    A huge number in place of NaN ranks last but can swallow the digits of all other costs inside the solver.
    """
    configuration = case.configuration
    outputs, sound = _with_broken_queries(case)
    matchings = matched(component, configuration, outputs, case.targets)
    kept = case.outputs.main.take(queries=sound)
    for image, cost in enumerate(image_costs(kept, case.targets, configuration)):
        matching = _among(sound, matchings[image])
        premise(len(matching.queries) == min(cost.shape), "a broken query took the place of a sound one")
        require_optimal(f"image {image}, the sound queries", matching, cost, configuration.dtype)


def _among(sound: Integers, matching: Matching) -> Matching:
    """The pairs of sound queries, in the indices of the sound ones."""
    kept = np.isin(matching.queries, sound)
    return Matching(np.searchsorted(sound, matching.queries[kept]), matching.targets[kept])
