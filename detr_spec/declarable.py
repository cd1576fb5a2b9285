"""What can be declared: each field of a profile with values that it may have, by reflection, and profiles of these.

A field that is a choice has all its choices, and a name another name. `NUMBERS` and `TEMPLATES` say what numbers and
templates are worth trying; a new field that none of this covers is refused with `LookupError`, so that it is not left
out in silence.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from detr_spec.costs import MaskCrossEntropyCost, MaskDiceCost, ScoreTimesOverlap
from detr_spec.hints import default_of, field_types, is_part, record_type
from detr_spec.parts import Part, known_parts
from detr_spec.profile import FurtherCost, FurtherLoss, Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.terms import BoxGiou, DistributionDistillation, FineGrainedLocalization
from detr_spec.values import InvalidValue

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Rules = TypeVar("Rules", bound="DataclassInstance")

WORDS = ("name", "summary")
"""Fields that say what a profile is called, and nothing of what it is."""

NUMBERS: dict[str, tuple[object, ...]] = {
    "iou_epsilon": (0.0, 1e-7, 1e-6, 1e-3),
    "giou_epsilon": (0.0, 1e-7, 1e-6, 1e-3),
    "least_divisor": (None, 1e-7, 1e-6, 1e-2),
    "top_k": (100, 300, 1, 7, None),
    "input_side": (None, 640, 33),
    "first_label": (0, 1),
    "groups": (1, 2, 3),
    "repeats": (1, 2, 3),
    "one_to_many_repeats": (1, 2, 3),
    "one_to_many_weight": (1.0, 0.5, 2.0),
    "first_target": (0, 1),
    "padding_label": (0, -1, 91),
    "epsilon": (1e-8, 0.0, 1e-12, 1e-3),
    "cost_weights": (
        (1.0, 5.0, 2.0),
        (2.0, 5.0, 2.0),
        (1.0, 0.0, 0.0),
        (0.0, 5.0, 0.0),
        (0.0, 0.0, 2.0),
        (1.0, 5.0, 0.0),
        (1.0, 0.0, 2.0),
        (0.0, 5.0, 2.0),
        (8.0, 0.25, 0.5),
        (0.3, 0.7, 0.1),
    ),
    "loss_weights": (
        (1.0, 5.0, 2.0),
        (2.0, 5.0, 2.0),
        (1.0, 0.0, 0.0),
        (0.0, 5.0, 2.0),
        (1.0, 5.0, 0.0),
        (1.0, 0.0, 2.0),
        (4.0, 1.0, 1.0),
        (0.3, 0.7, 0.1),
    ),
    "eos_coef": (0.1, 0.0, 0.25, 1.0, 3.0),
    "further_costs": (
        (),
        (FurtherCost(cost=ScoreTimesOverlap(), weight=4.0),),
        (FurtherCost(cost=MaskCrossEntropyCost(), weight=5.0), FurtherCost(cost=MaskDiceCost(), weight=5.0)),
    ),
    "mask_weights": ((1.0, 1.0), (5.0, 5.0), (0.0, 1.0), (0.3, 0.7)),
    "points": (16, 1, 5),
    "pixels_per_point": (None, 2, 4),
    "oversampling": (3.0, 1.0, 1.5),
    "uncertain": (0.75, 0.0, 1.0),
    "further_losses": (
        (),
        (FurtherLoss(key="loss_overlap", term=BoxGiou(), weight=0.5),),
        (FurtherLoss(key="loss_pupils", term=DistributionDistillation(reg_max=4.0), weight=0.75),),
        (FurtherLoss(key="loss_edges", term=FineGrainedLocalization(reg_max=4.0), weight=0.25),),
    ),
}
"""Numbers worth trying, the default of `Profile` first: those of known dialects, and where a number may end."""

TEMPLATES: dict[str, tuple[object, ...]] = {
    "auxiliary_loss": ("{loss}_{layer}", "{loss}_aux_{layer}", "d{layer}.{loss}", "{loss}_aux", "{loss}"),
    "encoder_loss": (None, "{loss}_enc", "enc.{loss}", "{loss}_enc_{layer}", "{loss}_enc_{number}"),
    "initial_loss": (None, "{loss}_pre", "pre.{loss}"),
    # Without any, hardly a drawn profile would have costs and losses that go with it.
    "boxes": ("pred_boxes", "other_pred_boxes"),
    "target_boxes": ("boxes", "other_boxes"),
    "encoder_auxiliary_loss": (None, "{loss}_enc_{number}", "e{number}.{loss}"),
    "initial_denoising_loss": (None, "{loss}_dn_pre", "dn_pre.{loss}"),
    "one_to_many": ("{output}_one2many", "further.{output}"),
    "one_to_many_loss": (None, "{loss}_one2many", "o2m.{loss}"),
    "denoising_loss": (None, "{loss}_dn", "dn.{loss}", "{loss}_dn_{layer}"),
    "denoising_auxiliary_loss": (None, "{loss}_dn_{layer}", "dn.{loss}", "{loss}_aux_dn"),
    "box_centre": (None, "loss_xy"),
    "box_size": (None, "loss_hw"),
    "total": (None, "loss"),
    "extra": ((), ("extra_*",)),
    "entry": (None, "indices"),
    "arguments": (
        (),
        ("boxes", "logits", "target_boxes", "labels"),
        ("logits", "boxes", "labels", "target_boxes", "target_size"),
        ("boxes", "logits", "target_boxes", "labels", "target_counts"),
        ("logits", "boxes", "labels", "target_boxes", "target_valid"),
    ),
}
"""How losses of other predictions, and what is reported besides, may be named."""


@cache
def declarable_values(kind: object) -> dict[str, tuple[object, ...]]:
    """Values that each field of `Profile`, or of a part of it, may have, its default first; not of parts themselves.

    Raises `LookupError` for a field of which none are known.
    """
    hints = get_type_hints(record_type(kind))
    return {
        field.name: _values(field.name, hints[field.name], default_of(field))
        for field in fields(record_type(kind))
        if field.name not in WORDS and not _is_made_of_fields(hints[field.name])
    }


def _is_made_of_fields(hint: object) -> bool:
    return is_dataclass(hint) and not is_part(hint)


def _parts_of(kind: type[Part]) -> tuple[Part, ...]:
    """Every part of a kind that is defined here: with its own numbers, and with each number worth trying."""
    plain = [part() for part in known_parts(kind).values() if part.__module__.startswith(f"{__package__}.")]
    others = [
        replace(part, **{name: number})
        for part in plain
        for name in part.numbers
        for number in (*NUMBERS.get(name, ()), *part.drawn.get(name, ()))
    ]
    return tuple(dict.fromkeys([*plain, *others]))


def _values(name: str, hint: object, default: object) -> tuple[object, ...]:
    if get_origin(hint) is Literal:
        return (default, *(choice for choice in get_args(hint) if choice != default))
    if hint is bool:
        return default, not default
    if is_part(hint):
        return tuple(sorted(_parts_of(hint), key=lambda part: part != default))
    known = NUMBERS.get(name) or TEMPLATES.get(name)
    if known is not None:
        return known
    if default is not MISSING and str in (hint, *get_args(hint)):
        other = f"other_{default}"
        return (default, other) if hint is str else (default, None, other)
    raise LookupError(
        f"no values are known that the field {name!r} of a profile may have; add some to NUMBERS in {__name__}, "
        f"the default first"
    )


def parts(kind: object = Profile) -> dict[str, object]:
    """The fields of `Profile` that are made of fields themselves, with their types."""
    return {name: hint for name, hint in field_types(kind).items() if _is_made_of_fields(hint)}


def drawn_profile(seed: int) -> Profile:
    """A profile that can be declared, drawn by its seed from a named one: half of its fields are drawn anew.

    Its name is "declared", and its summary says in what it differs.
    """
    generator = np.random.default_rng(seed)
    base = (DETR, DEFORMABLE)[generator.integers(2)]
    while True:
        try:
            drawn = _redrawn(base, generator)
        except InvalidValue:
            continue
        profile: Profile = replace(drawn, name="declared", summary=", ".join([base.name, *differences(drawn, base)]))
        return profile


def _redrawn(base: Rules, generator: np.random.Generator) -> Rules:
    kind: type = type(base)
    own = declarable_values(kind)
    drawn = {name: values[generator.integers(len(values))] for name, values in own.items() if generator.integers(2)}
    whole = {name: _redrawn(getattr(base, name), generator) for name in parts(kind)}
    return replace(base, **drawn, **whole)


def differences(profile: object, base: object, path: str = "") -> list[str]:
    """In which fields a profile, or a part of one, differs from another, as texts such as "boxes.invalid unchecked"."""
    kind: type = type(profile)
    own = [
        f"{path}{name} {getattr(profile, name)}"
        for name in declarable_values(kind)
        if getattr(profile, name) != getattr(base, name)
    ]
    inner = [
        text
        for name in parts(kind)
        for text in differences(getattr(profile, name), getattr(base, name), f"{path}{name}.")
    ]
    return own + inner
