"""What is left over is compared with the defects of the bank, by the invariants that were asked of both."""

from __future__ import annotations

from pathlib import Path

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.campaign.fingerprints import renewed
from detr_conformance.campaign.hunt import Hunt
from detr_conformance.campaign.matrix import matrix_of
from detr_conformance.causes.fingerprints import (
    FEWEST,
    Fingerprint,
    fingerprints_text,
    known_fingerprints,
    most_like,
    read_fingerprints,
    with_likeness,
)
from detr_conformance.mutants.bank import chosen_mutants
from detr_spec.invariants import all_invariants


def judgement_of(name: str, verdict: Verdict) -> Judgement:
    return Judgement(name, "M1", "MUST", name.partition(".")[0], "", verdict)


def judgements_of(fingerprint: Fingerprint) -> list[Judgement]:
    """What a check of the defect would give, if it found what the survey did."""
    found = [judgement_of(name, Verdict.VIOLATED) for name in sorted(fingerprint.found_by)]
    return found + [judgement_of(name, Verdict.HOLDS) for name in sorted(fingerprint.held_by)]


HELD = frozenset(f"m.held{place}" for place in range(FEWEST))
NEAR = Fingerprint("near", "matcher", "planted near", frozenset({"m.a", "m.b", "m.c"}), HELD)
FAR = Fingerprint("far", "boxes", "planted far", frozenset({"m.d"}), HELD | {"m.a", "m.b"})


def test_the_most_like_is_named_with_how_many_agree() -> None:
    own = [judgement_of(name, Verdict.VIOLATED) for name in ("m.a", "m.b", "m.unasked")]
    own += [judgement_of(name, Verdict.HOLDS) for name in sorted({*HELD, "m.c"})]
    cause = most_like(own, [], [FAR, NEAR])
    assert cause is not None
    assert (cause.kind, cause.name, cause.agree, cause.of) == ("defect", "near", 2, 3)
    assert cause.invariants == ("m.a", "m.b")


def test_what_is_explained_otherwise_does_not_count() -> None:
    own = [judgement_of("m.a", Verdict.VIOLATED), *(judgement_of(name, Verdict.HOLDS) for name in HELD)]
    assert most_like(own, ["m.a"], [NEAR]) is None


def test_little_that_was_asked_of_both_names_none() -> None:
    own = [judgement_of(name, Verdict.VIOLATED) for name in ("m.a", "m.b", "m.c")]
    assert most_like(own, [], [NEAR]) is None


def test_what_is_like_none_names_none() -> None:
    own = [judgement_of(name, Verdict.VIOLATED) for name in ("m.a", "m.d", *sorted(HELD))]
    own += [judgement_of(name, Verdict.HOLDS) for name in ("m.b", "m.c")]
    assert most_like(own, [], [NEAR]) is None


def test_what_holds_is_like_none() -> None:
    assert with_likeness((), [judgement_of(name, Verdict.HOLDS) for name in HELD]) == ()


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    assert set(read_fingerprints(fingerprints_text([NEAR, FAR]))) == {NEAR, FAR}
    (mutant, other) = chosen_mutants(("cross-entropy-plain-mean", "solver-greedy"))
    hunts = [
        Hunt(mutant.id, "detr", "criterion.classification-value", 0, 1, killed=True),
        Hunt(mutant.id, "detr", "criterion.l1-value", 0, 3, killed=False),
    ]
    path = tmp_path / "fingerprints.json"
    path.write_text(fingerprints_text([NEAR, Fingerprint(mutant.id, "old", "old", frozenset({"m.a"}), HELD)]))
    found = read_fingerprints(renewed(matrix_of([mutant, other], hunts, [0], 1, 1), path))
    assert {one.name for one in found} == {"near", mutant.id}
    (own,) = (one for one in found if one.name == mutant.id)
    assert own.found_by == {"criterion.classification-value"}
    assert own.held_by == {"criterion.l1-value"}


def test_the_file_speaks_of_what_is_in_the_bank() -> None:
    bank = {mutant.id: mutant for mutant in chosen_mutants(())}
    ids = {one.id for one in all_invariants()}
    for one in known_fingerprints():
        assert (one.group, one.what) == (bank[one.name].group, bank[one.name].description)
        assert one.found_by
        assert (one.found_by | one.held_by) <= ids


def test_the_right_class_of_defect_is_named_without_its_own_fingerprint() -> None:
    """What a fingerprint of its own is left out for: relatives alone name the class of four in five."""
    known = known_fingerprints()
    right = asked = 0
    for own in known:
        cause = most_like(judgements_of(own), [], [one for one in known if one is not own])
        asked += 1
        right += cause is not None and next(one for one in known if one.name == cause.name).group == own.group
    assert right / asked >= 0.8
