"""The set of vectors that comes with this package, and its way into a folder of yours."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import require_folder, require_writable, write_whole
from detr_conformance.vectors.reading import lines_of
from detr_conformance.vectors.schema import schema_text, vector_schema
from detr_conformance.vectors.vector import Vector
from detr_spec.implementation import COMPONENTS

SCHEMA_FILE = "vector.schema.json"

README = """\
Vectors of detr-spec, one JSON object a line: a case of set prediction, the invariants that judge it, and the expected
values with the range in which a right evaluation lies. vector.schema.json is their JSON Schema, draft 2020-12.
`detr-spec replay FILE IMPLEMENTATION` judges an implementation by them; docs/vectors.md says how to do it elsewhere.
"""


def packed(vectors: Sequence[Vector]) -> dict[str, bytes]:
    """The files of a set of vectors as this package holds them, one for each component, by component."""
    found = {}
    for component, own in groupby(vectors, key=lambda vector: vector.component):
        found[component] = gzip.compress(lines_of(list(own)).encode(), compresslevel=9, mtime=0)
    return found


@cache
def set_text(component: str) -> str:
    """The text of the file of the set for a component."""
    packed = files("detr_conformance") / "data" / "vectors" / f"{component}.jsonl.gz"
    return gzip.decompress(packed.read_bytes()).decode()


def set_texts() -> Mapping[str, str]:
    """The text of each file of the set, by component."""
    return {component: set_text(component) for component in COMPONENTS}


def export(folder: Path) -> tuple[int, int]:
    """Writes the set and its schema into a folder, and says how many vectors and files.

    Files of an earlier export are written anew. Raises `UsageError` where a file of another kind is in the way, and
    before anything is written.
    """
    texts = {f"{component}.jsonl": text for component, text in set_texts().items()}
    texts |= {
        SCHEMA_FILE: schema_text(vector_schema()),
        "README.txt": README,
    }
    require_folder(folder)
    for name, text in texts.items():
        _require_ours(folder / name, text)
    for name, text in texts.items():
        write_whole(text, folder / name)
    return sum(text.count("\n") for name, text in texts.items() if name.endswith(".jsonl")), len(texts)


def _require_ours(path: Path, text: str) -> None:
    """Raises `UsageError` unless the path is free, or holds a file that begins as this one does: an earlier export."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is no file of an earlier export; expected a folder without it")
    require_writable(path)
    if path.exists() and path.read_bytes()[:LIKE] != text.encode()[:LIKE]:
        raise UsageError(f"{path} is not of an earlier export; name another folder, or move it away")


LIKE = 12
"""How many bytes tell that a file is of an earlier export: every vector begins with its format."""
