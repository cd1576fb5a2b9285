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
KINDS_AND_SIZES = {(np.dtype(name).kind, np.dtype(name).itemsize) for name in DTYPES}

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
    if (array.dtype.kind, array.dtype.itemsize) not in KINDS_AND_SIZES:
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


def image_answers(what: str, answer: Any, images: int, rules: Any, framework: Framework) -> Any:
    """A matcher's answer for each image, out of the dictionary or the array in which it came."""
    if rules.entry is not None:
        answer = entry(what, answer, rules.entry)
    if rules.answer != "pairs" and tuple(getattr(answer, "shape", ()))[:1] == (images,):
        answer = framework.unstacked(answer)
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


def matchings(what: str, answer: Any, counts: Any, rules: Any, framework: Framework) -> tuple[Any, Any]:
    """The query and target indices of each image, and what they were read from, by name."""
    found, parts = [], {}
    for image, own in enumerate(image_answers(what, answer, len(counts), rules, framework)):
        found.append(image_matching(f"{what}, for image {image},", own, counts, image, rules, framework.to_numpy))
        sides = zip(("query", "target"), own) if rules.answer == "pairs" else [("all", own)]
        parts.update({f"{side} indices of image {image}": part for side, part in sides})
    return found, parts


def matcher_arguments(outputs: Any, targets: Any, keys: Any, rules: Any) -> Any:
    """What a matcher is called with, by the profile's rules."""

    def part(name: str) -> Any:
        key = getattr(keys, name)
        if name in ("logits", "boxes", "masks", "phrases"):
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
    "logits": "pred_logits", "boxes": "pred_boxes", "masks": "pred_masks",
    "edges": "pred_corners", "references": "ref_points", "phrases": "label_maps", "tokens": "text_mask",
    "auxiliary": "aux_outputs",
    "encoder": "enc_outputs", "encoder_auxiliary": "enc_layer_outputs", "initial": "pre_outputs",
    "one_to_many": "{output}_one2many",
    "denoising": "dn_outputs", "initial_denoising": "dn_pre_outputs", "denoising_meta": "dn_meta",
    "denoising_groups": "dn_num_group", "denoising_queries": "pad_size", "denoising_positives": "dn_positive_idx",
    "encoder_loss": None, "encoder_auxiliary_loss": None, "denoising_loss": None,
    "labels": "labels", "target_boxes": "boxes",
    "target_masks": "masks", "target_size": "size", "target_valid": "valid", "target_counts": "counts",
}  # fmt: skip
"""The keys of dictionaries, and of the losses of what stands apart, that a profile may name otherwise."""
DENOISING = {"layout": "nested"}
TARGETS = {"layout": "listed", "padded_to": "most-objects", "label_dtype": "int64"}
MATCHER = {
    "arguments": (), "answer": "pairs", "entry": None, "first_target": 0, "target_indices": "image",
    "padding": "left-out",
}  # fmt: skip
"""What a profile may say otherwise of denoising, targets and matchers, as far as it is read here."""

PARTS = (
    "class_cost", "box_cost", "overlap_cost", "class_loss", "box_loss", "overlap_loss", "mask_loss", "dice_loss",
)  # fmt: skip
"""The fields of a configuration that have numbers of their own."""

