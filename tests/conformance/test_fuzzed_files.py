"""Files, messages and command lines that are nearly right are answered, or refused in clear lines, in bounded time.

They are valid ones in which parts are gone, come twice, have another type, are extreme or nested deep, and texts and
bytes in which pieces are; each goes to the command that a user would give. `DETR_SPEC_FUZZ` says how many of each kind.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from answering import answered, write_answers
from hypothesis import HealthCheck, Phase, currently_in_test_context, event, given, settings
from hypothesis import strategies as st

from detr_conformance.base.isolation import isolated
from detr_conformance.commands.command_line import run
from detr_conformance.implementations import served
from detr_conformance.implementations.resolve import resolve
from detr_conformance.testee import client
from detr_conformance.testee.detr_testee import _Server, unpacked
from detr_conformance.vectors.exporting import set_texts

EXAMPLES = int(os.environ.get("DETR_SPEC_FUZZ", "12"))
LIMIT = 20.0
"""Seconds for one command on a busy machine; the slowest takes a tenth of that on a quiet one."""

FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES <= 12,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

SUBJECTS = """
import numpy as np
from detr_conformance import numpy_implementation
from detr_spec.boxes import giou
from scipy.optimize import linear_sum_assignment

def greedy(cost):
    return list(range(min(cost.shape))), [int(cost[row].argmin()) for row in range(min(cost.shape))]

IT = numpy_implementation(name="it", solver=linear_sum_assignment, boxes={"giou": giou})
WRONG = numpy_implementation(name="it", solver=greedy)
"""

DEEP = json.loads("[" * 70 + "]" * 70)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 3, 10**12, 2**63, 10**299, 10**400, -0.0, 0.1, 1e308, 5e-324]),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), True, "NaN", "Infinity"]),
    st.sampled_from(["", "nan", "inf", "nan:7ff0000000000001", "nan:0000000000000000", "float16", "bfloat16", "cpu"]),
    st.sampled_from(["\ud800", "\u2028", "'''", "\x1b[31m", "\x9b\u202e\x00", "\n::error::x", "##[add-mask]x"]),
    st.sampled_from(["{loss.__class__}", "{layer:>9999999999}", "../../x", "[/x]", "x" * 5000, "detr", "violated"]),
    st.text(max_size=6),
    st.sampled_from([[], {}, [[]], [0] * 40, [[0, 1], [2]], {"kind": "set"}, DEEP, {"a": DEEP}]),
    st.sampled_from(
        [{"dtype": "int64", "shape": [0], "values": []}, {"dtype": "float64", "shape": [0, 8388608], "data": ""}]
    ),
)


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The paths to all parts of a document."""
    parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from places(part, *path, key)


@st.composite
def changed_document(draw: Any, document: Any) -> Any:
    """A document in which some parts are something else, are gone, come twice or have another name."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(changed))
        if not found:
            break
        *path, key = draw(st.sampled_from(found))
        part = changed
        for step in path:
            part = part[step]
        act = draw(st.sampled_from(["replace", "replace", "replace", "drop", "repeat", "rename"]))
        if act == "replace":
            part[key] = copy.deepcopy(draw(ODD))
        elif act == "drop":
            del part[key]
        elif isinstance(part, list):
            part.insert(key, copy.deepcopy(part[key]))
        else:
            part[draw(st.sampled_from(["kind", "extra", f"{key}s", "\ud800"]))] = part[key]
    return changed


PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "'''",
    '"""',
    "\n",
    "\\",
    "#",
    "=",
    ",",
    ".",
    "-",
    "e",
    "0",
    "9" * 400,
    "NaN",
    "\x00",
]


@st.composite
def changed_text(draw: Any, text: str) -> str:
    """A text in which some pieces are gone, are repeated, are something else, or that ends too early."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        act = draw(st.sampled_from(["drop", "repeat", "put", "put", "cut"]))
        if act == "drop":
            text = text[:start] + text[end:]
        elif act == "repeat":
            text = text[:end] + text[start:end] + text[end:]
        elif act == "put":
            text = text[:start] + draw(st.sampled_from([*PIECES, "\u2028", "\x1b", "[[violation]]\n"])) + text[end:]
        else:
            text = text[:start]
    return text


@st.composite
def changed_bytes(draw: Any, data: bytes) -> bytes:
    """Bytes of which a few are others."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def changed_json(text: str) -> st.SearchStrategy[bytes]:
    """A file of JSON, changed as a document, as a text or as bytes."""
    return st.one_of(
        changed_document(json.loads(text)).map(lambda document: json.dumps(document).encode()),
        changed_document(json.loads(text)).map(lambda document: json.dumps(document, indent=1).encode()),
        changed_text(text).map(lambda changed: changed.encode(errors="surrogatepass")),
        changed_bytes(text.encode()),
    )


