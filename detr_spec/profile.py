"""Profiles: the parameters in which right implementations differ, and the dialects that have a name.

A difference that an implementation declares in its profile is no violation; one that it does not declare is. Start from
a named profile and replace what differs: `replace(DETR, name="mine", keys=replace(DETR.keys, logits="logits"))`. What
contradicts itself, and a choice that does not exist, is refused with `InvalidValue`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from detr_spec.values import InvalidValue

__all__ = [
    "DEFORMABLE",
    "DETR",
    "PROFILES",
    "BoxRules",
    "DetectionRules",
    "Keys",
    "Profile",
    "named_profile",
    "replace",
]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Names of outputs, targets and losses. A loss whose name is None is one that the dialect does not report."""

    logits: str = "pred_logits"
    boxes: str = "pred_boxes"
    masks: str = "pred_masks"
    auxiliary: str = "aux_outputs"
    encoder: str = "enc_outputs"
    denoising: str = "dn_outputs"
    labels: str = "labels"
    target_boxes: str = "boxes"
    target_masks: str = "masks"
    classification: str = "loss_ce"
    box_l1: str = "loss_bbox"
    box_giou: str = "loss_giou"
    mask: str = "loss_mask"
    dice: str = "loss_dice"
    class_error: str | None = "class_error"
    cardinality: str | None = "cardinality_error"
    auxiliary_loss: str = "{loss}_{layer}"
    """How an auxiliary loss is named from the main loss and the number of its decoder layer, 0 … L−2."""
    encoder_loss: str | None = None
    """How a loss of the encoder's own predictions is named from the main loss, such as "{loss}_enc"; None where these
    predictions have no losses."""
    denoising_loss: str | None = None
    """How a loss of denoising queries, which are grouped as norm §4 says, is named from the main loss, such as
    "{loss}_dn"; None where they have no losses."""

    def __post_init__(self) -> None:
        _require_different("outputs", self.logits, self.boxes, self.masks, self.auxiliary, self.encoder, self.denoising)
        _require_different("parts of a target", self.labels, self.target_boxes, self.target_masks)
        templates = {"auxiliary_loss": ("loss", "layer"), "encoder_loss": ("loss",), "denoising_loss": ("loss",)}
        for name, parts in templates.items():
            if getattr(self, name) is not None:
                _require_template(name, getattr(self, name), *parts)
        losses = self.classification, self.box_l1, self.box_giou, self.mask, self.dice, self.class_error
        main = [loss for loss in (*losses, self.cardinality) if loss is not None]
        others = [self.auxiliary_loss, self.encoder_loss, self.denoising_loss]
        apart = [template.format(loss=loss, layer=0) for template in others if template is not None for loss in main]
        _require_different("losses", *main, *apart)


@dataclass(frozen=True, kw_only=True)
class BoxRules:
    """Box arithmetic: what is added to denominators, and what happens to boxes that are none."""

    iou_epsilon: float = 0.0
    """Added to the union before the division that gives the IoU."""
    giou_epsilon: float = 0.0
    """Added to the enclosing area before the division in the GIoU."""
    least_divisor: float | None = None
    """What the union and the enclosing area are raised to before a division, where they are less; None where not."""
    invalid: Literal["refuse", "unchecked"] = "refuse"
    """What GIoU does with a box of x1 < x0 or y1 < y0, or with a NaN: raises, or leaves the answer open."""
    zero_over_zero: Literal["nan", "unchecked"] = "nan"
    """What GIoU answers for two boxes whose union or enclosing area is 0."""

    def __post_init__(self) -> None:
        _require_choices(self)
        for name in ("iou_epsilon", "giou_epsilon", "least_divisor"):
            if getattr(self, name) is not None:
                _require_number(name, getattr(self, name))

    @property
    def are_exact(self) -> bool:
        """Whether overlaps are divided by the areas themselves, and so do not depend on the unit of length."""
        return self.iou_epsilon == 0 and self.giou_epsilon == 0 and self.least_divisor is None


