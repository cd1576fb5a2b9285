"""What a vector must be beyond its schema: sizes that fit each other, numbers that its dtype holds, known names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache

import numpy as np

from detr_conformance.base.errors import UsageError, close_names
from detr_conformance.encoding.places import Place, leaves
from detr_spec.cases import BoxCase, Case, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants
from detr_spec.values import Outputs, part_dtypes, round_to

COMPONENT_KINDS: dict[str, type[Case]] = {
    "boxes": BoxCase,
    "assignment": CostCase,
    "matcher": SetCase,
    "criterion": SetCase,
    "masks": SetCase,
    "gradients": SetCase,
    "distributed": RankCase,
    "postprocess": SetCase,
    "heads": HiddenCase,
    "decoder": FeatureCase,
    "model": ImagesCase,
}
"""The kind of case that each component takes."""

LARGEST = {
    "num_classes": 10_000,
    "decoder_layers": 100,
    "encoder_predictions": 100,
    "hidden_dim": 4096,
    "top_k": 1_000_000,
}
"""How large a configuration may be: an implementation is built with it."""

SEEDS = 2**32


@cache
def invariants_by_id() -> dict[str, Invariant]:
    """All invariants by id."""
    return {invariant.id: invariant for invariant in all_invariants()}


def require_sound(component: str, invariants: Sequence[str], case: Case, place: Place) -> None:
    """Raises `UsageError` with the place of what makes a case one that no right implementation could be asked."""
    kind = COMPONENT_KINDS[component]
    if type(case) is not kind:
        raise place.within("case", "kind").wrong(
            found=f"a {type(case).__name__}", expected=f"a {kind.__name__}, which component {component} takes"
        )
    if not invariants or len(set(invariants)) < len(invariants):
        raise place.within("invariants").wrong(found=str(list(invariants)), expected="different names, one at least")
    for number, name in enumerate(invariants):
        _require_invariant(name, component, place.within("invariants", number))
    _require_configuration(case.configuration, place.within("configuration"))
    if not 0 <= case.seed < SEEDS:
        raise place.within("case", "seed").wrong(found=str(case.seed), expected=f"a seed from 0 to {SEEDS - 1}")
    for path, array in arrays_of(case):
        _require_numbers(array, _dtype_of_part(path, case.configuration.dtype), place.within("case", *path))
    _require_shapes(case, place.within("case"))


def _require_invariant(name: str, component: str, place: Place) -> None:
    known = invariants_by_id()
    if name not in known:
        raise UsageError(f"{place}: no invariant is called {name!r}{close_names(name, known)}")
    if known[name].component != component:
        raise place.wrong(found=f"{name}, of component {known[name].component}", expected=f"one of {component}")


def _require_configuration(configuration: Configuration, place: Place) -> None:
    for field in fields(Configuration):
        value = getattr(configuration, field.name)
        if field.name in LARGEST and value > LARGEST[field.name]:
            raise place.within(field.name).wrong(found=str(value), expected=f"at most {LARGEST[field.name]}")
        if isinstance(value, float) and not np.isfinite(value):
            raise place.within(field.name).wrong(found=str(value), expected="a finite number")


def arrays_of(case: Case) -> Iterator[tuple[tuple[str | int, ...], np.ndarray]]:
    """All arrays of a case with their places."""
    found = leaves(case, lambda part: None if isinstance(part, Configuration) else part)
    return ((path, leaf) for path, leaf in found if isinstance(leaf, np.ndarray))


def _dtype_of_part(path: Sequence[str | int], dtype: str) -> str:
    """The dtype of the array at a place of a case, one of several where the case's is mixed."""
    parts = part_dtypes(dtype)
    if "targets" in path:
        return parts.targets
    return parts.boxes if path[-1] == "boxes" else parts.logits


def _require_numbers(array: np.ndarray, dtype: str, place: Place) -> None:
    if array.dtype.kind == "f":
        held = round_to(array, dtype)
        wrong = np.flatnonzero(~((held == array) | np.isnan(array)).ravel())
        if wrong.size:
            first = int(wrong[0])
            raise place.within("values", first).wrong(
                found=repr(float(array.ravel()[first])), expected=f"a number that {dtype} holds exactly"
            )


