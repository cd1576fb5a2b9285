"""Bridge to Keras 3: the arrays of `keras.ops` are those of the framework it computes with, whose bridge is taken.

Nothing of Keras, and of no framework, is loaded before the first implementation is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import keras

from detr_conformance.base.errors import UsageError
from detr_conformance.bridges.inputs import Factory
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile

BACKENDS = ("jax", "tensorflow", "torch")
"""The frameworks that Keras computes losses with, and there are bridges to."""


def keras_implementation(
    *,
    name: str,
    profile: Profile | str,
    limits: Limits | None = None,
    boxes: Mapping[str, Callable[..., Any]] | None = None,
    matcher: Factory | None = None,
    criterion: Factory | None = None,
    masks: Factory | None = None,
    postprocess: Factory | None = None,
    **options: Any,
) -> Implementation:
    """An implementation from functions of `keras.ops`, or Keras' layers; any of them may be missing.

    It is judged in the framework that Keras computes with, which `KERAS_BACKEND` says; where no dtypes are given, in
    Keras' own, `keras.config.floatx()`. The parts are as `jax_implementation` has them. options: those of the
    framework's bridge, such as `jit` and `static` of JAX's.

    Raises `KeyError` for a profile name that does not exist, and `UsageError` for a box operation that there is not, or
    a framework without gradients.
    """
    backend = keras.config.backend()
    if backend not in BACKENDS:
        raise UsageError(f"Keras computes with {backend}; expected one of {', '.join(BACKENDS)} in KERAS_BACKEND")
    given = limits or Limits()
    if given.dtypes == Limits().dtypes:
        given = replace(given, dtypes=(keras.config.floatx(),))
    bridge = import_module(f"detr_conformance.bridges.{backend}_bridge")
    parts: Implementation = getattr(bridge, f"{backend}_implementation")(
        name=name,
        profile=profile,
        limits=given,
        boxes=boxes,
        matcher=matcher,
        criterion=criterion,
        masks=masks,
        postprocess=postprocess,
        **options,
    )
    # Ranks are torch's own, of which a function of `keras.ops` knows nothing.
    return replace(parts, distributed=None)
