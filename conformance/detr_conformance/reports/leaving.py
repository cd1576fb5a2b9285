"""Leaves the counterexamples of a report as vector files, each of which judges any implementation anywhere."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import write_whole
from detr_conformance.encoding.places import Place
from detr_conformance.running.report import Report
from detr_conformance.vectors.expected import expected_values
from detr_conformance.vectors.flags import flags_of
from detr_conformance.vectors.reading import one_member_a_line
from detr_conformance.vectors.vector import Vector, from_document, to_document

BEGINNING = '{\n"format": '
"""How a file begins that was left by an earlier run, and may be written anew."""

LONGEST_NAME = 60


def leave_vectors(report: Report, folder: Path) -> list[Path]:
    """Writes a file into the folder for each judgement that fails on a case, and gives their paths.

    Raises `UsageError` where a file of another kind is in the way of one; the others are written.
    """
    written: list[Path] = []
    foreign: list[Path] = []
    for name, vector in _failing(report):
        path = folder / f"{name}.json"
        number = 2
        while path in written:
            path, number = folder / f"{name}-{number}.json", number + 1
        if not _is_free(path):
            foreign.append(path)
            continue
        write_whole(one_member_a_line(to_document(_with_expected(vector))) + "\n", path)
        written.append(path)
    if foreign:
        raise UsageError(f"{foreign[0]} is no vector of an earlier run, and was not touched; name another folder")
    return written


def _failing(report: Report) -> Iterator[tuple[str, Vector]]:
    for implementation, judgement in report.failing:
        document = judgement.counterexample.vector if judgement.counterexample else None
        if document is not None:
            parts = (implementation.name, implementation.profile, judgement.id)
            yield "-".join(map(_as_name, parts)), from_document(document, Place(judgement.id))


def _as_name(text: str) -> str:
    """A text as part of a file's name, without anything that has a meaning in paths."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip(".-")[:LONGEST_NAME] or "unnamed"


def _is_free(path: Path) -> bool:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return False
    return not path.exists() or path.read_bytes().startswith(BEGINNING.encode())


def _with_expected(vector: Vector) -> Vector:
    """The vector with what is expected, where the case has that."""
    with contextlib.suppress(ValueError, ArithmeticError, LookupError):
        expected = expected_values(vector.component, vector.case)
        return replace(vector, expected=expected, flags=flags_of(vector.case, expected))
    return vector
