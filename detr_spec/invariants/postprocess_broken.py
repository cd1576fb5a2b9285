"""Invariants of post-processing for NaN and infinity, which become what is declared. norm §5, P12.

Some queries are broken, by NaN logits or by a number of the box that is not finite. What the other, sound queries give
beside them is compared with what they give alone, so that a defect that has nothing to do with broken numbers is not
reported here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.detections.rules import Candidates
from detr_spec.invariant import invariant
from detr_spec.invariants.detections import (
    Build,
    best_class_rule,
    declared_sizes,
    detect,
    image_candidates,
    pairs_rule,
    premise_accepted,
    ranked_rule,
    require_same_detections,
)
from detr_spec.invariants.shared import require_refusal
from detr_spec.profile import Profile
from detr_spec.strategies import detection_cases
from detr_spec.values import Booleans, Detections, Integers, Outputs
from detr_spec.violation import premise, require, require_equal

SCORE_SOURCE = "norm §5 and §9; the profile's `non_finite_scores`"
BOX_SOURCE = "norm §5 and §9; the profile's `non_finite_boxes`"
CASES = detection_cases()


def _refuses_scores(profile: Profile) -> bool:
    return profile.detection.non_finite_scores == "refuse"


def _sound_queries(case: SetCase) -> Integers:
    """The queries that stay sound, the same in every image: some, and not all; ends the check where there is one."""
    queries, generator = case.outputs.queries, case.generator("sound queries")
    premise(queries > 1, "the only query cannot be broken and sound")
    return np.sort(generator.permutation(queries)[: generator.integers(1, queries)])


def _broken(case: SetCase, sound: Integers) -> Booleans:
    broken = np.ones(case.outputs.queries, dtype=np.bool_)
    broken[sound] = False
    return broken


def _with_broken_scores(case: SetCase, sound: Integers) -> SetCase:
    """The case with NaN for the logits of all other queries."""
    logits = np.where(_broken(case, sound)[:, None], np.nan, case.outputs.logits)
    return replace(case, outputs=replace(case.outputs.main, logits=logits, broken=True))


def _with_broken_boxes(case: SetCase, sound: Integers) -> SetCase:
    """The case with NaN, or ∞, or −∞, for one number of the boxes of all other queries.

    No side is −∞: that is negative too, and what becomes of a negative side is open.
    """
    boxes, generator = case.outputs.boxes.copy(), case.generator("broken number")
    column = generator.integers(4)
    numbers = (np.nan, np.inf, -np.inf) if column < 2 else (np.nan, np.inf)
    boxes[:, _broken(case, sound), column] = generator.choice(numbers)
    return replace(case, outputs=replace(case.outputs.main, boxes=boxes, broken=True))


def _require_sound_alone(
    what: str, found: Detections, alone: Detections, allowed: Candidates, case: SetCase, *, displaced: int
) -> None:
    """Raises `Violation` unless detections are those of the sound queries alone, or the best of these in a top-k.

    displaced: of how many of them broken ones may have taken the place. Where as many pairs are returned as there are
    queries, sound queries alone give fewer.
    """
    profile, sound = case.configuration.profile, len(allowed.scores)
    count, most = len(found.scores), len(alone.scores)
    least = max(0, most - displaced)
    further = case.outputs.queries - sound if pairs_rule(profile) and not profile.detection.takes_k else 0
    if most == sound:
        most += further
    expected = most if least == most else f"{least} … {most}"
    require(least <= count <= most, f"{what}: a wrong number of sound detections", expected=expected, got=count)
    if ranked_rule(profile):
        shared = min(count, len(alone.scores))
        found, alone = _best(found, shared), _best(alone, shared)
    require_same_detections(f"{what}, against sound queries alone", found, alone, allowed, case.configuration)


def _detections_of_others(case: SetCase, sound: Integers) -> int:
    """The most detections that queries which are not sound can give."""
    broken = case.outputs.queries - len(sound)
    return broken * case.configuration.num_classes if pairs_rule(case.configuration.profile) else broken


def _best(found: Detections, count: int) -> Detections:
    """The detections of the highest scores, best first."""
    return _selected(found, np.argsort(-found.scores, kind="stable")[:count])


def _selected(found: Detections, chosen: Booleans | Integers) -> Detections:
    return Detections(found.scores[chosen], found.labels[chosen], found.boxes[chosen])


@invariant(
    "postprocess.broken-scores",
    number="P12",
    formula="z_i(c) = NaN ⇒ (i, c) is kept as no number, last, or dropped, as declared; all others are as without it",
    source=SCORE_SOURCE,
    breaks="NaN replaced by a number; a sort that NaN confuses; a softmax or a maximum over an axis too many",
    applies=lambda profile: profile.detection.non_finite_scores in ("keep", "rank-last", "drop"),
    cases=CASES,
)
def broken_scores(component: Build, case: SetCase) -> None:
    """A broken score becomes what is declared, never a number, and leaves the detections of sound queries as they are.

    A number made of NaN is shown to people as a detection, and a sort that compares with NaN can put all others in
    disorder.
    """
    sound, profile = _sound_queries(case), case.configuration.profile
    given, alone = _with_broken_scores(case, sound), replace(case, outputs=case.outputs.with_decoder_queries(sound))
    answers = zip(detect(component, given), detect(component, alone), image_candidates(alone), strict=True)
    rule = profile.detection.non_finite_scores
    kept = rule != "drop" and not profile.detection.threshold
    displaced = _detections_of_others(case, sound) if rule == "keep" and ranked_rule(profile) else 0
    totals = [len(image.scores) for image in detect(component, case)]
    for image, (found, by_sound, allowed) in enumerate(answers):
        what, finite = f"image {image}, beside broken scores", np.asarray(np.isfinite(found.scores))
        _require_sound_alone(what, _selected(found, finite), by_sound, allowed, case, displaced=displaced)
        if profile.detection.drops_no_object and rule != "drop":
            continue
        if not kept:
            places = np.flatnonzero(~finite).tolist()
            require(not places, f"{what}: scores are no numbers, at {places}", expected=[], got=found.scores[~finite])
            continue
        count = len(finite)
        require_equal(f"{what}: the number of detections changed", count, totals[image])
        if rule == "rank-last" and ranked_rule(profile):
            last = int(finite.sum())
            message = f"{what}: a detection without a score comes before one with a score"
            require(bool(finite[:last].all()), message, expected=f"{last} scores first", got=found.scores)


@invariant(
    "postprocess.no-score-passes",
    number="P12",
    formula="s > threshold is false for s = NaN, so every detection has a score above it, whatever is declared",
    source="norm §5 and §9: a threshold keeps what exceeds it; IEEE 754: NaN exceeds nothing",
    breaks="what does not exceed the threshold is taken out, by `not (s <= threshold)`, which NaN passes",
    applies=lambda profile: profile.detection.threshold and not _refuses_scores(profile),
    cases=CASES,
)
def no_score_passes(component: Build, case: SetCase) -> None:
    """With a declared threshold no detection has a score that is no number.

    What is shown to people passed a comparison with the threshold, and NaN passes none.
    """
    given = _with_broken_scores(case, _sound_queries(case))
    for image, found in enumerate(detect(component, given)):
        places = np.flatnonzero(~np.isfinite(found.scores)).tolist()
        require(not places, f"image {image}: scores are no numbers, at {places}", expected=[], got=found.scores[places])


@invariant(
    "postprocess.broken-scores-refused",
    number="P12",
    formula="z_i(c) = NaN ⇒ an exception",
    source=SCORE_SOURCE,
    breaks="a check of the scores that are returned alone, or of some class's; NaN replaced before the check",
    applies=_refuses_scores,
    cases=CASES,
)
def broken_scores_refused(component: Build, case: SetCase) -> None:
    """A score that is no number is refused, as the profile says.

    A model that has diverged then says so, where others show nothing.
    """
    broken = _with_broken_scores(case, _sound_queries(case))
    _require_refused("a score that is no number", component, case, broken.outputs)


def _require_refused(what: str, component: Build, case: SetCase, broken: Outputs) -> None:
    premise_accepted(case)
    postprocess, sizes = component(case.configuration), declared_sizes(case.sizes, case.configuration.profile)
    require_refusal(what, sound=lambda: postprocess(case.outputs, sizes), broken=lambda: postprocess(broken, sizes))


@invariant(
    "postprocess.broken-boxes",
    number="P12",
    formula="b̂_i is not finite ⇒ its detection is kept as it is, or dropped, as declared; all others are as without it",
    source=BOX_SOURCE,
    breaks=(
        "a box of 0 or of the whole image in place of NaN; infinite boxes treated otherwise than NaN; an image without "
        "detections because of one box"
    ),
    applies=lambda profile: profile.detection.non_finite_boxes in ("keep", "drop"),
    cases=CASES,
)
def broken_boxes(component: Build, case: SetCase) -> None:
    """A detection of a broken box is kept with it or dropped, as declared, and leaves all others as they are.

    A box that is made up is drawn, counted and cropped like any other.
    """
    sound, profile = _sound_queries(case), case.configuration.profile
    given, alone = _with_broken_boxes(case, sound), replace(case, outputs=case.outputs.with_decoder_queries(sound))
    answers = zip(detect(component, given), detect(component, alone), image_candidates(alone), strict=True)
    kept = profile.detection.non_finite_boxes == "keep"
    totals = [len(image.scores) for image in detect(component, case)]
    for image, (found, by_sound, allowed) in enumerate(answers):
        what, finite = f"image {image}, beside broken boxes", np.asarray(np.isfinite(found.boxes).all(axis=-1))
        if kept:
            count = len(found.scores)
            message = f"{what}: the number of detections changed"
            require_equal(message, count, totals[image])
        else:
            require(bool(finite.all()), f"{what}: boxes are not finite", expected=[], got=found.boxes[~finite])
        if not (kept and profile.detection.clamp):
            displaced = 0 if best_class_rule(profile) else _detections_of_others(case, sound)
            _require_sound_alone(what, _selected(found, finite), by_sound, allowed, case, displaced=displaced)


@invariant(
    "postprocess.broken-boxes-refused",
    number="P12",
    formula="b̂_i is not finite ⇒ an exception",
    source=BOX_SOURCE,
    breaks="a check of one coordinate, or of the boxes that are returned alone; a check for NaN, which ∞ passes",
    applies=lambda profile: profile.detection.non_finite_boxes == "refuse",
    cases=CASES,
)
def broken_boxes_refused(component: Build, case: SetCase) -> None:
    """A box that is not finite is refused, as the profile says.

    A model that has diverged then says so, where others draw nothing.
    """
    _require_refused(
        "a box that is not finite", component, case, _with_broken_boxes(case, _sound_queries(case)).outputs
    )
