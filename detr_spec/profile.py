"""Profiles: the parameters in which right implementations differ, and the parts that make up each dialect.

A difference that an implementation declares in its profile is no violation; one that it does not declare is. Start from
one of `detr_spec.profiles` and replace what differs: `replace(DETR, name="mine", keys=replace(DETR.keys,
logits="logits"))`. A profile that contradicts itself, or has a choice that does not exist, is refused with
`InvalidValue`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from detr_spec.boxes import BoxRules
from detr_spec.costs import BoxCost, ClassCost, Cost, GiouCost, L1Cost, NegativeProbability, NoBoxCost
from detr_spec.declarations import (
    choices_of,
    require_arguments,
    require_choices,
    require_different,
    require_number,
    require_weights,
)
from detr_spec.masks import MaskRules
from detr_spec.parts import Part, known_parts
from detr_spec.scope import MatchingScope
from detr_spec.spelling import DenoisingRules, Keys, LossRules, MatcherRules, TargetRules
from detr_spec.terms import (
    BoxesNotJudged,
    BoxGiou,
    BoxL1,
    BoxTerm,
    ClassesNotJudged,
    ClassTerm,
    CrossEntropy,
    MaskDice,
    MaskFocal,
    MasksNotJudged,
    MaskTerm,
    Term,
)
from detr_spec.values import InvalidValue

__all__ = [
    "BoxRules",
    "DenoisingRules",
    "DetectionRules",
    "FurtherCost",
    "FurtherLoss",
    "Keys",
    "LossRules",
    "MaskRules",
    "MatcherRules",
    "MatchingScope",
    "Profile",
    "TargetRules",
    "replace",
]

LOSS_PARTS = {
    "classification": "class_loss",
    "box_l1": "box_loss",
    "box_giou": "overlap_loss",
    "mask": "mask_loss",
    "dice": "dice_loss",
}
"""The fields of a profile that are its training terms, by the neutral names of their losses."""

COST_PARTS = ("class_cost", "box_cost", "overlap_cost")
"""The fields of a profile that are the terms of its matching cost."""

PARTS = (*COST_PARTS, *LOSS_PARTS.values())
"""The fields of a profile that are terms with numbers of their own."""


@dataclass(frozen=True, kw_only=True)
class DetectionRules:
    """How outputs become detections."""

    rule: Literal["best-foreground-class", "top-k", "best-queries"] = "best-foreground-class"
    """One detection for each query, of its best class, in query order; or the k best (query, class) pairs, best first;
    or the k best of the queries, each of its best class, best first."""
    drops_no_object: bool = False
    """Whether a query that says no object more firmly than any class gives no detection."""
    top_k: int | None = 100
    """k, of the best; None where as many pairs, or queries, are returned as there are queries."""
    top_k_overflow: Literal["all", "refuse"] = "all"
    """What happens when k exceeds the number of (query, class) pairs, or of queries: all are returned, or the call
    raises."""
    threshold: bool = False
    """Whether only detections whose score exceeds the configuration's threshold are returned."""
    size_order: Literal["height-width", "width-height"] = "height-width"
    """The order of the two numbers in each row of `target_sizes`."""
    geometry: Literal["resized", "letterboxed", "padded-behind"] = "resized"
    """What predicted boxes are relative to: the image, which was resized to the model's input, whatever its shape; or
    a square input that holds the image, scaled by the ratio of the input's side and the image's longer one, and beside
    it padding: as much on both sides, or on the right and below alone. Boxes are mapped back to pixels of the image."""
    input_side: int | None = None
    """The side S of that input, where the padding before a side s of the image is of whole pixels,
    ⌊(S − round(s S / m)) / 2⌋, m the longer side; None where it is half of what is left, whatever the input's side."""
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
        require_choices(self)
        if self.top_k is not None and self.top_k < 1:
            raise InvalidValue(f"top_k is {self.top_k}; expected at least 1, or None for as many as there are queries")
        if self.input_side is not None and self.input_side < 1:
            raise InvalidValue(f"input_side is {self.input_side}; expected at least 1, or None for any")
        if self.drops_no_object and self.is_ranked:
            raise InvalidValue(
                f"drops_no_object is True, and the rule is {self.rule!r}; expected 'best-foreground-class'"
            )

    @property
    def is_ranked(self) -> bool:
        """Whether the best come first, and there may be fewer than all."""
        return self.rule != "best-foreground-class"

    @property
    def takes_k(self) -> bool:
        """Whether a number says how many are returned, however many queries there are."""
        return self.is_ranked and self.top_k is not None


