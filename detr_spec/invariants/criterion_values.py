"""Invariants of the criterion's numbers: each is what its formula says. norm §4, C1–C4, C7, C13, C14."""

from __future__ import annotations

from detr_spec.cases import SetCase
from detr_spec.configuration import number_names, number_of
from detr_spec.invariant import invariant, judging, with_boxes
from detr_spec.invariants.criterion_answers import (
    ORDINARY_REGIMES,
    Build,
    Judged,
    judged,
    premise_same_matchings,
    require_optimal_layers,
    shown_matchings,
)
from detr_spec.invariants.shared import unique_matchings, vary, without_objects
from detr_spec.profile import Profile
from detr_spec.reported import decoder_keys, without_extra
from detr_spec.strategies import ALL_REGIMES, either, mask_cases, set_cases, with_edges
from detr_spec.violation import NotProvided, premise, require, require_within

ORDINARY_CASES = set_cases(regimes=ORDINARY_REGIMES, targets=(1, 5))

UNDECIDED = ("undecided",)
MORE_TARGETS = ("more-targets-than-queries", "more-targets-than-queries")


NO_OBJECT_WEIGHT = "class_loss.eos_coef"


BOX_METRICS = ("box_centre", "box_size")


def reports_parts_of_boxes(profile: Profile) -> bool:
    """Whether the dialect reports a part of the L1 loss beside it."""
    return any(getattr(profile.keys, name) is not None for name in BOX_METRICS)


def reports_class_error(profile: Profile) -> bool:
    """Whether the dialect reports the class error."""
    return profile.keys.class_error is not None


@invariant(
    "criterion.keys",
    number="C1",
    formula="keys(losses) = {loss_ce, loss_bbox, loss_giou} ∪ declared metrics, by the profile's names",
    source="norm §4; the losses of Carion et al. 2020, section 3.1, as the profile's keys name them",
    breaks="a renamed or forgotten term; an undeclared extra; keys of auxiliary layers that were not given",
    cases=with_edges(set_cases()),
)
@invariant(
    "masks.keys",
    number="C1",
    formula="keys(losses) = {loss_ce, loss_bbox, loss_giou, loss_mask, loss_dice} ∪ declared metrics",
    source="norm §4, as the profile's keys name them",
    breaks="mask losses silently off; left out of a batch without targets; one loss under both names",
    cases=mask_cases(),
)
def keys(component: Build, case: SetCase) -> None:
    """Outputs of one decoder layer give exactly the declared losses and metrics, each under its declared key.

    The training loss sums what losses and weights have in common: a term under another name is silently not
    trained.
    """
    answer = component(case.configuration)(case.outputs.main, case.targets).value
    require_keys(without_extra(case.configuration, answer.values), decoder_keys(case.configuration))


def require_keys(got: set[str], expected: set[str]) -> None:
    """Raises `Violation` unless the two sets of keys are equal."""
    missing, foreign = sorted(expected - got), sorted(got - expected)
    parts = [f"{what} {', '.join(names)}" for what, names in (("lack", missing), ("also have", foreign)) if names]
    require(not parts, f"the losses {' and '.join(parts)}", expected=sorted(expected), got=sorted(got))


def require_definition(component: Build, case: SetCase, name: str) -> None:
    """Raises `Violation` unless a loss of the case is there, and equals its definition."""
    judged(component, case.configuration, case.outputs, case.targets).term(name).require_definition()


@invariant(
    "criterion.classification-value",
    number="C2",
    formula=(
        "loss_ce = Σ w[t] (−log softmax(z)[t]) / Σ w[t], w[K] = eos_coef; sigmoid: Σ α_t (1 − p_t)^γ (−log "
        "p_t) / num_boxes"
    ),
    source="norm §4 and §8; Carion et al. 2020, equation 2; Lin et al. 2017, equation 5",
    breaks=(
        "no-object at another index; a plain mean in place of the weighted one; α on the wrong side; "
        "softmax for sigmoid; images without targets left out"
    ),
    cases=set_cases(regimes=(*ORDINARY_REGIMES, "empty")),
    applies=judging("classification"),
    rarity=6,
)
def classification_value(component: Build, case: SetCase) -> None:
    """The classification loss equals its definition under the criterion's matching.

    It alone teaches queries to say that nothing is there; a wrong weight or index still trains, to a lower
    precision.
    """
    require_definition(component, case, "classification")


