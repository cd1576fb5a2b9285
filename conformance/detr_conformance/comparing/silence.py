"""Whether any invariant says anything of a number: a gross error in it is planted, and seen or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detr_conformance.comparing.numbers import with_part
from detr_conformance.judging.search import first_failure
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, with_functions
from detr_spec.invariant import Domain, Invariant
from detr_spec.values import Answer, AnyNumbers

EXAMPLES = 10
"""How many cases of each invariant are asked."""


def notices(invariants: Sequence[Invariant], implementation: Implementation, part: str, device: str) -> bool:
    """Whether one of the invariants, which hold, does so no more where a part of the answers is grossly wrong."""
    for invariant in invariants:
        domain = Domain(implementation.profile, implementation.limits.of(invariant.component), device=device)
        planted = _planted(implementation.component(invariant.component), part)
        if first_failure(invariant, domain, planted, EXAMPLES, 0).failure is not None:
            return True
    return False


def _planted(factory: Callable[[Configuration], Any], part: str) -> Callable[[Configuration], Any]:
    def wrong(_: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = function(*arguments)
            if isinstance(answer, Answer):
                return replace(answer, value=with_part(answer.value, part, _grossly_wrong))
            return with_part(answer, part, _grossly_wrong)

        return call

    return lambda configuration: with_functions(factory(configuration), wrong)


def _grossly_wrong(numbers: AnyNumbers) -> AnyNumbers:
    """Numbers that are further off than any allowance; integers are one more."""
    if numbers.dtype.kind == "f":
        return np.asarray(1.5 * numbers + 0.5)
    return ~numbers if numbers.dtype.kind == "b" else np.asarray(numbers + 1)
