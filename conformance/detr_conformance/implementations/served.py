"""The process in which `--isolate` runs an implementation that is given by an ordinary name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from detr_conformance.base.errors import UsageError
from detr_conformance.base.isolation import isolated, restoring_component
from detr_conformance.base.tracebacks import implementation_traceback
from detr_conformance.implementations.resolve import resolve
from detr_conformance.testee.description import described, read_configuration
from detr_conformance.testee.detr_testee import Functions, Testee, claim_streams, raised, serve
from detr_conformance.testee.messages import MESSAGES, Violated
from detr_conformance.testee.signatures import Signature, functions_of, signatures
from detr_conformance.testee.stopwatch import Stopwatch
from detr_spec.violation import NotProvided, Raised, RankFailure, Violation

THREADED = frozenset({"jax", "tensorflow"})
"""Frameworks whose threads do not outlive a fork; all judgements are answered by one process where they are loaded."""


def main() -> None:
    """Serves the implementations at the address that is the one argument; says what is wrong where there are none."""
    claim_streams()

    try:
        found = resolve(sys.argv[1])
    except UsageError as error:
        serve(refusal=str(error))
        return
    with isolated() as restore:
        serve(*map(_testee, found), fork=THREADED.isdisjoint(sys.modules), new_case=restore, told=_told)


def _testee(implementation: Any) -> Testee:
    def build(component: str, configuration: dict[str, Any]) -> Functions:
        given = read_configuration(configuration, implementation.profile)
        watched = Stopwatch().watched(restoring_component(implementation, component, written=True))
        functions = functions_of(component, watched(given))
        return {name: answering(signatures(component)[name], part) for name, part in functions.items()}

    def answering(signature: Signature, function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
        def call(*data: Any) -> dict[str, Any]:
            try:
                return signature.encoded_answer(function(*signature.decoded_arguments(data)))
            except Raised as raised:
                if isinstance(raised.error, MemoryError):
                    raise MemoryError from None
                raise

        return call

    return Testee(described(implementation), build)


def _told(error: BaseException) -> dict[str, Any]:
    if isinstance(error, NotProvided):
        return {"message": "not provided", "text": str(error)}
    if isinstance(error, RankFailure):
        return {"message": "rank failure", "text": str(error)}
    if isinstance(error, Violation):
        return {"message": "violated", **MESSAGES.encoded(Violated.of(error), Violated)}
    what = error.error if isinstance(error, Raised) else error
    return raised(what, implementation_traceback(what))
