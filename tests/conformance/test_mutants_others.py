"""The checks that other projects have, re-stated: the reference passes each of them, and each can fail."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

import detr_reference
from detr_conformance.campaign import others
from detr_conformance.campaign.others import SUITES, Suite, finds, found_by
from detr_conformance.commands.command_line import run
from detr_conformance.mutants.bank import find_mutant
from detr_conformance.mutants.patch import mutant_package

CAUGHT = {
    others.boxes_there_and_back: "width-and-height-exchanged",
    others.batch_matched_as_alone: "last-image-not-matched",
    others.no_pairs_without_targets: "largest-label-of-nothing",
    others.model_takes_what_it_is_given: "model-pixels-centred-in-place",
    others.focal_loss_of_positives: "focal-loss-alpha-exchanged",
    others.weighted_cross_entropy: "cross-entropy-label-smoothing",
    others.l1_of_two_boxes: "l1-loss-mean-of-coordinates",
    others.giou_of_two_boxes: "giou-loss-sign",
    others.loss_is_a_number_and_trains: "class-head-without-no-object",
}
"""A mutant that each of the checks finds."""


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.project)
def test_the_reference_passes(suite: Suite) -> None:
    assert not finds(suite, detr_reference, seed=1)


@pytest.mark.parametrize("check", [check for suite in SUITES for check in suite.checks], ids=lambda item: item.__name__)
def test_each_check_can_fail(check: Callable[[ModuleType], None]) -> None:
    mutant = mutant_package(find_mutant(CAUGHT[check]))
    assert finds(Suite("one check", "nowhere", (check,)), mutant, seed=0)


def test_a_suite_finds_what_its_checks_look_at_and_nothing_else() -> None:
    (losses,) = (suite for suite in SUITES if suite.project == "IDEA-Research/detrex")
    asked = [find_mutant("l1-loss-mean-of-coordinates"), find_mutant("greedy-matching")]
    assert found_by(losses, asked) == (asked[0],)


def test_the_command_compares_defects_of_the_reference_alone(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["area-of-clamped-sides", "width-and-height-exchanged", "top-k-ascending", "solver-greedy", "k-fixed"]
    assert run(["mutants", "--others", *chosen]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert next(line for line in shown if line[:1] == ["facebookresearch/detr"])[-5:] == ["1", "of", "2", "50", "%"]
    assert shown[-1] == ["all", "of", "them", "together", "1", "of", "2", "50", "%"]
