"""Locks as values, their files, and how they are recorded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from detr_conformance.base.documents import parsed_json, read_text
from detr_conformance.base.errors import UsageError, one_line
from detr_conformance.base.isolation import MOMENT, isolated, restoring_component
from detr_conformance.base.version import installed_version
from detr_conformance.encoding.files import FILES
from detr_conformance.judging.fitting import Unfit, fitted
from detr_conformance.lock.answers import answers_of
from detr_conformance.testee.ended import Ended
from detr_conformance.vectors.exporting import set_texts, set_vectors
from detr_conformance.vectors.places import Place
from detr_conformance.vectors.reading import Placed
from detr_conformance.vectors.validation import require_valid
from detr_spec.implementation import COMPONENTS, Implementation
from detr_spec.profiles import PROFILES
from detr_spec.values import Floats
from detr_spec.violation import NotProvided, PremiseFailed, Raised, RankFailure, Violation

FORMAT = 2
SCHEMA = "lock"


@dataclass(frozen=True, eq=False)
class LockedAnswer:
    """What an implementation answered to one vector: numbers by name; or what it raised, where it raised."""

    vector: str
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    raised: str = ""


@dataclass(frozen=True, eq=False)
class LockedImplementation:
    """All answers of one implementation, in the order of the vectors that fit it."""

    name: str
    profile: str
    answers: tuple[LockedAnswer, ...]


@dataclass(frozen=True, eq=False)
class Lock:
    """What implementations computed on the set of vectors.

    vectors: a digest of the set. ulps: by how many units in the last place of the dtype a number may move.
    """

    format: int
    version: str
    vectors: str
    device: str
    ulps: float
    implementations: tuple[LockedImplementation, ...]


@cache
def set_digest() -> str:
    """A digest of the set of vectors that this version has."""
    return hashlib.sha256("".join(set_texts()[name] for name in COMPONENTS).encode()).hexdigest()[:16]


def recorded(implementations: Sequence[Implementation], device: str, ulps: float) -> Lock:
    """The lock of what implementations compute now; raises `UsageError` for a tolerance that is none."""
    if not (math.isfinite(ulps) and ulps >= 0):
        raise UsageError(f"ulps is {ulps:g}; expected a number of at least 0")
    locked = []
    for item in implementations:
        answers = tuple(answer for _, answer in answers_to_set(item, device))
        locked.append(LockedImplementation(item.name, item.profile.name, answers))
    return Lock(FORMAT, installed_version(), set_digest(), device, ulps, tuple(locked))


def answers_to_set(
    implementation: Implementation, device: str, components: Sequence[str] = ()
) -> Iterator[tuple[Placed, LockedAnswer]]:
    """Each vector of the set that fits an implementation, of some components or of all, and the answer to it."""
    own = [name for name in implementation.components if name in (components or COMPONENTS)]
    for placed in set_vectors(own):
        if _is_of_profile(placed, implementation):
            try:
                case = fitted(placed.vector, implementation, device)
            except Unfit:
                continue
            yield placed, _answer(placed, implementation, case)


def _is_of_profile(placed: Placed, implementation: Implementation) -> bool:
    """Whether a vector's profile is the implementation's; one that has no name here is asked those of every profile."""
    own, profile = placed.vector.case.configuration.profile, implementation.profile
    return own.name == profile.name or profile.name not in PROFILES


def _answer(placed: Placed, implementation: Implementation, case: object) -> LockedAnswer:
    component, name = placed.vector.component, str(placed.place)
    MOMENT.judgement += 1
    try:
        with isolated():
            return LockedAnswer(name, answers_of(component, restoring_component(implementation, component), case))
    except (Violation, NotProvided, PremiseFailed, RankFailure) as error:
        return LockedAnswer(name, raised=one_line(error))
    except Raised as error:
        return LockedAnswer(name, raised=type(error.error).__name__)
    except Ended as ended:
        return LockedAnswer(name, raised=str(ended.verdict))


def lock_text(lock: Lock) -> str:
    """A lock as JSON, an answer a line."""
    document = FILES.encoded(lock, Lock)
    parts = [
        f'{{"name": {json.dumps(item["name"])}, "profile": {json.dumps(item["profile"])}, "answers": [\n'
        + ",\n".join(json.dumps(answer, allow_nan=False) for answer in item["answers"])
        + "\n]}"
        for item in document.pop("implementations")
    ]
    head = json.dumps(document, allow_nan=False)[:-1]
    return f'{head}, "implementations": [\n' + ",\n".join(parts) + "\n]}\n"


def read_lock(path: Path) -> Lock:
    """The lock of a file; raises `UsageError` with the place of what is not as it should be."""
    return parsed_lock(read_text(path), Place(str(path)))


def parsed_lock(text: str, place: Place) -> Lock:
    """The lock that a text says; raises `UsageError` as `read_lock` does, and for one of other vectors."""
    document = parsed_json(text, place)
    require_valid(document, SCHEMA, place)
    lock: Lock = FILES.decoded(Lock, document, place)
    if not (math.isfinite(lock.ulps) and lock.ulps >= 0):
        raise place.within("ulps").wrong(found=str(lock.ulps), expected="a number of at least 0")
    if lock.vectors != set_digest():
        raise UsageError(
            f"{place}: it is of the vectors of detr-spec {lock.version}, and this one has others; "
            "make it anew with detr-spec lock"
        )
    return lock
