"""What an implementation provides: some of the components, each built from a configuration, speaking NumPy.

A component is given as a factory, `configuration -> component`, because the cases vary the configuration.
Frameworks are bridged outside: see `detr_conformance.torch_implementation` for losses in the usual torch shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, TypeAlias, TypeVar, cast

from detr_spec.calls import USUAL_CALLS
from detr_spec.configuration import Configuration, number_names
from detr_spec.forms import Function, Where, formed
from detr_spec.hints import field_types, optional_type
from detr_spec.profile import Profile
from detr_spec.values import (
    MIXED_DTYPES,
    Answer,
    Detections,
    FeatureMap,
    Floats,
    HeadParameters,
    Integers,
    InvalidValue,
    Losses,
    LossGradients,
    Matching,
    Outputs,
    Targets,
)
from detr_spec.violation import NotProvided
from detr_spec.written import conversions

COMPONENTS = (
    "boxes",
    "assignment",
    "matcher",
    "criterion",
    "masks",
    "gradients",
    "distributed",
    "postprocess",
    "heads",
    "decoder",
    "model",
)


Boxes: TypeAlias = Annotated[Floats, "[n, 4]"]
Matrix: TypeAlias = Annotated[Floats, "[n, m]"]
HiddenStates: TypeAlias = Annotated[Floats, "[L, B, Q, D]"]
Image: TypeAlias = Annotated[Floats, "[3, H, W]"]


Built = TypeVar("Built")

Factory: TypeAlias = Callable[[Configuration], Built]
"""What builds a component that is asked for in a configuration."""

Component: TypeAlias = Factory[Any]
"""The factory of some component; which one is known by its name."""


@dataclass(frozen=True, kw_only=True)
class BoxOperations:
    """Box operations on arrays [n, 4] of the configuration's dtype; any of them may be missing.

    iou and giou take boxes in xyxy and give all pairs [n, m]; elementwise_giou gives [n].
    """

    cxcywh_to_xyxy: Callable[[Boxes], Answer[Boxes]] | None = None
    xyxy_to_cxcywh: Callable[[Boxes], Answer[Boxes]] | None = None
    iou: Callable[[Boxes, Boxes], Answer[Matrix]] | None = None
    giou: Callable[[Boxes, Boxes], Answer[Matrix]] | None = None
    elementwise_giou: Callable[[Boxes, Boxes], Answer[Annotated[Floats, "[n]"]]] | None = None


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A solver: of one cost matrix [n, m], and, where it has that, of several problems in one call."""

    solve: Callable[[Matrix], Answer[Matching]]
    solve_batch: Callable[[Sequence[Matrix]], Answer[tuple[Matching, ...]]] | None = None


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Heads from hidden states [L, B, Q, D] to outputs, and their weights where they can be read."""

    forward: Callable[[HiddenStates], Answer[Outputs]]
    parameters: Callable[[], HeadParameters] | None = None


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A decoder, with or without an encoder before it, in evaluation mode: from features to hidden states.

    stacked gives the normed output of each decoder layer, [L, B, Q, D]; last, with the same weights, only the last
    layer's, [1, B, Q, D]; cut gives the states of the same decoder ended after a number of its layers. The last two may
    be missing.
    """

    stacked: Callable[[FeatureMap], Answer[HiddenStates]]
    last: Callable[[FeatureMap], Answer[HiddenStates]] | None = None
    cut: Callable[[FeatureMap, int], Answer[HiddenStates]] | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A whole detector in evaluation mode, and how far its backbone sees, where that is known.

    call gives the outputs for images [3, H, W], each of its own size, as one batch; cut gives those of the same model
    with its decoder ended after a number of its layers. reach is a number of pixels: pixels that are farther than that
    from an image do not change its features. Half the receptive field is one; a backbone with attention, or with a norm
    over positions, has none. The last two may be missing.
    """

    call: Callable[[Sequence[Image]], Answer[Outputs]]
    cut: Callable[[Sequence[Image], int], Answer[Outputs]] | None = None
    reach: Callable[[], int] | None = None


Matcher = Callable[[Outputs, Targets], Answer[tuple[Matching, ...]]]
"""The matching of each image, from the last layer's outputs."""

