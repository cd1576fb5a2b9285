"""Bridge to JAX: functions of arrays, compiled by `jax.jit` or not, with gradients by `jax.vjp`, in 64 bits or without.

Nothing of JAX is loaded before the first implementation is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from detr_conformance.bridges.framework import BridgedFramework, Mode
from detr_conformance.bridges.framework_bridge import framework_implementation
from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_spec.configuration import PARTS, Configuration, number_names, number_of
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile

BUCKET = 8
"""Padded targets have a multiple of so many objects, so that one compilation serves batches of several sizes."""

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_use_fusion_emitters": False,
    "xla_llvm_disable_expensive_passes": True,
}
"""How XLA makes machine code: six times as fast as usual, since a case is run once or twice after it."""

COMPILED = 4096
"""For how many static configurations what was compiled is kept."""


def jax_implementation(
    *,
    name: str,
    profile: Profile | str,
    limits: Limits | None = None,
    jit: bool = True,
    x64: bool = True,
    static: Sequence[str] = (),
    boxes: Mapping[str, Callable[..., Any]] | None = None,
    matcher: Factory | None = None,
    criterion: Factory | None = None,
    masks: Factory | None = None,
    postprocess: Factory | None = None,
    solver: Callable[..., Any] | None = None,
) -> Implementation:
    """An implementation from functions on JAX arrays; any of them may be missing.

    Each factory builds a function from a `Configuration`: the matcher of (outputs, targets), the criterion likewise, a
    dictionary of losses; the post-processing of (outputs, sizes). Every criterion provides `gradients` too. boxes:
    functions by the names of `BoxOperations`. solver: a cost matrix [n, m] → (row indices, column indices).

    jit: whether all of them are compiled. Numbers of a configuration that are no sizes are traced then, as arrays are,
    so that cases of one shape share a compilation; `static` names those, as `with_numbers` takes them, that a factory
    needs as Python's numbers. x64: whether float64 and int64 exist; without, an implementation has float32 alone.

    Raises `KeyError` for a profile name that does not exist, and `UsageError` for a box operation that there is not.
    """
    framework = JaxFramework(jit=jit, x64=x64, static=static)
    parts = framework_implementation(
        framework,
        name=name,
        profile=profile,
        limits=limits,
        boxes=boxes and {name: framework.compiled(function) for name, function in boxes.items()},
        matcher=matcher,
        criterion=criterion,
        masks=masks,
        postprocess=postprocess,
    )
    if solver is None:
        return parts
    given = numpy_implementation(name=name, solver=framework.solver(solver))
    return replace(parts, assignment=given.assignment)


class JaxFramework(BridgedFramework):
    """JAX: arrays cannot be changed, and a gradient is that of a function."""

    arrays = jax.Array

    def __init__(self, *, jit: bool, x64: bool, static: Sequence[str] = ()) -> None:
        self.jit, self.x64, self.static = jit, x64, tuple(static)
        self.dtypes = ("float32", "float64") if x64 else ("float32",)

    def devices(self) -> tuple[str, ...]:
        """The platforms that JAX can compute on, here and now."""
        return tuple(dict.fromkeys(("cpu", jax.default_backend())))

    def array(self, numbers: Any, dtype: str, device: str) -> Any:
        """An array of the numbers; of 32 bits where there are none of 64."""
        with jax.enable_x64(self.x64):
            return jax.device_put(np.asarray(numbers, jnp.dtype(dtype)), jax.devices(device)[0])

    def to_numpy(self, value: Any) -> np.ndarray[Any, Any]:
        """An array as NumPy's; one of bfloat16 as float32."""
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array

    def unstacked(self, array: Any) -> list[Any]:
        """The parts of an array along its first axis, without a compilation for its shape."""
        parts: list[Any] = jax.device_put(list(np.asarray(array)), next(iter(array.devices())))
        return parts

    def device(self, array: Any) -> str:
        """The platform that holds an array."""
        return str(next(iter(array.devices())).platform)

    def bucket(self, count: int) -> int:
        """The next multiple of `BUCKET`."""
        return -(-count // BUCKET) * BUCKET

    def built(self, factory: Factory, configuration: Configuration) -> Callable[..., Any]:
        """What a factory builds, compiled where that is asked for."""
        return Compiled(factory, configuration, self.static) if self.jit else factory(configuration)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function, compiled where that is asked for; what is no function is left to who looks at it."""
        return jax.jit(function, compiler_options=QUICK) if self.jit and callable(function) else function

    def solver(self, solver: Callable[..., Any]) -> Callable[..., Any]:
        """A solver of JAX as one of NumPy."""
        solve = self.compiled(solver)

        def call(cost: np.ndarray[Any, Any]) -> Any:
            with jax.enable_x64(self.x64):
                return tuple(map(np.asarray, solve(jnp.asarray(cost))))

        return call

    @contextlib.contextmanager
    def calling(self, module: Callable[..., Any], configuration: Configuration, usual: Mode) -> Iterator[None]:
        """A context with or without numbers of 64 bits."""
        del module, configuration, usual
        with jax.enable_x64(self.x64):
            yield

    def recorded(self, function: Callable[..., Any], given: Any, arrays: Any) -> tuple[Any, Any]:
        """The losses, and their vector-Jacobian product; where an array is not connected, it is zero."""
        losses, leaves = function(*given), jax.tree_util.tree_leaves(given)
        places = tuple(next(place for place, leaf in enumerate(leaves) if leaf is array) for array in arrays)
        product = function.product(places) if isinstance(function, Compiled) else _product(function, places)

        def pull(weights: Mapping[str, float]) -> tuple[Any, Any]:
            return product(arrays, given, {key: float(weights.get(key, 0.0)) for key in losses})  # type: ignore[no-any-return]

        return losses, pull


def _product(function: Callable[..., Any], places: Sequence[int]) -> Callable[..., Any]:
    """What gives Σ weight · loss of a function's answer, and its gradient by the leaves at some places."""

    def product(arrays: Sequence[Any], given: Any, weights: Mapping[str, Any]) -> tuple[Any, Any]:
        leaves, structure = jax.tree_util.tree_flatten(given)

        def of_arrays(arrays: Sequence[Any]) -> Any:
            own = dict(zip(places, arrays, strict=True))
            return function(*structure.unflatten([own.get(place, leaf) for place, leaf in enumerate(leaves)]))

        losses, pullback = jax.vjp(of_arrays, arrays)
        total = sum(jnp.reshape(loss, ()) * weights[key] for key, loss in losses.items())
        return total, pullback({key: _cotangent(loss, weights[key]) for key, loss in losses.items()})[0]

    return product


def _cotangent(loss: Any, weight: Any) -> Any:
    """The weight in the form in which JAX takes it for a loss; integers have none."""
    if jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        return jnp.full_like(loss, weight)
    return np.zeros(np.shape(loss), jax.dtypes.float0)


class Compiled:
    """What a factory builds, compiled: a function of arrays and of the configuration's numbers that are no sizes."""

    def __init__(self, factory: Factory, configuration: Configuration, static: Sequence[str]) -> None:
        self._plain = factory(configuration)
        names = [name for name in number_names(configuration.profile) if name not in static]
        given = {name: number_of(configuration, name) for name in names}
        self._numbers = {name: number for name, number in given.items() if isinstance(number, float)}
        self._key = factory, _with(configuration, dict.fromkeys(self._numbers, 0.0))

    def __call__(self, *given: Any) -> Any:
        """The answer, when it is there; configurations that differ in their numbers alone share a compilation."""
        return jax.block_until_ready(_compiled(*self._key)(self._numbers, *given))

    def product(self, places: tuple[int, ...]) -> Callable[..., Any]:
        """As `_product` of the function."""
        compiled = _compiled(*self._key, places)
        return lambda *given: compiled(self._numbers, *given)

    def __getattr__(self, name: str) -> Any:
        """What the factory builds has it, such as `weight_dict`."""
        return getattr(self._plain, name)


@lru_cache(COMPILED)
def _compiled(
    factory: Factory, configuration: Configuration, places: tuple[int, ...] | None = None
) -> Callable[..., Any]:
    """What the factory builds, or its product by some places, compiled; it takes the numbers before the rest."""

    def call(numbers: Mapping[str, Any], *given: Any) -> Any:
        function = factory(_with(configuration, numbers))
        return (function if places is None else _product(function, places))(*given)

    return jax.jit(call, compiler_options=QUICK)  # type: ignore[no-any-return]


def _with(configuration: Configuration, numbers: Mapping[str, Any]) -> Configuration:
    """The configuration with other numbers, which may be traced, and are not looked at therefore."""
    changed = object.__new__(Configuration)
    for item in fields(configuration):
        given = getattr(configuration, item.name)
        object.__setattr__(changed, item.name, copy(given) if item.name in PARTS else given)
    for name, number in numbers.items():
        part, _, field = name.rpartition(".")
        object.__setattr__(getattr(changed, part) if part else changed, field, number)
    return changed
