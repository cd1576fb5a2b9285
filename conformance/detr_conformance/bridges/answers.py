"""Reading what an implementation returned in any framework: pairs of indices, dictionaries, wrong types by name.

A testee reads the same in a file that stands alone, and so does it here: what is of a wrong form is a violation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from detr_conformance.testee import detr_testee
from detr_conformance.testee.detr_testee import WrongAnswer
from detr_spec.violation import Violation

P = ParamSpec("P")
Read = TypeVar("Read")


def _violating(read: Callable[P, Read]) -> Callable[P, Read]:
    """`read`, with a wrong answer as the violation that it is."""

    @wraps(read)
    def call(*arguments: P.args, **named: P.kwargs) -> Read:
        try:
            return read(*arguments, **named)
        except WrongAnswer as wrong:
            raise Violation(str(wrong), expected=wrong.expected, got=wrong.got) from wrong

    return call


instance = _violating(detr_testee.instance)
numbers = _violating(detr_testee.numbers)
single = _violating(detr_testee.single)
sequence = _violating(detr_testee.sequence)
index_vectors = _violating(detr_testee.index_vectors)
matchings = _violating(detr_testee.matchings)
losses_of = _violating(detr_testee.losses_of)
mapping = _violating(detr_testee.mapping)
entry = _violating(detr_testee.entry)
