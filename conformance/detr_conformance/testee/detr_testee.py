"""A testee of detr-spec in one file: lets an implementation be judged in whatever Python it lives in.

It needs Python 3.8, NumPy and, for losses in PyTorch, torch; copy it beside your loss. A testee is a script:

    from detr_testee import serve, torch_testee

    serve(torch_testee(name="my loss", profile="detr", matcher=lambda c: MyMatcher(*c.cost_weights)))

and is judged by `detr-spec check "process:python3.8 my_testee.py"`. The messages are described in docs/testee.md.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import struct
import sys
import traceback
from types import SimpleNamespace
from typing import Any, Callable, Dict, Mapping

import numpy as np

PROTOCOL = 1
LONGEST = 64 * 1024 * 1024
"""The most bytes that one message may have."""
LONGEST_TEXT = 1024 * 1024
"""The most characters of what an exception says that are told."""
LONGEST_TRACEBACK = 8000

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)  # fmt: skip

Functions = Dict[str, Callable[..., Any]]
"""The functions of a component that was built: JSON arguments → the fields `value` and `observation` of an answer."""


class Malformed(ValueError):
    """A message is not as it has to be; the text says where."""


class NotProvided(Exception):
    """Raise it in a factory or a function for what the implementation does not have."""


class WrongAnswer(Exception):
    """The implementation returned something of a wrong form: which, what was expected, and what came."""

    def __init__(self, text: str, expected: Any, got: Any) -> None:
        super().__init__(text)
        self.expected, self.got = expected, got


class Testee:
    """One implementation: how it describes itself, and how its components are built from a configuration."""

    def __init__(self, description: dict[str, Any], build: Callable[[str, dict[str, Any]], Functions]) -> None:
        self.description, self.build = description, build


# Messages: a length of four bytes, big-endian, and that many bytes of JSON in UTF-8.


def packed(message: Any) -> bytes:
    """A message as bytes; raises `Malformed` for what JSON cannot hold, or where it is too long."""
    try:
        text = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"a message cannot be sent: {error}") from error
    require_length(len(text))
    return struct.pack(">I", len(text)) + text


def require_length(length: int) -> None:
    """Raises `Malformed` for a message that is longer than any may be."""
    if length > LONGEST:
        raise Malformed(f"a message has {length} bytes; expected at most {LONGEST}")


def unpacked(text: bytes) -> dict[str, Any]:
    """The message that these bytes after a length are; raises `Malformed` for what is no JSON object."""

    def refuse(name: str) -> Any:
        raise Malformed(f"a message has {name}, which JSON does not have; write {name!r} as a string")

    def finite(digits: str) -> float:
        number = float(digits)
        if abs(number) == float("inf"):
            raise Malformed(f"a message has the number {digits:.40}, which no float64 holds")
        return number

    try:
        message = json.loads(text.decode(), parse_constant=refuse, parse_float=finite)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a message is no JSON in UTF-8: {error}") from error
    if not isinstance(message, dict):
        raise Malformed(f"a message is a JSON {type(message).__name__}; expected an object")
    return message


def encode_array(array: Any) -> dict[str, Any]:
    """An array as JSON: its dtype, its shape, and its little-endian bytes in C order, in base64."""
    numbers = np.asarray(array)
    name = numbers.dtype.name
    if name not in DTYPES:
        raise TypeError(f"an array of dtype {name} cannot be sent")
    data = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<")).tobytes()
    return {"dtype": name, "shape": list(numbers.shape), "data": base64.b64encode(data).decode()}


def decode_array(value: Any, where: str) -> np.ndarray[Any, Any]:
    """The array that JSON holds; raises `Malformed`, with the place `where`, for what holds none."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data"}:
        raise Malformed(f"{where} is no array; expected the fields dtype, shape and data alone")
    name, shape, data = value["dtype"], value["shape"], value["data"]
    if name not in DTYPES:
        raise Malformed("{} has dtype {!r}; expected one of {}".format(where, name, ", ".join(DTYPES)))
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
        raise Malformed(f"{where} has shape {shape!r:.80}; expected a list of at most 8 sizes")
    try:
        raw = base64.b64decode(data, validate=True)
    except (ValueError, TypeError) as error:
        raise Malformed(f"{where} has data that is no base64: {error}") from error
    dtype = np.dtype(name).newbyteorder("<")
    count = unless_empty = 1
    for size in shape:
        count *= size
        unless_empty *= max(size, 1)
    if len(raw) != count * dtype.itemsize or unless_empty * dtype.itemsize > LONGEST:
        expected = f"{count * dtype.itemsize} bytes, as {name} of shape {shape} have"
        raise Malformed(f"{where} has {len(raw)} bytes; expected {expected}, and sizes that fit a message")
    if name == "bool" and raw.strip(b"\0\1"):
        raise Malformed(f"{where} has a bool that is neither 0 nor 1")
    return np.frombuffer(raw, dtype).reshape(shape).astype(name)


