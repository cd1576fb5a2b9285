"""Planted errors: an answer of a component with one term that is off by a known amount.

They are planted in the NumPy values that a bridge returns, so no source is patched, and rounded to the case's dtype, as
an implementation that computes in it can return nothing finer.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from detr_spec.configuration import Configuration
from detr_spec.implementation import with_functions
from detr_spec.invariant import Invariant
from detr_spec.profile import Keys, Profile
from detr_spec.values import Floats, LayerGradient, Losses, LossGradients, Outputs, round_to

Off = Callable[[ArrayLike], Floats]
"""Makes numbers wrong."""

Factory = Callable[[Configuration], Any]

RELATIVE, ABSOLUTE = "relative", "absolute"


def off_by(delta: float, error: str, dtype: str) -> Off:
    """Numbers x as x · (1 + delta), or as x + delta where the error is absolute, in the dtype."""

    def off(numbers: ArrayLike) -> Floats:
        wide = np.asarray(numbers, dtype=np.float64)
        return round_to(wide * (1.0 + delta) if error == RELATIVE else wide + delta, dtype)

    return off


@dataclass(frozen=True)
class Plant:
    """Where in an answer an error is planted: the term's name, and the answer with that term made wrong.

    part: the function of the component whose answer it is, where the component has several. errors: the kinds to plant;
    a term that may be 0 has no relative error there.
    """

    term: str
    change: Callable[[Any, Off], Any]
    part: str = ""
    errors: tuple[str, ...] = (RELATIVE,)

    def planted(self, factory: Factory, off: Off) -> Factory:
        """The component whose answers have this term wrong."""

        def changed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
            if part != self.part:
                return function

            def call(*arguments: Any) -> Any:
                answer = function(*arguments)
                return replace(answer, value=self.change(answer.value, off))

            return call

        return lambda configuration: with_functions(factory(configuration), changed)


def remembering(factory: Factory) -> Factory:
    """The component that is built and asked once for each configuration and question, for one that never changes."""
    builds: dict[bytes, Any] = {}

    def remembered(_: str, function: Callable[..., Any]) -> Callable[..., Any]:
        answers: dict[bytes, Any] = {}

        def call(*arguments: Any) -> Any:
            question = pickle.dumps(arguments)
            if question not in answers:
                answers[question] = function(*arguments)
            return answers[question]

        return call

    def build(configuration: Configuration) -> Any:
        key = pickle.dumps(configuration)
        if key not in builds:
            builds[key] = with_functions(factory(configuration), remembered)
        return builds[key]

    return build


def plants(invariant: Invariant, profile: Profile) -> tuple[Plant, ...]:
    """The errors to plant for an invariant: those of its component, and of auxiliary layers for those about them.

    Losses are those of a profile, by its own names; its further losses alone where it is asked for these alone.
    """
    losses, masks = _losses(profile), _mask_losses(profile.keys)
    if not invariant.applies(replace(profile, further_losses=())):
        losses = tuple(plant for plant in losses if plant.term in {further.key for further in profile.further_losses})
    of_losses = {
        "criterion": (*losses, *(masks if profile.matches_masks else ())),
        "masks": (*masks, *losses),
        "distributed": tuple(map(_of_several_ranks, (*masks, *losses))),
    }
    found = of_losses.get(invariant.component, _PLANTS.get(invariant.component, ()))
    return (*found, *_auxiliary(profile.keys)) if invariant.id.startswith("auxiliary.") else found


def _losses(profile: Profile) -> tuple[Plant, ...]:
    """The losses and metrics of the last layer that a profile reports, but for those of masks.

    What earlier layers alone have is that of these.
    """
    keys = profile.keys
    metrics = [key for key in (keys.class_error, keys.cardinality) if key is not None]
    boxes = (keys.box_l1, keys.box_giou) if profile.has_boxes else ()
    earlier = [loss.key for loss in profile.further_losses if loss.term.layers == "earlier"]
    everywhere = [loss.key for loss in profile.further_losses if loss.key not in earlier]
    further = [_loss(key) for key in (*boxes, *everywhere)] + [_loss(key, _in_layers(key, keys)) for key in earlier]
    return (_loss(keys.classification), *map(_may_be_zero, further), *map(_loss, metrics))


def _mask_losses(keys: Keys) -> tuple[Plant, ...]:
    return tuple(_may_be_zero(_loss(key)) for key in (keys.mask, keys.dice))


def _auxiliary(keys: Keys) -> tuple[Plant, ...]:
    """The losses of all auxiliary layers, each layer by a number or all by one name."""
    terms = (keys.classification, keys.box_l1, keys.box_giou, keys.cardinality)
    return tuple(_loss(f"{term}_i", _in_layers(term, keys)) for term in terms if term is not None)


def _in_layers(loss: str, keys: Keys) -> str:
    """What the names of a loss in auxiliary layers match."""
    name = re.escape(keys.auxiliary_loss.format(loss="LOSS", layer="LAYER"))
    return name.replace("LAYER", r"\d+").replace("LOSS", re.escape(loss))


def _loss(term: str, keys: str | None = None) -> Plant:
    """The losses whose keys match, or the one of that name."""
    pattern = re.compile(re.escape(term) if keys is None else keys)

    def change(losses: Losses, off: Off) -> Losses:
        values = {key: float(off(loss)) if pattern.fullmatch(key) else loss for key, loss in losses.values.items()}
        return replace(losses, values=values)

    return Plant(term, change)


def _of_several_ranks(plant: Plant) -> Plant:
    """The losses of every rank, but not those of one process alone, with which they are compared."""

    def change(ranks: Sequence[Losses], off: Off) -> Sequence[Losses]:
        return tuple(plant.change(losses, off) for losses in ranks) if len(ranks) > 1 else ranks

    return replace(plant, change=change)


def _numbers(name: str) -> Plant:
    return Plant(name, lambda numbers, off: off(numbers), name)


def _predictions(name: str, part: str) -> Plant:
    """The logits or boxes of every decoder layer."""

    def change(outputs: Outputs, off: Off) -> Outputs:
        auxiliary = tuple(change(layer, off) for layer in outputs.auxiliary)
        wrong: dict[str, Any] = {name: off(getattr(outputs, name))}
        return replace(outputs, **wrong, auxiliary=auxiliary, broken=True)

    return Plant(name, change, part)


def _of_every_image(name: str) -> Plant:
    """The scores or boxes of all detections."""

    def change(images: Any, off: Off) -> Any:
        return tuple(replace(image, **{name: off(getattr(image, name))}) for image in images)

    return Plant(name, change)


def _gradient(name: str) -> Plant:
    """The gradient with respect to one kind of predictions of every decoder layer."""

    def change(gradients: LossGradients, off: Off) -> LossGradients:
        layers = [
            layer if getattr(layer, name) is None else replace(layer, **{name: off(getattr(layer, name))})
            for layer in gradients.layers
        ]
        return replace(gradients, layers=tuple(layers))

    return Plant(f"gradient of {name}", change)


def _may_be_zero(plant: Plant) -> Plant:
    return replace(plant, errors=(RELATIVE, ABSOLUTE))


_PLANTS = {
    "boxes": (
        _numbers("cxcywh_to_xyxy"),
        _numbers("xyxy_to_cxcywh"),
        *(_may_be_zero(_numbers(name)) for name in ("iou", "giou", "elementwise_giou")),
    ),
    "gradients": tuple(_gradient(field.name) for field in fields(LayerGradient)),
    "postprocess": (_of_every_image("scores"), _of_every_image("boxes")),
    "heads": (_predictions("logits", "forward"), _predictions("boxes", "forward")),
    "decoder": (_numbers("stacked"), _numbers("last")),
    "model": (_predictions("logits", "call"), _predictions("boxes", "call")),
}
"""By component, beside those of losses; matchings have no numbers to be off."""
