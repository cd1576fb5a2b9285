"""Invariants of preconditions that the criterion must check: labels, counts, columns. norm §4, C18."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.invariant import SHOULD, invariant
from detr_spec.invariants.criterion_answers import ORDINARY_REGIMES, Build, Judged, known_matchings
from detr_spec.invariants.shared import require_refused, with_broken_label
from detr_spec.profile import replace
from detr_spec.strategies import set_cases
from detr_spec.violation import premise

FILLED_CASES = set_cases(regimes=ORDINARY_REGIMES, targets=(1, 5))


def _require_label_refused(component: Build, case: SetCase, label: Callable[[int], int]) -> None:
    """Raises `Violation` unless a label in place of some target's own is refused, given how many classes there are."""
    filled = [image for image, target in enumerate(case.targets) if len(target)]
    premise(bool(filled), "there are no targets")
    generator = case.generator("broken label")
    image = filled[int(generator.integers(len(filled)))]
    wrong = label(case.classes(image))
    what = f"a target of label {wrong}, where num_classes is {case.classes(image)},"
    require_refused(what, component, case, targets=with_broken_label(case, image, wrong, generator))


@invariant(
    "criterion.label-k-refused",
    number="C18",
    level=SHOULD,
    formula="y_j = K is refused: classes are 0 … K − 1",
    source="norm §3 and §4: K is the index of no object, no label; the published DETR lets it pass",
    breaks=(
        "1-based labels, whose last class becomes no object; num_classes set to the number of classes, not "
        "the largest id + 1"
    ),
    cases=FILLED_CASES,
    applies=lambda profile: profile.label_beyond_range == "refuse",
)
def label_k_refused(component: Build, case: SetCase) -> None:
    """A target whose label is the number of classes is refused.

    In the softmax dialect it trains a matched query to say that nothing is there, in silence.
    """
    _require_label_refused(component, case, lambda classes: classes)


@invariant(
    "criterion.foreign-label-refused",
    number="C18",
    formula="y_j > K or y_j < 0 is refused",
    source="norm §3 and §4: classes are 0 … K − 1",
    breaks="a negative label that indexes from the end; an ignore index left in the targets; a clamped label",
    cases=FILLED_CASES,
    applies=lambda profile: profile.label_beyond_range == "refuse",
)
def foreign_label_refused(component: Build, case: SetCase) -> None:
    """A target whose label is negative, or greater than the number of classes, is refused.

    A negative label counts from the end in most frameworks, and trains the wrong class in silence.
    """
    generator = case.generator("label")
    _require_label_refused(
        component, case, lambda classes: int(generator.choice([-1, -classes, classes + 1, classes + 100]))
    )


@invariant(
    "criterion.target-count-refused",
    number="C18",
    level=SHOULD,
    formula="|targets| ≠ B is refused",
    source="norm §4: one target for each image; §9: a profile may leave it unchecked",
    breaks="images zipped with targets up to the shorter list; one target broadcast over the batch",
    cases=FILLED_CASES,
    applies=lambda profile: profile.target_count == "refuse",
)
def target_count_refused(component: Build, case: SetCase) -> None:
    """A batch with fewer or more targets than images is refused.

    A collation that dropped an image's annotations pairs all later images with the wrong objects.
    """
    more = bool(case.generator("count").integers(2))
    targets = (*case.targets, case.targets[-1]) if more else case.targets[:-1]
    what = f"a batch with another number of targets ({len(targets)}) than of images ({case.outputs.batch})"
    require_refused(what, component, case, targets=targets)


@invariant(
    "criterion.logit-columns-refused",
    number="C18",
    level=SHOULD,
    formula="C ≠ K + 1 logit columns are refused; C ≠ K without a no-object class",
    source="norm §1 and §8: the columns follow from the number of classes; §9: a profile may take surplus ones",
    breaks="the column count read from the logits and never compared; a no-object column in a sigmoid dialect",
    cases=FILLED_CASES,
)
def logit_columns_refused(component: Build, case: SetCase) -> None:
    """Logits with another number of columns than the configured classes need are refused.

    One column more is how a softmax head meets a sigmoid loss; it trains, towards nothing sensible.
    """
    columns, surplus = case.outputs.logits.shape[-1], case.configuration.profile.surplus_columns
    fewer = columns > 1 and (surplus != "refuse" or bool(case.generator("columns").integers(2)))
    premise(fewer or surplus == "refuse", "there can be no fewer columns, and more are taken")
    chosen = np.arange(columns - 1) if fewer else np.append(np.arange(columns), columns - 1)
    logits = case.outputs.logits[..., chosen]
    what = f"a batch with another number of logit columns ({len(chosen)}) than there should be ({columns})"
    require_refused(what, component, case, outputs=replace(case.outputs.main, logits=logits, broken=True))


@invariant(
    "criterion.surplus-columns",
    number="C22",
    formula="C > columns: the losses are those of C classes, or those without the columns, as declared",
    source="norm §9; the profile's `surplus_columns`",
    breaks="surplus columns that are refused; trained where they are to be ignored; cut off where they are negatives",
    cases=FILLED_CASES,
    applies=lambda profile: profile.labels == "columns" and profile.surplus_columns in ("negatives", "ignored"),
)
def surplus_columns(component: Build, case: SetCase) -> None:
    """More logit columns than the criterion has classes are trained as negatives or ignored, as the profile says.

    Heads of 91 columns meet data sets of fewer classes, and both ways train; but the losses differ.
    """
    own, targets, generator = case.configuration, case.targets, case.generator("surplus columns")
    added = int(generator.integers(1, 4))
    logits = case.outputs.logits
    surplus = logits[:, ::-1, generator.integers(0, own.num_classes, added)]
    wide = np.concatenate([logits[..., : own.num_classes], surplus, logits[..., own.num_classes :]], axis=-1)
    given = replace(case.outputs.main, logits=wide)
    losses = component(own)(given, targets).value
    if own.profile.surplus_columns == "negatives":
        own, outputs = replace(own, num_classes=own.num_classes + added), given
    else:
        outputs = case.outputs.main
    answer = Judged(own, outputs, targets, losses, known_matchings(losses, own, outputs, targets))
    for term in answer.every_term().values():
        term.require_definition()