Criterion = Callable[[Outputs, Targets], Answer[Losses]]
"""All losses of all decoder layers."""

Gradients = Callable[[Outputs, Targets, Mapping[str, float]], Answer[LossGradients]]
"""The gradient of Σ weight · loss over the keys of a weight table, with respect to every prediction."""

Distributed = Callable[[Sequence[tuple[Outputs, Targets]]], Answer[tuple[Losses, ...]]]
"""The losses of each rank when as many processes as there are batches call the criterion together, one batch each.

Raises `RankFailure` where a rank does not answer in bounded time."""

PostProcess = Callable[[Outputs, Annotated[Integers, "[B, 2]"]], Answer[tuple[Detections, ...]]]
"""The detections of each image, from outputs and sizes [B, 2] in the profile's order."""


@dataclass(frozen=True, kw_only=True)
class ComponentLimits:
    """What one component can be asked, where that differs from the others; None where it does not."""

    dtypes: tuple[str, ...] | None = None
    fixed: Mapping[str, float] | None = None
    equal_shapes: bool | None = None
    devices: tuple[str, ...] | None = None
    calls: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an implementation can be asked: dtypes, ways of calling, fields that it cannot vary, shapes in a batch.

    Mixed dtypes, such as "bfloat16-logits", are for invariants of their own, where there are others too;
    `fixed={"class_loss.alpha": 0.25}` says that the focal loss's α is always 0.25 in it; `equal_shapes=True` says
    that the cost matrices of a batch must have one shape; `devices` are those that it can compute on, which the
    bridge of a framework finds where they are not given; `calls=(*USUAL_CALLS, "int32-labels")` says that it takes
    labels in int32 too, and any shorter list in which ways it is not to be called; `mask_points=True` says that masks
    are compared at the points of `Configuration.sample`, in place of ones drawn at random.
    `components={"postprocess": ComponentLimits(dtypes=("float16", "float32"))}` gives a component limits of its own.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")
    fixed: Mapping[str, float] = field(default_factory=dict)
    equal_shapes: bool = False
    devices: tuple[str, ...] = ()
    calls: tuple[str, ...] = USUAL_CALLS
    mask_points: bool = False
    components: Mapping[str, ComponentLimits] = field(default_factory=dict)

    def of(self, component: str) -> Limits:
        """The limits of one component: its own where it has them, else those of the implementation."""
        given = vars(self.components.get(component, ComponentLimits()))
        own = {name: limit for name, limit in given.items() if limit is not None}
        return replace(self, components={}, **own)

    def with_dtypes(self, dtypes: Mapping[str, tuple[str, ...]]) -> Limits:
        """The limits with other dtypes of some components."""
        own = {name: self.components.get(name, ComponentLimits()) for name in dtypes}
        others = {name: replace(limits, dtypes=dtypes[name]) for name, limits in own.items()}
        return replace(self, components={**self.components, **others})

    def within_calls(self, calls: Sequence[str]) -> Limits:
        """The limits without the ways of calling that are not among these."""
        components = {
            name: own if own.calls is None else replace(own, calls=tuple(call for call in own.calls if call in calls))
            for name, own in self.components.items()
        }
        return replace(self, calls=tuple(call for call in self.calls if call in calls), components=components)

    @property
    def mixed_dtypes(self) -> tuple[str, ...]:
        """The mixed dtypes among the declared ones."""
        return tuple(dtype for dtype in self.dtypes if dtype in MIXED_DTYPES)

    @property
    def usual_dtypes(self) -> tuple[str, ...]:
        """The dtypes that are not mixed, which most cases have; all of them where every dtype is mixed."""
        return tuple(dtype for dtype in self.dtypes if dtype not in MIXED_DTYPES) or self.dtypes


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """An implementation under test: its name, the profile that it declares, its limits, and a factory per component.

    Raises `InvalidValue` where a number is fixed that its profile does not have.
    """

    name: str
    profile: Profile
    limits: Limits = Limits()
    boxes: Callable[[Configuration], BoxOperations] | None = None
    assignment: Callable[[Configuration], Assignment] | None = None
    matcher: Callable[[Configuration], Matcher] | None = None
    criterion: Callable[[Configuration], Criterion] | None = None
    masks: Callable[[Configuration], Criterion] | None = None
    """The criterion with mask losses, for outputs and targets that have masks."""
    gradients: Callable[[Configuration], Gradients] | None = None
    distributed: Callable[[Configuration], Distributed] | None = None
    postprocess: Callable[[Configuration], PostProcess] | None = None
    heads: Callable[[Configuration], Heads] | None = None
    decoder: Callable[[Configuration], Decoder] | None = None
    model: Callable[[Configuration], Model] | None = None

    def __post_init__(self) -> None:
        known = number_names(self.profile)
        fixed = [self.limits.fixed, *(own.fixed or {} for own in self.limits.components.values())]
        for name in (name for numbers in fixed for name in numbers):
            if name not in known:
                raise InvalidValue(f"{name!r} is fixed in {self.name}; expected one of {', '.join(known)}")
        for name in self.limits.components:
            if name not in COMPONENTS:
                raise InvalidValue(f"{self.name} has limits of {name!r}; expected one of {', '.join(COMPONENTS)}")

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the components that are provided."""
        return tuple(name for name in COMPONENTS if getattr(self, name) is not None)

    def component(self, name: str, *, written: bool = False) -> Component:
        """The factory of a component; all arguments and answers, also its functions', are checked against their types.

        written: whether they are in the dialect's own form, as between a testee and who asks it; otherwise they are in
        that of this package.

        What the implementation raises is raised as `Raised`, an answer of a wrong form as `Violation`. Raises
        `NotProvided` where the implementation has no such component.
        """
        factory = getattr(self, name)
        if factory is None:
            raise NotProvided(f"{self.name} provides no {name}")
        guarded = cast(Component, formed(factory, component_type(name), Where(name)))

        devices = self.limits.of(name).devices

        def build(configuration: Configuration) -> object:
            if devices and configuration.device not in devices:
                raise NotProvided(f"{name} of {self.name} computes on {', '.join(devices)} alone")
            wrap = None if written else conversions(configuration)
            built = guarded(configuration)
            return built if wrap is None else around(built, wrap)

        return build


def component_type(name: str) -> object:
    """The type of a component's factory."""
    return optional_type(field_types(Implementation)[name])


Given = TypeVar("Given")

PARTED = (BoxOperations, Assignment, Heads, Decoder, Model)
"""The components that consist of several functions."""


def with_functions(component: Given, wrap: Callable[[str, Function], Function]) -> Given:
    """The component with its function, of no name, or each of its functions by name, wrapped."""
    if not isinstance(component, PARTED):
        return cast(Given, wrap("", cast(Function, component)))
    parts = {part.name: getattr(component, part.name) for part in fields(component)}
    wrapped: dict[str, Any] = {name: wrap(name, part) for name, part in parts.items() if part is not None}
    return cast(Given, replace(component, **wrapped))


def around(component: Given, wrap: Callable[[Function], Function]) -> Given:
    """The component with every call wrapped: of a factory, of what it returns, and of all parts."""
    if isinstance(component, PARTED):
        parts = {part.name: around(getattr(component, part.name), wrap) for part in fields(component)}
        return replace(component, **parts)
    if not callable(component):
        return component
    wrapped = wrap(component)

    def call(*arguments: object) -> object:
        return around(wrapped(*arguments), wrap)

    return cast(Given, call)
