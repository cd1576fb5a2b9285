"""The parts of a case that may be left out: ranks, images, layers, queries, targets, classes, rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from detr_spec.cases import BoxCase, Case, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.places import DENOISING, Apart
from detr_spec.strategies import padding_regime, sizes_regime
from detr_spec.values import FeatureMap, Floats, Outputs, Target, Targets

Kept = Sequence[int]
"""The indices of what is kept, in their order."""


@dataclass(frozen=True)
class Part:
    """A number of things of one kind in a case, and what is left of the case with some of them alone.

    `keep` raises `InvalidValue` where that is no case.
    """

    name: str
    size: int
    keep: Callable[[Kept], Case]


def parts(case: Case) -> list[Part]:
    """The parts of a case, the larger ones first; of a kind that is not known, none."""
    of_kind = _PARTS.get(type(case))
    return [] if of_kind is None else list(of_kind(case))


Batch = tuple[Outputs, Targets]
Rebuild = Callable[..., Case]
"""Called with the batches of a case, and with fields of its configuration that change with them."""


def _set_parts(case: SetCase) -> Iterator[Part]:
    def keep_images(kept: Kept) -> Case:
        sizes = case.sizes[list(kept)]
        return replace(case, outputs=case.outputs.take(images=kept), targets=_chosen(case.targets, kept), sizes=sizes)

    def rebuild(batches: Sequence[Batch], **changes: Any) -> Case:
        ((outputs, targets),) = batches
        sizes = case.sizes
        masks = [target.masks for target in targets if target.masks is not None]
        if masks:
            sizes = np.array([mask.shape[1:] for mask in masks])
        configuration = replace(case.configuration, **changes)
        return replace(case, outputs=outputs, targets=targets, sizes=sizes, configuration=configuration)

    yield Part("images", len(case.targets), keep_images)
    yield from _batch_parts([(case.outputs, case.targets)], case, rebuild)
    yield from _encoder_parts(case)


def _rank_parts(case: RankCase) -> Iterator[Part]:
    def rebuild(batches: Sequence[Batch], **changes: Any) -> Case:
        return replace(case, batches=tuple(batches), configuration=replace(case.configuration, **changes))

    def keep_images(rank: int, kept: Kept) -> Case:
        outputs, targets = case.batches[rank]
        return rebuild(_with_one(case.batches, rank, (outputs.take(images=kept), _chosen(targets, kept))))

    yield Part("ranks", len(case.batches), lambda kept: rebuild(_chosen(case.batches, kept)))
    for rank, (_, targets) in enumerate(case.batches):
        yield Part("images", len(targets), partial(keep_images, rank))
    yield from _batch_parts(case.batches, case, rebuild)


def _batch_parts(batches: Sequence[Batch], case: Case, rebuild: Rebuild) -> Iterator[Part]:
    """What all batches of a case have in common, then each image's targets, then the pixels of masks."""

    def keep_everywhere(keep: Callable[[Outputs, Kept], Outputs], kept: Kept) -> Case:
        return rebuild([(keep(outputs, kept), targets) for outputs, targets in batches])

    def keep_layers(kept: Kept) -> Case:
        return rebuild([(_with_layers(outputs, kept), own) for outputs, own in batches], decoder_layers=len(kept) + 1)

    def keep_targets(rank: int, image: int, kept: Kept) -> Case:
        return with_target(rank, image, batches[rank][1][image].take(kept))

    def keep_mask_rows(rank: int, image: int, axis: int, kept: Kept) -> Case:
        target = batches[rank][1][image]
        assert target.masks is not None
        return with_target(rank, image, replace(target, masks=np.take(target.masks, kept, axis)))

    def with_target(rank: int, image: int, target: Target) -> Case:
        outputs, targets = batches[rank]
        return with_batch(rank, (outputs, _with_one(targets, image, target)))

    def with_batch(rank: int, batch: Batch) -> Case:
        return rebuild(_with_one(batches, rank, batch))

    first, _ = batches[0]
    yield Part("auxiliary layers", len(first.auxiliary), keep_layers)
    yield Part("queries", first.queries, partial(keep_everywhere, _with_queries))
    yield _classes(batches, case, rebuild)
    if first.tokens is not None:
        yield Part("columns of texts", first.logits.shape[-1], partial(keep_everywhere, _with_columns))
    for rank, (_, targets) in enumerate(batches):
        for image, target in enumerate(targets):
            yield Part("targets", len(target), partial(keep_targets, rank, image))
        yield from _denoising_parts(batches[rank], partial(with_batch, rank))
    for axis in (2, 3):
        if first.masks is not None:
            size = max(outputs.masks.shape[axis] for outputs, _ in batches if outputs.masks is not None)
            yield Part("pixels of predicted masks", size, partial(keep_everywhere, partial(_with_pixels, axis)))
        if case.configuration.profile.masks.compared == "points":
            yield from _rows_of_all_targets(batches, axis - 1, rebuild)
            continue
        for rank, (_, targets) in enumerate(batches):
            for image, target in enumerate(targets):
                if target.masks is not None:
                    keep = partial(keep_mask_rows, rank, image, axis - 1)
                    yield Part("pixels of targets' masks", target.masks.shape[axis - 1], keep)