class Hung(BaseException):
    """A command took too long."""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """A context that a command must leave in time."""

    def ring(*_: object) -> None:
        raise Hung

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    # Again and again, as what is raised in a callback of the interpreter's own is ignored.
    signal.setitimer(signal.ITIMER_REAL, LIMIT, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def require_told(arguments: Sequence[object], *, codes: Sequence[int] = (0, 1, 2)) -> int:
    """Gives a command; its exit code, where it is one of these and what it says is fit for a terminal."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    start = time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), watched():
        code = run([str(argument) for argument in arguments])
    said, told = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    if currently_in_test_context():
        event(f"exit code {code}")
        event(f"{'under' if time.perf_counter() - start < 2 else 'over'} 2 s")
    assert code in codes
    assert "Traceback (most recent call last)" not in told
    for text in (said, told):
        assert all(sign.isprintable() or sign in "\n\t" for sign in text), ascii(text)
    refusals = [line for line in told.splitlines() if line.startswith("detr-spec: ")]
    assert bool(refusals) == (code == 2), told
    assert all(12 < len(line) < 1100 for line in refusals)
    return code


def give(arguments: Sequence[str]) -> None:
    """Gives a command that is known to be answered."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert run(list(arguments)) in (0, 1)


HOW = ("--invariant", "S1", "--invariant", "B3", "--examples", "1", "-n", "0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the commands are given, with a valid file of each kind."""
    resolve("reference")  # torch is imported here, as it cannot be again where a command is stopped in the middle
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "it.py").write_text(SUBJECTS)
    (folder / "vectors.jsonl").write_text("\n".join(min(text.splitlines(), key=len) for text in set_texts().values()))
    before = Path.cwd()
    os.chdir(folder)
    made = (
        ("check", "it.py:WRONG", *HOW[4:], "--component", "assignment", "--json", "report.json"),
        ("check", "it.py:WRONG", *HOW[4:], "--invariant", "S1", "--shard", "1/2", "--json", "shard1.json"),
        ("check", "it.py:WRONG", *HOW[4:], "--invariant", "S1", "--shard", "2/2", "--json", "shard2.json"),
        ("check", "it.py:WRONG", *HOW[4:], "--invariant", "S1", "--accept", "--ledger", "ledger.toml"),
    )
    for arguments in made:
        give(arguments)
    (folder / "mine.json").write_text('{"name": "it", "profile": "detr", "components": ["assignment"]}')
    give(("vectors", "questions", "mine.json", "questions.jsonl", "--vectors", "vectors.jsonl", "--examples", "1"))
    write_answers(answered(folder / "questions.jsonl", resolve("it.py:IT")[0]), folder / "answers.jsonl")
    ledger = folder / "ledger.toml"
    ledger.write_text(ledger.read_text().replace('reason = ""', 'reason = """\nfor a\nreason"""  # so'))
    yield folder
    os.chdir(before)


@FUZZED
@given(data=st.data())
def test_reports(place: Path, data: st.DataObject) -> None:
    (place / "r.json").write_bytes(data.draw(changed_json((place / "report.json").read_text())))
    if require_told(["report", "r.json"]) == 0:
        forms = ("--html", "r.html", "--junit", "r.xml", "--markdown", "r.md", "--json", "again.json")
        assert require_told(["report", "r.json", *forms]) == 0
        assert require_told(["report", "again.json"]) == 0


@FUZZED
@given(data=st.data())
def test_shards(place: Path, data: st.DataObject) -> None:
    (place / "s.json").write_bytes(data.draw(changed_json((place / "shard1.json").read_text())))
    require_told(["merge", "s.json", "shard2.json", "--json", "-"], codes=(0, 1, 2, 130))


@FUZZED
@given(data=st.data())
def test_ledgers(place: Path, data: st.DataObject) -> None:
    text = (place / "ledger.toml").read_text()
    change = st.one_of(changed_text(text).map(lambda text: text.encode(errors="replace")), changed_bytes(text.encode()))
    (place / "l.toml").write_bytes(data.draw(change))
    require_told(["check", "it.py:WRONG", *HOW[:2], *HOW[4:], "--ledger", "l.toml"])
    if require_told(["check", "it.py:WRONG", *HOW[:2], *HOW[4:], "--ledger", "l.toml", "--accept"]) < 2:
        assert require_told(["check", "it.py:WRONG", *HOW[:2], *HOW[4:], "--ledger", "l.toml", "--accept"]) < 2


@FUZZED
@given(data=st.data())
def test_vectors(place: Path, data: st.DataObject) -> None:
    line = data.draw(st.sampled_from((place / "vectors.jsonl").read_text().splitlines()))
    (place / "v.jsonl").write_bytes(data.draw(changed_json(line)))
    require_told(["replay", "v.jsonl", "it.py:IT", "reference"])


def with_a_changed_line(path: Path, data: st.DataObject) -> bytes:
    """A file of JSON Lines of which one is changed."""
    lines = path.read_text().splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    whole = [line.encode() for line in lines]
    whole[number] = data.draw(changed_json(lines[number]))
    return b"\n".join(whole)


@FUZZED
@given(data=st.data())
def test_answers(place: Path, data: st.DataObject) -> None:
    (place / "a.jsonl").write_bytes(with_a_changed_line(place / "answers.jsonl", data))
    require_told(["judge-answers", "a.jsonl", "--questions", "questions.jsonl"])


@FUZZED
@given(data=st.data())
def test_questions(place: Path, data: st.DataObject) -> None:
    (place / "q.jsonl").write_bytes(with_a_changed_line(place / "questions.jsonl", data))
    require_told(["judge-answers", "answers.jsonl", "--questions", "q.jsonl", "--further", "f.jsonl"])


@FUZZED
@given(data=st.data())
def test_descriptions(place: Path, data: st.DataObject) -> None:
    (place / "d.json").write_bytes(data.draw(changed_json((place / "mine.json").read_text())))
    require_told(["vectors", "questions", "d.json", "d.jsonl", "--vectors", "vectors.jsonl", "--examples", "0"])


class InThisProcess:
    """In place of a process: a testee that is asked in this one, and one of whose answers is another."""

    implementations: Sequence[Any] = ()
    other: tuple[int, bytes] = (-1, b"")
    """The place of the answer that is another, and what it is."""

    answers: ClassVar[list[bytes]] = []
    told = ""

    def __init__(self, *_: object, **__: object) -> None:
        restores = contextlib.ExitStack()
        restore = restores.enter_context(isolated())
        restores.close()
        self._server = _Server(list(map(served._testee, self.implementations)), -1, restore, served._told, None)
        self.answers.clear()

    def exchange(self, message: bytes, _: float) -> bytes:
        """The answer of the testee, or the other one."""
        answer = self._server._reply(unpacked(message[4:]))[4:]
        self.answers.append(answer)
        place, other = self.other
        return other if len(self.answers) == place else answer

    def processor_seconds(self) -> float:
        """It takes no time of its own."""
        return 0.0

    def forget_told(self) -> None:
        """There is nothing to forget."""

    def close(self) -> None:
        """There is nothing to close."""


ASKED = (
    "B3",
    "S1",
    "criterion.giou-value",
    "matcher.valid-pairs",
    "postprocess.scores",
    "gradients.box-l1",
    "heads.shapes",
)


@pytest.fixture(scope="module")
def conversations(place: Path) -> Iterator[dict[str, list[bytes]]]:
    """What a testee answers, message by message, as it is asked one invariant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "Process", InThisProcess)
        found = [*resolve("it.py:IT"), *(item for item in resolve("reference") if item.profile.name == "detr")]
        patch.setattr(InThisProcess, "implementations", found)
        answers = {}
        for name in ASKED:
            give(asked(name))
            answers[name] = list(InThisProcess.answers)
        yield answers


def asked(invariant: str) -> list[str]:
    client.testee_implementations.cache_clear()
    return ["check", "process:python", "-n", "0", "--examples", "1", "--invariant", invariant, "--profile", "detr"]


def drawn(strategy: st.SearchStrategy[Any]) -> list[Any]:
    """As many values as are asked for."""
    found: list[Any] = []

    @FUZZED
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def test_messages_of_testees(conversations: dict[str, list[bytes]]) -> None:
    """They are drawn beforehand: a judgement that is ended in its own search would confuse one around it."""
    answers = [(name, place, text) for name, found in conversations.items() for place, text in enumerate(found, 1)]
    others = st.sampled_from(answers).flatmap(
        lambda answer: st.tuples(st.just(answer[:2]), changed_json(answer[2].decode()))
    )
    codes = Counter[int]()
    for (name, place), other in drawn(others):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InThisProcess, "other", (place, other))
            try:
                codes[require_told(asked(name))] += 1
            except BaseException:
                print(f"answer {place} to {name} was {other!r}")
                raise
    print(f"exit codes: {dict(codes)}")


QUICK = (
    ("check", "it.py:WRONG", *HOW, "--profile", "detr", "--level", "MUST", "--seed", "7", "--device", "cpu"),
    (
        "check",
        "it.py:IT",
        *HOW,
        "--json",
        "o.json",
        "--html",
        "-",
        "--vectors",
        "v",
        "--database",
        "d",
        "--shard",
        "1/2",
    ),
    (
        "check",
        "it.py:IT",
        *HOW,
        "--ledger",
        "ledger.toml",
        "--minutes",
        "0.0001",
        "--markdown",
        "o.md",
        "--junit",
        "o.xml",
    ),
    ("check", "it.py:WRONG", *HOW, "--ledger", "a.toml", "--accept", "--time-limit", "9", "--memory-limit", "0"),
    ("list", "--profile", "detr", "--component", "boxes", "--level", "SHOULD"),
    ("explain", "matcher.optimal-cost"),
    ("report", "report.json", "--html", "-", "--json", "o.json"),
    ("merge", "shard1.json", "shard2.json", "--markdown", "-"),
    ("replay", "vectors.jsonl", "it.py:IT", "--device", "cpu"),
    ("vectors", "export", "o"),
    ("vectors", "schema", "answers"),
    ("judge-answers", "answers.jsonl", "--questions", "questions.jsonl", "--ledger", "a.toml", "--further", "f.jsonl"),
)
"""Commands that are done at once; what is put into them makes none of them long."""

LONG = ("bench", "limits", "mutants", "init", "check reference", "vectors draw", "vectors questions")
"""Commands that would take long if nothing were wrong with them, and so always get an option that there is not."""

WORDS = st.one_of(
    st.sampled_from(
        ["", " ", "-", "--", "-h", "--version", "--no-such-option", "-n", "1/0", "0/1", "3/2", "-1", "0", "1"]
    ),
    st.sampled_from(
        ["nan", "inf", "-inf", "1e999", "1e-999", "9" * 400, "0x1", "١", "true", "random", "cuda", "cpu:9"]
    ),
    st.sampled_from(
        [".", "/dev/full", "/dev/null/x", "missing/x", "x" * 256, "\udc9b", "\x1b[31m\u202e", "[/x]", "\n::error::"]
    ),
    st.sampled_from(
        ["it.py", "it.py:", ":IT", "it:IT", "it.py:SOLVER", "no.such:thing", "mutant:no", "process:", "process:'"]
    ),
    st.sampled_from(
        ["isolated:", "redis://u:secret@localhost:1/0", "github://x", "http://x", "declared:x", "M1", "boxes."]
    ),
    st.text(st.characters(exclude_characters="\x00/", exclude_categories=("Cs",)), max_size=8),
)


@st.composite
def command_lines(draw: Any) -> list[str]:
    """A command in which some words are gone, come twice, or are others."""
    words = list(draw(st.sampled_from(QUICK)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(words) - 1))
        act = draw(st.sampled_from(["replace", "replace", "replace", "drop", "repeat", "insert"]))
        if act == "replace":
            words[place] = draw(WORDS)
        elif act == "drop" and len(words) > 1:
            del words[place]
        elif act == "repeat":
            words.insert(place, words[place])
        else:
            words.insert(place, draw(WORDS))
    return words


@st.composite
def refused_lines(draw: Any) -> list[str]:
    """A command that would take long, with a word more and an option that there is not."""
    return [*draw(st.sampled_from(LONG)).split(), "--no-such-option", draw(WORDS)]


@FUZZED
@given(words=st.one_of(command_lines(), refused_lines()))
def test_command_lines(place: Path, words: list[str]) -> None:
    if words[0] == "check":
        words = [*words, *HOW[:2], *HOW[4:]]  # so that what is left of it is little, and in this process
    require_told(words)
