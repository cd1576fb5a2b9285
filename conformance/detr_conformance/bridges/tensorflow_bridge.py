"""Bridge to TensorFlow: functions of tensors, called as they are or in graphs, with gradients by `tf.GradientTape`.

Nothing of TensorFlow is loaded before the first implementation is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from detr_conformance.bridges.framework import BridgedFramework, Mode
from detr_conformance.bridges.framework_bridge import framework_implementation
from detr_conformance.bridges.inputs import Factory
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile


def tensorflow_implementation(
    *,
    name: str,
    profile: Profile | str,
    limits: Limits | None = None,
    graph: bool = False,
    boxes: Mapping[str, Callable[..., Any]] | None = None,
    matcher: Factory | None = None,
    criterion: Factory | None = None,
    masks: Factory | None = None,
    postprocess: Factory | None = None,
) -> Implementation:
    """An implementation from functions on TensorFlow's tensors; any of them may be missing.

    Each factory builds a function from a `Configuration`: the matcher of (outputs, targets), the criterion likewise, a
    dictionary of losses; the post-processing of (outputs, sizes). Every criterion provides `gradients` too. boxes:
    functions by the names of `BoxOperations`.

    graph: whether all of them are called through `tf.function`, which traces them anew for each configuration.

    Raises `KeyError` for a profile name that does not exist, and `UsageError` for a box operation that there is not.
    """
    framework = TensorFlowFramework(graph=graph)
    return framework_implementation(
        framework,
        name=name,
        profile=profile,
        limits=limits,
        boxes=boxes and {name: framework.in_graph(function) for name, function in boxes.items()},
        matcher=matcher,
        criterion=criterion,
        masks=masks,
        postprocess=postprocess,
    )


class TensorFlowFramework(BridgedFramework):
    """TensorFlow: tensors cannot be changed, and a tape records what is done with those that it watches."""

    arrays = tf.Tensor

    def __init__(self, *, graph: bool) -> None:
        self.graph = graph

    def devices(self) -> tuple[str, ...]:
        """The kinds of devices that TensorFlow can compute on, here and now."""
        kinds = [device.device_type.lower() for device in tf.config.list_logical_devices()]
        return tuple(dict.fromkeys(kinds))

    def array(self, numbers: Any, dtype: str, device: str) -> Any:
        """A tensor of the numbers."""
        with tf.device(device):
            return tf.constant(np.asarray(numbers, tf.as_dtype(dtype).as_numpy_dtype))

    def to_numpy(self, value: Any) -> np.ndarray[Any, Any]:
        """A tensor, or a number, as NumPy's; one of bfloat16 as float32."""
        array = np.asarray(value.numpy() if isinstance(value, tf.Tensor) else value)
        return array.astype(np.float32) if array.dtype == tf.bfloat16.as_numpy_dtype else array

    def dtype(self, array: Any) -> str:
        """The name of a tensor's dtype."""
        return str(array.dtype.name)

    def device(self, array: Any) -> str:
        """The kind of device that holds a tensor."""
        return str(tf.DeviceSpec.from_string(array.device).device_type).lower()

    def built(self, factory: Factory, configuration: Configuration) -> Callable[..., Any]:
        """What a factory builds, in a graph where that is asked for."""
        built = factory(configuration)
        return InGraph(built) if self.graph else built

    def in_graph(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function, in a graph where that is asked for; what is no function is left to who looks at it."""
        return tf.function(function) if self.graph and callable(function) else function

    @contextlib.contextmanager
    def calling(self, module: Callable[..., Any], configuration: Configuration, usual: Mode) -> Iterator[None]:
        """A context in which what has no device of its own is computed on the configuration's."""
        del module, usual
        with tf.device(configuration.device):
            yield

    def recorded(self, function: Callable[..., Any], given: Any, arrays: Any) -> tuple[Any, Any]:
        """The losses, and what is on the tape of them; None where a loss is not connected to an array."""
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            losses = function(*given)

        def pull(weights: Mapping[str, float]) -> tuple[Any, Any]:
            weighted = [(losses[key], weight) for key, weight in weights.items() if key in losses]
            total = sum(np.reshape(self.to_numpy(loss), ()) * weight for loss, weight in weighted)
            sloped = [(loss, weight) for loss, weight in weighted if _sloped(loss)]
            slopes = [tf.fill(loss.shape, tf.cast(weight, loss.dtype)) for loss, weight in sloped]
            found = tape.gradient([loss for loss, _ in sloped], arrays, slopes)
            return total, [None if own is None else tf.convert_to_tensor(own) for own in found]

        return losses, pull


def _sloped(loss: Any) -> bool:
    """Whether there may be a gradient of a loss: numbers of Python, and integers, have none."""
    return isinstance(loss, tf.Tensor) and loss.dtype.is_floating


class InGraph:
    """What a factory builds, called through `tf.function`."""

    def __init__(self, built: Callable[..., Any]) -> None:
        self._built, self._function = built, tf.function(built)

    def __call__(self, *given: Any) -> Any:
        """The answer, out of the graph."""
        return self._function(*given)

    def __getattr__(self, name: str) -> Any:
        """What the factory builds has it, such as `weight_dict`."""
        return getattr(self._built, name)
