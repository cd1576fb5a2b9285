"""Terms that an implementation has and its profile does not define: the losses beside them are judged all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from detr_spec.terms.term import BoxTerm, ClassTerm, Layer, MaskTerm
from detr_spec.values import InvalidValue

NAME = "not-judged"


@dataclass(frozen=True, kw_only=True)
class ClassesNotJudged(ClassTerm):
    """A training term of the classes without a definition."""

    name = NAME
    is_judged = False

    def value(self, layer: Layer) -> NoReturn:
        """Raises `InvalidValue`: there is none."""
        _refuse(layer)

    def teaches(self) -> bool:
        """Nothing is known to."""
        return False


@dataclass(frozen=True, kw_only=True)
class BoxesNotJudged(BoxTerm):
    """A training term of the boxes without a definition."""

    name = NAME
    is_judged = False
    laws = frozenset()

    def value(self, layer: Layer) -> NoReturn:
        """Raises `InvalidValue`: there is none."""
        _refuse(layer)


@dataclass(frozen=True, kw_only=True)
class MasksNotJudged(MaskTerm):
    """A training term of the masks without a definition."""

    name = NAME
    is_judged = False
    laws = frozenset()

    def value(self, layer: Layer) -> NoReturn:
        """Raises `InvalidValue`: there is none."""
        _refuse(layer)


def _refuse(_: Layer) -> NoReturn:
    raise InvalidValue("a term that is not judged has no value")
