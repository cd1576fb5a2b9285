"""Vectors as values, and as the plain data of their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detr_conformance.base.version import installed_version
from detr_conformance.encoding.checks import choice, record, shown, table
from detr_conformance.encoding.files import FILES
from detr_conformance.encoding.places import Place
from detr_conformance.vectors.checks import require_sound
from detr_spec.cases import BoxCase, Case, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS
from detr_spec.invariant import Invariant
from detr_spec.profile import Profile
from detr_spec.tolerance import Interval
from detr_spec.values import Floats, Integers

FORMAT = 2
"""The version of the format: it grows where a reader of the last one would misunderstand."""

FORMAT_READ = (
    f"format {FORMAT}, which this version reads; `detr-spec vectors draw` writes others, `check --accept` a ledger's"
)

KINDS: dict[str, type[Case]] = {
    "boxes": BoxCase,
    "costs": CostCase,
    "set": SetCase,
    "ranks": RankCase,
    "hidden": HiddenCase,
    "features": FeatureCase,
    "images": ImagesCase,
}
"""The kinds of cases by their names in files."""


@dataclass(frozen=True, eq=False)
class Range:
    """Numbers by their definition, and the ends of the range in which a right evaluation lies."""

    value: Floats
    lower: Floats
    upper: Floats

    @staticmethod
    def of(interval: Interval) -> Range:
        """The range that an interval is."""
        shape = np.shape(interval.value)
        lower, upper = (np.broadcast_to(part, shape) for part in (interval.lower, interval.upper))
        return Range(np.asarray(interval.value), np.asarray(lower), np.asarray(upper))


@dataclass(frozen=True, eq=False)
class Optimum:
    """The least total cost, how far above it a right answer may end, and one optimal assignment.

    unique: whether that one is the only optimal one for all costs in their range.
    """

    total: float
    allowance: float
    queries: Integers
    targets: Integers
    unique: bool


@dataclass(frozen=True, eq=False)
class LayerExpected:
    """What is right for one decoder layer: each image's optimum, each loss, each gradient, under those optima."""

    layer: int
    optima: tuple[Optimum, ...]
    losses: Mapping[str, Range] = field(default_factory=dict)
    logits_gradient: Range | None = None
    boxes_gradient: Range | None = None


@dataclass(frozen=True, eq=False)
class ImageExpected:
    """What is right for one image: every candidate's score [Q, K] and box [Q, 4], and the number of detections."""

    scores: Range
    boxes: Range
    least: int
    most: int


@dataclass(frozen=True, eq=False)
class Expected:
    """The expected values of a case, as far as its component has them."""

    overlaps: Mapping[str, Range] = field(default_factory=dict)
    costs: tuple[Range, ...] = ()
    optima: tuple[Optimum, ...] = ()
    layers: tuple[LayerExpected, ...] = ()
    ranks: tuple[tuple[LayerExpected, ...], ...] = ()
    images: tuple[ImageExpected, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where a vector comes from: how it was made, by which version, from which seed."""

    origin: str
    version: str
    seed: int


@dataclass(frozen=True, eq=False)
class Vector:
    """A case, the invariants that judge it, and what is expected; flags say what is special in it, and why."""

    component: str
    invariants: tuple[str, ...]
    case: Case
    provenance: Provenance
    flags: Mapping[str, str] = field(default_factory=dict)
    expected: Expected | None = None


def kind_of(case: Case) -> str:
    """The name of a case's kind."""
    return next(name for name, kind in KINDS.items() if type(case) is kind)


def to_document(vector: Vector) -> dict[str, Any]:
    """A vector as plain data, in the order in which it is written."""
    case, configuration = vector.case, vector.case.configuration
    document: dict[str, Any] = {
        "format": FORMAT,
        "component": vector.component,
        "invariants": list(vector.invariants),
        "flags": dict(sorted(vector.flags.items())),
        "provenance": FILES.encoded_fields(vector.provenance, Provenance),
        "profile": FILES.encoded_fields(configuration.profile, Profile),
        "configuration": FILES.encoded_fields(configuration, Configuration, without=("profile",)),
        "case": {"kind": kind_of(case), **FILES.encoded_fields(case, type(case), without=("configuration",))},
    }
    if vector.expected is not None:
        document["expected"] = FILES.encoded_fields(vector.expected, Expected)
    return document


MEMBERS = ("format", "component", "invariants", "flags", "provenance", "profile", "configuration", "case")
"""What every vector has; it may have expected values beside that."""


def from_document(document: Any, place: Place) -> Vector:
    """The vector of plain data; raises `UsageError` with the place of what is not as it should be."""
    if table(document, place).get("format", FORMAT) != FORMAT:
        raise place.within("format").wrong(found=shown(document["format"]), expected=FORMAT_READ)
    given = record(document, place, MEMBERS, ("expected",))

    def decoded(name: str, hint: Any) -> Any:
        return FILES.decoded(hint, given[name], place.within(name))

    configuration = FILES.decoded_fields(
        Configuration, given["configuration"], place.within("configuration"), profile=decoded("profile", Profile)
    )
    at = place.within("case")
    parts = dict(table(given["case"], at))
    kind = KINDS[choice(parts.pop("kind", None), tuple(KINDS), at.within("kind"))]
    vector = Vector(
        component=choice(given["component"], COMPONENTS, place.within("component")),
        invariants=decoded("invariants", tuple[str, ...]),
        case=FILES.decoded_fields(kind, parts, at, configuration=configuration),
        provenance=decoded("provenance", Provenance),
        flags=decoded("flags", Mapping[str, str]),
        expected=decoded("expected", Expected) if "expected" in given else None,
    )
    require_sound(vector.component, vector.invariants, vector.case, place)
    return vector


def counterexample_document(invariant: Invariant, case: Any, seed: int) -> dict[str, Any] | None:
    """The vector of a case that an invariant does not hold for, as plain data without expected values.

    None for what is no case of a known kind.
    """
    if type(case) not in KINDS.values():
        return None
    provenance = Provenance(f"counterexample, regime {case.regime}", installed_version(), seed)
    return to_document(Vector(invariant.component, (invariant.id,), case, provenance))
