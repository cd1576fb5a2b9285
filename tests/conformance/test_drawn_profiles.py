"""The reference built to a drawn profile violates nothing: what fails there is wrong in the invariants.

A profile takes a minute; so it is one here, and of it the box operations. DETR_SPEC_DRAWN=0:1000 asks all of so many.
"""

from __future__ import annotations

import os

import pytest

from detr_conformance.running.run import check

DRAWN = os.environ.get("DETR_SPEC_DRAWN")
FIRST, END = map(int, (DRAWN or "7:8").split(":"))


@pytest.mark.parametrize("seed", range(FIRST, END))
def test_nothing_is_violated(seed: int) -> None:
    report = check(f"declared:{seed}", components=None if DRAWN else ["boxes"], examples=5, seed=seed)
    assert not [(judgement.message, report.command(item, judgement)) for item, judgement in report.failing]
