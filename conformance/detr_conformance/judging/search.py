"""Searches the cases of an invariant for one that it does not hold for, and shrinks what it finds."""

from __future__ import annotations

import contextlib
import hashlib
import unittest
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.database import ExampleDatabase
from hypothesis.internal.conjecture import providers

from detr_conformance.base import interrupts
from detr_conformance.base.isolation import isolated
from detr_conformance.judging.database import Part
from detr_conformance.testee.ended import Ended
from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain, Invariant
from detr_spec.violation import NotProvided, PremiseFailed, RankFailure, Violation

Component = Callable[[Configuration], Any]


class _Failed(Exception):
    """The one exception that Hypothesis sees for failing cases, so that shrinking may move among them."""


class _Errored(_Failed):
    """As above, for a case on which something raised instead of disagreeing."""


class _Ended(BaseException):
    """Leaves Hypothesis at once, without shrinking."""


@dataclass
class Search:
    """What happened while the cases of one invariant were run.

    dtypes: how many cases were run in each dtype. failing_case, failure: the smallest case found that fails, and what
    its check raised. not_repeatable: a case failed once and passed once. not_provided: which part the implementation
    lacked for some case. unanswered: how a rank gave no answer, which ended the search, since each such case takes as
    long as the patience with it.
    """

    examples: int = 0
    fired: int = 0
    dtypes: Counter[str] = field(default_factory=Counter)
    failing_case: Any = None
    failure: Exception | None = None
    not_repeatable: bool = False
    not_provided: str | None = None
    unanswered: str | None = None

    def count(self, other: Search) -> None:
        """Adds the numbers of cases of another search."""
        self.examples += other.examples
        self.fired += other.fired
        self.dtypes += other.dtypes


BATCH = 10
"""Cases are drawn in batches of this many.

From the eleventh on, Hypothesis spends most cases on variations of earlier ones, which finds duplicates but
repeats most of the numbers: fresh cases show more of every regime.
"""


FEW = 3
"""With fewer cases than this in a batch, none is spent on the simplest one."""


