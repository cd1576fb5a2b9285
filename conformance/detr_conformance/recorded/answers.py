"""The file of answers: one for each call of each question, in JSON Lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import numbered_lines, parsed_json, read_text
from detr_conformance.base.errors import UsageError
from detr_conformance.base.text import counted
from detr_conformance.encoding.checks import items, record, shown, text
from detr_conformance.encoding.files import ANSWERS
from detr_conformance.encoding.places import Place
from detr_conformance.encoding.plain_data import told
from detr_conformance.recorded.calls import Question
from detr_conformance.testee.messages import RaisedThere
from detr_conformance.testee.names import spoken
from detr_conformance.testee.signatures import Signature, signatures
from detr_spec.values import InvalidValue
from detr_spec.violation import NotProvided, Violation

KINDS = ("value", "raised", "not_provided")
"""What an answer to a call is, one of them."""


class _AnswerPlace(Place):
    """Where something stands in an answer."""

    def within(self, *parts: str | int) -> _AnswerPlace:
        return _AnswerPlace(self.file, (*self.path, *parts))

    def refused(self, error: InvalidValue) -> Any:
        """What keeps to the format, and violates what is asked of every answer."""
        return Violation(f"{'/'.join(map(str, self.path))}: {error}")


def read_answers(path: Path, questions: Sequence[Question], asked_in: Path) -> dict[str, Any]:
    """What was answered to each call, by the digest of it and the calls before: an answer, or what it raises.

    Raises `UsageError` with the line for what is not as it should be, for an answer to what is not asked, for a second
    answer, and where a question is not answered. asked_in: the file of the questions.
    """
    known = {question.key: question for question in questions}
    answered: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for number, line in numbered_lines(read_text(path)):
        place = _AnswerPlace(f"{path}, line {number}")
        given = record(parsed_json(line, place), place, ("question", "answers"))
        key = text(given["question"], place.within("question"))
        if key not in known:
            raise UsageError(f"{place}: {asked_in} asks no question {shown(key)}; expected an answer to what it asks")
        if key in seen:
            raise UsageError(f"{place}: question {key} was answered in line {seen[key]} already")
        seen[key] = number
        for name, answer in zip(known[key].keys(), _outcomes(known[key], given["answers"], place), strict=True):
            answered.setdefault(name, answer)
    _require_all(path, known, seen)
    return answered


def uncallable(questions: Sequence[Question], answers: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Why a function cannot be called, by the names of its component and itself: it raised in each of its calls."""
    given: defaultdict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for question in questions:
        for key, call in zip(question.keys(), question.calls, strict=True):
            given[question.component, call["function"]][key] = answers[key]
    found = {names: list(outcomes.values()) for names, outcomes in given.items()}
    return {names: _why(*names, outcomes) for names, outcomes in found.items() if all(map(_raised, outcomes))}


def _raised(outcome: Any) -> bool:
    return isinstance(outcome, Exception) and not isinstance(outcome, (NotProvided, Violation))


def _why(component: str, function: str, outcomes: Sequence[Exception]) -> str:
    calls = counted(len(outcomes), "call")
    return (
        f"{spoken(component, function)} cannot be called. It raised {told(outcomes[0])}, and raised in all of {calls}"
    )


def _require_all(path: Path, known: Mapping[str, Question], seen: Mapping[str, int]) -> None:
    missing = [key for key in known if key not in seen]
    if missing:
        raise UsageError(
            f"{path} leaves {counted(len(missing), 'question')} of {len(known)} without an answer, such as "
            f"{missing[0]}; what cannot be answered is said to be 'raised' or 'not_provided'"
        )


def _outcomes(question: Question, data: Any, place: _AnswerPlace) -> list[Any]:
    at = place.within("answers")
    answers = items(data, at)
    if len(answers) != len(question.calls):
        raise at.wrong(found=counted(len(answers), "answer"), expected=f"{len(question.calls)}, one for each call")
    functions = (signatures(question.component)[call["function"]] for call in question.calls)
    pairs = enumerate(zip(functions, answers, strict=True))
    return [_outcome(signature, answer, at.within(number)) for number, (signature, answer) in pairs]


def _outcome(signature: Signature, data: Any, place: _AnswerPlace) -> Any:
    """What a call answered, or what it raises."""
    given = record(data, place, (), (*KINDS, "observation"))
    kinds = [name for name in KINDS if name in given]
    if len(kinds) != 1 or ("observation" in given and not (signature.is_observed and kinds == ["value"])):
        raise place.wrong(found=f"the fields {', '.join(given) or 'of none'}", expected=f"one of {', '.join(KINDS)}")
    if "raised" in given:
        raised: RaisedThere = ANSWERS.decoded(RaisedThere, given["raised"], place.within("raised"))
        return raised.error
    if "not_provided" in given:
        return NotProvided(text(given["not_provided"], place.within("not_provided")))
    try:
        return signature.decoded_answer(given, place, ANSWERS)
    except Violation as violation:
        return violation