def _rows_of_all_targets(batches: Sequence[Batch], axis: int, rebuild: Rebuild) -> Iterator[Part]:
    """The rows or columns that all targets' masks have, where these are of one size."""

    def taken(target: Target, kept: Kept) -> Target:
        return target if target.masks is None else replace(target, masks=np.take(target.masks, kept, axis))

    def keep(kept: Kept) -> Case:
        return rebuild([(outputs, tuple(taken(target, kept) for target in targets)) for outputs, targets in batches])

    masks = [target.masks for _, targets in batches for target in targets if target.masks is not None]
    if masks:
        yield Part("pixels of targets' masks", masks[0].shape[axis], keep)


def _with_layers(outputs: Outputs, kept: Kept) -> Outputs:
    """The outputs with those auxiliary layers, of further and denoising queries too where these have any."""
    names: tuple[Apart, ...] = ("one_to_many", "denoising")
    apart = {
        name: part and replace(part, auxiliary=_chosen(part.auxiliary, kept))
        for name in names
        if (part := outputs.apart[name]) is None or part.auxiliary
    }
    return replace(outputs, auxiliary=_chosen(outputs.auxiliary, kept)).with_apart(apart)


def _with_queries(outputs: Outputs, kept: Kept) -> Outputs:
    """The outputs with those queries of the decoder's layers, and of an encoder that has as many."""
    encoder, names = outputs.encoder, ("encoder", "one_to_many", *DENOISING)
    others: dict[Apart, Outputs | None] = {name: part for name, part in outputs.apart.items() if name in names}
    if encoder is not None and encoder.queries == outputs.queries:
        others["encoder"] = encoder.take(queries=kept)
    return outputs.with_apart(dict.fromkeys(others)).take(queries=kept).with_apart(others)


def _with_pixels(axis: int, outputs: Outputs, kept: Kept) -> Outputs:
    def taken(layer: Outputs) -> Floats | None:
        own = [index for index in kept if layer.masks is not None and index < layer.masks.shape[axis]]
        return None if layer.masks is None else np.take(layer.masks, own, axis)

    return outputs.each(masks=taken)


