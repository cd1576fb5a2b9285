"""Markdown tells what failed, shows hostile text as text, and stays below the size that GitHub shows."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from detr_conformance.reports.markdown import LARGEST, as_markdown
from detr_conformance.running.report import Report

OURS = {"details", "summary", "code", "p"}


def rendered(text: str) -> str:
    html: str = MarkdownIt("commonmark").enable("table").render(text)
    return html


def test_what_does_not_plainly_hold_has_a_row(full: Report) -> None:
    text = as_markdown(full)
    assert text.startswith("## detr-spec: 7 of 14 judgements fail\n")
    table = rendered(text)
    assert "1 holds, 3 violated, 1 expected violation, 1 not provided, 1 error" in table
    rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
    names = [re.findall(r"<code>(.*?)</code>", row)[0] for row in rows if "<code>" in row]
    assert len(names) == 9
    assert names.count("matcher.valid-pairs") == 1
    assert "heads.shapes" not in names
    assert any("it is greedy, and says so" in row for row in rows)


def test_each_failure_has_statement_numbers_and_command(full: Report) -> None:
    text = as_markdown(full)
    assert text.count("<details>") == text.count("</details>") == 7
    block = next(part for part in text.split("<details>") if "matcher.optimal-cost</code>, first" in part)
    assert "What matcher.optimal-cost states." in block
    assert "optimal pairs [[0, 1], [1, 0]]" in block
    assert "detr-spec check 'my folder/loss.py:FIRST'" in block


def test_a_run_without_failures_says_so(full: Report) -> None:
    good = replace(full.implementations[1], judgements=full.implementations[1].judgements[1:2])
    text = as_markdown(replace(full, implementations=(good,)))
    assert "nothing failed" in text
    assert "<details>" not in text
    assert "| invariant | |" not in text


def test_a_partial_report_says_so(full: Report) -> None:
    assert "**Interrupted: this report is partial.**" in as_markdown(replace(full, interrupted=True))


def test_no_text_breaks_out(hostile: Report) -> None:
    text = as_markdown(hostile)
    table = rendered(text)
    tags = set(re.findall(r"<([a-z0-9]+)", table))
    assert tags <= OURS | {"h2", "table", "thead", "tbody", "tr", "th", "td", "pre", "strong"}
    assert "forged heading</h" not in table
    assert re.findall("<strong>(.*?)</strong>", table) == ["Interrupted: this report is partial."]
    rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
    assert {row.count("<td>") for row in rows} <= {0, 2, 5}
    assert len(rows) == 1 + 3 + 1 + 3 * 9
    assert "\x00" not in text
    text.encode("utf-8")


@pytest.mark.parametrize("largest", [LARGEST, 60_000, 1_000])
def test_it_is_cut_where_it_would_be_too_large(largest: int, full: Report) -> None:
    many = replace(full, implementations=full.implementations[:1] * 300)
    text = as_markdown(many, largest)
    assert len(text.encode()) <= largest
    cut = re.search(r"\*\*Cut; left out: (\d+) rows? and (\d+) failures?\.\*\*\n$", text)
    assert cut is not None
    assert int(cut[1]) + text.count("| <code>") == 5 * 300
    assert int(cut[2]) + text.count("<details>") == 4 * 300