def encode_number(number: Any) -> Any:
    """A number as JSON, which has no others than the finite: those are the strings NaN, Infinity and -Infinity."""
    number = float(number)
    if np.isfinite(number):
        return number
    return "NaN" if np.isnan(number) else "Infinity" if number > 0 else "-Infinity"


# What an implementation returned, held to the form that it should have.


def described(value: Any) -> str:
    """A value in a few words: its type, and its dtype and shape, or its length."""
    name = type(value).__name__
    try:
        if hasattr(value, "shape"):
            return "{} of {} and shape {}".format(name, str(value.dtype).split("torch.")[-1], list(value.shape))
        return f"{name} of length {len(value)}" if hasattr(value, "__len__") else name
    except Exception:
        return name


def wrong(what: str, value: Any, expected: str) -> WrongAnswer:
    """The exception that says that `what` returned a value, and what was expected."""
    return WrongAnswer(f"{what} returned {described(value)}", expected, described(value))


def instance(what: str, value: Any, kind: type) -> Any:
    """The value if it is of a type; raises `WrongAnswer` otherwise."""
    if not isinstance(value, kind):
        raise wrong(what, value, f"a {kind.__name__}")
    return value


def numbers(what: str, value: Any, convert: Callable[[Any], Any] = np.asarray) -> np.ndarray[Any, Any]:
    """The value as an array of numbers that later calls do not change, those of floating point as float64.

    convert: makes an array of what the framework has. Raises `WrongAnswer` for what is none.
    """
    try:
        array = np.asarray(convert(value))
        if 0 not in array.strides:  # what repeats one number may be larger than memory
            array = array.copy()
    except MemoryError:
        raise
    except Exception as error:
        raise wrong(what, value, "numbers") from error
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    if array.dtype.name not in DTYPES:
        raise wrong(what, value, "numbers of at most 64 bits")
    return array


def single(what: str, value: Any, convert: Callable[[Any], Any] = np.asarray) -> float:
    """The one number that a value is; raises `WrongAnswer` for anything else."""
    array = numbers(what, value, convert)
    if array.size != 1:
        raise wrong(what, value, "one number")
    return float(array.reshape(()))


def sequence(what: str, value: Any, expected: str, length: int | None = None) -> Any:
    """The value if it is a list or a tuple, of that length where one is given; raises `WrongAnswer` otherwise."""
    if not isinstance(value, (list, tuple)) or length not in (None, len(value)):
        raise wrong(what, value, expected if length is None else f"{expected}, {length} of them")
    return value


def index_vectors(what: str, value: Any, convert: Callable[[Any], Any] = np.asarray) -> tuple[Any, Any]:
    """The two vectors of a matching; raises `WrongAnswer` for anything but a pair of vectors of one length."""
    first, second = (numbers(what, part, convert) for part in sequence(what, value, "a pair of index vectors", 2))
    if first.ndim != 1 or first.shape != second.shape:
        shapes = [list(first.shape), list(second.shape)]
        raise WrongAnswer(f"{what} returned a pair of shapes {shapes}", "two vectors of one length", shapes)
    return first, second


ANSWERS = {
    "pairs": "a list of (query indices, target indices)",
    "columns": "arrays [2, k] of query and target indices",
    "rows": "arrays [k, 2] of a query and a target index",
    "assignment": "vectors of the target index of each query",
}
"""What a matcher may answer, by the names that a profile has for it."""


def image_answers(what: str, answer: Any, images: int, rules: Any) -> Any:
    """A matcher's answer for each image, out of the dictionary or the array in which it came."""
    if rules.entry is not None:
        answer = entry(what, answer, rules.entry)
    if rules.answer != "pairs" and tuple(getattr(answer, "shape", ()))[:1] == (images,):
        answer = [answer[image] for image in range(images)]
    return sequence(what, answer, ANSWERS[rules.answer] + ", one an image", images)