def _classes(batches: Sequence[Batch], case: Case, rebuild: Rebuild) -> Part:
    """The classes that no target has."""
    used = {int(label) for _, targets in batches for target in targets for label in target.labels}
    known = range(0 if "num_classes" in case.configuration.fixed else case.configuration.num_classes)
    unused = [label for label in known if label not in used]

    def keep(kept: Kept) -> Case:
        labels = sorted(used | set(_chosen(unused, kept)))
        if batches[0][0].phrases is not None:
            return rebuild([_with_phrases(batch, labels) for batch in batches], num_classes=len(labels))
        others = range(case.configuration.num_classes, batches[0][0].logits.shape[-1])
        left = [
            (
                outputs.each(logits=lambda layer: layer.logits[..., [*labels, *others]]),
                _relabelled(targets, labels),
            )
            for outputs, targets in batches
        ]
        return rebuild(left, num_classes=len(labels))

    return Part("classes", len(unused), keep)


def _relabelled(targets: Targets, labels: Sequence[int]) -> Targets:
    """The targets when only these labels are left."""
    return tuple(replace(target, labels=np.searchsorted(labels, target.labels)) for target in targets)


def _with_phrases(batch: Batch, labels: Sequence[int]) -> Batch:
    """A batch when only the phrases of these labels are left."""
    outputs, targets = batch
    left = outputs.each(phrases=lambda layer: None if layer.phrases is None else layer.phrases[:, labels])
    return left, _relabelled(targets, labels)


def _with_columns(outputs: Outputs, kept: Kept) -> Outputs:
    """Outputs with those columns of the texts alone."""

    def chosen(array: np.ndarray | None) -> Any:
        return None if array is None else array[..., list(kept)]

    return outputs.each(
        logits=lambda layer: chosen(layer.logits),
        phrases=lambda layer: chosen(layer.phrases),
        tokens=lambda layer: chosen(layer.tokens),
    )


def _encoder_parts(case: SetCase) -> Iterator[Part]:
    encoder = case.outputs.encoder
    if encoder is None:
        return

    def keep_predictions(kept: Kept) -> Case:
        configuration = replace(case.configuration, encoder_predictions=len(kept) + 1)
        left = replace(encoder, auxiliary=_chosen(encoder.auxiliary, kept))
        return replace(case, configuration=configuration, outputs=replace(case.outputs, encoder=left))

    def keep_queries(kept: Kept) -> Case:
        return replace(case, outputs=replace(case.outputs, encoder=encoder.take(queries=kept)))

    yield Part("predictions of the encoder", len(encoder.auxiliary), keep_predictions)
    yield Part("queries of the encoder", encoder.queries, keep_queries)


