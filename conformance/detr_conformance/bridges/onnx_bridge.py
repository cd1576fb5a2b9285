"""Bridge to post-processing in ONNX graphs, by way of ONNX Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from detr_conformance.base.errors import UsageError, one_line
from detr_conformance.bridges.numpy_bridge import CALLS, observed
from detr_conformance.bridges.onnx_graph import Graph, read_graph
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import expected_count
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.profiles import named_profile
from detr_spec.values import Answer, Detections, Integers, Observation, Outputs
from detr_spec.violation import NotProvided, Violation

LOWEST = 1000.0
"""The logits of a query that is nothing: every probability is 0, or 1 for no object, in any dtype."""

ELSEWHERE = (0.3137, 0.7219, 0.2371, 0.1113)
"""The box of a query that is nothing, which no case has."""


def onnx_implementation(
    path: str | Path,
    *,
    profile: Profile | str,
    name: str | None = None,
    limits: Limits | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
) -> Implementation:
    """An implementation of the post-processing in an ONNX graph, under a profile.

    inputs, outputs: the names of the graph's logits, boxes and sizes, and of its scores, labels and boxes, where they
    cannot be told by their dtypes, shapes and names. limits: the dtypes that it computes in, if not that of its inputs,
    and the numbers that are fixed in it: the profile's k and threshold must be given where it has them. The number of
    classes is read from the graph. A graph without sizes gives boxes relative to the image, which are scaled here.
    Raises `UsageError` for what is no such graph.
    """
    declared = named_profile(profile) if isinstance(profile, str) else profile
    graph = read_graph(Path(path), inputs or {}, outputs or {})
    _require_numbers(path, declared, limits or Limits())
    if "sizes" not in graph.inputs and declared.detection.geometry != "resized":
        raise UsageError(f"{path} takes no sizes; expected them, as boxes are {declared.detection.geometry}")
    if graph.queries is not None and declared.detection.is_ranked and not declared.detection.takes_k:
        raise UsageError(
            f"{path} takes {graph.queries} queries, and profile {declared.name} returns as many detections as there "
            "are queries; export it with a dynamic axis for queries"
        )
    fixed = {**_classes(path, graph, declared), **(limits or Limits()).fixed}
    dtypes = (graph.inputs["logits"].dtype,) if limits is None or limits.dtypes == Limits().dtypes else limits.dtypes
    own = replace(limits or Limits(), dtypes=dtypes, fixed=fixed).within_calls(CALLS)
    implementation = Implementation(
        name=name or Path(path).name,
        profile=declared,
        limits=own,
        postprocess=lambda configuration: OnnxPostProcess(graph, configuration),
    )
    _require_running(path, implementation)
    return implementation


def _require_numbers(path: str | Path, profile: Profile, limits: Limits) -> None:
    """Raises `UsageError` unless what a graph holds fast, and cannot be asked for, is declared."""
    rules = profile.detection
    for name, has in (("top_k", rules.takes_k), ("threshold", rules.threshold)):
        if has and name not in limits.fixed:
            raise UsageError(
                f"profile {profile.name} has a {name}, and {path} one of its own; say which: "
                f"--onnx-fixed {name}=NUMBER, or limits=Limits(fixed={{{name!r}: …}})"
            )


def _classes(path: str | Path, graph: Graph, profile: Profile) -> dict[str, float]:
    """The number of classes, where the graph takes logits of one number of columns alone."""
    if graph.columns is None:
        return {}
    for classes in (graph.columns, graph.columns - 1):
        if classes > 0 and Configuration(profile=profile, num_classes=classes).columns == graph.columns:
            return {"num_classes": classes}
    raise UsageError(f"{path} takes {graph.columns} logit columns, which is no number of profile {profile.name}'s")


def _require_running(path: str | Path, implementation: Implementation) -> None:
    """Raises `UsageError` unless a graph runs for batches of different sizes."""
    fixed = {
        name: int(number) for name, number in implementation.limits.fixed.items() if name in ("num_classes", "top_k")
    }
    numbers: dict[str, Any] = {"num_classes": 2, **fixed}
    configuration = Configuration(profile=implementation.profile, dtype=implementation.limits.dtypes[0], **numbers)
    assert implementation.postprocess is not None
    for images, queries in ((1, 2), (2, 3)):
        shape = images, queries
        outputs = Outputs(np.zeros((*shape, configuration.columns)), np.full((*shape, 4), 0.5))
        try:
            implementation.postprocess(configuration)(outputs, np.full((images, 2), 8))
        except (Violation, NotProvided):
            continue
        except Exception as error:
            raise UsageError(
                f"{path} does not run for {images} images of {queries} queries: {one_line(error)}; "
                "export it with dynamic axes for images and queries"
            ) from error


@dataclass(frozen=True)
class OnnxPostProcess:
    """The post-processing of a graph, called with values of the specification."""

    graph: Graph
    configuration: Configuration

    def __call__(self, outputs: Outputs, sizes: Integers) -> Answer[tuple[Detections, ...]]:
        """The detections of each image.

        A graph that takes a number of queries, or gives a number of detections, is given more queries than there are:
        the others are nothing, and come last where scores are equal, as ONNX says of its top-k. Theirs are left out.
        """
        if outputs.phrases is not None:
            raise NotProvided("post-processing by phrases is not looked for in graphs")
        given = {"logits": outputs.logits, "boxes": outputs.boxes, "sizes": sizes}
        held = {role: given[role].astype(value.dtype) for role, value in self.graph.inputs.items()}
        if self.configuration.call == "after-errors":
            with contextlib.suppress(Exception):
                self.graph.run({**held, "boxes": held["boxes"][..., :3]})
        call = self.configuration.call
        answer, mutated = observed(lambda *arrays: self._detected(arrays, sizes), held, call)
        parts = {f"{name} of image {place}": part for place, image in enumerate(answer) for name, part in image.items()}
        observation = Observation(
            mutated,
            dtypes={name: str(part.dtype) for name, part in parts.items()},
            shapes={name: part.shape for name, part in parts.items()},
            call=call,
        )
        return Answer(tuple(Detections(**image) for image in answer), observation)

    def _detected(self, arrays: tuple[np.ndarray, ...], sizes: Integers) -> list[dict[str, np.ndarray]]:
        """The scores, labels and boxes of each image."""
        given = dict(zip(self.graph.inputs, arrays, strict=True))
        queries = given["logits"].shape[1]
        others = self._needed(queries) - queries
        nothing = self._nothing(given, others)
        padded = {role: np.concatenate([given[role], nothing[role]], axis=1) for role in ("logits", "boxes")}
        found = self.graph.run({**given, **padded})
        if others:
            alone = self.graph.run({**given, **self._nothing(given, queries + others)})
            self._require_k(alone, queries + others)
            found = [_without(image, theirs) for image, theirs in zip(found, alone, strict=True)]
        if "sizes" not in self.graph.inputs:
            found = [
                {**image, "boxes": image["boxes"] * self._scale(size)} for image, size in zip(found, sizes, strict=True)
            ]
        return found

    def _needed(self, queries: int) -> int:
        """How many queries the graph is to be given."""
        fixed, rules = self.graph.queries, self.configuration.profile.detection
        if fixed is not None:
            if queries > fixed:
                raise NotProvided(f"the graph takes {fixed} queries, and no more")
            return fixed
        if not rules.takes_k:
            return queries
        of_each = self.configuration.num_classes if rules.rule == "top-k" else 1
        return max(queries, -(-self.configuration.top_k // of_each))

    def _require_k(self, images: list[dict[str, np.ndarray]], queries: int) -> None:
        """Raises `Violation` unless there are k detections of so many queries that are nothing, or all of theirs."""
        rules, own = self.configuration.profile.detection, self.configuration
        if not rules.takes_k or rules.threshold:
            return
        expected = expected_count((queries, own.num_classes), own)
        for image in images:
            got = len(image["scores"])
            if got != expected:
                raise Violation(f"the graph gives {got} detections of {queries} queries", expected=expected, got=got)

    def _nothing(self, given: Mapping[str, np.ndarray], queries: int) -> dict[str, np.ndarray]:
        """The logits and boxes of so many queries that are nothing, for each image."""
        batch, _, columns = given["logits"].shape
        profile = self.configuration.profile
        logits = np.full((batch, queries, columns), -LOWEST, dtype=given["logits"].dtype)
        if profile.has_no_object:
            logits[..., 0 if profile.no_object == "first" else -1] = LOWEST
        boxes = np.broadcast_to(np.array(ELSEWHERE, dtype=given["boxes"].dtype), (batch, queries, 4))
        return {"logits": logits, "boxes": boxes}

    def _scale(self, size: Integers) -> np.ndarray:
        """What relative corners are multiplied by, for an image of a size in the profile's order."""
        profile = self.configuration.profile
        height, width = size if profile.detection.size_order == "height-width" else size[::-1]
        order = (width, height) if profile.coordinate_order == "x-first" else (height, width)
        return np.array([*order, *order], dtype=np.float64)


def _without(image: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An image's detections without those of queries that are nothing, which give these alone."""
    if not len(theirs["scores"]):
        return image
    alike = (image["scores"] == theirs["scores"][0]) & (image["boxes"] == theirs["boxes"][0]).all(axis=-1)
    return {name: part[~alike] for name, part in image.items()}