LAYER = ("logits", "boxes", "masks", "edges", "references")
"""What a layer predicts."""
TEXT = ("phrases", "tokens")
"""What is said with it of the texts of images."""
SEEN = ("logits", "boxes", "masks")
"""The predictions by which a layer is told from others."""
APART = ("encoder", "initial", "one_to_many", "denoising", "initial_denoising")
"""The layers that stand apart from those of the decoder."""
TARGET = {
    "labels": "labels", "boxes": "target_boxes", "masks": "target_masks", "size": "target_size",
    "valid": "target_valid",
}  # fmt: skip
"""The parts of a target, by their names in `KEYS`."""
OF_IMAGES = ("target_size", "image_id", "orig_size", "size")
"""What is said of an image, and not of each of its objects; the others are names that data sets have."""
DETECTION = ("scores", "labels", "boxes")
"""The parts of an image's detections."""


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
    dictionary, as there; of the ways of a call it may name those of `Torch.calls` and of `LABELS`.
    """
    factories = {"matcher": matcher, "criterion": criterion, "masks": masks, "gradients": criterion}
    factories["postprocess"] = postprocess
    given = profile if isinstance(profile, dict) else {}
    usual: dict[str, dict[str, Any]] = {"keys": KEYS, "denoising": DENOISING, "targets": TARGETS, "matcher": MATCHER}
    spelling = SimpleNamespace(
        **{name: SimpleNamespace(**{**own, **given.get(name, {})}) for name, own in usual.items()}
    )

    def build(component: str, fields: dict[str, Any]) -> Functions:
        configuration = SimpleNamespace(
            **{name: SimpleNamespace(**field) if name in PARTS else field for name, field in fields.items()}
        )
        if component == "boxes":
            own = configuration, spelling, component
            return {name: _TorchCalls(function, *own).box_operation(name) for name, function in boxes.items()}
        import torch

        state = torch.get_rng_state()
        torch.manual_seed(0)
        module = factories[component](configuration)
        torch.set_rng_state(state)
        calls = _TorchCalls(module, configuration, spelling, component)
        if isinstance(module, torch.nn.Module):
            module.to(dtype=calls.dtype, device=configuration.device)
            module.train({"evaluation": False, "training": True}.get(calls.call, component != "postprocess"))
        return {"call": calls.within_precision(getattr(calls, "criterion" if component == "masks" else component))}

    return Testee(_description(name, profile, limits, Torch.calls, {"boxes": boxes, **factories}), build)


class Framework:
    """What is asked of a framework: arrays in, arrays out, and what is seen of them.

    A bridge overrides what differs in its framework. What stands here is right where arrays cannot be changed and show
    no gradient.
    """

    arrays: Any = ()
    """The type of its arrays, or several."""
    dtypes: tuple[str, ...] = ("float32", "float64")
    """The floating-point dtypes that it has, beside narrow ones and mixtures that implementations ask for."""
    calls: tuple[str, ...] = ("after-errors", "extra-keys", "frozen-boxes", *LABELS)
    """The ways of a call that can be made, beside the plain one, by the names of `detr_spec.calls.CALLS`."""
    differentiable = False
    """Whether an array shows whether it carries a gradient."""

    def devices(self) -> tuple[str, ...]:
        """Where it can compute, here and now."""
        return ("cpu",)

    def array(self, numbers: Any, dtype: str, device: str) -> Any:
        """An array of the numbers in a dtype, by NumPy's name or "bfloat16", on a device."""
        raise NotImplementedError

    def to_numpy(self, value: Any) -> np.ndarray[Any, Any]:
        """An array, or a number, as NumPy's, on the CPU; raises where it is none."""
        return np.asarray(value)

    def dtype(self, array: Any) -> str:
        """The name of an array's dtype."""
        return str(array.dtype).split(".")[-1]

    def device(self, array: Any) -> str:  # noqa: ARG002
        """Where an array is."""
        return "cpu"

    def unstacked(self, array: Any) -> list[Any]:
        """The parts of an array along its first axis."""
        return [array[place] for place in range(len(array))]

    def carries_gradient(self, array: Any) -> bool:  # noqa: ARG002
        """Whether an array in an answer carries a gradient, where that can be seen."""
        return False

    def bucket(self, count: int) -> int:
        """How many objects images have where they are padded to so many: more where shapes should be few."""
        return count

    def laid_out(self, array: Any, gradient: bool, call: str) -> tuple[Any, Any]:  # noqa: ARG002
        """An array as an input in a way of calling: the memory whose changes are noticed, and the array in it.

        gradient: whether calls may ask for its gradient.
        """
        return array, array

    def remembered(self, memory: Any) -> Any:
        """What `unchanged` compares memory with after the call: a copy, unless arrays cannot be changed."""
        return memory

    def unchanged(self, memory: Any, before: Any) -> bool:
        """Whether memory holds what it held."""
        return memory is before

    def equal(self, first: Any, second: Any) -> bool:
        """Whether two arrays hold the same numbers."""
        return bool(np.array_equal(self.to_numpy(first), self.to_numpy(second)))

    def watched(self, matcher: Any, record: Callable[..., None]) -> Callable[[], None]:  # noqa: ARG002
        """Has every call of a criterion's matcher recorded, as `record(arguments, named, answer)`, where that can be.

        Returns what ends it.
        """
        return lambda: None

    def recorded(self, function: Callable[..., Any], given: Any, arrays: Any) -> tuple[Any, Any]:  # noqa: ARG002
        """What a function of the given returns, a dictionary of losses, and `pull`, which gives gradients of these.

        arrays: a list of arrays in dictionaries and lists of the given. pull: the weights of losses by key → Σ weight ·
        loss over the keys that have a weight, and its gradient by each of the arrays, None where these are not
        connected and the framework says so.
        """
        raise NotProvided("the framework has no gradients")


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """A tensor, or what converts to one, as an array; floating-point numbers as float64."""
    import torch

    tensor = torch.as_tensor(value).detach().cpu()
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()


