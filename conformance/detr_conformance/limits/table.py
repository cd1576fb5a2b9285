"""The detection limits as data: what was measured, kept in a file of the package, and told in the catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from detr_conformance.base.documents import parsed_json, read_text
from detr_conformance.base.errors import UsageError
from detr_spec.invariants import all_invariants
from detr_spec.profiles import PROFILES

FILE = Path(__file__).parents[1] / "data" / "detection_limits.json"


@dataclass(frozen=True)
class Limit:
    """The smallest error in one term of an answer that an invariant detects, by dtype, all larger ones included.

    error: "relative" for term · (1 + δ), "absolute" for term + δ. signs: "±", or the one sign of δ that is detected. A
    dtype in which no error is detected is left out.
    """

    invariant: str
    profile: str
    term: str
    error: str
    signs: str
    limits: Mapping[str, float]


def to_json(limits: Iterable[Limit]) -> str:
    """The limits as strict JSON in the order of the norm and its profiles, one a line, which `read_limits` reads."""
    ids, profiles = [item.id for item in all_invariants()], list(PROFILES)
    ordered = sorted(limits, key=lambda limit: (ids.index(limit.invariant), profiles.index(limit.profile)))
    return "[\n" + ",\n".join(json.dumps(asdict(limit), ensure_ascii=False) for limit in ordered) + "\n]\n"


def read_limits(path: Path) -> tuple[Limit, ...]:
    """The limits that a file holds; raises `UsageError` where it holds none, or names what does not exist."""
    document = parsed_json(read_text(path), path)
    known = {item.id for item in all_invariants()}
    try:
        limits = tuple(Limit(**entry) for entry in document)
        strange = [limit for limit in limits if limit.invariant not in known or limit.profile not in PROFILES]
    except TypeError as error:
        raise UsageError(
            f"{path} holds no detection limits; name a file of them, or one that does not exist"
        ) from error
    for limit in strange:
        raise UsageError(
            f"{path}: there is no {limit.invariant} in profile {limit.profile}; measure the limits into a new file"
        )
    return limits


@cache
def published() -> Mapping[str, tuple[Limit, ...]]:
    """The limits that come with the package, by the id of the invariant."""
    limits = read_limits(FILE)
    return {name: tuple(items) for name, items in groupby(limits, key=lambda limit: limit.invariant)}


def sharpest(term: str) -> tuple[str, Mapping[str, float]]:
    """The invariant that finds the smallest relative errors in a term, and how small they are by dtype.

    Where profiles that have it differ, the coarser limit counts; what is blind in one, or to one sign, does not.
    """
    coarsest: dict[str, dict[str, float]] = {}
    measured = {limit.profile for limits in published().values() for limit in limits if limit.term == term}
    for name, limits in published().items():
        same = [limit for limit in limits if (limit.term, limit.error, limit.signs) == (term, "relative", "±")]
        if {limit.profile for limit in same} == measured:
            coarsest[name] = {
                dtype: max(limit.limits[dtype] for limit in same)
                for dtype in ("float32", "float64")
                if all(dtype in limit.limits for limit in same)
            }
    name = min(coarsest, key=lambda name: sum(coarsest[name].values()))
    return name, coarsest[name]


def told(limits: Sequence[Limit]) -> str:
    """The limits of one invariant in words, such as "loss_ce by 1e-6 in float32, 1e-14 in float64".

    Terms with the same limits are told together. Where profiles differ, the coarser limit is told.
    """
    profiles = {limit.profile for limit in limits}
    by_term: dict[tuple[str, str, str], list[Limit]] = {}
    for limit in limits:
        by_term.setdefault((limit.term, limit.error, limit.signs), []).append(limit)
    terms: dict[str, list[str]] = {}
    for same in by_term.values():
        terms.setdefault(_numbers(same), []).append(_named(same, profiles))
    return "; ".join(f"{', '.join(names)} by {numbers}" for numbers, names in terms.items())


def _numbers(limits: Sequence[Limit]) -> str:
    """The coarsest of the limits, by dtype."""
    coarsest = {
        dtype: max(limit.limits.get(dtype, 0.0) for limit in limits)
        for dtype in sorted({dtype for limit in limits for dtype in limit.limits})
    }
    return ", ".join(f"{power_of_ten(number)} in {dtype}" for dtype, number in coarsest.items())


def _named(limits: Sequence[Limit], profiles: Set[str]) -> str:
    """The term of the limits, with what is special: the kind of error, its sign, and where it is detected at all."""
    own = {limit.profile for limit in limits}
    special = [
        *(["absolute"] if limits[0].error == "absolute" else []),
        *{"+": ["δ > 0"], "-": ["δ < 0"]}.get(limits[0].signs, []),
        *([f"in {', '.join(sorted(own))}"] if own != profiles else []),
    ]
    return f"{limits[0].term} ({', '.join(special)})" if special else limits[0].term


def power_of_ten(number: float) -> str:
    """A rung of the ladder as text: 1e-6."""
    digits, _, power = f"{number:.0e}".partition("e")
    return f"{digits}e{int(power)}"
