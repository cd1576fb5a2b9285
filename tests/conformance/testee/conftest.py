"""Testees that the tests are about: programs that break the protocol, and implementations that break their process."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from detr_conformance import check
from detr_conformance.base.verdict import Judgement

RAW = """
import base64, json, os, struct, sys, time

def read():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        sys.exit()
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))

def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

def packed(message):
    text = json.dumps(message).encode()
    return struct.pack(">I", len(text)) + text

HELLO = {"message": "hello", "protocol": 1,
         "implementations": [{"name": "raw", "profile": "detr", "components": ["assignment"]}]}
ARRAY = {"dtype": "int64", "shape": [1], "data": base64.b64encode(bytes(8)).decode()}
ANSWER = {"message": "answer", "value": {"queries": ARRAY, "targets": ARRAY}}

def reply(request):
    name = request["message"]
    message = {"hello": HELLO, "begin": {"message": "ready"},
               "build": {"message": "built", "functions": ["solve"]}, "call": ANSWER}[name]
    write(packed({**message, "id": request["id"]}))

def until(name):
    request = read()
    while request["message"] != name:
        reply(request)
        request = read()
    return request

"""


@pytest.fixture
def raw(tmp_path: Path) -> Callable[[str], str]:
    """The name of a testee that follows the protocol by hand; its source goes on as given."""

    def write(source: str, name: str = "raw.py") -> str:
        path = tmp_path / name
        path.write_text(RAW + textwrap.dedent(source))
        return f"process:{sys.executable} -I -S {path}"

    return write


@pytest.fixture
def judged() -> Callable[..., Judgement]:
    """The judgement of an implementation on the validity of its pairs, in this process."""

    def judge(address: str, time_limit: float = 20, **more: object) -> Judgement:
        chosen = {"invariants": ["assignment.valid-pairs"], "examples": 3, **more}
        report = check(address, time_limit=time_limit, **chosen)  # type: ignore[arg-type]
        (item,) = report.implementations
        (judgement,) = item.judgements
        return judgement

    return judge