def image_matching(what: str, own: Any, counts: Any, image: int, rules: Any, convert: Any) -> tuple[Any, Any]:
    """The query and the target indices of an image, from a matcher's answer for it.

    counts: the number of objects of each image. Raises `WrongAnswer` for what is not as the rules say.
    """
    if rules.answer == "pairs":
        queries, targets = index_vectors(what, own, convert)
    else:
        array = numbers(what, own, convert)
        array = array.T if rules.answer == "rows" else array
        if array.shape[:-1] != (() if rules.answer == "assignment" else (2,)):
            raise wrong(what, own, ANSWERS[rules.answer])
        if rules.answer == "assignment":
            queries = np.flatnonzero(array != rules.first_target - 1).astype(array.dtype)
            targets = array[array != rules.first_target - 1]
        else:
            queries, targets = array
    before = rules.first_target + (sum(counts[:image]) if rules.target_indices == "batch" else 0)
    if before:
        targets = np.subtract(targets, before, dtype=np.promote_types(targets.dtype, np.int32))
    known = targets < counts[image] if rules.padding == "matched" else slice(None)
    return queries[known], targets[known]


def matcher_arguments(outputs: Any, targets: Any, keys: Any, rules: Any) -> Any:
    """What a matcher is called with, by the profile's rules."""

    def part(name: str) -> Any:
        key = getattr(keys, name)
        if name in ("logits", "boxes"):
            return outputs[key]
        return targets[key] if isinstance(targets, Mapping) else [target[key] for target in targets]

    return [part(name) for name in rules.arguments] if rules.arguments else [outputs, targets]


def predictions_in(arguments: Any, keys: Any, rules: Any) -> Any:
    """The predictions among the arguments of a matcher, by their keys; None where there are none."""
    if rules.arguments:
        return {getattr(keys, name): argument for name, argument in zip(rules.arguments, arguments)}
    return dict(arguments[0]) if arguments and isinstance(arguments[0], Mapping) else None


def joined(targets: Any, of_images: Any, padded: bool) -> dict[str, Any]:
    """One dictionary of arrays from that of each image: padded side by side, else one after another.

    of_images: the keys of what an image has one of.
    """
    ways = {key: np.stack if padded or key in of_images else np.concatenate for key in (targets or [{}])[0]}
    return {key: way([target[key] for target in targets]) for key, way in ways.items()}


def mapping(what: str, value: Any, expected: str) -> Any:
    """The value if it is a dictionary; raises `WrongAnswer` otherwise."""
    if not isinstance(value, Mapping):
        raise wrong(what, value, expected)
    return value


def entry(what: str, value: Any, key: str) -> Any:
    """What a dictionary has at a key; raises `WrongAnswer` where it is none, or lacks it."""
    entries = mapping(what, value, f"a dictionary with key {key!r}")
    if key not in entries:
        raise WrongAnswer(f"{what} returned no key {key!r}", key, sorted(map(str, entries)))
    return entries[key]


# The loop that answers requests.


def serve(
    *testees: Testee,
    fork: bool = True,
    new_case: Callable[[], None] | None = None,
    told: Callable[[BaseException], dict[str, Any]] | None = None,
    refusal: str | None = None,
) -> None:
    """Answers requests on standard input and output until they end; what the program prints goes to standard error.

    Each judgement is answered in a process forked for it, where the system can fork and `fork` allows it, so that
    none sees what an earlier one left behind. new_case puts global state back before each case; told says in a
    message what was raised; refusal says why there is nothing to judge.
    """
    requests, answers = claim_streams()
    server = _Server(testees, answers, new_case or _seed, told or _told, refusal)
    if not fork or not hasattr(os, "fork"):
        server.run(requests)
        return
    begin = server.run(requests, until_begin=True)
    while begin is not None:
        begin = _forked(lambda first: server.run(requests, first=first, until_begin=True), begin)


_CLAIMED: list[int] = []


def claim_streams() -> tuple[int, int]:
    """Descriptors of the requests and of the answers, which nothing else reads or writes from now on.

    `serve` calls it. Call it earlier, before other imports, where these print to standard output.
    """
    if not _CLAIMED:
        sys.stdout.flush()
        _CLAIMED.extend((_out_of_reach(0), _out_of_reach(1)))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
    return _CLAIMED[0], _CLAIMED[1]


def _out_of_reach(descriptor: int) -> int:
    """A copy with a high number, where the system can, which what closes or writes to the usual ones does not meet."""
    if sys.platform == "win32":
        return os.dup(descriptor)
    import fcntl
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, min(limit, 2000) * 3 // 4)


