"""Bridge to any framework: losses of the usual shape, `matcher(outputs, targets)`, `criterion(outputs, targets)`,
`postprocess(outputs, target_sizes)`, by the key names of the profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from detr_conformance.bridges.answers import entry, instance, numbers, sequence
from detr_conformance.bridges.box_operations import box_operations
from detr_conformance.bridges.criteria import call_criterion, call_gradients, matchings, spelt_matcher
from detr_conformance.bridges.framework import EVALUATION, TRAINING, BridgedFramework, Mode
from detr_conformance.bridges.inputs import Factory, Inputs, observation
from detr_conformance.bridges.other_calls import (
    broken_batches,
    broken_sizes,
    call_before,
    other_batches,
    other_detections,
)
from detr_spec.calls import PLAIN
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.profiles import named_profile
from detr_spec.values import Answer, Detections, Floats, Integers, Matching, Outputs, Targets
from detr_spec.violation import NotProvided


def framework_implementation(
    framework: BridgedFramework,
    *,
    name: str,
    profile: Profile | str,
    limits: Limits | None = None,
    boxes: Mapping[str, Callable[..., Any]] | None = None,
    matcher: Factory | None = None,
    criterion: Factory | None = None,
    masks: Factory | None = None,
    postprocess: Factory | None = None,
) -> Implementation:
    """An implementation from what factories build, functions or modules of a framework; any of them may be missing.

    The parts are as `torch_implementation` has them. Raises `KeyError` for a profile name that does not exist, and
    `UsageError` for a box operation that there is not.
    """
    declared = named_profile(profile) if isinstance(profile, str) else profile
    given = None if criterion is None else with_masks(criterion, masks)

    def component(factory: Factory | None, call: Callable[..., Any], usual: Mode = TRAINING) -> Any:
        return None if factory is None else component_of(framework, factory, call, usual)

    def operation(name: str, function: Callable[..., Any], configuration: Configuration) -> Any:
        return _box_operation(framework, name, function, configuration)

    return Implementation(
        name=name,
        profile=declared,
        limits=_within(framework, limits or Limits()),
        boxes=None if boxes is None else box_operations(boxes, operation),
        matcher=component(matcher, _call_matcher),
        criterion=component(criterion, call_criterion),
        masks=component(masks, call_criterion),
        gradients=component(given, call_gradients),
        postprocess=component(postprocess, _call_postprocess, EVALUATION),
    )


@dataclass(frozen=True)
class BridgedComponent:
    """A module that was built from a configuration, called with values of the specification."""

    framework: BridgedFramework
    module: Callable[..., Any]
    configuration: Configuration
    call: Callable[..., Any]
    usual: Mode

    def __call__(self, *arguments: Any) -> Any:
        """What the module answers, as the specification's values."""
        with self.framework.calling(self.module, self.configuration, self.usual):
            return self.call(self.framework, self.module, self.configuration, *arguments)


def component_of(
    framework: BridgedFramework, factory: Factory, call: Callable[..., Any], usual: Mode = TRAINING
) -> Callable[[Configuration], BridgedComponent]:
    """The component that answers by a call of what the factory builds."""

    def build(configuration: Configuration) -> BridgedComponent:
        return BridgedComponent(framework, framework.built(factory, configuration), configuration, call, usual)

    return build


def with_masks(criterion: Factory, masks: Factory | None) -> Factory:
    """The criterion, and where mask losses are asked for, the one with these."""

    def build(configuration: Configuration) -> Callable[..., Any]:
        if not configuration.masks:
            return criterion(configuration)
        if masks is None:
            raise NotProvided("the implementation has no mask losses")
        return masks(configuration)

    return build


def _within(framework: BridgedFramework, limits: Limits) -> Limits:
    """The limits, with the devices and dtypes that there are where none are given, and no way of calling it lacks."""
    dtypes = framework.dtypes if limits.dtypes == Limits().dtypes else limits.dtypes
    allowed = limits.within_calls((PLAIN, *framework.calls))
    return replace(allowed, dtypes=dtypes, devices=limits.devices or framework.devices())


def _box_operation(
    framework: BridgedFramework, name: str, function: Callable[..., Any], configuration: Configuration
) -> Callable[..., Answer[Floats]]:
    def call(*boxes: Floats) -> Answer[Floats]:
        inputs = Inputs(framework, configuration)
        recording = configuration.call == "with-gradient"
        with framework.calling(function, configuration, TRAINING):
            arguments = [inputs.numbers(f"argument {place}", array, recording) for place, array in enumerate(boxes)]
            answer = function(*arguments)
        array = numbers(name, instance(name, answer, framework.arrays), framework.to_numpy)
        return Answer(array, observation(inputs, {name: answer}))

    return call


def _call_matcher(
    framework: BridgedFramework,
    module: Callable[..., Any],
    configuration: Configuration,
    outputs: Outputs,
    targets: Targets,
) -> Answer[tuple[Matching, ...]]:
    inputs = Inputs(framework, configuration)
    given = inputs.outputs(outputs, targets), inputs.targets(targets)
    batch = framework, configuration, *given
    profile = configuration.profile
    matcher = spelt_matcher(module, profile)
    call_before(matcher, configuration, broken=broken_batches(*batch), others=other_batches(*batch))
    answer = matcher(*given)
    found, parts = matchings("the matcher", answer, inputs.counts, profile.matcher, framework)
    return Answer(found, observation(inputs, parts))


def _call_postprocess(
    framework: BridgedFramework,
    module: Callable[..., Any],
    configuration: Configuration,
    outputs: Outputs,
    sizes: Integers,
) -> Answer[tuple[Detections, ...]]:
    inputs = Inputs(framework, configuration)
    what, names = "the post-processing", [field.name for field in fields(Detections)]
    given = inputs.outputs(outputs), inputs.array("target_sizes", sizes, "int64")
    batch = framework, configuration, *given
    call_before(module, configuration, broken=broken_sizes(*batch), others=other_detections(*batch))
    images = sequence(what, module(*given), "a list of dictionaries, one an image", len(sizes))
    read = [{name: entry(what, image, name) for name in names} for image in images]
    parts = {f"{name} of image {place}": image[name] for place, image in enumerate(read) for name in names}
    arrays = [
        {name: numbers(f"{what}, for {name},", part, framework.to_numpy) for name, part in image.items()}
        for image in read
    ]
    return Answer(tuple(Detections(**image) for image in arrays), observation(inputs, parts))