def _require_shapes(case: Case, place: Place) -> None:
    if isinstance(case, BoxCase):
        for name in ("first", "second"):
            _require_shape(getattr(case, name), "[n, 4]", place.within(name))
    elif isinstance(case, CostCase):
        for number, cost in enumerate(case.costs):
            _require_shape(cost, "[n, m]", place.within("costs", number))
    elif isinstance(case, SetCase):
        _require_layers(case.outputs, case.configuration, place.within("outputs"))
        _require_sizes(case, place.within("sizes"))
    elif isinstance(case, RankCase):
        _require_ranks(case, place.within("batches"))
    elif isinstance(case, HiddenCase):
        own = case.configuration
        _require_shape(case.hidden, f"[{own.decoder_layers}, B, Q, {own.hidden_dim}]", place.within("hidden"))
    elif isinstance(case, FeatureCase):
        _require_shape(
            case.features.queries, f"[Q, {case.configuration.hidden_dim}]", place.within("features", "queries")
        )
    elif isinstance(case, ImagesCase):
        for number, image in enumerate(case.images):
            _require_shape(image, "[3, H, W]", place.within("images", number))


def _require_shape(array: np.ndarray, shape: str, place: Place) -> None:
    """Raises `UsageError` unless an array has the shape: numbers stand for themselves, letters for any length."""
    lengths = shape.strip("[]").split(", ")
    fits = array.ndim == len(lengths) and all(
        not part.isdigit() or int(part) == length for part, length in zip(lengths, array.shape, strict=True)
    )
    if not fits:
        raise place.within("shape").wrong(found=str(list(array.shape)), expected=shape)


def _require_layers(outputs: Outputs, configuration: Configuration, place: Place) -> None:
    counts = {"decoder layers": (outputs, configuration.decoder_layers)}
    if outputs.encoder is not None:
        counts["predictions of the encoder"] = (outputs.encoder, configuration.encoder_predictions)
    if outputs.initial is not None:
        counts["initial predictions"] = (outputs.initial, 1)
    if outputs.initial_denoising is not None:
        counts["initial predictions of denoising queries"] = (outputs.initial_denoising, 1)
    if outputs.one_to_many is not None:
        counts["layers of further queries"] = (outputs.one_to_many, configuration.decoder_layers)
    for what, (predicted, expected) in counts.items():
        if len(predicted.layers) != expected:
            found = f"{len(predicted.layers)} {what}"
            raise place.wrong(found=found, expected=f"{expected}, as in the configuration")
    for layer in outputs.layers:
        _require_shape(layer.logits, f"[B, Q, {_columns(outputs, configuration)}]", place.within("logits"))
        if layer.phrases is not None:
            _require_shape(layer.phrases, f"[B, {configuration.num_classes}, C]", place.within("phrases"))


def _columns(outputs: Outputs, configuration: Configuration) -> int:
    """How many columns the logits are to have: those of classes, or of the texts."""
    return configuration.columns if outputs.phrases is None else outputs.phrases.shape[-1]


def _require_sizes(case: SetCase, place: Place) -> None:
    _require_shape(case.sizes, f"[{case.outputs.batch}, 2]", place)
    if (case.sizes < 1).any() or (case.sizes > 2**24).any():
        raise place.wrong(found="a size out of range", expected="heights and widths of at least 1 pixel, at most 2^24")


def _require_ranks(case: RankCase, place: Place) -> None:
    if not 1 <= len(case.batches) <= 8:
        raise place.wrong(found=f"{len(case.batches)} ranks", expected="1 to 8")
    for rank, (outputs, targets) in enumerate(case.batches):
        _require_layers(outputs, case.configuration, place.within(rank, 0))
        queries = case.batches[0][0].queries
        columns = _columns(outputs, case.configuration)
        _require_shape(outputs.logits, f"[B, {queries}, {columns}]", place.within(rank, 0, "logits"))
        for image, target in enumerate(targets):
            if len(target) and target.labels.max() >= case.configuration.num_classes:
                raise place.within(rank, 1, image, "labels").wrong(
                    found=f"label {target.labels.max()}", expected=f"labels below {case.configuration.num_classes}"
                )
