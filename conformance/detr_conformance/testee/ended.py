"""What ends a judgement at once: the process of the implementation is gone, or is waited for no longer."""

from __future__ import annotations

from typing import Any

from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict


class Ended(BaseException):
    """The implementation's process gives no answer, now or later in this judgement.

    It is no `Exception`, so that no check takes it for a refusal and no search for a smaller case begins. case: the one
    that was run, where one was.
    """

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message
        self.case: Any = None


class NotStarted(UsageError):
    """The implementation's process did not even say what it is; verdict and reason are what its judgements say."""

    def __init__(self, name: str, verdict: Verdict, reason: str) -> None:
        super().__init__(f"{name} cannot be judged: {reason}")
        self.name, self.verdict, self.reason = name, verdict, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return NotStarted, (self.name, self.verdict, self.reason)
