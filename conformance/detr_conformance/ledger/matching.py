"""Which entries of ledgers concern which judgement, and that each of them concerns one."""

from __future__ import annotations

from collections.abc import Sequence

from detr_conformance.base.errors import UsageError
from detr_conformance.judging.judge import not_asked
from detr_conformance.ledger.entries import Entry
from detr_conformance.vectors.checks import invariants_by_id
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant


def entries_for(
    entries: Sequence[Entry], invariant: Invariant, implementation: Implementation, device: str
) -> tuple[Entry, ...]:
    """The entries about an invariant of an implementation on a device."""
    return tuple(
        entry
        for entry in entries
        if entry.invariant == invariant.id and entry.concerns(implementation) and entry.on(device)
    )


def require_applicable(entries: Sequence[Entry], implementations: Sequence[Implementation]) -> None:
    """Raises `UsageError` with its line for an entry that means nothing for these implementations.

    It concerns none of them, or several profiles at once; names what is not asked, or a dtype that is not computed
    in; or says what another entry says.
    """
    for place, entry in enumerate(entries):
        implementation = _concerned(entry, implementations)
        _require_asked(entry, implementation)
        for other in entries[:place]:
            if _overlap(entry, other, implementation):
                raise UsageError(
                    f"{entry.place}: {entry.invariant} of {implementation.name} is listed already, in {other.place}"
                )


def _concerned(entry: Entry, implementations: Sequence[Implementation]) -> Implementation:
    concerned = [item for item in implementations if entry.concerns(item)]
    if not concerned:
        whose = entry.implementation + (f" in profile {entry.profile}" if entry.profile else "")
        checked = ", ".join(f"{item.name} ({item.profile.name})" for item in implementations)
        raise UsageError(f"{entry.place}: {whose} is not among those checked, which are {checked}")
    if len(concerned) > 1:
        profiles = ", ".join(item.profile.name for item in concerned)
        raise UsageError(
            f"{entry.place}: {entry.implementation} is checked in several profiles, {profiles}; "
            "expected a profile, as the vector is of one"
        )
    return concerned[0]


def _require_asked(entry: Entry, implementation: Implementation) -> None:
    invariant = invariants_by_id()[entry.invariant]
    unasked = not_asked(invariant, implementation)
    if unasked is not None:
        raise UsageError(f"{entry.place}: {entry.invariant} is not asked: {unasked.message}")
    dtypes = implementation.limits.of(invariant.component).dtypes
    for dtype in entry.dtypes:
        if dtype not in dtypes:
            raise UsageError(
                f"{entry.place}: {implementation.name} does not compute its {invariant.component} in {dtype}; "
                f"it does in {', '.join(dtypes)}"
            )


def _overlap(entry: Entry, other: Entry, implementation: Implementation) -> bool:
    """Whether two entries speak about the same violation, in some dtype and on some device."""
    if entry.invariant != other.invariant or not other.concerns(implementation):
        return False
    dtypes = not entry.dtypes or not other.dtypes or bool(set(entry.dtypes) & set(other.dtypes))
    devices = not entry.devices or not other.devices or bool(set(entry.devices) & set(other.devices))
    return dtypes and devices
