"""A testee that breaks the protocol costs one verdict, with a message that says how."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from detr_conformance import check
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.testee.bounds import BOUNDS

Raw = Callable[..., str]
Judged = Callable[..., Judgement]

BREACHES = {
    "huge length": (r'write(b"\xff\xff\xff\xff" + b"x" * 100)', "where a message of at most 67108864 bytes begins"),
    "a print": ('print("hello world", flush=True)', "what a program prints must go to standard error"),
    "no object": ('write(packed([1, 2]))', "a message is a JSON list; expected an object"),
    "invalid utf-8": (r'write(b"\0\0\0\2\xff\xfe")', "a message is no JSON in UTF-8"),
    "no json": (r'write(b"\0\0\0\2{]")', "a message is no JSON in UTF-8"),
    "deep json": ('write(struct.pack(">I", 10**6) + b"[" * 10**6)', "a message is no JSON in UTF-8"),
    "a bare NaN": ('write(packed({**ANSWER, "id": float("nan")}))', "NaN is no JSON; a number that is not finite is"),
    "another id": ('write(packed({**ANSWER, "id": request["id"] + 1}))', "a message does not answer request 4"),
    "an id as a float": ('write(packed({**ANSWER, "id": float(request["id"])}))', "does not answer request 4"),
    "a field twice": (
        """text = json.dumps({**ANSWER, "id": request["id"]}).encode()[:-1] + b', "id": 4}'
write(struct.pack(">I", len(text)) + text)""",
        "the key 'id' comes twice in one object",
    ),
    "a deep value": (
        """told = 1
