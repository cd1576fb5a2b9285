"""ONNX graphs by name: `onnx:`, the file, and options that say what the graph itself does not."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from detr_conformance.base.errors import UsageError
from detr_conformance.bridges.onnx_bridge import onnx_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profiles import PROFILES

GRAPH = "onnx:"
"""How the name of a graph begins; the file and options follow, split into words as a shell does."""

SUFFIX = ".onnx"


@dataclass(frozen=True)
class Told:
    """What is said of a graph: names of inputs and outputs by role, fixed numbers by name, dtypes."""

    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    dtype: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """What is said, as options."""
        return [
            word
            for field in fields(self)
            for item in getattr(self, field.name)
            for word in (f"--onnx-{field.name}", item)
        ]


OPTIONS = (
    click.Option(["--onnx-input"], metavar="ROLE=NAME", multiple=True, help="A graph's logits, boxes or sizes."),
    click.Option(["--onnx-output"], metavar="ROLE=NAME", multiple=True, help="A graph's scores, labels or boxes."),
    click.Option(["--onnx-fixed"], metavar="NAME=NUMBER", multiple=True, help="What a graph holds fast, as top_k."),
    click.Option(
        ["--onnx-dtype"], metavar="DTYPE", multiple=True, help="What a graph computes in, if not its input's."
    ),
)


def onnx_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of graphs, and its function one argument `graphs` for them."""

    @wraps(function)
    def with_graphs(*arguments: Any, **named: Any) -> Any:
        told = Told(**{field.name: named.pop(f"onnx_{field.name}") for field in fields(Told)})
        return function(*arguments, graphs=told, **named)

    with_graphs.__click_params__ = [*getattr(function, "__click_params__", []), *reversed(OPTIONS)]  # type: ignore[attr-defined]
    return with_graphs


def graph_names(names: Sequence[str], profile: str | None, told: Told) -> list[str]:
    """The names of implementations, those of files of graphs with what is said of these.

    Raises `UsageError` where a graph has no profile, and where something is said and there is no graph.
    """
    graphs = [name for name in names if name.endswith(SUFFIX) and not name.startswith(GRAPH)]
    if told.words and not graphs:
        raise UsageError(f"{told.words[0]} is about an ONNX graph; expected the name of a file that ends in {SUFFIX}")
    if graphs and profile is None:
        raise UsageError(f"{graphs[0]} does not say its dialect; expected --profile NAME, one of {', '.join(PROFILES)}")
    words = ["--profile", str(profile), *told.words]
    return [GRAPH + shlex.join([name, *words]) if name in graphs else name for name in names]


def graph_implementations(said: str) -> tuple[Implementation, ...]:
    """The implementation that a name says, without its beginning; raises `UsageError`."""
    options = [click.Argument(["path"]), click.Option(["--profile"], required=True), *OPTIONS]
    try:
        context = click.Command("onnx", params=options).make_context("onnx", shlex.split(said))
    except (click.ClickException, ValueError) as error:
        reason = error.format_message() if isinstance(error, click.ClickException) else error
        raise UsageError(f"{GRAPH}{said} says no graph: {reason}") from error
    given = context.params
    if given["profile"] not in PROFILES:
        raise UsageError(f"no profile is called {given['profile']!r}; the profiles are {', '.join(PROFILES)}")
    fixed = {name: _number(name, number) for name, number in _pairs(given["onnx_fixed"]).items()}
    limits = Limits(fixed=fixed)
    return (
        onnx_implementation(
            Path(given["path"]),
            profile=given["profile"],
            limits=replace(limits, dtypes=given["onnx_dtype"]) if given["onnx_dtype"] else limits,
            inputs=_pairs(given["onnx_input"]),
            outputs=_pairs(given["onnx_output"]),
        ),
    )


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for word, (name, sign, value) in zip(words, pairs, strict=True):
        if not (name and sign and value):
            raise UsageError(
                f"{word!r} is no pair; expected a name, an equals sign and a value, such as logits=pred_logits"
            )
    return {name: value for name, _, value in pairs}


def _number(name: str, said: str) -> float:
    kind = {field.name: field.type for field in fields(Configuration)}.get(name)
    try:
        return int(said) if kind == "int" else float(said)
    except ValueError as error:
        raise UsageError(f"{name}={said} is no number of an ONNX graph; expected such as top_k=300") from error
