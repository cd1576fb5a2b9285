"""What a person reads: cases in plain numbers, failures in full, and a table that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest

from detr_conformance import Report, Verdict
from detr_conformance.base.consoles import Console
from detr_conformance.base.verdict import Counterexample, Judgement
from detr_conformance.commands.explain import show_explanation
from detr_conformance.commands.list import show_list
from detr_conformance.encoding.reports import plain
from detr_conformance.reports.case_text import MOST_ROWS, case_lines, number, table_lines
from detr_conformance.reports.failure_text import AS_FILE, counterexample_lines, failure_text
from detr_conformance.reports.show import show_report
from detr_conformance.running.report import ImplementationReport
from detr_spec.cases import BoxCase, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariants import find_invariants
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.values import FeatureMap, Outputs, Target


def set_case(profile: Any = DETR, layers: int = 1) -> SetCase:
    configuration = Configuration(profile=profile, num_classes=2, decoder_layers=layers, cost_giou=0.5)
    logits = np.arange(2 * configuration.columns, dtype=float).reshape(1, 2, -1)
    boxes = np.full((1, 2, 4), 0.25)
    auxiliary = tuple(Outputs(logits - 1, boxes) for _ in range(layers - 1))
    return SetCase(
        configuration=configuration,
        regime="crowded",
        seed=7,
        outputs=Outputs(logits, boxes, auxiliary=auxiliary),
        targets=(Target(np.array([1]), np.array([[0.5, 0.5, 0.125, 1.0]])),),
        sizes=np.array([[480, 640]]),
    )


def test_a_set_case_numbers_its_queries_and_targets() -> None:
    lines = case_lines(plain(set_case()), {"num_classes": 2, "cost_giou": 0.5})
    assert lines[0] == "regime crowded, float32, seed 7"
    assert lines[1] == "built with num_classes = 2, cost_giou = 0.5"
    text = "\n".join(lines)
    assert "image 0, 480 x 640 pixels (height x width)" in text
    assert next(line for line in lines if "no-object" in line).split() == [
        *("logit", "0", "logit", "1", "no-object", "|", "cx", "cy", "w", "h")
    ]
    assert next(line for line in lines if "query 1" in line).split()[2:] == [
        *("3", "4", "5", "|", "0.25", "0.25", "0.25", "0.25")
    ]
    assert next(line for line in lines if "target 0" in line).split()[2:] == [
        "1",
        "|",
        "0.5",
        "0.5",
        "0.125",
        "1",
    ]


def test_a_profile_without_no_object_has_no_such_column() -> None:
    assert "no-object" not in "\n".join(case_lines(plain(set_case(DEFORMABLE))))


def test_decoder_layers_are_shown_one_by_one() -> None:
    text = "\n".join(case_lines(plain(set_case(layers=3))))
    assert [f"decoder layer {layer}" in text for layer in range(4)] == [True, True, True, False]


def test_what_stands_apart_from_the_decoder_is_shown_by_name() -> None:
    case = set_case()
    apart = replace(case.outputs, encoder=case.outputs, denoising=case.outputs)
    lines = [line.strip() for line in case_lines(plain(replace(case, outputs=apart)))]
    assert [line for line in lines if "queries" in line] == ["queries", "queries of the encoder", "denoising queries"]


def test_masks_are_shown_pixel_by_pixel() -> None:
    case = set_case()
    logits = np.array([[[[1.0, -2.0, 3.0]], [[4.0, 5.5, 6.0]]]])
    inside = np.array([[[True, False], [True, True]]])
    masked = replace(
        case,
        outputs=replace(case.outputs, masks=logits),
        targets=(replace(case.targets[0], masks=inside),),
    )
    lines = [line.split() for line in case_lines(plain(masked))]
    start = lines.index(["mask", "logits"])
    assert lines[start + 1 : start + 4] == [
        ["[0]", "[1]", "[2]"],
        ["query", "0", "1", "-2", "3"],
        ["query", "1", "4", "5.5", "6"],
    ]
    assert lines[lines.index(["masks", "of", "targets"]) + 1 :] == [["target", "0", "x."], ["xx"]]


@pytest.mark.parametrize(
    ("allowance", "told"),
    [
        (["-inf", "inf"], "any number, but a number: rounding in this dtype may move it without bound"),
        ("inf", "any number, but a number"),
        ([-0.5, "inf"], "at least expected -0.5; above, rounding in this dtype"),
        (["-inf", 0.5], "at most expected + 0.5; below, rounding in this dtype"),
        ([-0.5, 0.5], "expected -0.5 … + 0.5"),
        (0.5, "expected ± 0.5"),
    ],
)
def test_an_allowance_without_an_end_says_why(allowance: Any, told: str) -> None:
    lines = counterexample_lines(Counterexample(None, expected=1.0, got="nan", allowance=allowance))
    assert told in next(line for line in lines if "allowed" in line)


def test_a_cost_case_is_a_numbered_matrix() -> None:
    case = CostCase(configuration=Configuration(profile=DETR), costs=(np.array([[1.0, 2.5], [3.0, -4.0]]),))
    lines = case_lines(plain(case))
    assert "cost matrix 0, 2 x 2" in lines
    assert [line.split() for line in lines[-3:]] == [["[0]", "[1]"], ["[0]", "1", "2.5"], ["[1]", "3", "-4"]]


def test_a_box_case_shows_both_lists() -> None:
    box = np.array([[0.0, 0.0, 0.5, 1.0]])
    text = "\n".join(case_lines(plain(BoxCase(configuration=Configuration(profile=DETR), first=box, second=box)), {}))
    assert "first boxes" in text
    assert "second boxes" in text
    assert text.count("0.5") == 2


def test_a_feature_map_shows_its_padding() -> None:
    numbers = np.zeros((2, 8, 2, 3))
    padding = np.zeros((2, 2, 3), dtype=bool)
    padding[1, 1] = padding[1, :, 2] = True
    case = FeatureCase(
        configuration=Configuration(profile=DETR), features=FeatureMap(numbers, numbers, padding, np.zeros((5, 8)))
    )
    lines = case_lines(plain(case))
    assert "5 queries, 8 channels" in lines
    assert [line.strip() for line in lines[-2:]] == ["..x", "xxx"]


def test_images_show_their_sizes() -> None:
    case = ImagesCase(configuration=Configuration(profile=DETR), images=(np.zeros((3, 16, 20)), np.zeros((3, 18, 17))))
    assert [line.strip() for line in case_lines(plain(case))[-2:]] == ["image 0: 16 x 20", "image 1: 18 x 17"]


def test_hidden_states_are_shown_by_layer_and_image() -> None:
    case = HiddenCase(configuration=Configuration(profile=DETR), hidden=np.ones((2, 1, 1, 4)))
    text = "\n".join(case_lines(plain(case)))
    assert "hidden states of decoder layer 1, image 0" in text


def test_batches_are_shown_rank_by_rank() -> None:
    case = set_case()
    batch = (case.outputs, case.targets)
    text = "\n".join(case_lines(plain(RankCase(configuration=case.configuration, batches=(batch, batch)))))
    assert text.index("rank 0") < text.index("query 0") < text.index("rank 1")
    assert text.count("query 0") == 2 * "\n".join(case_lines(plain(case))).count("query 0")


NO_OUTPUTS: dict[str, Any] = {"logits": [], "boxes": [], "auxiliary": []}


@pytest.mark.parametrize(
    "case", [None, "text", {}, {"configuration": {}, "outputs": NO_OUTPUTS, "targets": [], "sizes": []}]
)
def test_a_strange_case_is_shown_all_the_same(case: Any) -> None:
    assert isinstance(case_lines(case), list)


def test_an_empty_side_is_said() -> None:
    assert table_lines(["a"], []) == ["(none)"]
    case = CostCase(configuration=Configuration(profile=DETR), costs=(np.zeros((0, 3)),))
    assert case_lines(plain(case))[-1].strip() == "(none)"


def test_long_tables_are_cut_and_say_so() -> None:
    lines = table_lines(["a"], [[str(row)] for row in range(MOST_ROWS + 5)])
    assert lines[-1] == "… and 5 more rows"
    assert len(lines) == MOST_ROWS + 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (2, "2"),
        (1e-300, "1e-300"),
        (1e22, "1e+22"),
        ("nan", "nan"),
        (True, "True"),
        (-0.0, "-0"),
    ],
)
def test_numbers_are_short_and_complete(value: Any, text: str) -> None:
    assert number(value) == text


def judgement(id: str = "matcher.toy", verdict: Verdict = Verdict.VIOLATED, **different: Any) -> Judgement:
    plain_judgement = Judgement(id, "M1", "MUST", id.partition(".")[0], "A toy holds.", verdict)
    return replace(plain_judgement, **different)


def test_a_failure_tells_everything_in_order() -> None:
    text = failure_text(
        "mine (detr)",
        judgement(
            message="image 0: too dear",
            counterexample=Counterexample(
                plain(set_case()), expected=-2.5, got=-1, allowance=1e-6, details={"optimal_pairs": [[0, 1]]}
            ),
        ),
        "detr-spec check mine.py:IT",
    )
    parts = [
        "VIOLATED: matcher.toy (M1, MUST), mine (detr)",
        "A toy holds.",
        "image 0: too dear",
        "expected   -2.5",
        "got        -1",
        "allowed    expected ± 1e-06",
        "optimal pairs [[0, 1]]",
        "the case: regime crowded",
        "query 0",
        "target 0",
        "reproduce:",
        "  detr-spec check mine.py:IT",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("command", "vector", "told"),
    [
        ("detr-spec check mine.py:IT", {"format": 1}, True),
        ("detr-spec check mine.py:IT", None, False),
        ("detr-spec replay file.json mine.py:IT", {"format": 1}, False),
        ("check(mine)", {"format": 1}, False),
    ],
)
def test_how_the_case_becomes_a_file_is_said_where_the_command_can(command: str, vector: Any, told: bool) -> None:
    found = judgement(counterexample=Counterexample(plain(set_case()), vector=vector))
    assert failure_text("mine (detr)", found, command).endswith(f"{command}\n  {AS_FILE}" if told else command)


def test_a_range_of_allowance_and_a_matrix_are_readable() -> None:
    wide = [[1.23456789, 2.3456789, 3.456789], [4.56789, 5.6789, 6.789]]
    found = Counterexample(None, expected=1.0, got=2.0, allowance=[-0.25, 0.5], details={"cost": wide})
    text = failure_text("mine (detr)", judgement(counterexample=found), "again")
    assert "expected -0.25 … + 0.5" in text
    assert "  cost\n" in text
    assert "[1]     4.56789" in text


def report_of(*items: ImplementationReport) -> Report:
    return Report("1.0", 5, 100, items)


def implementation(name: str, judgements: Sequence[Judgement], profile: str = "detr") -> ImplementationReport:
    return ImplementationReport(name, profile, ("float32",), tuple(judgements), f"{name}.py:IT")


def shown(report: Report, width: int = 120) -> str:
    stream = StringIO()
    show_report(report, Console(file=stream, width=width))
    return stream.getvalue()


def test_what_does_not_apply_is_not_said_to_be_missing() -> None:
    known = [judgement("boxes.toy", Verdict.NOT_PROVIDED), judgement("criterion.toy", Verdict.NOT_APPLICABLE)]
    text = shown(report_of(implementation("first", [judgement(), *known])))
    assert "not provided at all: boxes\n" in "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    assert next(line for line in text.splitlines() if line.startswith("criterion.toy")).split()[-1] == "n/a"


def test_the_table_has_a_row_for_each_invariant_and_a_column_for_each_implementation() -> None:
    first = implementation("first", [judgement(), judgement("boxes.toy", Verdict.NOT_PROVIDED)])
    second = implementation(
        "second", [judgement(verdict=Verdict.HOLDS), judgement("boxes.toy", Verdict.VACUOUS)], "deformable"
    )
    lines = shown(report_of(first, second)).splitlines()
    assert [line.split() for line in lines if line.startswith(("matcher.toy", "boxes.toy"))] == [
        ["matcher.toy", "M1", "MUST", "VIOLATED", "holds"],
        ["boxes.toy", "M1", "MUST", "-", "vacuous"],
    ]
    assert "-: not provided by the implementation" in lines
    assert "first (detr): 1 violated, 1 not provided" in lines
    assert "second (deformable): 1 holds, 1 vacuous" in lines
    assert "detr-spec 1.0, seed 5, 100 examples" in lines


def test_what_fails_stands_last() -> None:
    failing = implementation("first", [judgement(), judgement("boxes.toy", Verdict.CRASHED)])
    lines = shown(report_of(failing, implementation("second", [judgement()]))).rstrip().splitlines()
    assert [line.split() for line in lines[-3:]] == [
        ["what", "fails", "level", "for"],
        ["matcher.toy", "M1", "MUST", "first", "(detr),", "second", "(detr)"],
        ["boxes.toy", "M1", "MUST", "first", "(detr)"],
    ]


def test_a_table_of_those_that_provide_nothing_says_so() -> None:
    first = implementation("with-a-long-name-" * 3, [judgement("boxes.toy", Verdict.HOLDS)])
    second = implementation("with-another-name-" * 3, [judgement("boxes.toy", Verdict.NOT_PROVIDED)])
    assert "not provided at all: boxes" in " ".join(shown(report_of(first, second), width=80).split())


def test_many_implementations_in_a_narrow_terminal_lose_nothing() -> None:
    names = [f"implementation-{number}" for number in range(7)]
    text = shown(report_of(*(implementation(name, [judgement(verdict=Verdict.HOLDS)]) for name in names)), width=60)
    table = text[: text.index("detr-spec 1.0")]
    assert all(name in table for name in names)
    assert table.count("holds") >= 7


def test_a_report_of_nothing_is_shown() -> None:
    assert "first (detr): nothing judged" in shown(report_of(implementation("first", [])))


def test_text_in_brackets_is_no_markup_and_commands_are_not_broken() -> None:
    item = replace(implementation("first", [judgement(message="[bold] got [1, 2]")]), address="long/" * 40 + "it.py:IT")
    text = shown(report_of(item), width=60)
    assert "[bold] got [1, 2]" in text
    assert "long/" * 40 + "it.py:IT --profile detr --invariant matcher.toy --seed 5 --examples 100\n" in text


def test_the_same_traceback_is_shown_once() -> None:
    found = Counterexample(None, details={"traceback": "Traceback\n  deep\nError: no"})
    errors = [judgement(f"matcher.toy-{place}", Verdict.ERROR, counterexample=found) for place in range(3)]
    text = shown(report_of(implementation("first", errors)))
    assert text.count("deep") == 1
    assert text.count("as for matcher.toy-0 above") == 2
    assert text.count("reproduce:") == 3


def test_expected_violations_are_one_line_each() -> None:
    known = judgement(
        verdict=Verdict.EXPECTED_VIOLATION, why_expected="documented", counterexample=Counterexample(None)
    )
    text = shown(report_of(implementation("first", [known])))
    assert "expected: matcher.toy, first (detr): documented" in text
    assert "reproduce:" not in text


def test_the_list_and_the_explanation_say_what_an_invariant_is() -> None:
    (invariant,) = find_invariants("matcher.optimal-cost")
    stream = StringIO()
    console = Console(file=stream, width=200)
    show_list([invariant], console)
    show_explanation(invariant, console)
    text = stream.getvalue()
    for part in (
        invariant.id,
        "M2",
        "MUST",
        "matcher",
        invariant.statement,
        invariant.why,
        invariant.formula,
    ):
        assert part in text
    assert invariant.source in text
    assert invariant.breaks in text
    assert "detr, deformable" in text