@invariant(
    "criterion.l1-value",
    number="C2",
    formula="loss_bbox = Σ_(i,j)∈M ‖b̂_i − b_j‖₁ / num_boxes, boxes as (cx, cy, w, h)",
    source="norm §4; Carion et al. 2020, section 3.1",
    breaks="a mean over coordinates; the distance taken in xyxy; smooth L1 or L2; another image's boxes",
    cases=ORDINARY_CASES,
    applies=judging("box_l1"),
    rarity=2,
)
def l1_value(component: Build, case: SetCase) -> None:
    """The L1 loss equals its definition under the criterion's matching.

    Its scale sets the balance between the terms, so a mean in place of the sum is a weight four times too
    small.
    """
    require_definition(component, case, "box_l1")


@invariant(
    "criterion.giou-value",
    number="C2",
    formula="loss_giou = Σ_(i,j)∈M (1 − GIoU(b̂_i, b_j)) / num_boxes, GIoU = I/U − (E − U)/E",
    source="norm §4; Rezatofighi et al. 2019, algorithm 1",
    breaks=(
        "GIoU of cxcywh numbers taken as corners; IoU in its place; an undeclared epsilon; the diagonal of "
        "the wrong pairs"
    ),
    cases=set_cases(regimes=(*ORDINARY_REGIMES, *("tiny-boxes",) * 3, *("degenerate",) * 2), targets=(1, 5)),
    applies=judging("box_giou"),
    rarity=6,
)
def giou_value(component: Build, case: SetCase) -> None:
    """The GIoU loss equals its definition under the criterion's matching, with the declared epsilons.

    Small boxes feel it most: an undeclared epsilon halves the gradient of boxes a thousandth of the image
    wide.
    """
    require_definition(component, case, "box_giou")


@invariant(
    "criterion.perfect-boxes",
    number="C3",
    formula="b̂_i = b_j for all (i, j) ∈ M ⇒ loss_bbox = loss_giou = 0",
    source="norm §4: both are distances; a declared epsilon in the GIoU is allowed for",
    breaks="target and predicted boxes in different formats; an undeclared epsilon; targets taken in another order",
    cases=set_cases(regimes=("confident",), targets=(1, 5)),
    applies=with_boxes,
)
def perfect_boxes(component: Build, case: SetCase) -> None:
    """Where one confident query predicts each target's exact box, the box losses are 0.

    Training can only converge to right boxes if those are where the loss is least.
    """
    configuration, outputs, targets = case.configuration, case.outputs, case.targets
    premise(any(map(len, targets)), "there are no targets")
    answer = component(configuration)(outputs, targets).value
    perfect = Judged(configuration, outputs, targets, answer, (unique_matchings(outputs, targets, configuration),))
    for name in configuration.terms_with("sum over pairs"):
        perfect.term(name).require_definition()


@invariant(
    "criterion.no-object-weight",
    number="C4",
    formula=(
        "loss_ce(e) = (S_pos + e·S_neg) / (P + e·N), S = Σ −log p of the P matched and N unmatched queries, "
        "e = eos_coef"
    ),
    source="norm §4; Carion et al. 2020, section 3.1: the no-object term is down-weighted, by 10 in the paper",
    breaks=(
        "eos_coef ignored, fixed, or put on class 0; normalised by the number of queries instead of the weights' sum"
    ),
    cases=set_cases(regimes=ORDINARY_REGIMES, queries=(2, 6), targets=(1, 4)),
    applies=lambda profile: NO_OBJECT_WEIGHT in number_names(profile),
)
def no_object_weight(component: Build, case: SetCase) -> None:
    """Another eos_coef changes the classification loss by as much as its definition.

    Most queries are unmatched: without that weight they outvote the objects, and the detector learns to see
    nothing.
    """
    other = 0.125 if number_of(case.configuration, NO_OBJECT_WEIGHT) == 0.5 else 0.5
    changed = vary(case.configuration, **{NO_OBJECT_WEIGHT: other})
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, changed, case.outputs, case.targets)
    premise_same_matchings(before.last, after.last)
    was, now = before.term("classification"), after.term("classification")
    premise(was.rises_to(now) or now.rises_to(was), "eos_coef matters by no more than rounding")
    require_within(f"the change of {now.key}", now.value - was.value, now.definition - was.definition)


