"""The result of all hunts: which invariant killed which mutant, and after how many examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from detr_conformance.campaign.hunt import Hunt
from detr_conformance.mutants.bank import Mutant
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants


@dataclass(frozen=True)
class Matrix:
    """Mutants, the ids of the invariants that were asked in the order of the norm, and every hunt.

    examples: how many cases an expected invariant had on each of the seeds. survey_examples: how many every other
    invariant had, on the first seed alone.
    """

    mutants: tuple[Mutant, ...]
    invariants: tuple[str, ...]
    hunts: tuple[Hunt, ...]
    seeds: tuple[int, ...]
    examples: int
    survey_examples: int
    own: bool = False
    """Whether each mutant was searched for in the first of its profiles alone."""

    @cached_property
    def kills(self) -> Mapping[tuple[str, str], tuple[Hunt, ...]]:
        """The hunts that killed, by mutant and invariant."""
        found: dict[tuple[str, str], list[Hunt]] = defaultdict(list)
        for hunt in self.hunts:
            if hunt.killed:
                found[hunt.mutant, hunt.invariant].append(hunt)
        return {key: tuple(hunts) for key, hunts in found.items()}

    def killers(self, mutant: Mutant) -> tuple[str, ...]:
        """The invariants that killed a mutant, in the order of the norm."""
        return tuple(name for name in self.invariants if (mutant.id, name) in self.kills)

    def asked(self, mutant: Mutant) -> tuple[str, ...]:
        """The invariants that were asked of a mutant, in the order of the norm."""
        asked = {hunt.invariant for hunt in self._hunts_of[mutant.id]}
        return tuple(name for name in self.invariants if name in asked)

    def examples_to_kill(self, mutant: Mutant) -> Mapping[tuple[str, int], int | None]:
        """By profile and seed, the fewest cases after which an expected invariant killed; None where none did."""
        expected = [hunt for hunt in self._hunts_of[mutant.id] if hunt.invariant in mutant.expected]
        fewest: dict[tuple[str, int], int | None] = {}
        for hunt in expected:
            place = (hunt.profile, hunt.seed)
            so_far = fewest.setdefault(place, None)
            if hunt.killed:
                fewest[place] = hunt.examples if so_far is None else min(so_far, hunt.examples)
        return fewest

    @cached_property
    def _hunts_of(self) -> Mapping[str, list[Hunt]]:
        found: dict[str, list[Hunt]] = defaultdict(list)
        for hunt in self.hunts:
            found[hunt.mutant].append(hunt)
        return found

    def median_examples(self, mutant: Mutant) -> float | None:
        """The median of the examples to kill, over profiles and seeds; None where it survived on most."""
        counts = [float("inf") if count is None else count for count in self.examples_to_kill(mutant).values()]
        middle = median(counts) if counts else float("inf")
        return None if middle == float("inf") else middle

    @property
    def median_kill(self) -> float | None:
        """The median over all mutants of their median examples; None where none was killed."""
        medians = [value for value in map(self.median_examples, self.mutants) if value is not None]
        return median(medians) if medians else None

    @property
    def survivors(self) -> tuple[tuple[Mutant, tuple[tuple[str, int], ...]], ...]:
        """Mutants that are no equivalents and outlived all their expected invariants, with the profiles and seeds."""
        places = {
            mutant: tuple(place for place, count in self.examples_to_kill(mutant).items() if count is None)
            for mutant in self.mutants
        }
        return tuple((mutant, alive) for mutant, alive in places.items() if alive)

    @property
    def equivalents(self) -> tuple[Mutant, ...]:
        """The mutants that are no defects, each with a proof."""
        return tuple(mutant for mutant in self.mutants if mutant.equivalent)

    @property
    def false_alarms(self) -> tuple[tuple[Mutant, tuple[str, ...]], ...]:
        """The equivalent mutants that something killed, and what: the proof is wrong, or the invariant is."""
        return tuple((mutant, self.killers(mutant)) for mutant in self.equivalents if self.killers(mutant))

    @property
    def silent(self) -> tuple[tuple[str, str], ...]:
        """Mutants and those of their expected invariants that missed them in some profile and on some seed."""
        missed = {
            (hunt.mutant, hunt.invariant)
            for mutant in self.mutants
            for hunt in self._hunts_of[mutant.id]
            if hunt.invariant in mutant.expected and not hunt.killed
        }
        return tuple(sorted(missed))

    @property
    def unsound(self) -> tuple[Hunt, ...]:
        """The kills in which the check itself raised instead of reporting a disagreement."""
        return tuple(hunt for hunt in self.hunts if hunt.killed and not hunt.sound)

    @property
    def killed_nothing(self) -> tuple[str, ...]:
        """The invariants that were asked and found no mutant."""
        killers = {invariant for _, invariant in self.kills}
        return tuple(name for name in self.invariants if name not in killers)

    @property
    def needed_alone(self) -> Mapping[str, tuple[str, ...]]:
        """The mutants that one invariant killed and no other, by that invariant."""
        alone: dict[str, list[str]] = defaultdict(list)
        for mutant in self.mutants:
            killers = self.killers(mutant)
            if len(killers) == 1:
                alone[killers[0]].append(mutant.id)
        return {name: tuple(mutants) for name, mutants in alone.items()}

    @property
    def exit_code(self) -> int:
        """1 where a mutant survived, or an equivalent one was killed, else 0."""
        return int(bool(self.survivors or self.false_alarms))


def matrix_of(
    mutants: Sequence[Mutant],
    hunts: Sequence[Hunt],
    seeds: Sequence[int],
    examples: int,
    survey_examples: int,
    *,
    own: bool = False,
) -> Matrix:
    """The matrix of these hunts, in an order that does not depend on which was finished first."""
    places = {item.id: place for place, item in enumerate(_asked(mutants))}
    ranks = {mutant.id: place for place, mutant in enumerate(mutants)}
    asked = {hunt.invariant for hunt in hunts}

    def order(hunt: Hunt) -> tuple[int, str, int, int]:
        return ranks[hunt.mutant], hunt.profile, places[hunt.invariant], hunt.seed

    names = tuple(name for name in places if name in asked)
    return Matrix(tuple(mutants), names, tuple(sorted(hunts, key=order)), tuple(seeds), examples, survey_examples, own)


def _asked(mutants: Sequence[Mutant]) -> list[Invariant]:
    components = {component for mutant in mutants for component in mutant.components}
    return [item for item in all_invariants() if item.component in components]
