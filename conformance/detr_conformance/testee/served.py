"""The process in which `--isolate` runs an implementation that is given by an ordinary name."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from detr_conformance.testee.detr_testee import Functions, Testee, claim_streams, raised, serve


def main() -> None:
    """Serves the implementations at the address that is the one argument; says what is wrong where there are none."""
    claim_streams()
    from detr_conformance.errors import UsageError  # noqa: PLC0415
    from detr_conformance.isolation import isolated  # noqa: PLC0415
    from detr_conformance.resolve import resolve  # noqa: PLC0415

    try:
        found = resolve(sys.argv[1])
    except UsageError as error:
        serve(refusal=str(error))
        return
    with isolated() as restore:
        serve(*map(_testee, found), new_case=restore, told=_told)


def _testee(implementation: Any) -> Testee:
    from detr_conformance.testee.codec import SIGNATURES, UNOBSERVED, encode_observation  # noqa: PLC0415
    from detr_conformance.testee.description import described, read_configuration  # noqa: PLC0415
    from detr_spec.implementation import PARTED  # noqa: PLC0415

    def build(component: str, configuration: dict[str, Any]) -> Functions:
        built = getattr(implementation, component)(read_configuration(configuration, implementation.profile))
        functions = {"call": built}
        if isinstance(built, PARTED):
            functions = {part.name: getattr(built, part.name) for part in fields(built)}
        return {name: sent(component, name, part) for name, part in functions.items() if part is not None}

    def sent(component: str, name: str, function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
        kinds, answered = SIGNATURES[component][name]

        def call(*arguments: Any) -> dict[str, Any]:
            given: Sequence[Any] = [
                kind.decode(value, f"arguments[{place}]")
                for place, (kind, value) in enumerate(zip(kinds, arguments, strict=True))
            ]
            answer = function(*given)
            if (component, name) in UNOBSERVED:
                return {"value": answered.encode(answer)}
            return {"value": answered.encode(answer.value), "observation": encode_observation(answer.observation)}

        return call

    return Testee(described(implementation), build)


def _told(error: BaseException) -> dict[str, Any]:
    from detr_conformance.tracebacks import implementation_traceback  # noqa: PLC0415
    from detr_spec.violation import NotProvided, RankFailure, Violation  # noqa: PLC0415

    if isinstance(error, NotProvided):
        return {"message": "not provided", "text": str(error)}
    if isinstance(error, RankFailure):
        return {"message": "rank failure", "text": str(error)}
    if isinstance(error, Violation):
        numbers = {"expected": _plain(error.expected), "got": _plain(error.got)}
        return {"message": "violated", "text": error.message, **numbers}
    return raised(error, implementation_traceback(error) if error.__traceback__ else traceback.format_exc())


def _plain(value: Any) -> Any:
    from detr_spec.cases import plain  # noqa: PLC0415

    return json.loads(json.dumps(plain(value), default=repr, allow_nan=False))