@invariant(
    "criterion.optimal-matching",
    number="C7",
    formula="Σ_(i,j)∈M_b C_ij = min for each image b, M the matching inside the criterion",
    source="norm §3 and §4; Carion et al. 2020, equation 1",
    breaks=(
        "image 0's cost block used for all images; indices kept from an earlier batch; a matcher built with "
        "other weights"
    ),
    cases=set_cases(),
    rarity=2,
)
@invariant(
    "masks.optimal-matching",
    number="C7",
    formula="Σ_(i,j)∈M_b C_ij = min for each image b and layer, C of classes and boxes alone",
    source="norm §3: the matching cost has no mask term; Carion et al. 2020, equation 1",
    breaks="a mask cost in the matching; masks' own boxes in place of the predicted ones",
    cases=mask_cases(regimes=ORDINARY_REGIMES, layers=(1, 2), queries=(2, 6), targets=(1, 5)),
    cost=2,
)
def optimal_matching(component: Build, case: SetCase) -> None:
    """The matching that the criterion uses costs as little as any, for each image and decoder layer.

    The loss is one of sets only under an optimal matching; each of its terms is judged under the one that is
    used. Masks have no part in it.
    """
    losses = component(case.configuration)(case.outputs, case.targets).value
    shown = shown_matchings(losses, case.outputs, case.targets, case.configuration)
    if shown is None:
        raise NotProvided("the criterion does not show its matching")
    require_optimal_layers(shown, case.configuration, case.outputs, case.targets)


@invariant(
    "criterion.cardinality-value",
    number="C13",
    formula=(
        "cardinality_error = mean_b |#{i counted in b} − n_b|; counted: argmax z ≠ no object, or max sigmoid(z) > 1/2"
    ),
    source="norm §4 and §8; the profile says which queries count",
    breaks=(
        "argmax ≠ last where the last column is a class; argmax = no object counted; lengths of the whole batch; a "
        "probability of exactly 1/2 counted"
    ),
    cases=either(set_cases(regimes=(*ALL_REGIMES, *MORE_TARGETS)), set_cases(regimes=UNDECIDED)),
    applies=lambda profile: profile.keys.cardinality is not None,
    rarity=3,
)
def cardinality_value(component: Build, case: SetCase) -> None:
    """The cardinality error is the mean over images of how far the count of objects is from the targets'.

    It is the one metric that shows in training how many objects are claimed; where logits tie, either answer
    is right.
    """
    require_definition(component, case, "cardinality")


@invariant(
    "criterion.box-metrics",
    number="C13",
    formula="loss_xy = Σ_(i,j)∈M |x̂_i − x_j| + |ŷ_i − y_j| over num_boxes; loss_hw likewise, of ŵ and ĥ",
    source="norm §4; Liu et al. 2022, DAB-DETR, as its published code reports them",
    breaks="the sides under the name of the centres; a mean over coordinates; centres of boxes as corners",
    cases=ORDINARY_CASES,
    applies=reports_parts_of_boxes,
)
def box_metrics(component: Build, case: SetCase) -> None:
    """The distance of centres, and that of sides, are the two parts of the L1 loss.

    They say in training whether objects are missed in place or in size.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    for name in BOX_METRICS:
        if getattr(case.configuration.profile.keys, name) is not None:
            answer.term(name).require_definition()


@invariant(
    "criterion.class-error-value",
    number="C14",
    formula="class_error = 100 − 100 · #{(i, j) ∈ M : argmax z_i = y_j} / |M|, in [0, 100]",
    source="norm §4: top-1 accuracy of matched queries, all columns compared",
    breaks=(
        "the no-object column left out; a fraction for a percentage; accuracy for error; unmatched queries counted; "
        "logits compared in a narrower dtype"
    ),
    cases=either(set_cases(targets=(1, 5)), set_cases(regimes=UNDECIDED, targets=(1, 5))),
    applies=reports_class_error,
    rarity=2,
)
def class_error_value(component: Build, case: SetCase) -> None:
    """The class error is the percentage of matched queries whose highest logit is not their target's label.

    People stop and compare runs by it; where the highest logit ties, either answer is right.
    """
    require_definition(component, case, "class_error")


@invariant(
    "criterion.class-error-nothing-matched",
    number="C14",
    formula="M = ∅ ⇒ class_error = 100",
    source="norm §4: 100 when nothing is matched",
    breaks="0/0 answered with NaN, which then poisons the running average; 0, as if all were right",
    cases=set_cases(),
    applies=reports_class_error,
)
def class_error_nothing_matched(component: Build, case: SetCase) -> None:
    """The class error of a batch without any target is 100.

    A batch without objects is rare enough that its NaN is found in the logs of the third day.
    """
    answer = judged(component, case.configuration, case.outputs, without_objects(case.targets))
    answer.term("class_error").require_definition()
