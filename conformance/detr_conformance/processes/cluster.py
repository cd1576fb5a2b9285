"""A Dask cluster that does jobs in place of worker processes of this machine.

Each of its workers hands a job to a process of its own, as this machine would: so limits of time, and what dies, are
told alike. A worker that is lost has its jobs done by another, by Dask's own rules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from detr_conformance.base.errors import UsageError, one_line, require_installed
from detr_conformance.processes.pool import Job, Outcome, Pool

PATIENCE = 10.0
"""The seconds that a scheduler has to answer, and again to have a worker."""


class Lost(Exception):
    """Every worker that was given a job was lost while it was at it; the text says so."""


class Cluster:
    """The workers of a scheduler, with the interface of a `Pool`. A context, at whose end the connection is closed.

    The workers stay, with what they have imported. Raises `UsageError` where Dask is not installed, where nothing
    answers at the address, and for a scheduler that has no worker.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> Cluster:
        require_installed("--scheduler", "distributed", extra="cluster")
        self._dask: Any = import_module("distributed")
        try:
            self._client: Any = self._dask.Client(self._address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no Dask scheduler answers at {self._address} ({one_line(error)}); "
                "expected an address such as tcp://host:8786"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            self.__exit__()
            raise UsageError(
                f"the Dask scheduler at {self._address} has no worker; start some, as by `dask worker`"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def outcomes(
        self,
        jobs: Sequence[Job],
        begun: Callable[[int], object] = lambda _: None,  # noqa: ARG002
    ) -> Iterator[tuple[int, Outcome]]:
        """The outcome of each job with its place, as they come; nobody here knows when one begins."""
        places = {self._client.submit(outcome_of, job, pure=False): place for place, job in enumerate(jobs)}
        try:
            for future in self._dask.as_completed(list(places), loop=self._client.loop):
                yield places[future], _outcome(future)
        finally:
            # Where this is left early, nobody waits for the others.
            self._client.cancel(list(places))


def _outcome(future: Any) -> Outcome:
    error = future.exception()
    return future.result() if error is None else Outcome(failure=Lost(one_line(error)))


_OWN = threading.local()


def outcome_of(job: Job) -> Outcome:
    """What became of a job, which a process of this thread does, and of those after it."""
    if not hasattr(_OWN, "pool"):
        _OWN.pool = Pool(1)
    pool: Pool = _OWN.pool
    return next(iter(dict(pool.outcomes([job])).values()))