def batch_seed(seed: int, id: str, batch: int) -> int:
    """The seed of one batch of cases, from the run's seed and the invariant's id, so that it depends on no other."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{id}:{batch}".encode()).digest()[:8], "big")


REPLAYED = 100
"""The most cases of a database that are run again, for each dtype."""


def search(
    invariant: Invariant,
    domain: Domain,
    component: Component,
    examples: int,
    seed: int,
    database: ExampleDatabase | None = None,
    *,
    failed: Callable[[Search], None] = lambda _: None,
    over: Callable[[], bool] = lambda: False,
) -> Search:
    """Runs the check of an invariant on `examples` cases, and once a case fails, on ever smaller ones.

    Batches take the domain's dtypes in turn, so that each of them is run. Each case starts from the same global
    state. What failed before and is in the database is run first, and what fails is kept there. failed is called after
    each case that fails; over is asked before each case whether the search is to end. Raises what drawing the cases
    raises.
    """
    found = Search()
    with isolated() as restore, no_local_constants():
        dtypes = domain.limits.usual_dtypes
        cases = [invariant.cases(replace(domain, dtype=dtype)) for dtype in dtypes]

        def told(found: Search) -> None:
            # Not in the state that the case has left.
            restore()
            failed(found)

        def run_case(case: Any) -> None:
            # An implementation may have swallowed an interrupt.
            interrupts.require_none()
            restore()
            if over():
                raise _Ended
            _run_case(invariant, component, case, found, told)

        for batch in _batches(len(dtypes), examples, replayed=database is not None):
            kept = None if database is None else Part(database, [dtypes[batch.dtype]])
            given = hypothesis.given(case=cases[batch.dtype])
            seeded = hypothesis.seed(batch_seed(seed, invariant.id, batch.number))
            # The settings come last, as a seed takes the database away that they name.
            run = _settings(batch, kept)(seeded(given(_after(batch.passed_over, run_case))))
            try:
                run()
            except unittest.SkipTest:
                continue  # so Hypothesis says that nothing is kept
            except (_Failed, _Ended):
                break
            except hypothesis.errors.Flaky:
                found.not_repeatable = True
                break
            finally:
                # Inside of Hypothesis, an interrupt may have become another exception.
                interrupts.require_none()
            if found.not_provided is not None and found.fired == 0:
                break
    return found


@dataclass(frozen=True)
class _Batch:
    """Cases that Hypothesis runs in one go: their dtype by its place, how many, and how many of them are left out."""

    number: int
    dtype: int
    size: int
    phase: Phase = Phase.generate
    passed_over: int = 0


def _batches(dtypes: int, examples: int, *, replayed: bool) -> Iterator[_Batch]:
    """The batches of a search: where there is a database, one of its cases for each dtype, then the fresh ones."""
    if replayed:
        for place in range(dtypes):
            yield _Batch(-1 - place, place, REPLAYED, Phase.reuse)
    size = min(BATCH, max(1, examples // dtypes))
    for number, start in enumerate(range(0, examples, size)):
        passed_over = int(number >= dtypes or size < FEW)
        yield _Batch(number, number % dtypes, min(size, examples - start), passed_over=passed_over)


def first_failure(invariant: Invariant, domain: Domain, component: Component, examples: int, seed: int) -> Search:
    """What happened until the first case failed, of those that `search` runs; it is not made smaller."""
    failed: list[Search] = []
    return search(invariant, domain, component, examples, seed, failed=failed.append, over=lambda: bool(failed))


def search_case(invariant: Invariant, component: Component, case: Any) -> Search:
    """Runs the check of an invariant on one given case, from the same global state as any other."""
    found = Search()
    with isolated(), contextlib.suppress(_Failed, _Ended):
        _run_case(invariant, component, case, found, lambda _: None)
    return found


def _after(passed_over: int, run_case: Callable[[Any], None]) -> Callable[[Any], None]:
    """`run_case`, but not for the first cases.

    Hypothesis begins every batch with the simplest case, which is run once for each dtype, unless there are few.
    """
    left = [None] * passed_over

    def run_later_case(case: Any) -> None:
        if left:
            left.pop()
        else:
            run_case(case)

    return run_later_case


def _settings(batch: _Batch, database: ExampleDatabase | None) -> settings:
    return settings(
        max_examples=batch.size + batch.passed_over,
        backend="hypothesis",
        database=database,
        deadline=None,
        derandomize=False,
        phases=(batch.phase, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )


def _run_case(
    invariant: Invariant, component: Component, case: Any, found: Search, failed: Callable[[Search], None]
) -> None:
    found.examples += 1
    found.dtypes[case.configuration.dtype] += 1
    failure = _failure(invariant, component, case, found)
    if failure is not None:
        found.failing_case, found.failure = case, failure
        failed(found)
    if found.unanswered is not None:
        raise _Ended
    if failure is not None:
        raise _Failed if isinstance(failure, Violation) else _Errored


def _failure(invariant: Invariant, component: Component, case: Any, found: Search) -> Exception | None:
    try:
        returned: Any = invariant.check(component, case)  # type: ignore[func-returns-value]
        if returned is not None:
            raise TypeError(f"the check of {invariant.id} returned {returned!r}; expected nothing, or an exception")
    except PremiseFailed as ended:
        found.unanswered = _unanswered(ended)
        return None
    except NotProvided as missing:
        found.not_provided = str(missing)
        return None
    except Ended as ended:
        ended.case = case
        raise
    except Exception as error:
        found.fired += 1
        found.unanswered = _unanswered(error)
        return error
    found.fired += 1
    return None


def _unanswered(error: Exception) -> str | None:
    """What a check says of ranks that gave no answer, where that is what ended it."""
    return next((str(one) for one in (error, error.__cause__) if isinstance(one, RankFailure)), None)


@contextlib.contextmanager
def no_local_constants() -> Iterator[None]:
    """Keeps Hypothesis from drawing constants that it finds in the source of the loaded modules.

    They are meant as special values, but with them the cases depend on what else is loaded: what pytest finds
    would not come again on the command line. A version of Hypothesis that does not do so needs nothing.
    """
    module: Any = providers
    if not hasattr(module, "_get_local_constants"):
        yield
        return
    kept = module._get_local_constants, module.CONSTANTS_CACHE
    module._get_local_constants, module.CONSTANTS_CACHE = _global_constants_only()
    try:
        yield
    finally:
        module._get_local_constants, module.CONSTANTS_CACHE = kept


@cache
def _global_constants_only() -> tuple[Callable[[], Any], Any]:
    """A reader of local constants that finds none, and an empty cache for what draws permit."""
    module: Any = providers
    none = module.Constants()
    return lambda: none, type(module.CONSTANTS_CACHE)(1024)