for _ in range(600): told = [told]
write(packed({"message": "violated", "text": "", "expected": told, "id": request["id"]}))""",
        "a message is no JSON in UTF-8: it is nested too deeply",
    ),
    "a huge integer": (
        'write(packed({"message": "violated", "text": "", "got": 10**400, "id": request["id"]}))',
        "has more than 300 digits",
    ),
    "a vast and empty shape": (
        'ARRAY.update(shape=[0, 67108864], data=""); reply(request)',
        "value.queries has 0 bytes; expected 0 bytes, as int64 of shape [0, 67108864] have",
    ),
    "another message": (
        'write(packed({"message": "ready", "id": request["id"]}))',
        "a message is 'ready'; expected answer",
    ),
    "unknown field": (
        'write(packed({**ANSWER, "mood": 1, "id": request["id"]}))',
        "the message 'answer' is an object with the field 'mood'; expected the fields message, value, observation",
    ),
    "missing field": (
        'write(packed({"message": "answer", "id": request["id"]}))',
        "the message 'answer' is an object without the field 'value'",
    ),
    "wrong dtype": (
        'ARRAY["dtype"] = "float32"; reply(request)',
        "value.queries has 8 bytes; expected 4 bytes, as float32 of shape [1] have",
    ),
    "unknown dtype": ('ARRAY["dtype"] = "int128"; reply(request)', "has dtype 'int128'; expected one of bool"),
    "vast shape": ('ARRAY["shape"] = [10**30]; reply(request)', "value.queries has 8 bytes; expected 8" + "0" * 30),
    "negative shape": ('ARRAY["shape"] = [-1]; reply(request)', "has shape [-1]; expected a list of at most 8"),
    "no base64": ('ARRAY["data"] = "!"; reply(request)', "value.queries has data that is no base64"),
    "not an array": ('ANSWER["value"]["queries"] = [0]; reply(request)', "queries is no array; expected the fields"),
    "closed": ("os.close(1); time.sleep(60)", "it closed its standard output"),
    "truncated": (r'write(b"\0\0\0\11abc"); sys.exit(3)', "the process ended with exit status 3 in a call"),
    "gone": ("os._exit(0)", "the process ended with exit status 0 in a call"),
    "observation": (
        'ANSWER["observation"] = {"device": 3}; reply(request)',
        "the answer of assignment.solve is malformed, observation.device is 3; expected a string",
    ),
}  # fmt: skip


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_protocol_is_one_error_that_says_what_it_is(breach: str, raw: Raw, judged: Judged) -> None:
    source, told = BREACHES[breach]
    judgement = judged(raw(f"request = until('call')\n{source}\nwhile True: reply(read())"))
    assert judgement.verdict is Verdict.ERROR
    assert told in judgement.message
    assert len(judgement.message) < 700
    assert judgement.counterexample is not None
    assert judgement.counterexample.case is not None


def test_an_answer_of_a_wrong_form_keeps_to_the_protocol_and_is_a_violation(raw: Raw, judged: Judged) -> None:
    source = 'ARRAY["shape"] = [1, 1]\nrequest = until("call")\nwhile True: reply(request); request = read()'
    judgement = judged(raw(source))
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.message == "assignment.solve answered ndarray of int64 and shape [1, 1] as queries"
    assert judgement.counterexample is not None
    assert judgement.counterexample.expected == "integers of shape [k]"


@pytest.mark.parametrize(
    "source",
    ["time.sleep(60)", r'write(b"\0\1")' "\ntime.sleep(60)", 'while True: os.write(2, b"x" * 65536)'],
    ids=["silence", "half a message", "endless noise"],
)
def test_what_does_not_answer_has_timed_out(source: str, raw: Raw, judged: Judged) -> None:
    judgement = judged(raw(f"until('call')\n{source}"), time_limit=0.2)
    assert judgement.verdict is Verdict.TIMED_OUT
    assert judgement.message.startswith("not finished after ")
    assert judgement.message.endswith("; --time-limit allows more")


VAST = {
    "numbers": (
        'ARRAY.update(dtype="uint8", shape=[15 << 20], data="AAAA" * (5 << 20)); reply(request)',
        "assignment.solve answered ndarray of uint8 and shape [15728640]",
    ),
    "an excuse": (
        'write(packed({"message": "not provided", "text": "no " * (10 << 20), "id": request["id"]}))',
        "no no no",
    ),
    "an error": (
        'write(packed({"message": "rank failure", "text": "no " * (10 << 20), "id": request["id"]}))',
        "no no no",
    ),
}


@pytest.mark.parametrize("vast", VAST)
def test_what_is_said_in_30_megabytes_takes_no_more_than_seconds(vast: str, raw: Raw, judged: Judged) -> None:
    source, told = VAST[vast]
    start = time.process_time()
    judgement = judged(raw(f"request = until('call')\n{source}\nwhile True: read(); {source}"), examples=1)
    assert judgement.message.startswith(told)
    assert len(judgement.message) <= 2000
    assert time.process_time() - start < 10


def test_endless_output_is_no_answer(raw: Raw, judged: Judged) -> None:
    judgement = judged(raw("until('call')\nwhile True: os.write(1, bytes(65536))"), time_limit=5)
    assert judgement.verdict is Verdict.ERROR
    assert "broke the protocol: a message is no JSON" in judgement.message


GREETINGS = {
    "silence": ("time.sleep(60)", "cannot be judged: not finished after 1 s, of which it computed for 0"),
    "gone": ("sys.exit(4)", "cannot be judged: the process ended with exit status 4 as it started"),
    "a reason": ("sys.exit('numpy is missing')", "exit status 1 as it started; it said: numpy is missing"),
    "killed": ("os.kill(os.getpid(), 11)", "cannot be judged: the process was ended by signal SIGSEGV as it started"),
    "refusal": ('write(packed({"message": "refused", "text": "not today", "id": 1}))', "not today"),
    "version": ('HELLO["protocol"] = 2; reply(read())', "it speaks protocol 2; expected 1"),
    "nothing": ('HELLO["implementations"] = []; reply(read())', "implementations has 0 items; expected 1 to 100"),
    "crowd": ('HELLO["implementations"] *= 60000; reply(read())', "implementations has 60000 items; expected 1 to 100"),
    "profile": (
        'HELLO["implementations"][0]["profile"] = "deformabel"; reply(read())',
        "implementations[0].profile is 'deformabel'; did you mean deformable",
    ),
    "profile field": (
        'HELLO["implementations"][0]["profile"] = {"name": "x", "keys": {"logit": "l"}}; reply(read())',
        "implementations[0].profile.keys is an object with the field 'logit'; did you mean logits",
    ),
    "profile value": (
        'HELLO["implementations"][0]["profile"] = {"name": "x", "activation": "relu"}; reply(read())',
        "implementations[0].profile.activation is 'relu'; expected one of softmax, sigmoid",
    ),
    "component": (
        'HELLO["implementations"][0]["components"] = ["solver"]; reply(read())',
        "implementations[0].components[0] is 'solver'; expected one of boxes, assignment",
    ),
    "limits": (
        'HELLO["implementations"][0]["limits"] = {"dtypes": ["float8"]}; reply(read())',
        "implementations[0].limits.dtypes[0] is 'float8'",
    ),
    "fixed": (
        'HELLO["implementations"][0]["limits"] = {"fixed": {"class_loss.eos_coef": 10**400}}; reply(read())',
        "has more than 300 digits",
    ),
    "true version": ('HELLO["protocol"] = True; reply(read())', "it speaks protocol True; expected 1"),
    "profile name": (
        'HELLO["implementations"][0]["profile"] = {"name": "\\x1b[2J"}; reply(read())',
        "profile.name is '\\x1b[2J'; expected 1 to 100 printable",
    ),
    "name": ('HELLO["implementations"][0]["name"] = "\\x1b[2J"; reply(read())', "expected 1 to 100 printable"),
}  # fmt: skip


@pytest.mark.parametrize("greeting", GREETINGS)
def test_a_testee_that_does_not_say_what_it_is_is_a_usage_error_of_one_line(
    greeting: str, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, told = GREETINGS[greeting]
    monkeypatch.setattr(BOUNDS, "start", 0.2)
    with pytest.raises(UsageError) as error:
        check(raw(source), time_limit=0.2 if greeting == "silence" else 20)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_beside_others_it_costs_its_own_judgements_alone(raw: Raw) -> None:
    names = [raw("os._exit(0)", "ending.py"), raw("while True: reply(read())", "right.py")]
    report = check(names, invariants=["assignment.one-by-one", "matcher.valid-pairs"], examples=3)
    ending, right = report.implementations
    assert [judgement.verdict for judgement in ending.judgements] == [Verdict.ERROR, Verdict.ERROR]
    assert ending.judgements[0].message == "the process ended with exit status 0 as it started"
    # It answers every matrix alike, which shows nothing.
    assert [judgement.verdict for judgement in right.judgements] == [Verdict.VACUOUS, Verdict.NOT_PROVIDED]


def test_the_next_judgement_gets_a_fresh_process(raw: Raw) -> None:
    name = raw(
        """
        request = until("call")
        if sys.argv[1:] == [] and not os.path.exists(__file__ + ".once"):
            open(__file__ + ".once", "w").close()
            os._exit(0)
        reply(request)
        while True: reply(read())
        """
    )
    report = check(name, invariants=["assignment.one-by-one", "assignment.repeatable"], examples=3)
    (item,) = report.implementations
    assert [judgement.verdict for judgement in item.judgements] == [Verdict.ERROR, Verdict.HOLDS]


def test_a_violation_that_was_found_is_not_lost_when_the_process_ends(raw: Raw, judged: Judged) -> None:
    source = """
        for _ in range(15):
            reply(until("call"))
        os._exit(0)
        """
    judgement = judged(raw(source), examples=20)
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.counterexample is not None
    assert judgement.counterexample.case["costs"]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("process:", "there is no program ''"),
        ("process:no-such-program-here x", "there is no program 'no-such-program-here'"),
        ("process:python 'open", "cannot be split into words"),
    ],
)
def test_a_command_that_cannot_be_run_is_a_usage_error(address: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check(address)
