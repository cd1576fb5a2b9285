"""JUnit XML counts what it holds, calls nothing passed that did not hold, and no text breaks out of it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest

from detr_conformance.reports.junit import as_junit
from detr_conformance.running.report import Report

COUNTS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def parsed(report: Report) -> Xml.Element:
    text = as_junit(report)
    assert text.startswith("<?xml version='1.0' encoding='utf-8'?>")
    return Xml.fromstring(text.encode("utf-8"))


def require_junit(root: Xml.Element) -> None:
    """Raises `AssertionError` unless the document is as the readers of JUnit XML expect it."""
    assert root.tag == "testsuites"
    assert [suite.tag for suite in root] == ["testsuite"] * len(root)
    for suite in root:
        assert suite.get("name")
        kinds = [child.tag for child in suite]
        assert kinds[:1] in (["properties"], ["testcase"])
        assert set(kinds[1:]) <= {"testcase"}
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        for name, kind in COUNTS.items():
            assert int(suite.get(name, "")) == len(suite.findall(f"testcase/{kind}"))
        for case in cases:
            assert case.get("name")
            assert case.get("classname")
            assert float(case.get("time", "")) >= 0
            assert len(case) <= 1
            assert all(outcome.get("message") for outcome in case)
            assert all(outcome.get("type") for outcome in case if outcome.tag != "skipped")
    for name in ("tests", *COUNTS):
        assert int(root.get(name, "")) == sum(int(suite.get(name, "")) for suite in root)


@pytest.mark.parametrize("name", ["full", "hostile"])
def test_the_document_is_as_readers_expect_it(name: str, request: pytest.FixtureRequest) -> None:
    require_junit(parsed(request.getfixturevalue(name)))


def outcomes(report: Report) -> dict[tuple[str, str], tuple[str, str]]:
    """The kind and the message of what each case ended with, by suite and case; "passed" where it has none."""
    return {
        (str(suite.get("name")), str(case.get("name"))): (
            (case[0].tag, str(case[0].get("message"))) if len(case) else ("passed", "")
        )
        for suite in parsed(report)
        for case in suite.findall("testcase")
    }


def test_each_verdict_becomes_what_it_means(full: Report) -> None:
    found = outcomes(full)
    first, second = "first (detr)", "second (deformable)"
    assert found[first, "matcher.valid-pairs"] == ("passed", "")
    assert found[first, "matcher.optimal-cost"][0] == "failure"
    assert found[first, "matcher.repeatable"] == ("error", "error: the implementation raised ValueError: no")
    assert found[first, "heads.shapes"] == ("skipped", "not provided: first provides no heads")
    assert found[first, "assignment.optimal-total"][0] == "skipped"
    assert "expected violation: it is greedy, and says so" in found[first, "assignment.optimal-total"][1]
    assert found[second, "matcher.valid-pairs"][0] == "failure"
    assert found[second, "matcher.repeatable"][0] == "error"
    assert found[second, "criterion.l1-value"][0] == "error"
    assert found[second, "boxes.giou-definition"] == ("skipped", "vacuous: no case met the premise")
    assert found[second, "assignment.optimal-total"][0] == "skipped"
    assert [key for key, (kind, _) in found.items() if kind == "passed"] == [
        (first, "matcher.valid-pairs"),
        (second, "matcher.optimal-cost"),
    ]


def test_a_failure_holds_the_numbers_and_the_command(full: Report) -> None:
    failure = parsed(full).find("testsuite/testcase[@name='matcher.optimal-cost']/failure")
    assert failure is not None
    text = str(failure.text)
    assert "optimal pairs [[0, 1], [1, 0]]" in text
    assert "detr-spec check 'my folder/loss.py:FIRST' --profile detr --invariant matcher.optimal-cost" in text


def test_an_interrupted_run_is_no_green_one(full: Report) -> None:
    nothing = replace(full, implementations=(replace(full.implementations[0], judgements=()),), interrupted=True)
    root = parsed(nothing)
    require_junit(root)
    assert root.get("errors") == "1"
    assert "partial" in str(root.find("testsuite/testcase/error").get("message"))  # type: ignore[union-attr]


def test_no_text_breaks_out(hostile: Report) -> None:
    root = parsed(hostile)
    assert len(root.findall("testsuite/testcase")) == 3 * 9 + 1
    assert root.find(".//*[@name='forged']") is None
    messages = [str(outcome.get("message")) for case in root.iter("testcase") for outcome in case]
    everything = "".join([*root.itertext(), *messages])
    assert "<script>window.hacked = 1</script>" in everything
    assert "nul \\x00 escape \\x1b[31m" in everything
    assert "half \\ud800" in everything