def _forked(answer: Callable[[dict[str, Any]], dict[str, Any] | None], begin: dict[str, Any]) -> Any:
    """What `answer` returns in a forked process; where that process ends otherwise, this one ends in the same way."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(reader)
            writer = _out_of_reach(writer)
            os.write(writer, json.dumps(answer(begin)).encode())
        except BaseException as error:
            traceback.print_exc()
            code = getattr(error, "code", 1)
            os._exit(code if isinstance(code, int) else 0 if code is None else 1)
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(process, 0)
    data = os.read(reader, 65536)
    os.close(reader)
    if data:
        following: dict[str, Any] | None = json.loads(data)
        return following
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _read(descriptor: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _request(descriptor: int) -> dict[str, Any] | None:
    head = _read(descriptor, 4)
    if head is None:
        return None
    length = struct.unpack(">I", head)[0]
    require_length(length)
    text = _read(descriptor, length)
    return None if text is None else unpacked(text)


REQUESTS = {
    "hello": ("protocol",),
    "begin": (),
    "build": ("case", "implementation", "component", "configuration"),
    "call": ("built", "function", "arguments"),
}
"""The fields of each request, beside `message` and `id`."""


class _Server:
    """Answers requests one after the other; what was built is forgotten when the next case begins."""

    def __init__(self, testees: Any, answers: int, new_case: Any, told: Any, refusal: str | None) -> None:
        self._testees, self._answers, self._new_case, self._told_of = testees, answers, new_case, told
        self._refusal = refusal
        self._built: dict[int, Functions] = {}
        self._case: Any = None

    def run(
        self, requests: int, first: dict[str, Any] | None = None, until_begin: bool = False
    ) -> dict[str, Any] | None:
        """Answers until the requests end, or, if asked, until a judgement other than `first` begins, which it gives."""
        request = first or _request(requests)
        while request is not None:
            if until_begin and request.get("message") == "begin" and request is not first:
                return request
            process = os.getpid()
            data = self._reply(request)
            if os.getpid() != process:
                os._exit(0)  # a process that the implementation has forked answers nothing
            while data:
                data = data[os.write(self._answers, data) :]
            request = _request(requests)
        return None

    def _reply(self, request: dict[str, Any]) -> bytes:
        number = {"id": request.get("id")}
        try:
            name = request.get("message")
            if name not in REQUESTS or set(request) != {"message", "id", *REQUESTS[name]}:
                raise Malformed("a request is {!r:.40} with fields {:.200}".format(name, str(sorted(request))))
            answer: dict[str, Any] = getattr(self, "_" + name)(request)
            return packed({**answer, **number})
        except MemoryError:
            # Nothing is looked up for the message, as that takes memory while the frames hold what there was.
            told = {"message": "raised", "type": "MemoryError", "text": "", "traceback": ""}
        except BaseException as error:
            told = self._told_of(error)
        return packed({**told, **number})

    def _hello(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["protocol"] != PROTOCOL:
            text = "protocol {} is asked for; this testee speaks {}".format(request["protocol"], PROTOCOL)
            return {"message": "refused", "text": text}
        if self._refusal is not None:
            return {"message": "refused", "text": self._refusal}
        items = [testee.description for testee in self._testees]
        return {"message": "hello", "protocol": PROTOCOL, "implementations": items}

    def _begin(self, _: dict[str, Any]) -> dict[str, Any]:
        self._built, self._case = {}, None
        return {"message": "ready"}

    def _build(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["case"] != self._case:
            self._case = request["case"]
            self._built.clear()
            self._new_case()
        testee = self._testees[request["implementation"]]
        functions = testee.build(request["component"], request["configuration"])
        self._built[request["id"]] = functions
        return {"message": "built", "functions": sorted(functions)}

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"message": "answer", **self._built[request["built"]][request["function"]](*request["arguments"])}


def _told(error: BaseException) -> dict[str, Any]:
    if isinstance(error, NotProvided):
        return {"message": "not provided", "text": str(error)}
    if isinstance(error, WrongAnswer):
        return {"message": "violated", "text": str(error), "expected": error.expected, "got": error.got}
    return raised(error, traceback.format_exc())


def raised(error: BaseException, where: str) -> dict[str, Any]:
    """The message that says what an implementation raised, and its traceback."""
    try:
        text = str(error)[:LONGEST_TEXT]
    except Exception:
        text = ""
    return {"message": "raised", "type": type(error).__name__, "text": text, "traceback": where[-LONGEST_TRACEBACK:]}


def _seed() -> None:
    """Gives every case the same random numbers."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


# Implementations in NumPy and in PyTorch.


def _description(name: str, profile: Any, limits: Any, calls: Any, components: dict[str, Any]) -> dict[str, Any]:
    """calls: the ways of a call that can be made here, beside the plain one, for implementations that name none."""
    provided = [component for component, given in components.items() if given is not None]
    return {
        "name": name,
        "profile": profile,
        "components": provided,
        "limits": {"calls": list(calls), **(limits or {})},
    }


