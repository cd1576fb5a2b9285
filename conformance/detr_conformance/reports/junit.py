"""A report as JUnit XML: a test suite for each implementation, a test case for each invariant."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree as Xml

from detr_conformance.base.text import LONGEST_TEXT, counted, cut, line_of, printable
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.reports.cause_text import cause_title
from detr_conformance.reports.failure_text import failure_text
from detr_conformance.running.report import ImplementationReport, Report

FAILURES = (Verdict.VIOLATED, Verdict.UNEXPECTEDLY_HOLDS)
"""The verdicts that become failures; others for which a run fails become errors."""

COUNTED = {"failure": "failures", "error": "errors", "skipped": "skipped"}
"""The attribute that counts each of those elements."""


def as_junit(report: Report) -> str:
    """The report as a document of JUnit XML.

    Not provided, not applicable, vacuous and expected violations are skipped, each with its reason, and never passed.
    A run that was interrupted has a suite with an error, as the cases that it lacks would otherwise not be missed.
    """
    root = Xml.Element("testsuites", name=f"detr-spec {line_of(report.version)}")
    for implementation in report.implementations:
        root.append(_suite(report, implementation))
    if report.interrupted:
        root.append(_interruption(report))
    totals = Counter(dict.fromkeys(("tests", *COUNTED.values()), 0))
    for suite in root:
        totals.update({name: int(suite.get(name, 0)) for name in totals})
    for name, total in totals.items():
        root.set(name, str(total))
    root.set("time", f"{report.cost.seconds:.3f}")
    Xml.indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{Xml.tostring(root, encoding='unicode')}\n"


def _suite(report: Report, implementation: ImplementationReport) -> Xml.Element:
    title = line_of(implementation.title)
    suite = Xml.Element("testsuite", name=title)
    properties = Xml.SubElement(suite, "properties")
    for name, value in _properties(report, implementation).items():
        Xml.SubElement(properties, "property", name=name, value=line_of(value))
    for cause in implementation.causes:
        told = f"{cause_title(cause)}: {', '.join(cause.invariants)}"
        Xml.SubElement(properties, "property", name="cause", value=line_of(told))
    for judgement in implementation.judgements:
        suite.append(_case(report, implementation, judgement))
    _count(suite, sum(judgement.seconds for judgement in implementation.judgements))
    return suite


def _properties(report: Report, implementation: ImplementationReport) -> dict[str, str]:
    return {
        "detr-spec": report.version,
        "implementation": implementation.name,
        "address": implementation.address or "",
        "profile": implementation.profile,
        "seed": str(report.seed),
        "examples": str(report.examples),
        **({"shard": str(report.shard)} if report.shard else {}),
        "device": report.device,
        "interrupted": str(report.interrupted).lower(),
    }


def _case(report: Report, implementation: ImplementationReport, judgement: Judgement) -> Xml.Element:
    classname = f"{line_of(implementation.title)}.{line_of(judgement.component)}"
    case = Xml.Element("testcase", classname=classname, name=line_of(judgement.id))
    case.set("time", f"{judgement.seconds:.3f}")
    if judgement.verdict is Verdict.HOLDS:
        return case
    kind = "skipped" if not judgement.verdict.fails else "failure" if judgement.verdict in FAILURES else "error"
    outcome = Xml.SubElement(case, kind, message=line_of(_reason(judgement)))
    if kind != "skipped":
        outcome.set("type", judgement.verdict.value)
        text = failure_text(implementation.title, judgement, report.command(implementation, judgement))
        outcome.text = printable(cut(text, LONGEST_TEXT))
    return case


def _reason(judgement: Judgement) -> str:
    """Why the case is what it is; the verdict first, as skipped cases are not alike."""
    said = judgement.message
    if judgement.verdict is Verdict.EXPECTED_VIOLATION:
        said = "; ".join(part for part in (judgement.why_expected, judgement.message) if part)
    return f"{judgement.verdict.value}: {said}" if said else judgement.verdict.value


def _interruption(report: Report) -> Xml.Element:
    suite = Xml.Element("testsuite", name="the run")
    case = Xml.SubElement(suite, "testcase", classname="detr-spec", name="the run reached its end", time="0.000")
    known = sum(len(item.judgements) for item in report.implementations)
    message = f"interrupted: this report is partial; {counted(known, 'judgement')} of it known"
    Xml.SubElement(case, "error", message=message, type="interrupted").text = message
    _count(suite, 0.0)
    return suite


def _count(suite: Xml.Element, seconds: float) -> None:
    """Sets the attributes that count the cases of a suite."""
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for kind, name in COUNTED.items():
        suite.set(name, str(sum(case.find(kind) is not None for case in cases)))
    suite.set("time", f"{seconds:.3f}")
