"""A testee seen from the process that judges: implementations whose components are called over the pipe."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from detr_conformance.base.documents import strict_json
from detr_conformance.base.errors import UsageError, cause_of_death
from detr_conformance.base.isolation import MOMENT
from detr_conformance.base.one_thread import ONE_THREAD
from detr_conformance.base.text import line_of
from detr_conformance.base.time_limit import TimeLimit
from detr_conformance.base.tracebacks import RemoteTraceback
from detr_conformance.base.verdict import Verdict
from detr_conformance.encoding.checks import choice, items, record
from detr_conformance.processes.process import Died, Garbled, Late, Process, TooLarge
from detr_conformance.testee.bounds import BOUNDS
from detr_conformance.testee.description import Description, encode_configuration, read_description
from detr_conformance.testee.detr_testee import LONGEST, PROTOCOL, Malformed, packed
from detr_conformance.testee.ended import Ended, NotStarted
from detr_conformance.testee.messages import MESSAGES, Part, RaisedThere, Told, Violated
from detr_conformance.testee.names import ISOLATED, PROCESS
from detr_conformance.testee.signatures import component_of, signatures
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.violation import NotProvided, RankFailure

MOST_IMPLEMENTATIONS = 100

Message = dict[str, Any]

SERVED = "detr_conformance.implementations.served"
"""What is imported in the process of an implementation that is given by an ordinary name."""


def read_message(text: bytes) -> Message:
    """The message that these bytes after a length are; raises `Malformed` for what is no strict JSON object."""
    try:
        message = strict_json(text.decode())
    except ValueError as error:
        raise Malformed(f"a message is no JSON in UTF-8: {error}") from error
    if not isinstance(message, dict):
        raise Malformed(f"a message is a JSON {type(message).__name__}; expected an object")
    return message


_RUNNING: list[Testee] = []
"""The one testee that has a process; there is not more than one, as only one implementation is judged at a time."""


def close_all() -> None:
    """Ends the testees of this process; they start again if they are called."""
    while _RUNNING:
        _RUNNING.pop().close()


def _serving(address: str) -> tuple[str, ...]:
    """The command that serves an address, in this interpreter and with its search path."""
    code = f"import sys; sys.path[:] = sys.argv.pop(1).split(sys.argv.pop(1)); import {SERVED} as served; served.main()"
    path = [os.path.abspath(folder) for folder in sys.path]
    return sys.executable, "-c", code, os.pathsep.join(path), os.pathsep, address


@cache
def testee_implementations(address: str) -> tuple[Implementation, ...]:
    """The implementations of a testee; raises `NotStarted`, or another `UsageError`, where there are none."""
    if address.startswith(ISOLATED):
        name = address.removeprefix(ISOLATED)
        return Testee(_serving(name), name).implementations()
    try:
        command = tuple(shlex.split(address.removeprefix(PROCESS)))
    except ValueError as error:
        raise UsageError(f"{address} cannot be split into words: {error}") from error
    if not command or shutil.which(command[0]) is None:
        program = command[0] if command else ""
        raise UsageError(f"{address}: there is no program {program!r}; expected process:COMMAND, as in a shell")
    return Testee(command, command[0]).implementations()


class Testee:
    """The other end of the pipe. Each judgement that ends it gets a fresh process after it."""

    def __init__(self, command: tuple[str, ...], what: str) -> None:
        self._command = command
        self._what = what
        self._process: Process | None = None
        self._limit: TimeLimit | None = None
        self._number = 0
        self._judgement = -1
        self._ended: Ended | None = None
        self._said: Any = None

    def implementations(self) -> tuple[Implementation, ...]:
        """What the testee says it has; raises `UsageError` where it refuses, and `NotStarted` where it does not say."""
        try:
            self._start()
            return tuple(_implementation(self, place, item) for place, item in enumerate(self._descriptions()))
        except Ended as ended:
            raise NotStarted(self._what, ended.verdict, ended.message) from ended

    def _descriptions(self) -> list[Description]:
        try:
            said = items(self._said, Part("implementations"))
            if not 1 <= len(said) <= MOST_IMPLEMENTATIONS:
                raise Malformed(f"implementations has {len(said)} items; expected 1 to {MOST_IMPLEMENTATIONS}")
            return [read_description(item, f"implementations[{place}]") for place, item in enumerate(said)]
        except Malformed as error:
            raise self._failed(Verdict.ERROR, f"its hello is malformed: {error}") from error

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _start(self) -> None:
        """Starts a process in place of any other testee's, and greets it."""
        close_all()
        environment = {**os.environ, **ONE_THREAD, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        self._process = Process(self._command, environment, longest=LONGEST, mebibytes=BOUNDS.mebibytes)
        _RUNNING.append(self)
        self._allow(BOUNDS.start_seconds)
        reply = self._exchanged({"message": "hello", "protocol": PROTOCOL}, "as it started")
        if reply.get("message") == "refused":
            told = line_of(reply.get("text"))
            if self._said is not None:
                raise self._failed(Verdict.ERROR, f"it refuses after a restart: {told}")
            self.close()
            raise UsageError(told)
        said = self._fields(reply, "hello", "protocol", "implementations")
        if type(said["protocol"]) is not int or said["protocol"] != PROTOCOL:
            raise self._failed(Verdict.ERROR, f"it speaks protocol {said['protocol']!r:.20}; expected {PROTOCOL}")
        if self._said not in (None, said["implementations"]):
            raise self._failed(Verdict.ERROR, "it describes itself differently after a restart")
        self._said = said["implementations"]

    def _allow(self, seconds: float) -> None:
        assert self._process is not None
        self._limit = TimeLimit(seconds, self._process.processor_seconds)

    def ask(self, message: Message) -> Message:
        """The reply to a message in the judgement at hand; raises `Ended` where none comes any more."""
        if self._judgement != MOMENT.judgement:
            self._begin()
        if self._ended is not None:
            raise self._ended
        if self._process is None:
            # Another testee was called in between, as may happen outside judgements.
            self._begin()
        return self._exchanged(message, "in a call")

    def _begin(self) -> None:
        self._judgement, self._ended = MOMENT.judgement, None
        if self._process is None:
            self._start()
        self._allow(BOUNDS.seconds)
        self._fields(self._exchanged({"message": "begin"}, "between judgements"), "ready")
        assert self._process is not None
        self._process.forget_told()

    def _exchanged(self, message: Message, when: str) -> Message:
        assert self._process is not None
        assert self._limit is not None
        self._number += 1
        try:
            reply = read_message(self._process.exchange(packed({**message, "id": self._number}), self._limit))
            number = reply.pop("id", None)
            if type(number) is not int or number != self._number:
                raise Malformed(f"a message does not answer request {self._number}, which was asked")
        except Late as late:
            raise self._failed(Verdict.TIMED_OUT, f"{late}; --time-limit allows more") from late
        except TooLarge as error:
            raise self._out_of_memory() from error
        except Died as death:
            raise self._failed(*self._death(death.exit_code, when)) from death
        except (Malformed, Garbled) as error:
            raise self._failed(Verdict.ERROR, f"broke the protocol: {error}") from error
        except BaseException:
            # An interrupt, say; what the process would still answer would be taken for the next answer.
            self.close()
            raise
        return reply

    def _death(self, code: int, when: str) -> tuple[Verdict, str]:
        assert self._process is not None
        told = f"; it said: {self._process.told}" if self._process.told else ""
        if code < 0:
            return Verdict.CRASHED, f"the process was ended {cause_of_death(code)} {when}{told}"
        return Verdict.ERROR, f"the process ended with exit status {code} {when}{told}"

    def _failed(self, verdict: Verdict, message: str) -> Ended:
        """What ends the judgement at hand, and the process with it."""
        self.close()
        self._ended = Ended(verdict, message)
        return self._ended

    def _out_of_memory(self) -> Ended:
        limit = f"--memory-limit allows more than {BOUNDS.mebibytes} MiB"
        return self._failed(Verdict.CRASHED, f"the process ran out of memory; {limit}")

    def _fields(self, reply: Message, name: str, *required: str, optional: tuple[str, ...] = ()) -> Mapping[str, Any]:
        """The reply, if it is of that name and has these fields."""
        try:
            if reply.get("message") != name:
                raise Malformed(f"a message is {reply.get('message')!a:.40}; expected {name}")
            return record(reply, Part(f"the message {name!r}"), ("message", *required), optional)
        except Malformed as error:
            raise self._failed(Verdict.ERROR, f"broke the protocol: {error}") from error

    def build(self, implementation: int, component: str, configuration: Configuration) -> Any:
        """A component whose functions call the one that the testee builds."""
        asked = {
            "message": "build",
            "case": MOMENT.case,
            "implementation": implementation,
            "component": component,
            "configuration": encode_configuration(configuration),
        }
        reply = self._answered(self.ask(asked))
        number = self._number
        try:
            names = items(self._fields(reply, "built", "functions")["functions"], Part("functions"))
            for place, name in enumerate(names):
                choice(name, tuple(signatures(component)), Part(f"functions[{place}]"))
            for name, signature in signatures(component).items():
                if signature.required and name not in names:
                    raise Malformed(f"{component} lacks the function {name!r}")
        except Malformed as error:
            raise self._failed(Verdict.ERROR, f"broke the protocol: {error}") from error
        return component_of(component, {name: self._function(number, component, name) for name in names})

    def _function(self, built: int, component: str, name: str) -> Callable[..., Any]:
        signature = signatures(component)[name]

        def call(*arguments: Any) -> Any:
            given = signature.encoded_arguments(arguments)
            asked = {"message": "call", "built": built, "function": name, "arguments": given}
            reply = self._answered(self.ask(asked))
            optional = ("observation",) if signature.is_observed else ()
            answer = dict(self._fields(reply, "answer", "value", optional=optional))
            del answer["message"]
            try:
                return signature.decoded_answer(answer)
            except Malformed as error:
                message = f"broke the protocol: the answer of {component}.{name} is malformed, {error}"
                raise self._failed(Verdict.ERROR, message) from error

        return call

    def _answered(self, reply: Message) -> Message:
        """The reply, unless it says that there is no answer, which is raised."""
        kind = reply.get("message")
        if kind == "not provided":
            raise NotProvided(self._read(Told, reply).text)
        if kind == "rank failure":
            raise RankFailure(self._read(Told, reply).text)
        if kind == "violated":
            raise self._read(Violated, reply).violation
        if kind == "raised":
            told = self._read(RaisedThere, reply)
            if told.type == "MemoryError":
                raise self._out_of_memory()
            raise told.error from RemoteTraceback(told.traceback)
        return reply

    def _read(self, kind: type[Any], reply: Message) -> Any:
        """The reply as a dataclass of its fields."""
        fields = {name: item for name, item in reply.items() if name != "message"}
        try:
            return MESSAGES.decoded_fields(kind, fields, Part(f"the message {reply['message']!r}"))
        except Malformed as error:
            raise self._failed(Verdict.ERROR, f"broke the protocol: {error}") from error


def _implementation(testee: Testee, place: int, said: Description) -> Implementation:
    def factory(component: str) -> Callable[[Configuration], Any]:
        return lambda configuration: testee.build(place, component, configuration)

    factories: dict[str, Any] = {component: factory(component) for component in said.components}
    return Implementation(name=said.name, profile=said.profile, limits=said.limits, **factories)
