"""Keeps what an implementation changes in the process away from the next case, and from the caller."""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import numpy as np

from detr_conformance.base.process_state import remembered_interpreter, remembered_process
from detr_spec.implementation import Implementation, around

Restore = Callable[[], None]


@dataclass
class Moment:
    """How many judgements and cases were begun in this process, by which what is elsewhere tells one from the next."""

    judgement: int = 0
    case: int = 0


MOMENT = Moment()


def remembered() -> Restore:
    """A function that puts back the global state as it is now.

    It is the state of the random generators, NumPy's settings, if torch is loaded, torch's, and that of the process.
    Putting it back begins a case.
    """
    restores = [remembered_process(), _remembered_numpy()]
    _with_torch(lambda torch: restores.append(_remembered_torch(torch)))

    def restore() -> None:
        MOMENT.case += 1
        for part in restores:
            part()

    return restore


def _remembered_numpy() -> Restore:
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    errors = np.geterr()

    def restore() -> None:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        np.seterr(**errors)

    return restore


def _remembered_torch(torch: Any) -> Restore:
    generator_state = torch.get_rng_state()
    dtype = torch.get_default_dtype()
    gradients = torch.is_grad_enabled()
    threads = torch.get_num_threads()
    device = torch.get_default_device()

    def restore() -> None:
        torch.set_rng_state(generator_state)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)

    return restore


def _prepare() -> None:
    """Seeds the global generators, and gives torch one thread, which is fastest for small tensors."""
    random.seed(0)
    np.random.seed(0)
    _with_torch(_prepare_torch)


def _prepare_torch(torch: Any) -> None:
    torch.default_generator.manual_seed(0)
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


_TORCH_AWAITED: list[Callable[[Any], object]] = []
"""What is done with torch as soon as it is imported, which an implementation may do in its first call."""


def _with_torch(act: Callable[[Any], object]) -> None:
    if "torch" in sys.modules:
        act(sys.modules["torch"])
    else:
        _TORCH_AWAITED.append(act)


class _TorchFinder:
    """Finds torch as Python does, and does what awaits it once it is imported."""

    @staticmethod
    def find_spec(name: str, path: Any = None, _: Any = None) -> ModuleSpec | None:
        """Called for each module that is imported."""
        spec = PathFinder.find_spec(name, path) if name == "torch" else None
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(torch: Any) -> None:
                load(torch)
                for act in _TORCH_AWAITED:
                    act(torch)

            setattr(spec.loader, "exec_module", exec_module)  # noqa: B010, as mypy takes methods for fixed
        return spec


@contextlib.contextmanager
def _torch_awaited() -> Iterator[None]:
    """A context in which what is to be done with torch is done even where it is imported later."""
    count = len(_TORCH_AWAITED)
    sys.meta_path.insert(0, _TorchFinder)
    try:
        yield
    finally:
        del _TORCH_AWAITED[count:]
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(_TorchFinder)


def restoring_component(implementation: Implementation, name: str, *, written: bool = False) -> Callable[..., Any]:
    """The factory of a component, as `Implementation.component` gives it, each call of which is cleaned up after.

    What it changed of the functions that are called here too is put back before its answer is looked at.
    """
    restore = remembered_interpreter()

    def cleaned_up(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            finally:
                restore()

        return call

    factory = getattr(implementation, name)
    changed: dict[str, Any] = {} if factory is None else {name: around(factory, cleaned_up)}
    return replace(implementation, **changed).component(name, written=written)


@contextlib.contextmanager
def isolated() -> Iterator[Restore]:
    """A context in which global state is the same whatever was before, and after which it is what it was.

    Gives a function that puts the state of the beginning back; called before each case, it makes every case
    start alike. Standard output is sent to standard error, so that what an implementation prints does not mix
    with a report.
    """
    with _torch_awaited():
        restore = remembered()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
                warnings.simplefilter("ignore")
                _prepare()
                yield remembered()
        finally:
            restore()