def numpy_testee(
    *,
    name: str,
    profile: Any = "detr",
    limits: Any = None,
    boxes: Any = None,
    solver: Any = None,
    batch_solver: Any = None,
) -> Testee:
    """An implementation from functions on NumPy arrays, given as to `detr_conformance.numpy_implementation`.

    profile: a name, or what docs/testee.md says a profile is. limits: a dictionary, as there. boxes: functions by name,
    of arrays [n, 4] in the case's dtype. solver: a cost matrix [n, m] → (rows, columns). batch_solver: a list of those.
    """

    def build(component: str, configuration: dict[str, Any]) -> Functions:
        def given(value: Any, where: str) -> Any:
            return decode_array(value, where).astype(configuration["dtype"])

        def box_operation(name: str) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                inputs = {f"argument {n}": given(value, "argument") for n, value in enumerate(arguments)}
                answer, mutated = _observed(boxes[name], inputs)
                array = numbers(name, instance(name, answer, np.ndarray))
                seen = {"dtypes": {name: str(answer.dtype)}, "shapes": {name: list(answer.shape)}, "mutated": mutated}
                return {"value": encode_array(array), "observation": seen}

            return call

        def solve(cost: Any) -> Any:
            answer, mutated = _observed(solver, {"cost": given(cost, "cost")})
            return {"value": _matching("the solver", answer, np.asarray), "observation": {"mutated": mutated}}

        def solve_batch(costs: Any) -> Any:
            inputs = {f"cost {place}": given(cost, "cost") for place, cost in enumerate(costs)}
            answer, mutated = _observed(lambda *matrices: batch_solver(list(matrices)), inputs)
            pairs = sequence("the batch solver", answer, "a list of (row indices, column indices)", len(costs))
            value = [_matching("the batch solver", pair, np.asarray) for pair in pairs]
            return {"value": value, "observation": {"mutated": mutated}}

        if component == "boxes":
            return {name: box_operation(name) for name in boxes}
        return {"solve": solve, "solve_batch": solve_batch} if batch_solver else {"solve": solve}

    return Testee(_description(name, profile, limits, (), {"boxes": boxes, "assignment": solver}), build)


def _observed(function: Callable[..., Any], inputs: dict[str, Any]) -> tuple[Any, list[str]]:
    """The function's answer, and the names of the inputs that it changed."""
    before = {name: array.copy() for name, array in inputs.items()}
    answer = function(*inputs.values())
    return answer, [name for name in inputs if not np.array_equal(before[name], inputs[name], equal_nan=True)]


def _matching(what: str, answer: Any, convert: Callable[[Any], Any]) -> dict[str, Any]:
    first, second = index_vectors(what, answer, convert)
    return {"queries": encode_array(first), "targets": encode_array(second)}


KEYS = {
    "logits": "pred_logits", "boxes": "pred_boxes", "masks": "pred_masks", "auxiliary": "aux_outputs",
    "encoder": "enc_outputs", "denoising": "dn_outputs", "labels": "labels", "target_boxes": "boxes",
    "target_masks": "masks", "target_size": "size", "target_valid": "valid", "target_counts": "counts",
}  # fmt: skip
"""The keys of dictionaries that a profile may name otherwise."""
TARGETS = {"layout": "listed", "label_dtype": "int64"}
MATCHER = {
    "arguments": (), "answer": "pairs", "entry": None, "first_target": 0, "target_indices": "image",
    "padding": "left-out",
}  # fmt: skip
"""What a profile may say otherwise of targets and of matchers, as far as it is read here."""

PARTS = (
    "class_cost", "box_cost", "overlap_cost", "class_loss", "box_loss", "overlap_loss", "mask_loss", "dice_loss",
)  # fmt: skip
"""The fields of a configuration that have numbers of their own."""

LAYER = ("logits", "boxes", "masks")
"""What a layer predicts."""
SEEN = ("logits", "boxes")
"""The predictions by which a layer is told from others."""
APART = ("encoder", "denoising")
"""The layers that stand apart from those of the decoder."""
TARGET = {
    "labels": "labels", "boxes": "target_boxes", "masks": "target_masks", "size": "target_size",
    "valid": "target_valid",
}  # fmt: skip
"""The parts of a target, by their names in `KEYS`."""
DETECTION = ("scores", "labels", "boxes")
"""The parts of an image's detections."""


