"""Configurations: what a case asks an implementation to be built with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np

from detr_spec.calls import CALLS, EVALUATED, PLAIN
from detr_spec.costs import BoxCost, ClassCost, Cost
from detr_spec.profile import COST_PARTS, LOSS_PARTS, PARTS, Profile
from detr_spec.scope import MatchingScope
from detr_spec.terms import BoxTerm, ClassTerm, MaskTerm, Term
from detr_spec.tolerance import values
from detr_spec.values import DTYPES, Floats, InvalidValue

__all__ = [
    "COST_PARTS",
    "COST_WEIGHTS",
    "PARTS",
    "TERM_WEIGHTS",
    "Configuration",
    "drawn_numbers",
    "number_names",
    "number_of",
    "replace",
    "varied_weights",
    "weights_of",
    "with_numbers",
]

TERM_WEIGHTS = {
    "classification": "loss_class",
    "box_l1": "loss_bbox",
    "box_giou": "loss_giou",
    "mask": "loss_mask",
    "dice": "loss_dice",
}
"""The fields that weigh the training terms, by the terms' neutral names."""


COST_WEIGHTS = ("cost_class", "cost_bbox", "cost_giou")
"""The fields that weigh the terms of the matching cost, in the order of `COST_PARTS`."""

FURTHER_COST_WEIGHTS = ("cost_mask", "cost_dice")
"""The fields that weigh costs beside these, where a dialect has them."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a component is built with; the cases vary it within the profile and the implementation's limits.

    `weight_dict` and `losses` are derived in the form that DETR's constructors take them. Raises `InvalidValue`
    for numbers that no implementation could be asked for.
    """

    profile: Profile
    dtype: str = "float32"
    device: str = "cpu"
    """Where the implementation computes, in its framework's words."""
    call: str = PLAIN
    """The way in which it is called, one of `CALLS`."""
    num_classes: int = 1
    decoder_layers: int = 1
    encoder_predictions: int = 1
    """How many predictions an encoder has, where these may be several."""
    cost_class: float = 1.0
    cost_bbox: float = 5.0
    cost_giou: float = 2.0
    cost_mask: float = None  # type: ignore[assignment]
    """The weight of the cross-entropy of masks in the matching cost; where it is not given, that of the profile."""
    cost_dice: float = None  # type: ignore[assignment]
    """That of the dice cost, likewise."""
    loss_class: float = 1.0
    loss_bbox: float = 5.0
    loss_giou: float = 2.0
    loss_mask: float = 1.0
    loss_dice: float = 1.0
    one_to_many_weight: float = 1.0
    """By what the losses and metrics of further queries are multiplied."""
    masks: bool = False
    """Whether mask losses are asked for."""
    edges: bool = False
    """Whether outputs have distributions of edges, whose losses are asked for then."""
    sample: tuple[tuple[float, float], ...] = ()
    """The points (x, y) in [0, 1] at which masks are compared, where the implementation takes them: each drawing of n
    points gives the first n of these, and the first again after the last."""
    class_cost: ClassCost = None  # type: ignore[assignment]
    """The profile's class cost with the numbers of the case; where it is not given, with those of the profile."""
    box_cost: BoxCost = None  # type: ignore[assignment]
    overlap_cost: BoxCost = None  # type: ignore[assignment]
    class_loss: ClassTerm = None  # type: ignore[assignment]
    """The profile's classification loss, likewise; and so are the other terms of its loss."""
    box_loss: BoxTerm = None  # type: ignore[assignment]
    overlap_loss: BoxTerm = None  # type: ignore[assignment]
    mask_loss: MaskTerm = None  # type: ignore[assignment]
    dice_loss: MaskTerm = None  # type: ignore[assignment]
    top_k: int = 100
    threshold: float = 0.5
    hidden_dim: int = 8
    return_intermediate: bool = True
    """Whether a decoder returns the states of all its layers, or the last layer's alone."""
    fixed: tuple[str, ...] = ()
    """The numbers that the implementation under test cannot vary, by the names that `with_numbers` takes."""

    def __post_init__(self) -> None:
        for name in PARTS:
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.profile, name))
        for name, weight in further_cost_weights(self.profile).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, weight)
        if self.dtype not in DTYPES:
            raise InvalidValue(f"dtype is {self.dtype!r}; expected one of {', '.join(DTYPES)}")
        if self.call not in CALLS:
            raise InvalidValue(f"call is {self.call!r}; expected one of {', '.join(CALLS)}")
        for name in ("num_classes", "decoder_layers", "encoder_predictions", "top_k", "hidden_dim"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in (*COST_WEIGHTS, *FURTHER_COST_WEIGHTS, *TERM_WEIGHTS.values(), "one_to_many_weight"):
            if not getattr(self, name) >= 0:
                raise InvalidValue(f"{name} is {getattr(self, name)}; expected a number of at least 0")

    @property
    def scope(self) -> MatchingScope:
        """Which queries are matched with which targets, in the mode in which it is called."""
        scope = self.profile.matching
        return replace(scope, groups=1) if self.call in EVALUATED else scope

    @property
    def columns(self) -> int:
        """The number of logit columns C: K + 1 with a no-object class, K without."""
        return self.profile.columns(self.num_classes)

    @property
    def cost_weights(self) -> tuple[float, float, float]:
        """The weights of classes, boxes and overlaps in the matching cost."""
        return self.cost_class, self.cost_bbox, self.cost_giou

    @property
    def costs(self) -> tuple[tuple[Cost, float], ...]:
        """The terms of the matching cost that count, and their weights; one of weight 0 is left out."""
        own = zip((self.class_cost, self.box_cost, self.overlap_cost), self.cost_weights, strict=True)
        further = (
            (item.cost, item.weight if item.cost.weighed_by is None else getattr(self, item.cost.weighed_by))
            for item in self.profile.further_costs
        )
        return tuple((cost, weight) for cost, weight in (*own, *further) if weight and cost.is_there)

    def is_matched_by(self, predictions: str) -> bool:
        """Whether the matching cost depends on "logits", "boxes" or "masks"."""
        return any(predictions in cost.reads for cost, _ in self.costs)

    @cached_property
    def terms(self) -> dict[str, Term]:
        """The training terms by neutral name, those of masks where they are asked for."""
        return {name: term for name, term in self._asked.items() if term.is_judged}

    @cached_property
    def not_judged(self) -> dict[str, Term]:
        """The terms beside these that the profile does not define, likewise."""
        return {name: term for name, term in self._asked.items() if not term.is_judged}

    @cached_property
    def _asked(self) -> dict[str, Term]:
        own: dict[str, Term] = {name: getattr(self, part) for name, part in LOSS_PARTS.items()}
        every = own | {further.key: further.term for further in self.profile.further_losses}
        asked = {"masks": self.masks, "edges": self.edges, "boxes": self.profile.has_boxes}
        return {name: term for name, term in every.items() if asked.get(term.moves, True)}

    @cached_property
    def term_weights(self) -> dict[str, float]:
        """The weight of each training term, by neutral name."""
        return {name: weight for name, weight in self._weights.items() if name in self.terms}

    @property
    def _weights(self) -> dict[str, float]:
        own = {name: getattr(self, weight) for name, weight in TERM_WEIGHTS.items()}
        every = own | {further.key: further.weight for further in self.profile.further_losses}
        return {name: every[name] for name in self._asked}

    @property
    def trained(self) -> tuple[str, ...]:
        """The training terms that the case is about, by neutral name: those of masks where these are asked for.

        Where a dialect cannot do without masks, every case is about all terms.
        """
        return self.moving("masks") if self.asks_masks_alone else tuple(self.terms)

    @property
    def asks_masks_alone(self) -> bool:
        """Whether the case is about losses of masks, which are asked for beside those of every case."""
        return self.masks and not self.profile.matches_masks

    @property
    def layered(self) -> tuple[str, ...]:
        """The training terms that every decoder layer has, by neutral name."""
        return tuple(name for name, term in self.terms.items() if self.profile.has_every_layer(term))

    @property
    def points(self) -> Floats:
        """The points at which masks are compared, as far as they are known; [S, 2]."""
        return np.array(self.sample, dtype=np.float64).reshape(-1, 2)

    @property
    def draws_unknown_points(self) -> bool:
        """Whether masks are compared at points that are not known."""
        return self.profile.masks.compared == "points" and not self.sample

    @property
    def apart(self) -> tuple[str, ...]:
        """The training terms that predictions apart may have, by neutral name."""
        every = self.profile.has_every_layer
        return tuple(name for name, term in self.terms.items() if every(term) or term.layers == "earlier")

    def moving(self, predictions: str) -> tuple[str, ...]:
        """The training terms that move "logits", "boxes", "masks" or "edges", by neutral name."""
        return tuple(name for name, term in self.terms.items() if term.moves == predictions)

    @property
    def of_pairs(self) -> tuple[str, ...]:
        """The training terms that a union of pairs concerns, where there is one, by neutral name."""
        return (*self.moving("boxes"), *self.moving("edges"))

    def terms_with(self, law: str) -> tuple[str, ...]:
        """The training terms that the case is about for which a law is true."""
        return tuple(name for name in self.trained if law in self.terms[name].laws)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """The weight of each class in the classification loss, no object aside; empty where classes have no weights."""
        return tuple(values(self.class_loss.class_weights(self.num_classes)).tolist())

    @property
    def losses(self) -> list[str]:
        """The losses to ask for, by the names that DETR's `SetCriterion` gives them."""
        boxes = ["boxes"] if self.profile.has_boxes else []
        return ["labels", *boxes, "cardinality", *(["masks"] if self.masks else [])]

    @property
    def weight_dict(self) -> dict[str, float]:
        """The loss weights by the profile's keys; other layers and predictions have the last layer's. norm §4."""
        keys, counts = self.profile.keys, (self.decoder_layers, self.encoder_predictions)
        main = {getattr(keys, name, name): weight for name, weight in self._weights.items()}
        named = ((keys.named(loss, place, *counts), loss) for place in keys.places(*counts) for loss in main)
        return {key: main[loss] for key, loss in named if key is not None}


_WHOLE = frozenset(item.name for item in fields(Configuration) if item.type == "int")


def number_names(profile: Profile) -> tuple[str, ...]:
    """What `with_numbers` takes: the fields of a configuration that are numbers, and those of a profile's parts."""
    own = [item.name for item in fields(Configuration) if item.type in ("int", "float")]
    return (*own, *(f"{part}.{name}" for part in PARTS for name in getattr(profile, part).numbers))


def drawn_numbers(profile: Profile) -> dict[str, tuple[float, ...]]:
    """What cases draw for the numbers of a profile's parts, by the names that `with_numbers` takes."""
    return {f"{part}.{name}": drawn for part in PARTS for name, drawn in getattr(profile, part).drawn.items()}


def with_numbers(configuration: Configuration, numbers: Mapping[str, float]) -> Configuration:
    """The configuration with other numbers, those of its parts by names such as "class_loss.alpha"."""
    plain = {name: number for name, number in numbers.items() if "." not in name}
    changed: dict[str, Any] = {name: int(number) if name in _WHOLE else number for name, number in plain.items()}
    for part in PARTS:
        own = {name.removeprefix(f"{part}."): item for name, item in numbers.items() if name.startswith(f"{part}.")}
        if own:
            changed[part] = replace(getattr(configuration, part), **own)
    return replace(configuration, **changed)


def number_of(configuration: Configuration, name: str) -> float:
    """A number of a configuration by a name that `with_numbers` takes."""
    value: float = attrgetter(name)(configuration)
    return value


def weights_of(profile: Profile) -> dict[str, float]:
    """The weights that a dialect trains with, by the names of a configuration's fields."""
    cost = zip(COST_WEIGHTS, profile.cost_weights, strict=True)
    loss = zip(TERM_WEIGHTS.values(), (*profile.loss_weights, *profile.mask_weights), strict=True)
    further = further_cost_weights(profile)
    return {**dict(cost), **further, **dict(loss), "one_to_many_weight": profile.one_to_many_weight}


def further_cost_weights(profile: Profile) -> dict[str, float]:
    """Those of its further costs that cases vary, by name; 1 where the dialect has none."""
    own = {item.cost.weighed_by: item.weight for item in profile.further_costs}
    return {name: own.get(name, 1.0) for name in FURTHER_COST_WEIGHTS}


def varied_weights(profile: Profile) -> tuple[str, ...]:
    """Those of them that cases vary, those of masks where every case has these; none of a cost that is not there.

    That of further queries is among them where these have losses.
    """
    costs = [name for name, part in zip(COST_WEIGHTS, COST_PARTS, strict=True) if getattr(profile, part).is_there]
    names = list(TERM_WEIGHTS.values())
    further = () if profile.keys.one_to_many_loss is None else ("one_to_many_weight",)
    costs += [item.cost.weighed_by for item in profile.further_costs if item.cost.weighed_by is not None]
    return (*costs, *(names if profile.matches_masks else names[:3]), *further)