class Torch(Framework):
    """PyTorch, whose tensors can be changed, and record gradients."""

    calls: tuple[str, ...] = ("with-gradient", "no-grad", "evaluation", "training")
    differentiable = True

    def __init__(self) -> None:
        import torch

        self.torch, self.arrays = torch, torch.Tensor

    def devices(self) -> tuple[str, ...]:
        """The devices that torch can compute on, here and now."""
        return ("cpu", "cuda") if self.torch.cuda.is_available() else ("cpu",)

    def array(self, numbers: Any, dtype: str, device: str) -> Any:
        """A tensor of the numbers."""
        return self.torch.tensor(numbers, dtype=getattr(self.torch, dtype), device=device)

    def to_numpy(self, value: Any) -> np.ndarray[Any, Any]:
        """A tensor, or what converts to one, as an array; floating-point numbers as float64."""
        return to_numpy(value)

    def device(self, array: Any) -> str:
        """Where a tensor is."""
        return str(array.device)

    def carries_gradient(self, array: Any) -> bool:
        """Whether a tensor in an answer carries a gradient."""
        return bool(array.requires_grad)

    def laid_out(self, array: Any, gradient: bool, call: str) -> tuple[Any, Any]:  # noqa: ARG002
        """A tensor as an input; where asked it records gradients, as far as the call does."""
        return array.requires_grad_(gradient and self.torch.is_grad_enabled()), array

    def remembered(self, memory: Any) -> Any:
        """A copy of the numbers."""
        return memory.detach().clone()

    def unchanged(self, memory: Any, before: Any) -> bool:
        """Whether memory holds what it held, NaN being the same as NaN."""
        same_kind = memory.shape == before.shape and memory.dtype == before.dtype
        return bool(same_kind and (memory.equal(before) or memory.allclose(before, rtol=0, atol=0, equal_nan=True)))

    def equal(self, first: Any, second: Any) -> bool:
        """Whether two tensors hold the same numbers."""
        return bool(self.torch.equal(first, second))

    def watched(self, matcher: Any, record: Callable[..., None]) -> Callable[[], None]:
        """Has calls of a module recorded."""
        if not isinstance(matcher, self.torch.nn.Module):
            return lambda: None
        try:
            handle = matcher.register_forward_hook(
                lambda _, given, named, answer: record(given, named, answer), with_kwargs=True
            )
        except TypeError:  # before torch 2.0
            handle = matcher.register_forward_hook(lambda _, given, answer: record(given, {}, answer))
        end: Callable[[], None] = handle.remove
        return end

    def recorded(self, function: Callable[..., Any], given: Any, arrays: Any) -> tuple[Any, Any]:
        """The answer with its graph, and the backward pass, which gives arrays their gradients."""
        losses = function(*given)

        def pull(weights: Mapping[str, float]) -> tuple[Any, Any]:
            torch = self.torch
            weighted = [torch.as_tensor(losses[key]) * weight for key, weight in weights.items() if key in losses]
            total = torch.stack([loss.reshape(()) for loss in weighted]).sum() if weighted else torch.zeros(())
            if total.requires_grad:
                # The whole graph is walked, as in training, and so also what an earlier call left of its own.
                total.backward()
            return total, [array.grad for array in arrays]

        return losses, pull


