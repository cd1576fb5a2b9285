"""A post-processing in an ONNX graph, run by ONNX Runtime: which of its values is which, and what it can be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detr_conformance.base.errors import UsageError, close_names, one_line
from detr_spec.violation import Violation

DTYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
"""The types of values that there can be, by their names in ONNX Runtime."""

INPUTS = ("logits", "boxes", "sizes")
OUTPUTS = ("scores", "labels", "boxes")
OPTIONAL = ("sizes",)

_WORDS = {
    "logits": ("logit", "class", "cls", "score"),
    "boxes": ("box",),
    "sizes": ("size",),
    "scores": ("score", "conf", "prob"),
    "labels": ("label", "class", "cls"),
}
"""What is part of a value's name that plays a role."""


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: its name, its dtype, and its shape; None for a length that may be any."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def told(self) -> str:
        """The value in words."""
        lengths = ", ".join("any" if length is None else str(length) for length in self.shape)
        return f"{self.name} ({self.dtype} [{lengths}])"


@dataclass(frozen=True)
class Graph:
    """A graph whose inputs and outputs are known by their roles; one of no sizes gives boxes relative to the image."""

    session: Any
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]

    @property
    def batch(self) -> int | None:
        """How many images it takes; None for any number."""
        return self.inputs["logits"].shape[0]

    @property
    def queries(self) -> int | None:
        """How many queries it takes; None for any number."""
        return self.inputs["logits"].shape[1]

    @property
    def columns(self) -> int | None:
        """How many logit columns it takes; None for any number."""
        return self.inputs["logits"].shape[2]

    def run(self, given: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The scores [n], labels [n] and boxes [n, 4] of each image, from the inputs of a batch by their roles.

        Raises `Violation` where they are not those of so many images.
        """
        feed = {value.name: given[role].astype(value.dtype) for role, value in self.inputs.items()}
        batch = len(given["logits"])
        if self.batch != 1:
            return self._images(feed, batch)
        alone = ({name: part[[place]] for name, part in feed.items()} for place in range(batch))
        return [image for own in alone for image in self._images(own, 1)]

    def _images(self, feed: Mapping[str, np.ndarray], batch: int) -> list[dict[str, np.ndarray]]:
        found = self.session.run([self.outputs[role].name for role in OUTPUTS], feed)
        if batch == 1 and found[0].ndim == 1:
            found = [part[None] for part in found]
        for role, part in zip(OUTPUTS, found, strict=True):
            if part.ndim == 0 or len(part) != batch:
                raise Violation(f"the graph gives {role} of shape {list(part.shape)} for {batch} images")
        return [dict(zip(OUTPUTS, parts, strict=True)) for parts in zip(*found, strict=True)]


def read_graph(path: Path, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Graph:
    """The graph in a file, with names of its inputs and outputs by their roles, where they are not found.

    Raises `UsageError` for what is no such graph, and where the roles cannot be told apart.
    """
    try:
        import onnxruntime  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(f"{path} needs onnxruntime; `pip install 'detr-spec[onnx]'` brings it") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not path.is_file():
        raise UsageError(f"{path} does not exist; expected an ONNX graph")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UsageError(f"{path} is no graph that ONNX Runtime can run: {one_line(error)}") from error
    read = {"input": _values(session.get_inputs(), path), "output": _values(session.get_outputs(), path)}
    found = _by_role(path, "input", read["input"], INPUTS, inputs)
    graph = Graph(session, found, _by_role(path, "output", read["output"], OUTPUTS, outputs))
    others = [value.told for value in read["input"] if value not in found.values()]
    if others:
        raise UsageError(f"{path} takes {', '.join(others)} too; expected {', '.join(INPUTS)} alone")
    if graph.batch not in (None, 1):
        raise UsageError(f"{path} takes {graph.batch} images at once; expected one, or any number (a dynamic axis)")
    return graph


def _values(nodes: Sequence[Any], path: Path) -> list[Value]:
    found = []
    for node in nodes:
        if node.type not in DTYPES:
            raise UsageError(f"{path}: {node.name} is a {node.type}; expected one of {', '.join(DTYPES)}")
        shape = tuple(length if isinstance(length, int) else None for length in node.shape)
        found.append(Value(node.name, DTYPES[node.type], shape))
    return found


def _by_role(
    path: Path, kind: str, values: Sequence[Value], roles: Sequence[str], named: Mapping[str, str]
) -> dict[str, Value]:
    """The value of each role: the named one, or the only one whose dtype and shape fit, or also the name."""
    for role, name in named.items():
        if role not in roles:
            raise UsageError(f"{role!r} is no {kind} of a post-processing; expected one of {', '.join(roles)}")
        if name not in [value.name for value in values]:
            known = [value.name for value in values]
            raise UsageError(f"{path} has no {kind} {name!r}{close_names(name, known)}; it has {', '.join(known)}")
    found = {role: next(value for value in values if value.name == name) for role, name in named.items()}
    for role in roles:
        left = [value for value in values if value not in found.values()]
        if role in found:
            continue
        fitting = [value for value in left if _fits(role, value, kind)]
        if len(fitting) > 1:
            fitting = [value for value in fitting if any(word in value.name.lower() for word in _WORDS[role])]
        if len(fitting) == 1:
            found[role] = fitting[0]
        elif fitting or role not in OPTIONAL:
            told = ", ".join(value.told for value in left) or "nothing more"
            raise UsageError(
                f"{path}: which {kind} is the {role} cannot be told, of {told}; name it: --onnx-{kind} {role}=NAME"
            )
    return {role: found[role] for role in roles if role in found}


def _fits(role: str, value: Value, kind: str) -> bool:
    """Whether a value can play a role by its dtype and shape."""
    floats, last = value.dtype.startswith("float"), value.shape[-1] if value.shape else None
    if role == "sizes":
        return len(value.shape) == 2 and last in (None, 2)
    if role == "boxes":
        return (
            floats and len(value.shape) in (2, 3) and last in (None, 4) and (kind == "output" or len(value.shape) == 3)
        )
    if role == "logits":
        return floats and len(value.shape) == 3 and (last != 4 or "box" not in value.name.lower())
    if role == "labels":
        return not floats and len(value.shape) in (1, 2)
    return floats and len(value.shape) in (1, 2)
