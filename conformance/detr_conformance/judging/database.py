"""Databases of failing cases, as Hypothesis has them: what failed before, here or elsewhere, is run again first.

A location is a folder, `redis://HOST:PORT/NUMBER`, or `github://OWNER/REPOSITORY`, which reads the artifact that a
workflow of that repository leaves. With several, what fails is kept in each that can be written to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from hypothesis.database import (
    DirectoryBasedExampleDatabase,
    ExampleDatabase,
    GitHubArtifactDatabase,
    MultiplexedDatabase,
    ReadOnlyDatabase,
)

from detr_conformance.base.errors import UsageError, one_line

PASSED = b".pareto"
"""How Hypothesis ends the keys under which it keeps cases that passed."""

DEFAULT_ARTIFACT = "detr-spec-database"
"""What a workflow calls the artifact that holds its database."""

FORMS = "a folder, redis://HOST:PORT/NUMBER, or github://OWNER/REPOSITORY, optionally with /ARTIFACT"


@cache
def opened(locations: tuple[str, ...]) -> ExampleDatabase | None:
    """The database at these locations, None without any; raises `UsageError` where one cannot be used."""
    databases = [_opened(location) for location in locations]
    return MultiplexedDatabase(*databases) if databases else None


def located(location: str) -> str:
    """A location that is the same from every folder."""
    return location if "://" in location else str(Path(location).absolute())


def _opened(location: str) -> ExampleDatabase:
    if "://" not in location:
        return _folder(Path(located(location)))
    url = _split(location)
    if url.scheme in ("redis", "rediss", "unix"):
        return _redis(location)
    if url.scheme == "github":
        return _artifact(location, url)
    raise UsageError(f"database is {shown(location)!r}; expected {FORMS}")


def _split(location: str) -> SplitResult:
    try:
        return urlsplit(location)
    except ValueError as error:
        raise UsageError(f"the location of a database cannot be read, {error}; expected {FORMS}") from error


def _folder(path: Path) -> ExampleDatabase:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be used as a database: {error.strerror}; expected {FORMS}") from error
    return DirectoryBasedExampleDatabase(path)


def _redis(location: str) -> ExampleDatabase:
    try:
        from hypothesis.extra.redis import RedisExampleDatabase  # noqa: PLC0415
        from redis import Redis  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f'{shown(location)} needs the package redis: pip install "hypothesis[redis]"') from error
    try:
        client = Redis.from_url(location)
        client.ping()
    except Exception as error:
        raise UsageError(f"{shown(location)} cannot be used as a database: {one_line(error)}") from error
    return RedisExampleDatabase(client)


def _artifact(location: str, url: SplitResult) -> ExampleDatabase:
    parts = [part for part in url.path.split("/") if part]
    if not url.netloc or not 1 <= len(parts) <= 2:
        raise UsageError(f"database is {location!r}; expected github://OWNER/REPOSITORY, optionally with /ARTIFACT")
    repository, artifact = [*parts, DEFAULT_ARTIFACT][:2]
    return ReadOnlyDatabase(GitHubArtifactDatabase(url.netloc, repository, artifact))


def shown(location: str) -> str:
    """A location as it may be shown: without the user and password that it may hold."""
    if "://" not in location:
        return location
    url = _split(location)
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="").geturl()


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