class Inputs:
    """The arrays of one call, spelt as a profile says, and what they were, so that changes are noticed.

    spelling: what a profile says of keys, denoising, targets and matchers. dtypes: the names of those of logits, boxes,
    masks and targets, by name.
    """

    def __init__(self, framework: Framework, spelling: Any, dtypes: Mapping[str, str], device: str, call: str) -> None:
        self.framework, self.keys, self.rules, self.dtypes = framework, spelling.keys, spelling, dtypes
        self.device, self.call = device, call
        self._frozen = ("boxes",) if call == "frozen-boxes" else ()
        self.counts: list[int] = []
        self.layers: list[Any] = []
        self.apart: dict[str, list[Any]] = {}
        self._memories: dict[str, tuple[Any, Any]] = {}
        self._containers: list[tuple[str, Any, Any]] = []

    def array(self, name: str, numbers: Any, dtype: str, gradient: bool = False) -> Any:
        """An array of the numbers; where asked it records gradients, as far as the call does."""
        array = self.framework.array(numbers, dtype, self.device)
        memory, array = self.framework.laid_out(array, gradient, self.call)
        self._memories[name] = memory, self.framework.remembered(memory)
        return array

    def container(self, name: str, value: Any) -> Any:
        """A dictionary or a list that the call may not change."""
        self._containers.append((name, value, value.copy()))
        return value

    def outputs(self, outputs: Any, targets: Any = ()) -> Any:
        """The outputs by their keys; the auxiliary list is there only if there are auxiliary layers.

        targets: what denoising queries are made from.
        """
        self.layers = self._layers(outputs, "layer")
        self.apart = {part: self._layers(getattr(outputs, part), getattr(self.keys, part)) for part in APART}
        main = self._nested("outputs", self.layers)
        main.update(self._encoder(self.apart["encoder"]))
        main.update(zip([self.keys.initial], self.apart["initial"]))
        further = self._nested(self.keys.one_to_many, self.apart["one_to_many"]) if self.apart["one_to_many"] else {}
        texts = [getattr(self.keys, part) for part in TEXT]
        own = {key: value for key, value in further.items() if key not in texts}
        main.update({self.keys.one_to_many.format(output=key): value for key, value in own.items()})
        main.update(self._denoising(self.apart["denoising"], list(map(_count, targets))))
        main.update(zip([self.keys.initial_denoising], self.apart["initial_denoising"]))
        return self.container("outputs", main)

    def _layers(self, outputs: Any, name: str) -> list[dict[str, Any]]:
        layers = [] if outputs is None else [*outputs.auxiliary, outputs]
        return [self.layer(own, f"{name} {n}") for n, own in enumerate(layers)]

    def _nested(self, name: str, layers: list[dict[str, Any]]) -> dict[str, Any]:
        """The last of some layers, with those before it as auxiliary ones, where there are any."""
        *auxiliary, last = layers
        if auxiliary:
            last[self.keys.auxiliary] = self.container(f"{self.keys.auxiliary} of {name}", auxiliary)
        return last

    def _encoder(self, layers: list[dict[str, Any]]) -> dict[str, Any]:
        """The predictions of the encoder by their key: a list of them where their losses are numbered.

        Or the last one by its key, and the list of those before by another.
        """
        key, template, earlier = self.keys.encoder, self.keys.encoder_loss or "", self.keys.encoder_auxiliary
        if layers and self.keys.encoder_auxiliary_loss is not None:
            return {key: layers[-1], **({earlier: self.container(earlier, layers[:-1])} if layers[1:] else {})}
        listed = "{layer}" in template or "{number}" in template
        return {key: self.container(key, layers) if listed else layers[-1]} if layers else {}

    def _denoising(self, layers: list[dict[str, Any]], counts: list[int]) -> dict[str, Any]:
        """The predictions of denoising queries by their key, and their meta data, which are None without them.

        counts: the number of objects of each image; empty where they are not known, as in post-processing: the queries
        are one group then, and none of them is made from an object.
        """
        keys, layout = self.keys, self.rules.denoising.layout
        if not layers or (counts and not any(counts)):
            return {} if keys.denoising_loss is None else {keys.denoising_meta: None}
        written = self.container if layout == "listed" else self._nested
        found = {keys.denoising: written(keys.denoising, layers)}
        queries = layers[-1][keys.logits].shape[1]
        starts = np.arange(0, queries, 2 * max(counts, default=queries))
        own = counts or [0] * len(layers[-1][keys.logits])
        places = [np.add.outer(starts, np.arange(count)).ravel() for count in own]
        meta = {
            keys.denoising_groups: len(starts),
            keys.denoising_queries: queries,
            keys.denoising_positives: [
                self.array(f"denoising queries of image {n}", own, "int64") for n, own in enumerate(places)
            ],
        }
        if layout == "within-meta":
            meta, found = {**meta, **found}, {}
        return {**found, keys.denoising_meta: self.container(keys.denoising_meta, meta)}

    def layer(self, layer: Any, name: str) -> dict[str, Any]:
        """What a layer predicts."""
        arrays = {part: getattr(layer, part) for part in LAYER}
        found = {
            key: self.array(f"{part} of {name}", array, self.dtypes[part], part not in self._frozen)
            for part, array in arrays.items()
            if array is not None and (key := getattr(self.keys, part)) is not None
        }
        return {**found, **self._text(layer, name)}

    def _text(self, layer: Any, name: str) -> dict[str, Any]:
        """The phrases of each image, [K, C] of 0 and 1 in the dtype of logits, and which columns are its tokens."""
        if layer.phrases is None:
            return {}
        maps = [
            self.array(f"phrases of image {n} of {name}", own[own.any(axis=-1)], self.dtypes["logits"])
            for n, own in enumerate(layer.phrases)
        ]
        tokens = self.array(f"tokens of {name}", layer.tokens, "bool")
        return {self.keys.phrases: self.container(f"phrases of {name}", maps), self.keys.tokens: tokens}

    def targets(self, targets: Any) -> Any:
        """The targets by their keys: one dictionary an image, or one of arrays for all."""
        self.counts = list(map(_count, targets))
        arrays = [self.arrays(own, image) for image, own in enumerate(targets)]
        if self.rules.targets.layout == "listed":
            each = [self._target(own, f" of image {image}") for image, own in enumerate(arrays)]
            return self.container("targets", [self.container(f"target {n}", own) for n, own in enumerate(each)])
        padded = self.rules.targets.layout == "padded"
        if padded and self.rules.targets.padded_to == "most-objects":
            arrays = [self._in_bucket(own) for own in arrays]
        whole = self._target(joined(arrays, OF_IMAGES, padded), "")
        counts = self.container(self.keys.target_counts, list(self.counts))
        return self.container("targets", {**whole, self.keys.target_counts: counts})

    def arrays(self, target: Any, image: int) -> dict[str, Any]:  # noqa: ARG002  others say more of an image
        """The parts of an image's target, by their names in `KEYS`."""
        parts = {name: getattr(target, part) for part, name in TARGET.items()}
        return {
            name: array for name, array in parts.items() if array is not None and getattr(self.keys, name) is not None
        }

    def _in_bucket(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The parts of an image's target with as much padding as the framework asks for; the last object is padding."""
        count = len(arrays["labels"])
        objects = np.minimum(np.arange(self.framework.bucket(count)), count - 1)
        return {name: array if name in OF_IMAGES else array[objects] for name, array in arrays.items()}

    def _target(self, arrays: Mapping[str, Any], of: str) -> dict[str, Any]:
        labels = LABELS.get(self.call, self.rules.targets.label_dtype)
        dtypes = {"f": self.dtypes["targets"], "b": "bool"}
        return {
            getattr(self.keys, name, name): self.array(
                name.replace("_", " ") + of,
                array,
                dtypes.get(array.dtype.kind, labels if name == "labels" else "int64"),
            )
            for name, array in arrays.items()
        }

    def leaves(self) -> dict[str, list[dict[str, Any]]]:
        """What has gradients of each layer, by the names of its parts; None for what is not given, or has none.

        It is read before the call, which may change the dictionaries.
        """

        def of(layer: Any) -> dict[str, Any]:
            keys = {part: getattr(self.keys, part) for part in LAYER[:-1]}
            return {part: None if part in self._frozen else layer.get(key) for part, key in keys.items()}

        return {name: list(map(of, layers)) for name, layers in {"layers": self.layers, **self.apart}.items()}

    def mutated(self) -> list[str]:
        """The names of the inputs that no longer hold what they held."""
        changed = [name for name, memory in self._memories.items() if not self.framework.unchanged(*memory)]
        return changed + [name for name, now, before in self._containers if not _same_items(now, before)]

    def seen(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """What is seen of the inputs after a call, and of those parts of its answer that are arrays."""
        framework = self.framework
        arrays = {name: part for name, part in parts.items() if isinstance(part, framework.arrays)}
        return {
            "mutated": self.mutated(),
            "attached": [name for name, array in arrays.items() if framework.carries_gradient(array)],
            "differentiable": framework.differentiable,
            "dtypes": {name: framework.dtype(array) for name, array in arrays.items()},
            "shapes": {name: list(array.shape) for name, array in arrays.items()},
            "devices": {name: framework.device(array) for name, array in arrays.items()},
            "device": framework.device(framework.array([], "float32", self.device)),
            "call": self.call,
        }


def _count(target: Any) -> int:
    """The number of objects of a target, without padding."""
    return len(target.labels) if target.valid is None else int(target.valid.sum())


def _same_items(now: Any, before: Any) -> bool:
    if isinstance(now, dict):
        return list(now) == list(before) and all(now[key] is before[key] for key in before)
    return len(now) == len(before) and all(one is other for one, other in zip(now, before))


def arrays_of(leaves: Mapping[str, Any]) -> list[Any]:
    """The arrays among the leaves of a call, in their order."""
    return [array for layers in leaves.values() for layer in layers for array in layer.values() if array is not None]


def gradients_of(leaves: Mapping[str, Any], gradients: Any, convert: Callable[[Any], Any]) -> dict[str, Any]:
    """The gradients by the arrays among the leaves, at the places of these, as NumPy's.

    None where there is no array, or its gradient is None.
    """
    own = iter(gradients)

    def read(array: Any) -> Any:
        gradient = None if array is None else next(own)
        return None if gradient is None else convert(gradient)

    return {
        name: [{part: read(array) for part, array in layer.items()} for layer in layers]
        for name, layers in leaves.items()
    }


class MatcherCalls:
    """Watches the matcher inside a criterion, where that is a part of its own.

    An answer is read when it is given, for the next call may write over it. What is between a criterion and its matcher
    is theirs: calls and answers in another form than is declared of matchers are not seen.
    """

    def __init__(self, criterion: Any, inputs: Inputs) -> None:
        self._matcher, self._inputs = getattr(criterion, "matcher", None), inputs
        self._keys, self._rules = [getattr(inputs.keys, part) for part in SEEN], inputs.rules.matcher
        # A criterion may change the dictionaries that it is given.
        self._layers = [{key: layer[key] for key in self._keys if key in layer} for layer in inputs.layers]
        self._calls: list[Any] = []

    def __enter__(self) -> Any:
        self._end = self._inputs.framework.watched(self._matcher, self._record)
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def _record(self, arguments: Any, named: Any, answer: Any) -> None:
        given = predictions_in((*arguments, *named.values()), self._inputs.keys, self._rules)
        if given is not None:
            self._calls.append((given, self._read(answer)))

    def _read(self, answer: Any) -> Any:
        """The index vectors of each image, None where they are not what is declared."""
        counts, framework = self._inputs.counts, self._inputs.framework
        try:
            found, _ = matchings("the criterion's matcher", answer, counts, self._rules, framework)
        except WrongAnswer:
            return None
        beyond = any(max(targets.tolist(), default=-1) >= count for (_, targets), count in zip(found, counts))
        return None if beyond else found

    def of_layers(self) -> Any:
        """What was read for each layer, told by the arrays the matcher was called with; None where one is not seen."""
        found = [self._of_layer(layer) for layer in self._layers]
        return None if any(own is None for own in found) else found

    def _of_layer(self, layer: Any) -> Any:
        framework = self._inputs.framework
        for given, answer in self._calls:
            parts = [(given.get(key), own) for key, own in layer.items() if key in given]
            same = (isinstance(part, framework.arrays) and framework.equal(part, own) for part, own in parts)
            if len(parts) > 1 and all(same):
                return answer
        return None


def losses_of(criterion: Any, answer: Any, convert: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """A criterion's losses as it returned them, and as numbers; and its weights, None where it shows none."""
    losses = {str(key): loss for key, loss in mapping("the criterion", answer, "a dictionary of losses").items()}
    values = {key: single(f"the criterion, for {key!r},", loss, convert) for key, loss in losses.items()}
    weights = getattr(criterion, "weight_dict", None)
    if weights is None:
        return losses, values, None
    given = mapping("the criterion, for its weight_dict,", weights, "a dictionary of weights")
    return losses, values, {str(key): single(f"the weight of {key!r}", own, convert) for key, own in given.items()}


class _TorchCalls:
    """Calls to one module: JSON in, tensors to the module, and JSON out."""

    def __init__(self, module: Any, configuration: Any, spelling: Any, component: str) -> None:
        import torch

        self.torch, self.module, self.keys, self.rules = torch, module, spelling.keys, spelling
        self.framework = Torch()
        self.autocast = configuration.dtype == "autocast"
        narrow, _, mixed = ("float32" if self.autocast else configuration.dtype).partition("-")
        self.dtype = torch.float32 if mixed else getattr(torch, narrow)
        wide = "float32" if mixed else narrow
        of_boxes = wide if mixed == "logits" else narrow
        self.dtypes = {
            **dict.fromkeys(("logits", "masks", "edges"), narrow),
            **dict.fromkeys(("boxes", "references"), of_boxes),
            "targets": wide,
        }
        self.device, self.call = configuration.device, configuration.call
        self.recording = self.call == "with-gradient" if component == "postprocess" else self.call != "no-grad"

    def within_precision(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call with inputs of its own, under autocast where the configuration asks for it."""

        def begin(*arguments: Any) -> Any:
            self.inputs = Inputs(self.framework, self.rules, self.dtypes, self.device, self.call)
            kind = self.torch.device(self.device).type
            precision = self.torch.autocast(kind, dtype=self.torch.bfloat16, enabled=self.autocast)
            with precision, self.torch.set_grad_enabled(self.recording):
                return call(*arguments)

        return begin

    def box_operation(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            recorded = self.call == "with-gradient"
            given = [decode_array(value, f"argument {n}") for n, value in enumerate(arguments)]
            dtype = self.dtypes["targets"]
            tensors = [self.inputs.array(f"argument {n}", own, dtype, recorded) for n, own in enumerate(given)]
            answer = self.module(*tensors)
            value = self._encoded(name, instance(name, answer, self.torch.Tensor))
            return {"value": value, "observation": self.inputs.seen({name: answer})}

        return self.within_precision(call)

    def _given(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        own = [SimpleNamespace(**{part: _decoded(target, part) for part in TARGET}) for target in targets]
        return self.inputs.outputs(_predictions(outputs), own), self.inputs.targets(own)

    def matcher(self, outputs: Any, targets: Any) -> Any:
        given = self._given(outputs, targets)
        answer = self.module(*matcher_arguments(*given, self.keys, self.rules.matcher))
        found, parts = matchings("the matcher", answer, self.inputs.counts, self.rules.matcher, self.framework)
        return {"value": _encoded_matchings(found), "observation": self.inputs.seen(parts)}

    def criterion(self, outputs: Any, targets: Any) -> Any:
        value, answer = self._losses(*self._given(outputs, targets))
        return {"value": value, "observation": self.inputs.seen(answer)}

    def _losses(self, outputs: Any, targets: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        with MatcherCalls(self.module, self.inputs) as calls:
            losses, values, weights = losses_of(self.module, self.module(outputs, targets), to_numpy)
        found = calls.of_layers()
        value = {
            "values": _encoded_numbers(values),
            "weights": None if weights is None else _encoded_numbers(weights),
            "matchings": None if found is None else list(map(_encoded_matchings, found)),
        }
        return value, losses

    def gradients(self, outputs: Any, targets: Any, weights: Any) -> Any:
        given = self._given(outputs, targets)
        leaves = self.inputs.leaves()
        value: dict[str, Any] = {}

        def losses(outputs: Any, targets: Any) -> dict[str, Any]:
            value["losses"], answer = self._losses(outputs, targets)
            return answer

        answer, pull = self.framework.recorded(losses, given, arrays_of(leaves))
        total, found = pull(weights)
        gradients = gradients_of(leaves, found, to_numpy)
        value["total"] = encode_number(single("the weighted total", total, to_numpy))
        for name, layers in gradients.items():
            value[name] = [
                {part: None if own is None else encode_array(own) for part, own in layer.items()} for layer in layers
            ]
        return {"value": value, "observation": self.inputs.seen(answer)}

    def postprocess(self, outputs: Any, sizes: Any) -> Any:
        what = "the post-processing"
        given = self.inputs.outputs(_predictions(outputs)), decode_array(sizes, "target_sizes")
        answer = self.module(given[0], self.inputs.array("target_sizes", given[1], "int64"))
        images = sequence(what, answer, "a list of dictionaries, one an image", len(given[1]))
        read = [{name: entry(what, image, name) for name in DETECTION} for image in images]
        parts = {f"{name} of image {n}": image[name] for n, image in enumerate(read) for name in DETECTION}
        value = [{name: self._encoded(f"{what}, for {name},", part) for name, part in image.items()} for image in read]
        return {"value": value, "observation": self.inputs.seen(parts)}

    def _encoded(self, what: str, value: Any) -> dict[str, Any]:
        return encode_array(numbers(what, value, to_numpy))


def _decoded(fields: Any, part: str) -> Any:
    return None if fields[part] is None else decode_array(fields[part], part)


def _predictions(value: Any) -> Any:
    """The predictions that JSON holds, with their arrays."""
    apart = {part: None if value[part] is None else _predictions(value[part]) for part in APART}
    auxiliary = [_predictions(layer) for layer in value["auxiliary"]]
    own = {part: _decoded(value, part) for part in (*LAYER, *TEXT)}
    return SimpleNamespace(**own, **apart, auxiliary=auxiliary)


def _encoded_matchings(found: Any) -> list[dict[str, Any]]:
    return [{"queries": encode_array(queries), "targets": encode_array(targets)} for queries, targets in found]


def _encoded_numbers(values: Mapping[str, float]) -> dict[str, Any]:
    return {key: encode_number(value) for key, value in values.items()}
