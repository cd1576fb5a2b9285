"""Reports to render: one with every verdict and every kind of picture, and one that is hostile in every text."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_conformance.base.verdict import Counterexample, Judgement, Verdict
from detr_conformance.encoding.reports import plain
from detr_conformance.running.report import ImplementationReport, Report
from detr_spec import DEFORMABLE, DETR
from detr_spec.cases import BoxCase, CostCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.values import Outputs, Target

HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"onload="window.hacked = 2" x="',
    "<img src=x onerror='window.hacked = 3'>",
    "]]></failure><testcase name='forged'/>",
    "</details></summary></style></title><h1>forged</h1>",
    "| forged | `row` ```\n\n# forged heading\n\n[link](javascript:window.hacked=4) **bold** &lt;b&gt; @someone",
    "nul \x00 escape \x1b[31m bell \x07 delete \x7f next line \x85 half \ud800 none \uffff reversed \u202e txt",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "long " + "x" * 50_000,
)


def set_case(**different: Any) -> dict[str, Any]:
    """Two queries and two targets, of which the greedy matching is not the best; as plain data."""
    logits = different.pop("logits", [[[2.0, 0.0, 0.0], [1.75, 1.5, 0.0]]])
    profile = different.pop("profile", DETR)
    layers = different.pop("layers", 1)
    boxes = [[[0.25, 0.25, 0.25, 0.25], [0.375, 0.3125, 0.25, 0.25]]]
    auxiliary = tuple(Outputs(np.array(logits), np.array(boxes)) for _ in range(layers - 1))
    outputs = Outputs(np.array(logits), np.array(boxes), auxiliary=auxiliary, broken=True)
    target = Target(np.array([0, 1]), np.array([[0.25, 0.3125, 0.25, 0.25], [0.75, 0.5, 0.125, 0.5]]))
    classes = outputs.logits.shape[-1] - int(profile is DETR)
    configuration = Configuration(profile=profile, num_classes=classes, decoder_layers=layers)
    case = SetCase(configuration=configuration, outputs=outputs, targets=(target,), sizes=np.array([[480, 640]]))
    return plain(case) | different


def judgement(id: str, verdict: Verdict, **different: Any) -> Judgement:
    component = different.pop("component", id.split(".", maxsplit=1)[0])
    statement = different.pop("statement", f"What {id} states.")
    level = different.pop("level", "MUST")
    return Judgement(id, "M1", level, component, statement, verdict, **different)


def matcher_violation() -> Judgement:
    cost = [[-2.0, -1.0], [-1.75, 0.5]]
    return judgement(
        "matcher.optimal-cost",
        Verdict.VIOLATED,
        message="the matching, image 0: a cheaper assignment exists",
        examples=7,
        fired=6,
        dtypes={"float32": 7},
        seconds=0.25,
        counterexample=Counterexample(
            set_case(),
            expected=-2.75,
            got=-1.5,
            allowance=1e-6,
            details={"cost": cost, "pairs": [[0, 0], [1, 1]], "optimal_pairs": [[0, 1], [1, 0]]},
        ),
    )


def criterion_violation() -> Judgement:
    return judgement(
        "criterion.l1-value",
        Verdict.VIOLATED,
        message="loss_bbox_0 differs from its definition",
        counterexample=Counterexample(
            set_case(profile=DEFORMABLE, layers=2), expected=0.75, got=0.1875, allowance=[-1e-6, 2e-6]
        ),
    )


def box_violation() -> Judgement:
    boxes = np.array([[0.0, 0.0, 2.0, 1.0], [1.0, 0.5, 3.0, 2.0]])
    case = BoxCase(configuration=Configuration(profile=DETR), first=boxes, second=boxes + 0.5)
    return judgement(
        "boxes.giou-definition",
        Verdict.VIOLATED,
        level="SHOULD",
        message="GIoU[1, 0] differs from its definition",
        counterexample=Counterexample(plain(case), expected=0.25, got=0.2500001, allowance=[-1e-9, 1e-9]),
    )


def solver_violation() -> Judgement:
    case = CostCase(configuration=Configuration(profile=DETR), costs=(np.array([[1.0, 2.0], [2.0, 4.0]]),))
    return judgement(
        "assignment.optimal-total",
        Verdict.EXPECTED_VIOLATION,
        message="the assignment: a cheaper assignment exists",
        why_expected="it is greedy, and says so",
        counterexample=Counterexample(
            plain(case), expected=4.0, got=5.0, details={"cost": [[1.0, 2.0], [2.0, 4.0]], "pairs": [[0, 0], [1, 1]]}
        ),
    )


@pytest.fixture(scope="session")
def full() -> Report:
    """Two implementations with all verdicts and pictures."""
    first = (
        matcher_violation(),
        criterion_violation(),
        box_violation(),
        solver_violation(),
        judgement("matcher.valid-pairs", Verdict.HOLDS, examples=100, fired=90, seconds=1.5),
        judgement("matcher.repeatable", Verdict.ERROR, message="the implementation raised ValueError: no"),
        judgement("heads.shapes", Verdict.NOT_PROVIDED, message="first provides no heads"),
    )
    second = (
        judgement("matcher.valid-pairs", Verdict.UNEXPECTEDLY_HOLDS, message="listed as violated in known.toml"),
        judgement("matcher.optimal-cost", Verdict.HOLDS),
        judgement("matcher.repeatable", Verdict.TIMED_OUT, message="not finished after 120 s"),
        judgement("criterion.l1-value", Verdict.CRASHED, message="the worker process died, by signal SIGSEGV"),
        judgement("boxes.giou-definition", Verdict.VACUOUS, level="SHOULD", message="no case met the premise"),
        judgement("assignment.optimal-total", Verdict.NOT_APPLICABLE, message="does not apply"),
        judgement("heads.shapes", Verdict.NOT_PROVIDED, message="second provides no heads"),
    )
    return Report(
        "1.2.3",
        7,
        100,
        (
            ImplementationReport("first", "detr", ("float32", "float64"), first, "my folder/loss.py:FIRST"),
            ImplementationReport("second", "deformable", ("float32",), second),
        ),
    )


@pytest.fixture(scope="session")
def hostile() -> Report:
    """A report whose texts all want to be something else."""
    judgements = tuple(
        judgement(
            f"matcher.{number} {text[:200]}",
            Verdict.VIOLATED if number % 2 else Verdict.EXPECTED_VIOLATION,
            component=f"matcher {text[:100]}",
            statement=text,
            message=text,
            why_expected=text,
            counterexample=Counterexample(set_case(regime=text), got=text, details={text[:300]: text, "pairs": text}),
        )
        for number, text in enumerate(HOSTILE)
    )
    items = tuple(
        ImplementationReport(f"{text} {number}", text[:500], (text,), judgements, text)
        for number, text in enumerate(HOSTILE[:3])
    )
    return Report(HOSTILE[0], 0, 100, items, interrupted=True, device=HOSTILE[1])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, started once, and ended before any test forks: a fork would keep its driver waiting."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page's text from a file; afterwards, no script may have failed and nothing else been asked for."""
    contexts, errors, requests = [], [], []

    def open_page(text: str, **options: Any) -> Any:
        file = tmp_path / "report.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in requests if not url.split("#")[0].endswith("/report.html")] == []