def _denoising_parts(batch: Batch, rebuild: Callable[[Batch], Case]) -> Iterator[Part]:
    """The groups of denoising queries of a batch, and one target of each image with its queries in all groups."""
    outputs, targets = batch
    denoising, most = outputs.denoising, max(map(len, targets), default=0)
    if denoising is None or not most:
        return

    def keep_groups(kept: Kept) -> Case:
        return keep_queries([group * 2 * most + query for group in kept for query in range(2 * most)], targets)

    def keep_targets(kept: Kept) -> Case:
        left = tuple(target.take([index for index in kept if index < len(target)]) for target in targets)
        halves = range(0, denoising.queries, most)
        return keep_queries([half + index for half in halves for index in kept], left)

    def keep_queries(queries: Kept, left: Targets) -> Case:
        return rebuild((replace(outputs, denoising=denoising.take(queries=queries)), left))

    yield Part("groups of denoising queries", denoising.queries // (2 * most), keep_groups)
    yield Part("targets with denoising queries", most, keep_targets)


def _box_parts(case: BoxCase) -> Iterator[Part]:
    first, second = case.first, case.second
    if len(first) == len(second):
        yield Part(
            "pairs of boxes", len(first), lambda kept: replace(case, first=first[list(kept)], second=second[list(kept)])
        )
    yield Part("first boxes", len(first), lambda kept: replace(case, first=first[list(kept)]))
    yield Part("second boxes", len(second), lambda kept: replace(case, second=second[list(kept)]))


def _cost_parts(case: CostCase) -> Iterator[Part]:
    costs = case.costs

    def keep_in_all(axis: int, kept: Kept) -> Case:
        return replace(case, costs=tuple(np.take(cost, kept, axis) for cost in costs))

    def keep_in_one(problem: int, axis: int, kept: Kept) -> Case:
        return replace(case, costs=_with_one(costs, problem, np.take(costs[problem], kept, axis)))

    yield Part("problems", len(costs), lambda kept: replace(case, costs=_chosen(costs, kept)))
    for axis, name in enumerate(("rows", "columns")):
        if len({cost.shape[axis] for cost in costs}) == 1:
            yield Part(f"{name} of all matrices", costs[0].shape[axis], partial(keep_in_all, axis))
        for problem, cost in enumerate(costs):
            yield Part(f"{name} of a matrix", cost.shape[axis], partial(keep_in_one, problem, axis))


def _hidden_parts(case: HiddenCase) -> Iterator[Part]:
    hidden = case.hidden
    count, batch, queries, _ = hidden.shape

    def keep_layers(kept: Kept) -> Case:
        left: HiddenCase = replace(_configured(case, "decoder_layers", kept), hidden=hidden[list(kept)])
        return left

    yield Part("images", batch, lambda kept: replace(case, hidden=hidden[:, list(kept)]))
    if "decoder_layers" not in case.configuration.fixed:
        yield Part("decoder layers", count, keep_layers)
    yield Part("queries", queries, lambda kept: replace(case, hidden=hidden[:, :, list(kept)]))
    yield from _numbers(case, "num_classes")


def _feature_parts(case: FeatureCase) -> Iterator[Part]:
    whole = case.features

    def keep(axes: Sequence[int], kept: Kept) -> Case:
        """For each array, the axis of images, rows or columns."""
        of_features, of_padding = axes
        features, positions = (np.take(array, kept, of_features) for array in (whole.features, whole.positions))
        padding = np.take(whole.padding, kept, of_padding)
        left = FeatureMap(features=features, positions=positions, padding=padding, queries=whole.queries)
        return replace(case, features=left, regime=padding_regime(padding))

    yield Part("images", len(whole.features), partial(keep, (0, 0)))
    yield Part("rows", whole.features.shape[2], partial(keep, (2, 1)))
    yield Part("columns", whole.features.shape[3], partial(keep, (3, 2)))
    yield Part(
        "queries",
        len(whole.queries),
        lambda kept: replace(case, features=replace(whole, queries=whole.queries[list(kept)])),
    )
    yield from _numbers(case, "decoder_layers", "num_classes")


def _images_parts(case: ImagesCase) -> Iterator[Part]:
    def keep(kept: Kept) -> Case:
        images = _chosen(case.images, kept)
        regime = sizes_regime(np.array([image.shape[1:] for image in images])) if images else case.regime
        return replace(case, images=images, regime=regime)

    yield Part("images", len(case.images), keep)
    yield from _numbers(case, "decoder_layers", "num_classes")


def _numbers(case: Case, *names: str) -> Iterator[Part]:
    """What the configuration alone counts, as far as the implementation can vary it."""
    for name in names:
        if name not in case.configuration.fixed:
            yield Part(name, getattr(case.configuration, name), partial(_configured, case, name))


def _configured(case: Any, name: str, kept: Kept) -> Any:
    return replace(case, configuration=replace(case.configuration, **{name: len(kept)}))


def _chosen(items: Sequence[Any], kept: Kept) -> tuple[Any, ...]:
    return tuple(items[index] for index in kept)


def _with_one(items: Sequence[Any], index: int, item: Any) -> tuple[Any, ...]:
    """The items with another one at an index."""
    return (*items[:index], item, *items[index + 1 :])


_PARTS: dict[type, Callable[[Any], Iterator[Part]]] = {
    BoxCase: _box_parts,
    CostCase: _cost_parts,
    SetCase: _set_parts,
    RankCase: _rank_parts,
    HiddenCase: _hidden_parts,
    FeatureCase: _feature_parts,
    ImagesCase: _images_parts,
}
