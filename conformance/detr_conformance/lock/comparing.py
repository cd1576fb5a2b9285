"""What moved since a lock was recorded, by how much, and whether the norm still holds there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict
from detr_conformance.judging.fitting import Unfit, judge_vector
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.matching import entries_for
from detr_conformance.lock.recording import Lock, LockedAnswer, LockedImplementation, answers_to_set
from detr_conformance.vectors.checks import invariants_by_id
from detr_conformance.vectors.reading import Placed
from detr_spec.implementation import COMPONENTS, Implementation
from detr_spec.tolerance import SMALLEST, SPACING
from detr_spec.values import Floats


@dataclass(frozen=True)
class Move:
    """A number that is not what it was: its name and place in the answer, and how far it moved.

    ulps: in units in the last place of the dtype, infinite where a number is not finite or has no counterpart.
    """

    name: str
    before: str
    now: str
    distance: float
    ulps: float


@dataclass(frozen=True)
class Moved:
    """The moves in the answer to one vector, and the invariants of the vector that are violated now."""

    place: str
    implementation: str
    dtype: str
    moves: tuple[Move, ...]
    violated: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What a lock's comparison found: how many numbers were compared, and which moved beyond its tolerance or within.

    beyond: the answers with a number that moved by more than the tolerance. within: how many moved by less.
    """

    compared: int
    beyond: tuple[Moved, ...]
    within: int

    @property
    def exit_code(self) -> int:
        """0 where nothing moved beyond the tolerance, else 1, whether the norm still holds or not."""
        return 1 if self.beyond else 0


def compared(
    lock: Lock,
    implementations: Sequence[Implementation],
    *,
    device: str,
    components: Sequence[str] = (),
    entries: Sequence[Entry] = (),
) -> Comparison:
    """What moved in the implementations' answers, those of some components or of all.

    entries: what a ledger lists is not called a violation of the norm. Raises `UsageError` for an implementation that
    is not in the lock, and for another device.
    """
    if device != lock.device:
        raise UsageError(f"the lock was recorded on {lock.device!r}, and {device!r} is asked for; expected the same")
    count = within = 0
    beyond: list[Moved] = []
    for implementation in implementations:
        before = _answers_in(_locked(lock, implementation), components)
        for placed, answer in answers_to_set(implementation, device, components):
            own = placed.vector.case.configuration
            old = before.pop(answer.vector, LockedAnswer(answer.vector, raised="nothing, as it was not asked"))
            moves = moves_between(old, answer, own.dtype)
            count += sum(numbers.size for numbers in answer.numbers.values())
            far = tuple(move for move in moves if move.ulps > lock.ulps)
            within += len(moves) - len(far)
            if far:
                violated = _violated(placed, implementation, device, entries)
                beyond.append(Moved(str(placed.place), _title(implementation), own.dtype, far, violated))
        for vector, old in before.items():
            gone = moves_between(old, LockedAnswer(vector, raised="nothing, as it is not asked any more"), "float64")
            beyond.append(Moved(vector, _title(implementation), "", gone, ()))
    return Comparison(count, tuple(beyond), within)


def _title(implementation: Implementation) -> str:
    return f"{implementation.name} ({implementation.profile.name})"


def _locked(lock: Lock, implementation: Implementation) -> LockedImplementation:
    for locked in lock.implementations:
        if (locked.name, locked.profile) == (implementation.name, implementation.profile.name):
            return locked
    names = ", ".join(f"{locked.name} ({locked.profile})" for locked in lock.implementations)
    raise UsageError(f"{_title(implementation)} is not in the lock, which holds {names or 'nothing'}")


def _answers_in(locked: LockedImplementation, components: Sequence[str]) -> dict[str, LockedAnswer]:
    chosen = components or COMPONENTS
    return {answer.vector: answer for answer in locked.answers if answer.vector.partition(".")[0] in chosen}


def moves_between(before: LockedAnswer, now: LockedAnswer, dtype: str) -> tuple[Move, ...]:
    """The numbers in which two answers to one vector differ in their bits."""
    if before.raised or now.raised:
        if before.raised == now.raised:
            return ()
        return (Move("the answer", _told_answer(before), _told_answer(now), np.inf, np.inf),)
    moves: list[Move] = []
    for name in sorted({*before.numbers, *now.numbers}):
        if name not in now.numbers or name not in before.numbers:
            told = [_told_shape(answer.numbers.get(name)) for answer in (before, now)]
            moves.append(Move(name, told[0], told[1], np.inf, np.inf))
        else:
            moves += _moves_of(name, before.numbers[name], now.numbers[name], dtype)
    return tuple(moves)


def _moves_of(name: str, before: Floats, now: Floats, dtype: str) -> list[Move]:
    if before.shape != now.shape:
        return [Move(name, _told_shape(before), _told_shape(now), np.inf, np.inf)]
    if before.size == 0:
        return []
    different = np.argwhere(before.view(np.int64) != now.view(np.int64))
    return [_move(name, tuple(int(index) for index in where), before, now, dtype) for where in different]


def _move(name: str, where: tuple[int, ...], before: Floats, now: Floats, dtype: str) -> Move:
    old, new = float(before[where]), float(now[where])
    place = f"{name}{list(where)}" if where else name
    if not (np.isfinite(old) and np.isfinite(new)):
        return Move(place, repr(old), repr(new), np.inf, np.inf)
    distance = abs(new - old)
    return Move(place, repr(old), repr(new), distance, distance / unit_in_last_place(max(abs(old), abs(new)), dtype))


def unit_in_last_place(number: float, dtype: str) -> float:
    """The distance between the numbers of a dtype near a number; that of the smallest where it is below them."""
    least = SMALLEST[dtype] if dtype == "float16" else SPACING[dtype] * SMALLEST[dtype]
    _, exponent = np.frexp(number)
    return float(max(SPACING[dtype] * 2.0 ** (int(exponent) - 1), least)) if number else float(least)


def _told_answer(answer: LockedAnswer) -> str:
    return f"raised {answer.raised}" if answer.raised else "answered"


def _told_shape(numbers: Floats | None) -> str:
    return "absent" if numbers is None else f"of shape {list(numbers.shape)}"


def _violated(placed: Placed, implementation: Implementation, device: str, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Those of a vector's invariants that an implementation violates now, on the vector, and that no ledger lists."""
    found = []
    for name in placed.vector.invariants:
        invariant = invariants_by_id()[name]
        if not invariant.applies(implementation.profile) or entries_for(entries, invariant, implementation, device):
            continue
        try:
            judgement = judge_vector(invariant, implementation, placed.vector, device)
        except Unfit:
            continue
        if judgement.verdict in (Verdict.VIOLATED, Verdict.ERROR):
            found.append(name)
    return tuple(found)