TORCH_CALLS = ("with-gradient", "no-grad", "evaluation", "training")
LABELS = {"int32-labels": "int32", "uint8-labels": "uint8"}


def torch_testee(
    *,
    name: str,
    profile: Any,
    limits: Any = None,
    boxes: Any = None,
    matcher: Any = None,
    criterion: Any = None,
    masks: Any = None,
    postprocess: Any = None,
) -> Testee:
    """An implementation from PyTorch modules of the usual shape, given as to `detr_conformance.torch_implementation`.

    Each factory builds a module from a configuration, whose fields docs/testee.md lists. boxes: functions on tensors,
    by name. A criterion provides gradients too. profile: a name, or what docs/testee.md says a profile is. limits: a
    dictionary, as there; of the ways of a call it may name those of TORCH_CALLS and LABELS.
    """
    factories = {"matcher": matcher, "criterion": criterion, "masks": masks, "gradients": criterion}
    factories["postprocess"] = postprocess
    given = profile if isinstance(profile, dict) else {}
    keys, target_rules, matcher_rules = (
        SimpleNamespace(**{**usual, **given.get(name, {})})
        for name, usual in (("keys", KEYS), ("targets", TARGETS), ("matcher", MATCHER))
    )
    spelling = SimpleNamespace(keys=keys, targets=target_rules, matcher=matcher_rules)

    def build(component: str, fields: dict[str, Any]) -> Functions:
        configuration = SimpleNamespace(
            **{name: SimpleNamespace(**field) if name in PARTS else field for name, field in fields.items()}
        )
        if component == "boxes":
            return {name: _TorchCalls(boxes[name], configuration, spelling).box_operation(name) for name in boxes}
        import torch

        state = torch.get_rng_state()
        torch.manual_seed(0)
        module = factories[component](configuration)
        torch.set_rng_state(state)
        calls = _TorchCalls(module, configuration, spelling)
        if isinstance(module, torch.nn.Module):
            module.to(dtype=calls.dtype, device=configuration.device)
            module.train({"evaluation": False, "training": True}.get(calls.call, component != "postprocess"))
        return {"call": calls.within_precision(getattr(calls, "criterion" if component == "masks" else component))}

    return Testee(_description(name, profile, limits, TORCH_CALLS, {"boxes": boxes, **factories}), build)