@dataclass(frozen=True, kw_only=True)
class DetectionRules:
    """How outputs become detections."""

    rule: Literal["best-foreground-class", "top-k"] = "best-foreground-class"
    """One detection for each query, in query order; or the k best (query, class) pairs, best first."""
    top_k: int = 100
    top_k_overflow: Literal["all", "refuse"] = "all"
    """What happens when k exceeds the number of (query, class) pairs: all are returned, or the call raises."""
    threshold: bool = False
    """Whether only detections whose score exceeds the configuration's threshold are returned."""
    size_order: Literal["height-width", "width-height"] = "height-width"
    """The order of the two numbers in each row of `target_sizes`."""
    clamp: bool = False
    """Whether boxes are clamped to the image."""
    non_finite_scores: Literal["keep", "rank-last", "drop", "refuse", "unchecked"] = "keep"
    """What becomes of a score that is no number, for a NaN logit. "keep": it stays what it is, and in a top-k stands
    where sorting puts it, in place of sound ones too; "rank-last": likewise, but after every sound one; "drop": it is
    left out, and takes no place among the k best; "refuse": the call raises; "unchecked": the answer is open. No such
    score exceeds a threshold, whatever is declared."""
    non_finite_boxes: Literal["keep", "drop", "refuse", "unchecked"] = "keep"
    """What becomes of a detection whose predicted box is not finite. "keep": it stays, and so does its box, unless it
    is clamped; "drop": it is left out of what is returned; "refuse": the call raises; "unchecked": the answer is
    open."""

    def __post_init__(self) -> None:
        _require_choices(self)
        if self.top_k < 1:
            raise InvalidValue(f"top_k is {self.top_k}; expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Every parameter in which right implementations of DETR's set prediction differ. The defaults are DETR's own.

    `activation` softmax has a no-object class, the last column; sigmoid has none. `class_cost` and `class_loss` name
    formulas of `detr_spec.costs` and `detr_spec.losses`. Raises `InvalidValue` for what contradicts itself.
    """

    name: str
    summary: str
    activation: Literal["softmax", "sigmoid"] = "softmax"
    class_cost: Literal["negative-probability", "focal"] = "negative-probability"
    class_loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_cost_epsilon: float = 1e-8
    """Added to probabilities before the logarithm in the focal class cost."""
    cost_weights: tuple[float, float, float] = (1.0, 5.0, 2.0)
    """Weights of class, L1 and GIoU in the matching cost that the dialect trains with."""
    loss_weights: tuple[float, float, float] = (1.0, 5.0, 2.0)
    """Weights of class, L1 and GIoU in the training loss."""
    eos_coef: float = 0.1
    """The weight of the no-object class in the weighted cross-entropy."""
    ascending_queries: bool = True
    """Whether a matching lists its pairs by ascending query index."""
    non_finite_logits: Literal["refuse", "rank-last", "unchecked"] = "refuse"
    """What the matcher does with NaN logits, and with +inf in a softmax: raises, or ranks a broken query after every
    sound one, or leaves the answer open. A logit of −inf is a probability of 0, and never broken."""
    non_finite_boxes: Literal["refuse", "rank-last", "unchecked"] = "refuse"
    """What the matcher does with NaN in predicted boxes, likewise; "refuse" speaks of target boxes too."""
    narrow_dtypes: Literal["refuse", "unchecked"] = "refuse"
    """What the matcher does on the CPU with predictions in float16 and bfloat16, where the implementation does not say
    that it computes in them: raises, or leaves the answer open."""
    non_finite_costs: Literal["refuse", "forbid", "unchecked"] = "refuse"
    """What a solver of cost matrices does with entries that are not finite. "refuse": NaN and −inf raise, while +inf
    forbids a pair, and raises where no finite assignment is left; "forbid": +inf forbids a pair where a finite
    assignment is left, and the rest is open; "unchecked": the answer is open."""
    label_beyond_range: Literal["refuse", "unchecked"] = "refuse"
    """What the criterion does with a label that has no class, and the matcher with one that has no logit column:
    raises, or leaves the answer open."""
    target_count: Literal["refuse", "unchecked"] = "refuse"
    """What the criterion does when there is not one target for each image: raises, or leaves the answer open."""
    denominator: Literal["targets", "matches"] = "targets"
    """What num_boxes counts."""
    rank_reduction: Literal["mean", "local"] = "mean"
    """How num_boxes is counted in distributed training: as the mean over the ranks, or by each rank for itself."""
    cardinality: Literal["argmax-is-foreground", "argmax-is-not-last", "score-above-half"] = "argmax-is-foreground"
    """Which queries the cardinality error counts as predicted objects."""
    encoder_labels: Literal["classes", "zero"] = "classes"
    """What the encoder's own predictions are trained to say of an object: its class, or class 0, whatever it is."""
    keys: Keys = field(default_factory=Keys)
    boxes: BoxRules = field(default_factory=BoxRules)
    detection: DetectionRules = field(default_factory=DetectionRules)

    def __post_init__(self) -> None:
        _require_choices(self)
        _require_number("focal_cost_epsilon", self.focal_cost_epsilon)
        _require_number("eos_coef", self.eos_coef)
        _require_weights("cost_weights", self.cost_weights)
        _require_weights("loss_weights", self.loss_weights)
        for name, only in _ACTIVATIONS.items():
            value = getattr(self, name)
            if only.get(value, self.activation) != self.activation:
                possible = [choice for choice in _choices(Profile)[name] if only.get(choice) in (None, self.activation)]
                raise InvalidValue(
                    f"{name} is {value!r}, which needs the activation {only[value]!r}, and activation is "
                    f"{self.activation!r}; expected {' or '.join(map(repr, possible))}, or the other activation"
                )

    @property
    def has_no_object(self) -> bool:
        """Whether the logits have a no-object column, the last."""
        return self.activation == "softmax"

    def columns(self, num_classes: int) -> int:
        """The number of logit columns for K foreground classes."""
        return num_classes + 1 if self.has_no_object else num_classes


_ACTIVATIONS = {
    "class_cost": {"focal": "sigmoid"},
    "class_loss": {"cross-entropy": "softmax", "focal": "sigmoid"},
    "cardinality": {"argmax-is-foreground": "softmax", "score-above-half": "sigmoid"},
}
"""Which choices of a field make sense under one activation alone: with a no-object column, or without."""


@cache
def _choices(kind: Any) -> dict[str, tuple[Any, ...]]:
    """The values of each field that is a choice among some."""
    hints = get_type_hints(kind)
    choices = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    return choices | {name: (False, True) for name, hint in hints.items() if hint is bool}


def _require_choices(rules: Any) -> None:
    kind: Any = type(rules)
    for name, known in _choices(kind).items():
        value = getattr(rules, name)
        if value not in known:
            raise InvalidValue(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}")


def _require_number(name: str, number: float) -> None:
    if not (math.isfinite(number) and number >= 0):
        raise InvalidValue(f"{name} is {number}; expected a finite number of at least 0")


def _require_weights(name: str, weights: Sequence[float]) -> None:
    for weight in weights:
        _require_number(f"a weight of {name}", weight)
    if not any(weights):
        raise InvalidValue(f"{name} are all 0; expected at least one that counts")


def _require_different(what: str, *names: str) -> None:
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise InvalidValue(f"two {what} are called {twice[0]!r}; expected a name of its own for each")


def _require_template(name: str, template: str, *parts: str) -> None:
    """Raises `InvalidValue` unless a template holds each of these parts, plainly, and nothing else in braces."""
    try:
        found = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError:
        found = []
    if {part[0] for part in found} != set(parts) or any(part[1] or part[2] for part in found):
        expected = " and ".join(f"{{{part}}}" for part in parts)
        raise InvalidValue(f"{name} is {template!r}; expected text with {expected}, and nothing else in braces")


DETR = Profile(
    name="detr",
    summary="softmax with a no-object class, weighted cross-entropy, one detection a query (Carion et al. 2020)",
)

DEFORMABLE = Profile(
    name="deformable",
    summary="sigmoid focal without a no-object class, top-k post-processing (Zhu et al. 2021)",
    activation="sigmoid",
    class_cost="focal",
    class_loss="focal",
    cost_weights=(2.0, 5.0, 2.0),
    loss_weights=(2.0, 5.0, 2.0),
    cardinality="score-above-half",
    detection=DetectionRules(rule="top-k"),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (DETR, DEFORMABLE)}


def named_profile(name: str) -> Profile:
    """The profile of that name; raises `KeyError` with the known names otherwise."""
    try:
        return PROFILES[name]
    except KeyError:
        raise KeyError(f"no profile is called {name!r}; the profiles are {', '.join(PROFILES)}") from None
