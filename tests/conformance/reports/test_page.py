"""The page in a browser: what it shows, its filters, both colour schemes, a phone's width, and hostile texts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from detr_conformance.reports.page import MOST_PICTURES, as_html
from detr_conformance.running.report import Report

Open = Callable[..., Any]
PHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.fixture(scope="module")
def page_of_full(full: Report) -> str:
    return as_html(full)


def visible(page: Any, selector: str) -> list[str]:
    """The texts of what a selector finds and the page shows."""
    found: list[str] = page.evaluate(
        "(selector) => [...document.querySelectorAll(selector)]"
        ".filter((item) => item.checkVisibility()).map((item) => item.innerText.trim())",
        selector,
    )
    return found


def overflow(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_it_shows_the_run_the_matrix_and_the_findings(opened: Open, page_of_full: str) -> None:
    page = opened(page_of_full)
    assert page.title() == "detr-spec: 2 implementations"
    assert page.inner_text("h1") == "2 implementations"
    assert page.inner_text(".outcome") == "7 judgements fail"
    assert "seed 7, 100 examples" in page.inner_text(".given")
    counts = dict(zip(visible(page, ".counts dt"), visible(page, ".counts dd"), strict=True))
    assert counts["violated"] == "3"
    assert counts["holds"] == "2"
    rows = visible(page, "#matrix tbody th[scope=row]")
    assert [row.split()[0] for row in rows if row.startswith("matcher.")] == [
        "matcher.optimal-cost",
        "matcher.valid-pairs",
        "matcher.repeatable",
    ]
    assert "heads.shapes" not in " ".join(rows)
    assert "heads" in page.inner_text("main > section > .aside")
    cells = page.query_selector_all("#matrix td [aria-label]")
    assert len(cells) == 12
    assert len(visible(page, "details.finding")) == 9
    assert [len(page.query_selector_all(f"#matrix {tag}[scope]")) > 0 for tag in ("thead th", "tbody th")] == [True] * 2


def test_a_mark_leads_to_its_finding_with_pictures_numbers_and_command(opened: Open, page_of_full: str) -> None:
    page = opened(page_of_full)
    row = page.locator("#matrix tr", has_text="matcher.optimal-cost")
    row.locator("a").first.click()
    finding = page.locator("details[open]", has_text="matcher.optimal-cost")
    assert finding.count() == 1
    text = finding.inner_text()
    for said in ("their matching", "the norm's matching", "times what is allowed", "optimal pairs"):
        assert said in text
    assert finding.locator("svg[role=img][aria-label]").count() == 2
    assert finding.locator("summary").bounding_box()["y"] >= page.locator("#filters").bounding_box()["height"] - 1
    assert "--invariant matcher.optimal-cost --seed 7 --examples 100" in finding.locator(".command code").inner_text()
    page.evaluate("window.setTimeout = () => 0")  # so that what the button then says stays
    finding.get_by_role("button", name="Copy").click()
    finding.get_by_text(re.compile("Copied|Selected")).wait_for()


def test_what_is_open_from_the_start_offers_its_command_though_nobody_heard_it_open(
    opened: Open, page_of_full: str
) -> None:
    deaf = "<script>addEventListener('toggle', (event) => event.stopImmediatePropagation(), true)</script>"
    page = opened(page_of_full.replace("<head>", f"<head>{deaf}"))
    assert page.locator("details[open]").get_by_role("button", name="Copy").count() == 1


FILTERS = [
    ("verdict", "failing", 7, 5),
    ("verdict", "expected violation", 1, 1),
    ("verdict", "holds", 0, 2),
    ("component", "matcher", 4, 3),
    ("implementation", "1", 4, 6),
    ("level", "SHOULD", 2, 1),
]
"""A filter, a choice, and how many of 9 findings and 6 invariants it leaves."""


def test_each_filter_leaves_what_it_says(opened: Open, page_of_full: str) -> None:
    page = opened(page_of_full)
    for field, value, findings, rows in FILTERS:
        page.select_option(f"select[name={field}]", value)
        require_shown(page, f"{rows} of 6 invariants, {findings} of 9 findings")
        assert len(visible(page, "details.finding")) == findings
        assert len(visible(page, "#matrix tbody th[scope=row]")) == rows
        assert len(visible(page, "#matrix thead th")) == (2 if field == "implementation" else 3)
        page.click("button[type=reset]")
        require_shown(page, "6 of 6 invariants, 9 of 9 findings")


def test_text_and_other_filters_go_together(opened: Open, page_of_full: str) -> None:
    page = opened(page_of_full)
    page.fill("input[name=text]", "ValueError")
    require_shown(page, "0 of 6 invariants, 1 of 9 findings")
    page.fill("input[name=text]", "REPEATABLE")
    require_shown(page, "1 of 6 invariants, 2 of 9 findings")
    page.select_option("select[name=implementation]", "0")
    require_shown(page, "1 of 6 invariants, 1 of 9 findings")
    assert visible(page, "section.implementation h3") == ["first profile detr, my folder/loss.py:FIRST"]


def require_shown(page: Any, text: str) -> None:
    """Waits until the page says how much it shows; raises `AssertionError` where it says something else."""
    from playwright.sync_api import expect

    expect(page.locator("#shown")).to_have_text(text)


def test_it_is_used_from_the_keyboard(opened: Open, page_of_full: str) -> None:
    page = opened(page_of_full)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert page.locator("details[open]").count() == 1, "the first that fails is open"
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 0
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1


def test_it_is_read_without_script(opened: Open, page_of_full: str) -> None:
    page = opened(page_of_full, java_script_enabled=False)
    assert not page.is_visible("#filters")
    assert page.locator("details.finding").count() == 9
    assert page.locator("details[open] svg").first.is_visible()
    assert page.locator("details[open] .command code").is_visible()
    assert page.locator("button:visible").count() == 0


@pytest.mark.parametrize("name", ["full", "hostile"])
def test_nothing_is_wider_than_a_phone(name: str, request: pytest.FixtureRequest, opened: Open) -> None:
    page = opened(as_html(request.getfixturevalue(name)), **PHONE)
    assert overflow(page) <= 0
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert overflow(page) <= 0
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('.statement')).fontSize)") >= 14


def test_light_and_dark_are_both_legible(opened: Open, page_of_full: str) -> None:
    brightness = {}
    page = opened(page_of_full)
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for selector, on in ((".given", "body"), (".statement", ".finding"), (".what", ".finding"), ("pre", "pre")):
            ink = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
            paper = page.evaluate(f"getComputedStyle(document.querySelector('{on}')).backgroundColor")
            assert contrast(ink, paper) >= 4.5, (scheme, selector)
        ink = page.evaluate("getComputedStyle(document.querySelector('svg .name')).fill")
        paper = page.evaluate("getComputedStyle(document.querySelector('.finding')).backgroundColor")
        assert contrast(ink, paper) >= 4.5, scheme
        brightness[scheme] = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert brightness["light"] > 0.8
    assert brightness["dark"] < 0.1


def luminance(colour: str) -> float:
    """The relative luminance of a colour such as rgb(1, 2, 3)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_hostile_texts_stay_texts(opened: Open, hostile: Report) -> None:
    page = opened(as_html(hostile))
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, object, embed, link, base, a[href^=javascript]").count() == 0
    assert (
        page.evaluate(
            "[...document.querySelectorAll('*')].flatMap((item) => item.getAttributeNames())"
            ".filter((name) => name.startsWith('on')).length"
        )
        == 0
    )
    assert page.locator("h1").count() == 1
    assert page.locator("details.finding").count() == 27
    text = page.inner_text("body")
    assert "<script>window.hacked = 1</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "nul \\x00 escape \\x1b[31m" in text
    assert "more characters)" in page.text_content("main")
    assert "partial" in page.inner_text(".partial")


def test_the_page_is_one_file_of_bounded_size(hostile: Report, full: Report) -> None:
    assert len(as_html(hostile)) < 3_000_000
    violation = full.implementations[0].judgements[0]
    many = replace(full.implementations[0], judgements=(violation,) * (MOST_PICTURES + 5))
    text = as_html(replace(full, implementations=(many,)))
    assert text.count("their matching</figcaption>") == MOST_PICTURES
    assert "The last 5 of these have no pictures" in text
    assert "http://" not in text
    assert "https://" not in text


def test_reports_without_findings_say_so(opened: Open, full: Report) -> None:
    good = replace(full.implementations[1], judgements=full.implementations[1].judgements[1:2])
    page = opened(as_html(replace(full, implementations=(good,))))
    assert page.inner_text(".outcome") == "Nothing fails"
    assert "There is nothing to look into." in page.inner_text("#findings")
    assert page.inner_text("h1") == "second profile deformable"
    page = opened(as_html(Report("1", 0, 1, (), interrupted=True)))
    assert page.inner_text(".outcome") == "Nothing failed so far"
    assert "partial" in page.inner_text(".partial")
