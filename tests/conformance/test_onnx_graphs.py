"""Post-processing in exported graphs is judged through ONNX Runtime; what an export gets wrong is found."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_conformance import check, onnx_implementation
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict
from detr_conformance.commands.command_line import run
from detr_reference import Letterbox, PostProcess, TopKPostProcess, box_cxcywh_to_xyxy
from detr_spec.implementation import Limits
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR

pytest.importorskip("onnxruntime", reason="onnxruntime, which runs graphs, is not installed")
pytest.importorskip("onnxscript", reason="onnxscript, which torch.onnx.export needs, is not installed")

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks" / "onnx.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.filterwarnings("ignore")

Found = tuple[Tensor, Tensor, Tensor]
NAMES = ("scores", "labels", "boxes")


@dataclass(frozen=True)
class Graph:
    """What is exported: a function of logits, boxes and sizes, for so many columns; of any number of queries or one."""

    function: Callable[..., Found]
    columns: int = 4
    dynamic: bool = True
    sized: bool = True
    names: tuple[str, ...] = ("logits", "boxes", "sizes")


class Exported(nn.Module):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
        return self.graph.function(logits, boxes, sizes)


class Unsized(Exported):
    def forward(self, logits: Tensor, boxes: Tensor) -> Found:  # type: ignore[override]
        return self.graph.function(logits, boxes)


def exported(graph: Graph, path: Path) -> Path:
    queries = torch.export.Dim("queries", min=2)
    shapes: dict[str, Any] = {"logits": {1: queries}, "boxes": {1: queries}, "sizes": {}}
    given = (torch.randn(1, 40, graph.columns), torch.rand(1, 40, 4), torch.tensor([[480, 640]]))
    count = 3 if graph.sized else 2
    torch.onnx.export(
        (Exported if graph.sized else Unsized)(graph).eval(),
        given[:count],
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=list(graph.names[:count]),
        output_names=["scores", "labels", "corners"],
        dynamic_shapes=dict(list(shapes.items())[:count]) if graph.dynamic else None,
    )
    return path


def of(module: Callable[..., Any]) -> Callable[..., Found]:
    """A module of the reference as a function of one image."""

    def function(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
        (image,) = module({"pred_logits": logits, "pred_boxes": boxes}, sizes)
        scores, labels, corners = (image[name][None] for name in NAMES)
        return scores, labels, corners

    return function


def in_half(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    scores, labels, corners = of(PostProcess())(logits.half(), boxes.half(), sizes)
    return scores.float(), labels, corners.float()


def relative(logits: Tensor, boxes: Tensor) -> Found:
    scores, labels = logits.softmax(-1)[..., :-1].max(-1)
    return scores, labels, box_cxcywh_to_xyxy(boxes)


def best_queries(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    best, labels = logits.sigmoid().max(-1)
    scores, queries = best.topk(5, dim=1)
    _, _, corners = of(PostProcess())(logits, boxes, sizes)
    return scores, labels.gather(1, queries), corners.gather(1, queries[..., None].expand(-1, -1, 4))


def dropping_nan(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    return of(PostProcess())(logits.nan_to_num(0.0), boxes, sizes)


SOFTMAX, TOP_K = Graph(of(PostProcess())), Graph(of(TopKPostProcess(5)), columns=3)
FEW, MANY = Limits(fixed={"top_k": 5}), Limits(fixed={"top_k": 100})


def with_rules(profile: Profile, **changes: Any) -> Profile:
    return replace(profile, name="own", detection=replace(profile.detection, **changes))


RIGHT: dict[str, tuple[Graph, Profile, Limits]] = {
    "softmax": (SOFTMAX, DETR, Limits()),
    "softmax of 40 queries": (replace(SOFTMAX, dynamic=False), DETR, Limits()),
    "top-k": (TOP_K, DEFORMABLE, FEW),
    "top-k of 40 queries": (Graph(of(TopKPostProcess(100)), columns=3, dynamic=False), DEFORMABLE, MANY),
    "best of 40 queries": (
        Graph(best_queries, columns=3, dynamic=False),
        with_rules(DEFORMABLE, rule="best-queries"),
        FEW,
    ),
    "letterbox": (
        Graph(of(PostProcess(Letterbox(640)))),
        with_rules(DETR, geometry="letterboxed", input_side=640),
        Limits(),
    ),
    "float16 inside": (Graph(in_half), DETR, Limits(dtypes=("float16",))),
    "without sizes": (Graph(relative, sized=False), DETR, Limits()),
}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Graph], Path]:
    """The file of a graph, which is exported once."""
    folder, known = tmp_path_factory.mktemp("graphs"), {}

    def file(graph: Graph) -> Path:
        if graph not in known:
            known[graph] = exported(graph, folder / f"{len(known)}.onnx")
        return known[graph]

    return file


def verdicts(graph: Path, profile: Profile, limits: Limits, **asked: Any) -> dict[str, Verdict]:
    report = check(onnx_implementation(graph, profile=profile, limits=limits), components=["postprocess"], **asked)
    return {judgement.id: judgement.verdict for _, judgement in report}


@pytest.mark.parametrize("name", RIGHT)
def test_right_graphs_hold(name: str, graphs: Callable[[Graph], Path]) -> None:
    graph, profile, limits = RIGHT[name]
    found = verdicts(graphs(graph), profile, limits, examples=30)
    assert list(found.values()).count(Verdict.HOLDS) >= 18
    assert set(found.values()) <= {Verdict.HOLDS, Verdict.NOT_APPLICABLE, Verdict.NOT_PROVIDED}
    beyond = {"postprocess.large-sizes"} if not graph.dynamic else set()
    missing = {name for name, verdict in found.items() if verdict is Verdict.NOT_PROVIDED}
    assert missing == {"postprocess.no-gradient", "postprocess.mixed-precision"} | beyond


def sigmoid(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    _, _, corners = of(PostProcess())(logits, boxes, sizes)
    scores, labels = logits.sigmoid()[..., :-1].max(-1)
    return scores, labels, corners


def with_no_object(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    _, _, corners = of(PostProcess())(logits, boxes, sizes)
    scores, labels = logits.softmax(-1).max(-1)
    return scores, labels, corners


def turned(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    return of(PostProcess())(logits, boxes, sizes.flip(1))


def of_another_query(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    scores, labels, corners = of(TopKPostProcess(5))(logits, boxes, sizes)
    return scores, labels, corners.flip(1)


def clamped(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
    scores, labels, corners = of(PostProcess())(logits, boxes, sizes)
    return scores, labels, corners.clamp(min=0)


SLIPS: dict[str, tuple[Graph, Profile, Limits, str]] = {
    "sigmoid for softmax": (Graph(sigmoid), DETR, Limits(), "postprocess.scores"),
    "no object kept": (Graph(with_no_object), DETR, Limits(), "postprocess.foreground-labels"),
    "no object kept of 40 queries": (
        Graph(with_no_object, dynamic=False),
        DETR,
        Limits(),
        "postprocess.foreground-labels",
    ),
    "sizes turned round": (Graph(turned), DETR, Limits(), "postprocess.pixels-of-each-axis"),
    "k too small": (Graph(of(TopKPostProcess(3)), columns=3), DEFORMABLE, FEW, "postprocess.lengths"),
    "k too small of 40 queries": (
        Graph(of(TopKPostProcess(90)), columns=3, dynamic=False),
        DEFORMABLE,
        MANY,
        "postprocess.lengths",
    ),
    "k too large": (Graph(of(TopKPostProcess(7)), columns=3), DEFORMABLE, FEW, "postprocess.lengths"),
    "boxes of another query": (Graph(of_another_query, columns=3), DEFORMABLE, FEW, "postprocess.distinct-pairs"),
    "clamped": (Graph(clamped), DETR, Limits(), "postprocess.clamping"),
    "NaN hidden": (Graph(dropping_nan), DETR, Limits(), "postprocess.broken-scores"),
    "letterbox forgotten": (
        SOFTMAX,
        with_rules(DETR, geometry="letterboxed", input_side=640),
        Limits(),
        "postprocess.pixels-of-each-axis",
    ),
    "float16 inside, not declared": (Graph(in_half), DETR, Limits(), "postprocess.scores"),
}


@pytest.mark.parametrize("name", SLIPS)
def test_slips_are_found(name: str, graphs: Callable[[Graph], Path]) -> None:
    graph, profile, limits, invariant = SLIPS[name]
    found = verdicts(graphs(graph), profile, limits, examples=30, invariants=[invariant])
    assert found[invariant] is Verdict.VIOLATED


def test_post_processing_of_transformers_holds_as_it_is_exported(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    softmax, top_k = transformers.DetrImageProcessorPil(), transformers.DeformableDetrImageProcessorPil()

    def function(processor: Any, *more: int) -> Callable[..., Found]:
        def processed(logits: Tensor, boxes: Tensor, sizes: Tensor) -> Found:
            outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
            (image,) = processor.post_process_object_detection(outputs, 0.25, sizes, *more)
            scores, labels, corners = (image[name][None] for name in NAMES)
            return scores, labels, corners

        return processed

    for processor, columns, more, profile in ((softmax, 4, (), DETR), (top_k, 3, (5,), DEFORMABLE)):
        graph = exported(Graph(function(processor, *more), columns), tmp_path / f"{columns}.onnx")
        limits = Limits(fixed={"threshold": 0.25, **({"top_k": 5} if more else {})})
        found = verdicts(graph, with_rules(profile, threshold=True), limits, examples=20)
        assert list(found.values()).count(Verdict.HOLDS) >= 18
        assert not any(verdict.fails for verdict in found.values())
        kept = replace(limits, fixed={**limits.fixed, "threshold": 0.5})
        asked = {"examples": 20, "invariants": ["postprocess.threshold"]}
        assert verdicts(graph, with_rules(profile, threshold=True), kept, **asked)["postprocess.threshold"] is (
            Verdict.VIOLATED
        )


def test_the_command_judges_a_graph_in_workers_and_isolated(
    graphs: Callable[[Graph], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = str(graphs(SOFTMAX)), str(graphs(Graph(turned)))
    asked = ["--profile", "detr", "--invariant", "P2", "--examples", "20"]
    for how in (["-n", "0"], ["-n", "1"], ["--isolate"]):
        assert run(["check", right, *asked, *how]) == 0
        assert run(["check", wrong, *asked, *how]) == 1
    again = re.findall(r"detr-spec (check 'onnx:.*)\n", capsys.readouterr().out)
    assert run(shlex.split(again[0])) == 1
    few = [
        "--profile",
        "deformable",
        "--onnx-fixed",
        "top_k=5",
        "--onnx-dtype",
        "float32",
        "--examples",
        "5",
        "-n",
        "0",
    ]
    assert run(["check", str(graphs(TOP_K)), *few]) == 0


def test_values_are_named_where_they_cannot_be_told(graphs: Callable[[Graph], Path]) -> None:
    graph = graphs(Graph(of(PostProcess()), names=("first", "second", "third")))
    with pytest.raises(
        UsageError, match=r"which input is the logits cannot be told, of first \(float32 \[1, any, 4\]\)"
    ):
        onnx_implementation(graph, profile="detr")
    named = {"logits": "first", "boxes": "second"}
    found = check(onnx_implementation(graph, profile="detr", inputs=named), invariants=["P2"], examples=10)
    assert found.exit_code == 0
    with pytest.raises(UsageError, match="has no input 'fist'; did you mean first"):
        onnx_implementation(graph, profile="detr", inputs={"logits": "fist"})
    with pytest.raises(
        UsageError, match="'masks' is no input of a post-processing; expected one of logits, boxes, sizes"
    ):
        onnx_implementation(graph, profile="detr", inputs={"masks": "first"})


def test_what_cannot_be_judged_is_refused(graphs: Callable[[Graph], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; expected an ONNX graph"):
        onnx_implementation(tmp_path / "none.onnx", profile="detr")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(UsageError, match="is no graph that ONNX Runtime can run"):
        onnx_implementation(tmp_path / "text.onnx", profile="detr")
    with pytest.raises(
        UsageError, match=r"profile deformable has a top_k, and .* say which: --onnx-fixed top_k=NUMBER"
    ):
        onnx_implementation(graphs(TOP_K), profile="deformable")
    with pytest.raises(UsageError, match="takes no sizes; expected them, as boxes are letterboxed"):
        onnx_implementation(graphs(Graph(relative, sized=False)), profile=with_rules(DETR, geometry="letterboxed"))
    static = graphs(RIGHT["top-k of 40 queries"][0])
    with pytest.raises(UsageError, match="takes 40 queries, and profile own returns as many detections as there are"):
        onnx_implementation(static, profile=with_rules(DEFORMABLE, top_k=None))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["x.onnx"], "x.onnx does not say its dialect; expected --profile NAME"),
        (["reference", "--onnx-fixed", "top_k=5"], "--onnx-fixed is about an ONNX graph"),
        (["x.onnx", "--profile", "none"], "no profile is called 'none'"),
        (["x.onnx", "--profile", "detr", "--onnx-input", "logits"], "'logits' is no pair"),
        (["x.onnx", "--profile", "detr", "--onnx-fixed", "top_k=many"], "top_k=many is no number"),
        (["onnx:x.onnx --no", "-n", "0"], "says no graph"),
    ],
)
def test_a_wrong_use_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for text in (text for language, text in blocks if language == "python"):
        (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text)
    environment = os.environ | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    for command in (line for language, text in blocks if language == "bash" for line in text.splitlines()):
        done = subprocess.run(
            shlex.split(command, comments=True),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == int("# exits with 1" in command), done.stdout + done.stderr
