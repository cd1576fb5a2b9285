"""What a framework does beside what is asked of its arrays: how parts are built, and called in a way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_conformance.bridges.inputs import Factory
from detr_conformance.testee.detr_testee import Framework
from detr_spec.configuration import Configuration

_GRADIENT = {"with-gradient": True, "no-grad": False, "inference": False, "validation": False}
_TRAINING = {"training": True, "evaluation": False, "validation": False}


@dataclass(frozen=True)
class Mode:
    """What is on in the plain way of a call: whether predictions record gradients, and whether the module trains."""

    gradient: bool
    training: bool

    def of(self, call: str) -> Mode:
        """What is on in a way of a call, where this is on in the plain one."""
        return Mode(_GRADIENT.get(call, self.gradient), _TRAINING.get(call, self.training))


TRAINING = Mode(gradient=True, training=True)
EVALUATION = Mode(gradient=False, training=False)


class BridgedFramework(Framework):
    """A framework whose implementations are judged in this process.

    What stands here is right for functions that are called as they are, in a framework without modes.
    """

    def built(self, factory: Factory, configuration: Configuration) -> Callable[..., Any]:
        """What a factory builds, in the configuration's dtype and on its device."""
        return factory(configuration)

    @contextlib.contextmanager
    def calling(self, module: Callable[..., Any], configuration: Configuration, usual: Mode) -> Iterator[None]:
        """A context in which a module is called in the configuration's way, from the mode that is usual for it."""
        del module, configuration, usual
        yield

    def flipped(self, array: Any, axis: int) -> Any:
        """A new array with the numbers in reverse along an axis."""
        reverse = np.flip(self.to_numpy(array), axis)
        return self.array(reverse, self.dtype(array), self.device(array))

    def refilled(self, arrays: Sequence[Any], axes: tuple[int, ...]) -> contextlib.AbstractContextManager[None]:
        """A context in which the memory of the arrays holds other numbers: these in reverse along axes.

        It is asked for where "refilled" is among the ways of a call.
        """
        raise NotImplementedError(f"{len(arrays)} arrays cannot be changed along {axes}")
