"""Databases of failing cases, as Hypothesis has them: what failed before, here or elsewhere, is run again first.

Each is a folder. With several, what fails is kept in all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase, MultiplexedDatabase

from detr_conformance.base.errors import UsageError

PASSED = b".pareto"
"""How Hypothesis ends the keys under which it keeps cases that passed."""


@cache
def opened(folders: tuple[str, ...]) -> ExampleDatabase | None:
    """The database in these folders, None without any; raises `UsageError` where one cannot be used."""
    databases = [_opened(folder) for folder in folders]
    return MultiplexedDatabase(*databases) if databases else None


def _opened(folder: str) -> ExampleDatabase:
    if "://" in folder:
        raise UsageError(f"database is {folder!r}; expected a folder")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be used as a database: {error.strerror}; expected a folder") from error
    return DirectoryBasedExampleDatabase(Path(folder).absolute())


class Part(ExampleDatabase):
    """The part of a database that belongs to whatever the names name: to no other are its entries shown.

    Only what failed is kept: not what Hypothesis finds interesting of the cases that passed.
    """

    def __init__(self, database: ExampleDatabase, names: Sequence[str]) -> None:
        super().__init__()
        self._database = database
        self._prefix = hashlib.sha256(json.dumps(names, ensure_ascii=False).encode()).digest()

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """The entries under a key."""
        return self._database.fetch(self._prefix + key)

    def save(self, key: bytes, value: bytes) -> None:
        """Keeps an entry under a key."""
        if not key.endswith(PASSED):
            self._database.save(self._prefix + key, value)

    def delete(self, key: bytes, value: bytes) -> None:
        """Drops an entry."""
        self._database.delete(self._prefix + key, value)

    def move(self, src: bytes, dest: bytes, value: bytes) -> None:
        """Puts an entry under another key."""
        self._database.move(self._prefix + src, self._prefix + dest, value)
