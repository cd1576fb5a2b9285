"""What a counterexample holds for a picture: images with boxes, costs, both matchings; read from plain data.

The norm's own matching is computed here, from the case, where the case's profile is one of `detr_spec`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from detr_conformance.base.verdict import Counterexample, Judgement
from detr_spec.configuration import Configuration
from detr_spec.hints import field_types, is_part
from detr_spec.matching.assignment import solve
from detr_spec.matching.costs import matching_cost
from detr_spec.parts import named_part
from detr_spec.profiles import PROFILES
from detr_spec.values import Booleans, Floats, Matching, Target

Pairs = tuple[tuple[int, int], ...]

LARGEST_SOLVED = 250
"""Queries or targets of an image for which the norm's matching is still computed for a picture."""

MOST_IMAGES = 2
"""How many images are drawn where the message names none."""


@dataclass(frozen=True, eq=False)
class Costs:
    """A cost matrix [n, m], and two assignments of it where they are known."""

    matrix: Floats
    theirs: Pairs | None
    norm: Pairs | None

    def total(self, pairs: Pairs) -> float:
        """The total cost of an assignment."""
        return float(sum(self.matrix[row, column] for row, column in pairs))


@dataclass(frozen=True, eq=False)
class Scene:
    """One image of one decoder layer: boxes of queries [Q, 4] and of targets [n, 4] as (cx, cy, w, h), and labels [n].

    size: (height, width) in pixels. theirs: the implementation's matching, where the violation shows it. phrases: the
    logit columns of each phrase of its text, [K, C], where labels name phrases.
    """

    image: int
    layer: int
    of_layers: int
    logits: Floats
    boxes: Floats
    labels: Sequence[int]
    target_boxes: Floats
    size: tuple[int, int]
    configuration: Configuration | None
    theirs: Pairs | None
    phrases: Booleans | None = None

    @property
    def name(self) -> str:
        """The image, and the decoder layer where there are several."""
        return f"image {self.image}" + (f", decoder layer {self.layer}" if self.of_layers > 1 else "")

    @cached_property
    def costs(self) -> Costs | None:
        """The norm's matching costs and both matchings; None where the norm has none for these numbers."""
        if self.configuration is None or not 0 < len(self.labels) <= LARGEST_SOLVED:
            return None
        if not 0 < len(self.boxes) <= LARGEST_SOLVED:
            return None
        target = Target(np.array(self.labels), self.target_boxes, broken=True)
        cost = matching_cost(self.logits, self.boxes, target, self.configuration, phrases=self.phrases)
        return Costs(cost, self.theirs, least(cost))


def least(cost: Floats) -> Pairs | None:
    """An assignment of least total cost; None where the numbers allow none."""
    if max(cost.shape) > LARGEST_SOLVED:
        return None
    try:
        solution = solve(cost)
    except ValueError:
        return None
    return tuple(Matching(solution.rows, solution.columns).pairs())


def scenes(judgement: Judgement) -> list[Scene]:
    """The images of a set case that its violation is about: those that the message names, else the first few."""
    counterexample = judgement.counterexample
    case = counterexample.case if counterexample else None
    if counterexample is None or not isinstance(case, Mapping) or "outputs" not in case or "sizes" not in case:
        return []
    layers = [*case["outputs"]["auxiliary"], case["outputs"]]
    layer = named_layer(judgement.message, len(layers))
    images = range(min(len(layers[layer]["logits"]), len(case["targets"])))
    named = re.search(r"\bimage (\d+)", judgement.message)
    chosen = [image for image in images if named and image == int(named[1])]
    chosen = chosen or [image for image in images if case["targets"][image]["labels"]] or list(images)
    configuration = configuration_of(case)
    return [
        Scene(
            image=image,
            layer=layer,
            of_layers=len(layers),
            logits=numbers(layers[layer]["logits"][image], 2),
            boxes=numbers(layers[layer]["boxes"][image], 2).reshape(-1, 4),
            labels=[int(label) for label in case["targets"][image]["labels"]],
            target_boxes=numbers(case["targets"][image]["boxes"], 2).reshape(-1, 4),
            size=(int(case["sizes"][image][0]), int(case["sizes"][image][1])),
            configuration=configuration,
            theirs=shown_pairs(counterexample, image),
            phrases=None
            if layers[layer].get("phrases") is None
            else np.array(layers[layer]["phrases"][image], dtype=np.bool_),
        )
        for image in chosen[:MOST_IMAGES]
    ]


def named_layer(message: str, layers: int) -> int:
    """The decoder layer that a message is about: the one whose suffix the loss has, or that it names; else the last."""
    suffix = re.match(r"\w+_(\d+)\b", message)
    if suffix is None:
        suffix = re.search(r"\bdecoder layer (\d+)", message)
    return int(suffix[1]) if suffix and int(suffix[1]) < layers else layers - 1


def shown_costs(counterexample: Counterexample) -> Costs | None:
    """The cost matrix that a violation shows, with both assignments."""
    details = counterexample.details if isinstance(counterexample.details, Mapping) else {}
    if details.get("cost") is None:
        return None
    matrix = numbers(details["cost"], 2)
    return Costs(matrix, shown_pairs(counterexample, 0), pairs_in(details.get("optimal_pairs")) or least(matrix))


def shown_pairs(counterexample: Counterexample, image: int) -> Pairs | None:
    """The implementation's matching of an image, where the violation shows it."""
    details = counterexample.details if isinstance(counterexample.details, Mapping) else {}
    for given in (details.get("pairs"), counterexample.got):
        found = pairs_in(given)
        if found is None and isinstance(given, list) and image < len(given):
            found = pairs_in(given[image])
        if found is not None:
            return found
    return None


def pairs_in(value: Any) -> Pairs | None:
    """The (query, target) pairs of a list of pairs, or of a table from targets to queries; None for anything else."""
    if isinstance(value, Mapping):
        value = [[query, int(target)] for target, query in value.items() if str(target).isdigit()]
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return None
    if not all(type(index) is int and index >= 0 for pair in value for index in pair):
        return None
    return tuple((query, target) for query, target in value)


def configuration_of(case: Any) -> Configuration | None:
    """The configuration of a case; None where its profile is not one of `detr_spec`, which a report does not hold."""
    given = case.get("configuration") if isinstance(case, Mapping) else None
    if not isinstance(given, Mapping) or given.get("profile") not in PROFILES:
        return None
    types = field_types(Configuration)
    return Configuration(
        **{
            **{name: _part(types[name], value) for name, value in given.items() if name in types},
            "profile": PROFILES[given["profile"]],
            "fixed": tuple(given.get("fixed", ())),
        }
    )


def _part(hint: Any, value: Any) -> Any:
    """A part of a profile from plain data; what is none is as it was given."""
    if not is_part(hint):
        return value
    return named_part(hint, value["name"], {name: number for name, number in value.items() if name != "name"})


def numbers(value: Any, dimensions: int) -> Floats:
    """An array of plain data, in which numbers that are not finite are strings; of so many dimensions where empty."""
    array = np.array(value, dtype=np.float64)
    return array.reshape((0,) * dimensions) if array.size == 0 and array.ndim < dimensions else array
