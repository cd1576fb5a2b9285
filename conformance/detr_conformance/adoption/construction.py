"""How an object is built from a configuration: which argument of its constructor is what, by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from detr_conformance.adoption.losses import LossesAt
from detr_conformance.adoption.sources import Source, source_of
from detr_spec.configuration import Configuration

NAMES = {
    "num_classes": ("num_classes", "n_classes", "nb_classes"),
    "weight_dict": ("weight_dict", "loss_weights", "weights"),
    "losses": ("losses",),
    "cost_class": ("cost_class", "set_cost_class", "class_cost", "class_weight"),
    "cost_bbox": ("cost_bbox", "set_cost_bbox", "bbox_cost", "cost_l1"),
    "cost_giou": ("cost_giou", "set_cost_giou", "giou_cost", "cost_iou"),
    "top_k": ("top_k", "topk", "num_select", "num_top_queries", "max_detections"),
    "threshold": ("threshold", "score_threshold"),
}
"""The fields of a configuration, and the names that arguments for them go by."""

FIELDS = {name: field for field, names in NAMES.items() for name in names}

COSTS = {
    "weight_dict": ("cost_class", "cost_bbox", "cost_giou"),
    "cost_gain": ("class", "bbox", "giou"),
}
"""The arguments of a matcher that are a table of the weights of its cost, and the keys of these."""

SIGMOIDS = ("use_focal_loss", "use_fl")
"""What an argument is called that says whether classes are sigmoids, and the cost of one focal."""

NUMBERS = {
    "eos_coef": ("eos_coef", "eos_coefficient", "no_object_weight"),
    "alpha": ("focal_alpha", "alpha"),
    "gamma": ("focal_gamma", "gamma"),
}
"""The numbers of the class cost or of the classification loss, likewise."""

USUAL = {"eos_coef": 0.1, "alpha": 0.25, "gamma": 2.0}
"""What goes for a number that the profile's own formula does not have."""

PLAIN = (bool, int, float, str, type(None), list, tuple, dict)


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor: how an adapter writes it, and what it is for a configuration.

    expression is None where it is not known what to give. fields: which numbers of a configuration it is made of.
    """

    name: str
    expression: str | None
    value: Callable[[Configuration], Any]
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Construction:
    """How a component comes from a source: by a call with these arguments, or as it is where there are none to give.

    unasked: the arguments that keep their defaults, as nothing is known of them. place: where in its answer the
    dictionary of losses is; None where that is the answer.
    """

    source: Source
    arguments: tuple[Argument, ...] | None
    unasked: tuple[str, ...] = ()
    place: int | None = None

    @property
    def left(self) -> tuple[str, ...]:
        """The required arguments of which it is not known what to give."""
        return tuple(argument.name for argument in self.arguments or () if argument.expression is None)

    @property
    def takes(self) -> frozenset[str]:
        """The fields of a configuration that an argument is for."""
        return frozenset(field for argument in self.arguments or () for field in argument.fields)

    def built(self, configuration: Configuration) -> Any:
        """The component for a configuration; raises what the constructor raises."""
        made = self.source.value
        if self.arguments is not None:
            made = made(**{argument.name: argument.value(configuration) for argument in self.arguments})
        return made if self.place is None else LossesAt(made, self.place)


def construction(source: Source, matcher: Construction | None) -> Construction:
    """How a source is built: a class or a function that makes something by a call, with names as above.

    An instance is built anew by its class where that can be imported, since the cases vary its configuration; what
    that cannot be told is taken from the instance. matcher: what goes for an argument of that name.
    """
    instance, made = None, source
    if not inspect.isclass(source.value) and not inspect.isroutine(source.value):
        instance, made = source, source_of(type(source.value)) or source
        if made is source:
            return Construction(source, None)
    arguments, unasked = [], []
    parameters = _parameters(made.value)
    is_matcher = "match" in made.last_name.lower()
    fields = {**FIELDS, **_number_fields(parameters, is_matcher)}
    for parameter in parameters:
        if is_matcher and parameter.name in COSTS:
            known: Argument | None = _cost_table(parameter.name)
        else:
            known = _known(parameter, matcher, instance, fields.get(parameter.name))
        if known is not None:
            arguments.append(known)
        elif parameter.default is parameter.empty:
            arguments.append(Argument(parameter.name, None, _unknown))
        else:
            unasked.append(parameter.name)
    return Construction(made, tuple(arguments), tuple(unasked))


def as_it_is(source: Source) -> Construction:
    """The object itself as the component."""
    return Construction(source, None)


def _parameters(callable_: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    try:
        parameters = inspect.signature(callable_).parameters.values()
    except (TypeError, ValueError):
        return ()
    return [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def _number_fields(parameters: Iterable[inspect.Parameter], is_matcher: bool) -> dict[str, str]:
    """The names that arguments for numbers of a formula go by, with its field: what takes costs has that of a cost."""
    takes_costs = is_matcher or any(FIELDS.get(parameter.name, "").startswith("cost_") for parameter in parameters)
    part = "class_cost" if takes_costs else "class_loss"
    return {name: f"{part}.{number}" for number, names in NUMBERS.items() for name in names}


def _cost_table(name: str) -> Argument:
    """The weights of a matcher's cost as one argument."""
    costs = ("cost_class", "cost_bbox", "cost_giou")
    keys = dict(zip(COSTS[name], costs, strict=True))
    expression = "{" + ", ".join(f'"{key}": configuration.{cost}' for key, cost in keys.items()) + "}"
    return Argument(name, expression, lambda own: {key: getattr(own, cost) for key, cost in keys.items()}, costs)


def _known(
    parameter: inspect.Parameter, matcher: Construction | None, instance: Source | None, field: str | None
) -> Argument | None:
    name = parameter.name
    if name == "matcher" and matcher is not None:
        return Argument(name, "build_matcher(configuration)", matcher.built)
    if field is not None and _may_be(field, parameter.default):
        return Argument(name, f"configuration.{field}", partial(_field_of, field=field), (field,))
    if name in SIGMOIDS and (parameter.default is parameter.empty or isinstance(parameter.default, bool)):
        return Argument(name, "not configuration.profile.has_no_object", lambda own: not own.profile.has_no_object)
    if instance is not None and isinstance(getattr(instance.value, name, instance), PLAIN):
        return Argument(name, f"{instance.expression}.{name}", lambda _: getattr(instance.value, name))
    return None


def _field_of(configuration: Configuration, field: str) -> Any:
    part, _, number = field.rpartition(".")
    return getattr(configuration, part).numbers.get(number, USUAL[number]) if part else getattr(configuration, field)


def _may_be(field: str, default: Any) -> bool:
    """Whether a default lets an argument be that field: one of another kind, such as a function, does not."""
    kind = {"weight_dict": (dict,), "losses": (list, tuple)}.get(field, (int, float))
    return default is inspect.Parameter.empty or default is None or isinstance(default, kind)


def _unknown(_: Configuration) -> Any:
    raise LookupError("it is not known what to give for an argument")
