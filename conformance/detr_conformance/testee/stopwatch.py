"""Watches a component from outside: how long its calls take, and what unusual exceptions they raise."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

from detr_conformance.base.interrupts import is_wanted
from detr_conformance.testee.client import Testee
from detr_conformance.testee.ended import Ended
from detr_spec.implementation import around
from detr_spec.violation import Raised


class Stopwatch:
    """The time spent inside the components that it watches, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watched(self, component: Any) -> Any:
        """The component with every call timed, its factory's and those of the parts that the factory returns.

        What a call raises beside ordinary exceptions, such as `SystemExit`, arrives as `Raised`; an interrupt of the
        user's goes on, and `Ended` ends the judgement, unless the call made them up. A process that a call has forked
        ends when it returns from it.
        """
        return around(component, self._timed)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = perf_counter()
            process = os.getpid()
            try:
                return function(*arguments)
            except Exception:
                raise
            except BaseException as error:
                if _is_ours(error):
                    raise
                raise Raised(error) from error
            finally:
                if os.getpid() != process:
                    os._exit(0)
                self.seconds += perf_counter() - start

        return call


def _is_ours(error: BaseException) -> bool:
    """Whether whoever judges raised what is no ordinary exception, and not what is judged."""
    if isinstance(error, KeyboardInterrupt):
        return is_wanted(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace and trace.tb_frame.f_globals.get("__name__")
    return isinstance(error, Ended) and module == Testee.__module__