@dataclass(frozen=True, kw_only=True)
class FurtherLoss:
    """A training term beyond those that every dialect has, with the name of its loss and its weight."""

    key: str
    term: Term
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_number(f"the weight of {self.key}", self.weight)


@dataclass(frozen=True, kw_only=True)
class FurtherCost:
    """A term of the matching cost beyond those of classes, boxes and overlaps, with its weight."""

    cost: Cost
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_number(f"the weight of {self.cost.name}", self.weight)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Every parameter in which right implementations of DETR's set prediction differ. The defaults are DETR's own.

    `activation` softmax has a no-object class; sigmoid has none. `class_cost` to `dice_loss` are the formulas, with
    the numbers that the dialect trains with. None in place of a training term says that it is not judged, while the
    others are; None in place of a cost of boxes that there is none. Raises `InvalidValue` for what contradicts itself.
    """

    name: str
    summary: str
    activation: Literal["softmax", "sigmoid"] = "softmax"
    class_cost: ClassCost = field(default_factory=NegativeProbability)
    box_cost: BoxCost = field(default_factory=L1Cost)
    overlap_cost: BoxCost = field(default_factory=GiouCost)
    class_loss: ClassTerm = field(default_factory=CrossEntropy)
    box_loss: BoxTerm = field(default_factory=BoxL1)
    overlap_loss: BoxTerm = field(default_factory=BoxGiou)
    mask_loss: MaskTerm = field(default_factory=MaskFocal)
    dice_loss: MaskTerm = field(default_factory=MaskDice)
    further_costs: tuple[FurtherCost, ...] = ()
    """Terms of the matching cost that the dialect has beside these."""
    further_losses: tuple[FurtherLoss, ...] = ()
    """Training terms that the dialect has beside these, of its decoder's layers and of what stands apart."""
    labels: Literal["columns", "phrases"] = "columns"
    """What a label names: a logit column; or a phrase of its image's text, whose tokens are some of the columns, so
    that each image has classes of its own. Outputs say which columns these are, and which are padding: the costs and
    the scores of a phrase are means over its tokens, and each of these is trained towards it (Liu et al. 2023,
    "Grounding DINO", section 3)."""
    no_object: Literal["last", "first"] = "last"
    """Which column of a softmax is that of no object."""
    cost_weights: tuple[float, float, float] = (1.0, 5.0, 2.0)
    """Weights of classes, boxes and overlaps in the matching cost that the dialect trains with."""
    loss_weights: tuple[float, float, float] = (1.0, 5.0, 2.0)
    """Weights of classes, boxes and overlaps in the training loss."""
    mask_weights: tuple[float, float] = (1.0, 1.0)
    """Weights of the two losses of masks in it."""
    matching: MatchingScope = field(default_factory=MatchingScope)
    one_to_many_repeats: int = 1
    """How many queries a target is given among further ones, which have losses of their own where these have a key; as
    `MatchingScope.repeats`, which is of the decoder's (Jia et al. 2023, "H-DETR")."""
    one_to_many_weight: float = 1.0
    """By what the losses and metrics of further queries are multiplied, before any weight of their term (λ in Jia et
    al. 2023, equation 6)."""
    one_to_many_evaluation: Literal["as-in-training", "absent"] = "as-in-training"
    """Whether further queries that are given have losses in evaluation too, or are as if they were not there."""
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
    surplus_columns: Literal["refuse", "negatives", "ignored", "unchecked"] = "refuse"
    """What the criterion does with more logit columns than it has classes, those of further ones, before that of no
    object: raises; trains them as classes that no target has; does as if they were not there; or leaves the answer
    open. Fewer columns raise."""
    target_count: Literal["refuse", "unchecked"] = "refuse"
    """What the criterion does when there is not one target for each image: raises, or leaves the answer open."""
    denominator: Literal["targets", "matches"] = "targets"
    """What num_boxes counts."""
    rank_reduction: Literal["mean", "sum", "local"] = "mean"
    """How num_boxes is counted in distributed training: as the mean over the ranks, whose gradients are averaged; as
    their sum, and so is the sum of weights that a cross-entropy is divided by, for gradients are added then; or by each
    rank for itself."""
    cardinality: Literal["argmax-is-foreground", "argmax-is-not-last", "score-above-half"] = "argmax-is-foreground"
    """Which queries the cardinality error counts as predicted objects."""
    coordinate_order: Literal["x-first", "y-first"] = "x-first"
    """Whether boxes have x before y, and the width before the height, or the reverse: those of outputs, targets and
    detections, and the edges that distributions are of. Losses and costs are the same either way."""
    encoder_labels: Literal["classes", "zero"] = "classes"
    """What the encoder's own predictions are trained to say of an object: its class, or class 0, whatever it is."""
    keys: Keys = field(default_factory=Keys)
    losses: LossRules = field(default_factory=LossRules)
    denoising: DenoisingRules = field(default_factory=DenoisingRules)
    targets: TargetRules = field(default_factory=TargetRules)
    matcher: MatcherRules = field(default_factory=MatcherRules)
    boxes: BoxRules = field(default_factory=BoxRules)
    masks: MaskRules = field(default_factory=MaskRules)
    detection: DetectionRules = field(default_factory=DetectionRules)

    def __post_init__(self) -> None:
        for name, stand_in in (_NOT_JUDGED | dict.fromkeys(COST_PARTS[1:], NoBoxCost)).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, stand_in())
        require_choices(self)
        if self.one_to_many_repeats < 1:
            raise InvalidValue(f"one_to_many_repeats is {self.one_to_many_repeats}; expected at least 1")
        require_number("one_to_many_weight", self.one_to_many_weight)
        if self.boxes.units == "pixels" and self.targets.units != "pixels":
            raise InvalidValue(
                "boxes.units is 'pixels', and targets.units is 'relative', so that no image has a size; "
                "expected 'pixels' for both, or 'relative' for boxes"
            )
        own = zip(self.cost_weights, COST_PARTS, strict=True)
        there = [weight for weight, part in own if getattr(self, part).is_there]
        require_weights("cost_weights", (*there, *(further.weight for further in self.further_costs)))
        require_weights("loss_weights", self.loss_weights)
        for weight in self.mask_weights:
            require_number("a weight of mask_weights", weight)
        if self.labels == "phrases" and self.has_no_object:
            raise InvalidValue(
                "labels is 'phrases', and activation is 'softmax', whose columns are classes; expected 'sigmoid'"
            )
        self._require_activation("class_cost", self.class_cost, ClassCost)
        self._require_activation("class_loss", self.class_loss, ClassTerm)
        for further_cost in self.further_costs:
            self._require_activation("further_costs", further_cost.cost, Cost)
        for further in self.further_losses:
            self._require_activation(further.key, further.term, Term)
        require_different("losses", *(further.key for further in self.further_losses), *self.keys.losses)
        self._require_masks()
        if not self.has_boxes:
            self._require_no_boxes()
        if self.matcher.arguments:
            require_arguments(self.matcher.arguments, self.matcher_arguments)
        if self.detection.drops_no_object and not self.has_no_object:
            raise InvalidValue(
                "detection.drops_no_object is True, and activation is 'sigmoid', which has no class of no object; "
                "expected False, or 'softmax'"
            )
        needed = _CARDINALITY.get(self.cardinality, self.activation)
        if needed != self.activation:
            others = [name for name in map(str, choices_of(Profile)["cardinality"]) if _CARDINALITY.get(name) != needed]
            raise InvalidValue(self._unfit("cardinality", self.cardinality, needed, others))

    def _require_masks(self) -> None:
        if self.masks.compared == "points":
            for name in ("mask_loss", "dice_loss"):
                if getattr(self, name).needs_pixels:
                    raise InvalidValue(
                        f"{name} is {getattr(self, name).name!r}, and masks.compared is 'points'; expected 'pixels', "
                        "or a loss that is defined at points"
                    )
        elif self.matches_masks:
            raise InvalidValue(
                "further_costs have one of masks, and masks.compared is 'pixels'; expected 'points', at which the "
                "matching compares them"
            )
        if self.masks.padding == "left-out" and self.targets.layout != "listed":
            raise InvalidValue(
                f"masks.padding is 'left-out', and targets.layout is {self.targets.layout!r}, which pads masks so that "
                "no image has a size; expected 'counted', or 'listed'"
            )

    def _require_no_boxes(self) -> None:
        costs = [self.box_cost, self.overlap_cost, *(further.cost for further in self.further_costs)]
        terms = [self.box_loss, self.overlap_loss, *(further.term for further in self.further_losses)]
        needless = [cost.name for cost in costs if "boxes" in cost.reads]
        needless += [term.name for term in terms if term.is_judged and term.moves in ("boxes", "edges")]
        if needless:
            raise InvalidValue(
                f"keys.boxes is None, and there is {needless[0]!r}; expected costs and losses without boxes"
            )

    def _require_activation(self, field: str, part: Part, kind: type[Part]) -> None:
        if part.activation not in (None, self.activation):
            others = [name for name, one in known_parts(kind).items() if one.activation in (None, self.activation)]
            raise InvalidValue(self._unfit(field, part.name, part.activation, others))

    def _unfit(self, field: str, given: str, needed: str | None, others: list[str]) -> str:
        return (
            f"{field} is {given!r}, which needs the activation {needed!r}, and activation is {self.activation!r}; "
            f"expected {' or '.join(map(repr, others))}, or the other activation"
        )

    @property
    def has_no_object(self) -> bool:
        """Whether the logits have a no-object column."""
        return self.activation == "softmax"

    @property
    def has_boxes(self) -> bool:
        """Whether there are boxes, in outputs and targets."""
        return self.keys.boxes is not None

    @property
    def matches_masks(self) -> bool:
        """Whether the matching cost depends on masks, so that no outputs and no targets are without."""
        return self.matches_by("masks")

    def matches_by(self, predictions: str) -> bool:
        """Whether the matching cost depends on "logits", "boxes" or "masks", with whatever weights."""
        own = self.class_cost, self.box_cost, self.overlap_cost, *(further.cost for further in self.further_costs)
        return any(predictions in cost.reads for cost in own)

    @property
    def compares_shapes(self) -> bool:
        """Whether a cost or a training term divides the width of a box by its height."""
        return any("compares shapes" in part.laws for part in self._parts)

    @property
    def _parts(self) -> tuple[Part, ...]:
        """All terms of its matching cost and of its training loss."""
        own = (getattr(self, name) for name in PARTS)
        costs, terms = (item.cost for item in self.further_costs), (item.term for item in self.further_losses)
        return (*own, *costs, *terms)

    @property
    def matcher_arguments(self) -> tuple[str, ...]:
        """What a matcher that is not called with outputs and targets is called with, by fields of `Keys`."""
        boxes, masks = ("boxes",) if self.has_boxes else (), ("masks",) if self.matches_masks else ()
        phrases = ("phrases",) if self.labels == "phrases" else ()
        own = ("logits", *boxes, *masks, *phrases, *self.targets.parts, *(("target_masks",) if masks else ()))
        return tuple(name for name in own if name != "target_boxes" or self.has_boxes)

    def has_every_layer(self, term: Term) -> bool:
        """Whether all decoder layers have a term, and predictions apart, or some layers alone."""
        return term.layers == "every" and (term.moves != "masks" or self.masks.layers == "every")

    @property
    def limits_targets(self) -> bool:
        """Whether an image has at most as many targets as queries."""
        return self.targets.padded_to == "queries"

    def judges(self, name: str) -> bool:
        """Whether a training term, by neutral name, is judged."""
        term: Term = getattr(self, LOSS_PARTS[name])
        return term.is_judged

    def columns(self, num_classes: int) -> int:
        """The number of logit columns for K foreground classes."""
        return num_classes + 1 if self.has_no_object else num_classes


_NOT_JUDGED: dict[str, type[Term]] = {
    "class_loss": ClassesNotJudged,
    "box_loss": BoxesNotJudged,
    "overlap_loss": BoxesNotJudged,
    "mask_loss": MasksNotJudged,
    "dice_loss": MasksNotJudged,
}
"""What stands for None in the fields that are training terms."""

_CARDINALITY = {"argmax-is-foreground": "softmax", "score-above-half": "sigmoid"}
"""The ways of counting that make sense under one activation alone: with a no-object column, or without."""
