"""Chooses what is judged: which invariants, and which of the given implementations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detr_conformance.base.errors import UsageError, close_names
from detr_conformance.judging.judge import DEFAULT_DEVICE, not_asked
from detr_conformance.testee.ended import NotStarted
from detr_spec.implementation import COMPONENTS, Implementation
from detr_spec.invariant import Invariant, Level
from detr_spec.invariants import UnknownInvariant, all_invariants, find_invariants
from detr_spec.profile import Profile
from detr_spec.profiles import PROFILES


@dataclass(frozen=True)
class Subject:
    """An implementation, and the name and place by which `resolve` finds it; an object has no name.

    not_started: why it cannot be judged, where its process ends or hangs before it says what it is.
    """

    implementation: Implementation
    address: str | None = None
    place: int = 0
    not_started: NotStarted | None = None


@dataclass(frozen=True)
class Selection:
    """What was asked for by name; nothing means everything. invariants: ids or numbers of the norm."""

    profile: str | None = None
    components: tuple[str, ...] = ()
    invariants: tuple[str, ...] = ()
    level: str | None = None


def chosen_invariants(selection: Selection) -> tuple[Invariant, ...]:
    """The invariants that meet the selection's components, names and level, in the order of the norm.

    Raises `UsageError` for a name that does not exist, and where nothing meets all of it.
    """
    chosen = list(all_invariants())
    if selection.components:
        for name in selection.components:
            _known("component", name, COMPONENTS)
        chosen = [item for item in chosen if item.component in selection.components]
    if selection.invariants:
        named = {item.id for name in selection.invariants for item in _named_invariants(name)}
        chosen = [item for item in chosen if item.id in named]
    if selection.level is not None:
        level = selection.level.upper()
        _known("level", level, [item.value for item in Level])
        chosen = [item for item in chosen if item.level.value == level]
    if not chosen:
        raise UsageError(f"no invariant has {_told(selection)}; `detr-spec list` shows all")
    return tuple(chosen)


def known_profile(name: str) -> Profile:
    """The named profile; raises `UsageError` with the names there are."""
    _known("profile", name, list(PROFILES))
    return PROFILES[name]


def chosen_subjects(
    subjects: Sequence[Subject], selection: Selection, invariants: Sequence[Invariant]
) -> tuple[Subject, ...]:
    """The subjects of the selection's profile.

    Raises `UsageError` where an address gives none of that profile; where no subject has a component that is asked for
    by name, or none is asked anything by the invariants; and where two subjects have the same name and profile.
    """
    _refuse_twins(subjects)
    chosen: list[Subject] = []
    for address in dict.fromkeys(subject.address for subject in subjects):
        chosen += _of_profile([subject for subject in subjects if subject.address == address], selection.profile)
    named = " and ".join(dict.fromkeys(subject.address or subject.implementation.name for subject in chosen))
    provided = list(dict.fromkeys(part for subject in chosen for part in subject.implementation.components))
    for component in selection.components:
        if component not in provided:
            within = f" in profile {selection.profile}" if selection.profile else ""
            raise UsageError(f"{named} provides no {component}{within}; it provides {', '.join(provided) or 'nothing'}")
    if all(not_asked(invariant, subject.implementation) for invariant in invariants for subject in chosen):
        raise UsageError(
            f"nothing that was chosen is asked of {named}: it provides {', '.join(provided) or 'nothing'} "
            f"in profile {' and '.join(dict.fromkeys(item.implementation.profile.name for item in chosen))}"
        )
    return tuple(chosen)


def _of_profile(group: Sequence[Subject], profile: str | None) -> list[Subject]:
    """The subjects of one address that are of the profile, if one is asked for."""
    if profile is None:
        return list(group)
    declared = list(dict.fromkeys(subject.implementation.profile.name for subject in group))
    _known("profile", profile, [*PROFILES, *declared])
    found = [subject for subject in group if subject.implementation.profile.name == profile]
    if not found:
        name = group[0].address or group[0].implementation.name
        raise UsageError(f"{name} declares no profile {profile}; it declares {', '.join(declared)}")
    return found


def require_device(subjects: Sequence[Subject], device: str) -> None:
    """Raises `UsageError` unless each of the implementations can compute on the device, here and now."""
    for subject in subjects:
        implementation = subject.implementation
        devices = implementation.limits.devices or (DEFAULT_DEVICE,)
        if device not in devices:
            raise UsageError(f"{implementation.name} cannot compute on {device!r} here; it can on {', '.join(devices)}")


def _refuse_twins(subjects: Sequence[Subject]) -> None:
    seen: set[tuple[str, str]] = set()
    for subject in subjects:
        key = (subject.implementation.name, subject.implementation.profile.name)
        if key in seen:
            raise UsageError(f"two implementations are called {key[0]} in profile {key[1]}; expected different names")
        seen.add(key)


def _known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        listed = ", ".join(dict.fromkeys(known))
        raise UsageError(f"no {what} is called {name!r}{close_names(name, known)}; the {what}s are {listed}")


def _named_invariants(name: str) -> tuple[Invariant, ...]:
    try:
        return find_invariants(name)
    except UnknownInvariant as error:
        raise UsageError(str(error)) from error


def _told(selection: Selection) -> str:
    parts = [
        *(f"component {name}" for name in selection.components),
        *(f"name {name}" for name in selection.invariants),
        *([f"level {selection.level}"] if selection.level else []),
    ]
    return " and ".join(parts) or "been registered"