class _TorchCalls:
    """Calls to one module: JSON in, tensors to the module, and JSON out."""

    def __init__(self, module: Any, configuration: Any, spelling: Any) -> None:
        import torch

        self.torch, self.module, self.keys, self.rules = torch, module, spelling.keys, spelling
        self.autocast = configuration.dtype == "autocast"
        narrow, _, mixed = ("float32" if self.autocast else configuration.dtype).partition("-")
        self.dtype = torch.float32 if mixed else getattr(torch, narrow)
        of_logits, of_boxes = getattr(torch, narrow), self.dtype if mixed == "logits" else getattr(torch, narrow)
        self.dtypes = {"logits": of_logits, "masks": of_logits, "boxes": of_boxes}
        self.device = configuration.device
        self.call = configuration.call
        self.recording = self.call != "no-grad"

    def within_precision(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call with inputs of its own, under autocast where the configuration asks for it."""

        def begin(*arguments: Any) -> Any:
            self.given: dict[str, tuple[Any, Any]] = {}
            self.containers: list[tuple[str, Any, Any]] = []
            kind = self.torch.device(self.device).type
            with self.torch.autocast(kind, dtype=self.torch.bfloat16, enabled=self.autocast):
                return call(*arguments)

        return begin

    def _tensor(self, name: str, value: Any, gradient: bool = False, integers: Any = None, floats: Any = None) -> Any:
        array = decode_array(value, name) if isinstance(value, dict) else value
        dtype = {"f": floats or self.dtype, "i": integers}.get(array.dtype.kind)
        tensor = self.torch.tensor(array, dtype=dtype, device=self.device).requires_grad_(gradient and self.recording)
        self.given[name] = (tensor, tensor.detach().clone())
        return tensor

    def _answer(self, *arguments: Any) -> Any:
        with self.torch.set_grad_enabled(self.recording):
            return self.module(*arguments)

    def _kept(self, name: str, value: Any) -> Any:
        """A dictionary or a list that the call may not change."""
        self.containers.append((name, value, value.copy()))
        return value

    def _layer(self, name: str, value: Any) -> dict[str, Any]:
        return {
            getattr(self.keys, part): self._tensor(f"{part} of {name}", value[part], True, floats=self.dtypes[part])
            for part in LAYER
            if value[part] is not None
        }

    def _outputs(self, value: Any) -> Any:
        values = [*value["auxiliary"], value]
        self.layers = [self._layer(f"layer {place}", layer) for place, layer in enumerate(values)]
        outputs = self.layers[-1]
        if self.layers[:-1]:
            outputs[self.keys.auxiliary] = self._kept(self.keys.auxiliary, self.layers[:-1])
        for part in APART:
            if value[part] is not None:
                key = getattr(self.keys, part)
                outputs[key] = self._layer(key, value[part])
        return self._kept("outputs", outputs)

    def _targets(self, targets: Any) -> Any:
        arrays = [{part: decode_array(own[part], part) for part in TARGET if own[part] is not None} for own in targets]
        self.counts = [int(own.get("valid", np.ones(len(own["labels"]))).sum()) for own in arrays]
        if self.rules.targets.layout == "listed":
            each = [self._target(own, f" of image {image}") for image, own in enumerate(arrays)]
            return self._kept("targets", [self._kept(f"target {image}", own) for image, own in enumerate(each)])
        whole = self._target(joined(arrays, ("size",), self.rules.targets.layout == "padded"), "")
        return self._kept("targets", {**whole, self.keys.target_counts: self._kept("counts", list(self.counts))})

    def _target(self, arrays: Any, of: str) -> Any:
        integers = {"labels": LABELS.get(self.call, self.rules.targets.label_dtype)}
        return {
            getattr(self.keys, TARGET[part]): self._tensor(
                TARGET[part].replace("_", " ") + of, array, integers=getattr(self.torch, integers.get(part, "int64"))
            )
            for part, array in arrays.items()
        }

    def _numpy(self, value: Any) -> Any:
        tensor = self.torch.as_tensor(value).detach().cpu()
        return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()

    def _mutated(self) -> list[str]:
        pairs = {name: [self._numpy(tensor) for tensor in pair] for name, pair in self.given.items()}
        changed = [name for name, pair in pairs.items() if not np.array_equal(pair[0], pair[1], equal_nan=True)]
        return changed + [name for name, now, before in self.containers if not _same_items(now, before)]

    def _observation(self, parts: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: part for name, part in parts.items() if isinstance(part, self.torch.Tensor)}
        return {
            "mutated": self._mutated(),
            "attached": [name for name, tensor in tensors.items() if tensor.requires_grad],
            "differentiable": True,
            "dtypes": {name: str(tensor.dtype).split(".")[-1] for name, tensor in tensors.items()},
            "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
            "devices": {name: str(tensor.device) for name, tensor in tensors.items()},
            "device": str(self.torch.empty(0, device=self.device).device),
            "call": self.call,
        }

    def box_operation(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            recorded = self.call == "with-gradient"
            answer = self._answer(
                *(self._tensor(f"argument {n}", value, recorded) for n, value in enumerate(arguments))
            )
            value = self._encoded(name, instance(name, answer, self.torch.Tensor))
            return {"value": value, "observation": self._observation({name: answer})}

        return self.within_precision(call)

    def _matchings(self, what: str, answer: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The matching of each image, and what it was read from, by name."""
        rules, found, parts = self.rules.matcher, [], {}
        for image, own in enumerate(image_answers(what, answer, len(self.counts), rules)):
            name = f"{what}, for image {image},"
            queries, targets = image_matching(name, own, self.counts, image, rules, self._numpy)
            found.append({"queries": encode_array(queries), "targets": encode_array(targets)})
            sides = zip(("query", "target"), own) if rules.answer == "pairs" else [("all", own)]
            parts.update({f"{side} indices of image {image}": part for side, part in sides})
        return found, parts

    def matcher(self, outputs: Any, targets: Any) -> Any:
        given = self._outputs(outputs), self._targets(targets)
        answer = self._answer(*matcher_arguments(*given, self.keys, self.rules.matcher))
        value, parts = self._matchings("the matcher", answer)
        return {"value": value, "observation": self._observation(parts)}

    def criterion(self, outputs: Any, targets: Any) -> Any:
        value, answer = self._losses(self._outputs(outputs), self._targets(targets))
        return {"value": value, "observation": self._observation(answer)}

    def _losses(self, outputs: Any, targets: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        layers = [{part: layer[getattr(self.keys, part)] for part in SEEN} for layer in self.layers]
        answer, calls = self._watched(outputs, targets)
        losses = {str(key): loss for key, loss in mapping("the criterion", answer, "a dictionary of losses").items()}
        weights = getattr(self.module, "weight_dict", None)
        if weights is not None:
            given = mapping("the criterion, for its weight_dict,", weights, "a dictionary of weights")
            weights = {str(key): self._number(f"the weight of {key!r}", weight) for key, weight in given.items()}
        value = {
            "values": {key: self._number(f"the criterion, for {key!r},", loss) for key, loss in losses.items()},
            "weights": weights,
            "matchings": self._seen(calls, layers),
        }
        return value, losses

    def _number(self, what: str, value: Any) -> Any:
        return encode_number(single(what, value, self._numpy))

    def _seen(self, calls: list[Any], layers: list[Any]) -> list[Any] | None:
        """The matching of each layer, told by the tensors that the matcher was called with; None where one is not."""
        found = []
        for layer in layers:
            answers = [answer for given, answer in calls if self._same_layer(given, layer)]
            if not answers or answers[0] is None:
                return None
            found.append(answers[0])
        return found

    def _same_layer(self, given: dict[str, Any], layer: dict[str, Any]) -> bool:
        parts = [(given.get(getattr(self.keys, part)), tensor) for part, tensor in layer.items()]
        return all(isinstance(part, self.torch.Tensor) and self.torch.equal(part, tensor) for part, tensor in parts)

    def _watched(self, outputs: Any, targets: Any) -> tuple[Any, list[Any]]:
        """The criterion's answer, and what its own matcher, if it is a module, was called with and gave.

        What it gave is read at once, for its next call may write over it.
        """
        calls: list[Any] = []
        matcher = getattr(self.module, "matcher", None)
        handle = None
        if isinstance(matcher, self.torch.nn.Module):

            def record(_: Any, given: Any, pairs: Any) -> None:
                predictions = predictions_in(given, self.keys, self.rules.matcher)
                if predictions is not None:
                    calls.append((predictions, self._read(pairs)))

            handle = matcher.register_forward_hook(record)
        try:
            return self._answer(outputs, targets), calls
        finally:
            if handle is not None:
                handle.remove()

    def _read(self, pairs: Any) -> Any:
        """The matchings; None where they are not what is declared, which a criterion may keep to itself."""
        try:
            found, _ = self._matchings("the criterion's matcher", pairs)
        except WrongAnswer:
            return None
        indices = [decode_array(own["targets"], "the target indices").tolist() for own in found]
        return None if any(max(own, default=-1) >= count for own, count in zip(indices, self.counts)) else found

    def gradients(self, outputs: Any, targets: Any, weights: Any) -> Any:
        given = self._outputs(outputs)
        layers = [dict(layer) for layer in self.layers]
        apart = {part: given.get(getattr(self.keys, part)) for part in APART}
        value, answer = self._losses(given, self._targets(targets))
        weighted = [self.torch.as_tensor(answer[key]) * weight for key, weight in weights.items() if key in answer]
        total = self.torch.stack([loss.reshape(()) for loss in weighted]).sum() if weighted else self.torch.zeros(())
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        value = {
            "losses": value,
            "total": self._number("the weighted total", total),
            "layers": [self._gradients(layer) for layer in layers],
            **{part: None if layer is None else self._gradients(layer) for part, layer in apart.items()},
        }
        return {"value": value, "observation": self._observation(answer)}

    def _gradients(self, layer: dict[str, Any]) -> dict[str, Any]:
        return {part: self._gradient(layer.get(getattr(self.keys, part))) for part in LAYER}

    def _gradient(self, prediction: Any) -> Any:
        gradient = None if prediction is None else prediction.grad
        return None if gradient is None else encode_array(self._numpy(gradient))

    def postprocess(self, outputs: Any, sizes: Any) -> Any:
        what, self.recording = "the post-processing", self.call == "with-gradient"
        answer = self._answer(self._outputs(outputs), self._tensor("target_sizes", sizes))
        images = sequence(what, answer, "a list of dictionaries, one an image", sizes["shape"][0])
        read = [{name: entry(what, image, name) for name in DETECTION} for image in images]
        parts = {f"{name} of image {n}": image[name] for n, image in enumerate(read) for name in DETECTION}
        value = [{name: self._encoded(f"{what}, for {name},", part) for name, part in image.items()} for image in read]
        return {"value": value, "observation": self._observation(parts)}

    def _encoded(self, what: str, value: Any) -> dict[str, Any]:
        return encode_array(numbers(what, value, self._numpy))


def _same_items(now: Any, before: Any) -> bool:
    if isinstance(now, dict):
        return list(now) == list(before) and all(now[key] is before[key] for key in before)
    return len(now) == len(before) and all(one is other for one, other in zip(now, before))
