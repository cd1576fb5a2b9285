"""The fingerprints of a campaign's mutants, for the search for causes."""

from __future__ import annotations

from pathlib import Path

from detr_conformance.campaign.matrix import Matrix
from detr_conformance.causes.fingerprints import Fingerprint, fingerprints_text, read_fingerprints


def renewed(matrix: Matrix, path: Path) -> str:
    """What a file of fingerprints is to say after a campaign: what it said, but of the campaign's mutants."""
    before = read_fingerprints(path.read_text(encoding="utf-8")) if path.exists() else ()
    asked = {mutant.id for mutant in matrix.mutants}
    kept = [one for one in before if one.name not in asked]
    return fingerprints_text([*kept, *fingerprints_of(matrix)])


def fingerprints_of(matrix: Matrix) -> list[Fingerprint]:
    """The fingerprint of each mutant that something found."""
    found = []
    for mutant in matrix.mutants:
        killers = frozenset(matrix.killers(mutant))
        held = frozenset(matrix.asked(mutant)) - killers
        if killers:
            found.append(Fingerprint(mutant.id, mutant.group, mutant.description, killers, held))
    return found
