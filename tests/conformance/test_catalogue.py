from __future__ import annotations

import re
from pathlib import Path

from detr_conformance.commands.catalogue import catalogue
from detr_spec.invariants import all_invariants

PAGE = Path(__file__).parents[2] / "docs" / "catalogue.md"


def test_the_catalogue_in_the_repository_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == catalogue(), "run `detr-spec catalogue > docs/catalogue.md`"


def test_the_catalogue_says_everything_about_every_invariant() -> None:
    page = catalogue()
    for item in all_invariants():
        entry = page.split(f"### {item.id}\n")[1].split("\n### ")[0]
        for text in (item.statement, item.why, item.number, item.level.value, item.formula, item.source, item.breaks):
            assert text in entry, item.id


def test_links_lead_to_headings() -> None:
    page = catalogue()
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in re.findall("^#+ (.*)$", page, re.M)
    }
    links = re.findall(r"\]\(#([^)]*)\)", page)
    assert len(links) > len(all_invariants())
    assert set(links) <= headings


def test_tables_are_not_broken_by_bars() -> None:
    rows = [line for line in catalogue().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
