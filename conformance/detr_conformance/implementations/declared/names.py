"""Outputs, targets and losses under the names of a profile, and under those of the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from detr_reference.batch import Pairs, Targets, matched_targets
from detr_spec.configuration import Configuration, replace
from detr_spec.losses import METRICS
from detr_spec.profile import Keys, MatchingScope, Profile

OWN = Keys(box_centre="loss_xy", box_size="loss_hw")
"""The names of the reference, and those of what others report beside."""

TEXT = (OWN.phrases, OWN.tokens)
"""The keys of the texts of images, where labels name phrases of them."""

UNIT = "unit"
"""The key of (W, H, W, H) in which overlaps of an image's boxes are measured, of ones where they are relative."""

BOXES = "boxes"
"""The key of boxes of targets."""

OUTPUTS = ("logits", "boxes", "masks", "edges", "references")
PHRASED = (*OUTPUTS, "phrases", "tokens")
TARGETS = ("labels", "target_boxes", "target_masks")
META = ("denoising_groups", "denoising_queries", "denoising_positives")
OTHER_PREDICTIONS = ("encoder", "initial", "denoising", "initial_denoising")
"""Predictions beside those of the decoder's layers, and the suffixes of their losses here."""


def renamed(values: Mapping[str, Any], names: Iterable[str], old: Keys, new: Keys) -> dict[str, Any]:
    """The values of those fields of `Keys`, as far as they are there, from the one spelling to the other."""
    keys = {getattr(old, name): getattr(new, name) for name in names}
    return {keys[key]: value for key, value in values.items() if key in keys}


def outputs_of_reference(outputs: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """Outputs under the reference's names, with lists of auxiliary, encoder and denoising outputs."""
    old, turn = profile.keys, -columns_before(profile)
    names = OUTPUTS if profile.labels == "columns" else PHRASED

    def own(layer: Mapping[str, Any]) -> dict[str, Any]:
        found = respelt(layer, old, OWN, turn, names)
        return reordered(found if old.boxes else _with_whole_images(found), profile, OWN)

    found = own(outputs)
    if old.encoder_loss is not None:
        found[OWN.encoder] = [own(layer) for layer in _encoder(outputs, old)]
    if old.initial_loss is not None and old.initial in outputs:
        found[OWN.initial] = own(outputs[old.initial])
    if old.initial_denoising_loss is not None and old.initial_denoising in outputs:
        found[OWN.initial_denoising] = own(outputs[old.initial_denoising])
    if old.denoising_loss is not None:
        layers, meta = _denoising(outputs, profile)
        found[OWN.denoising] = [own(layer) for layer in layers]
        found[OWN.denoising_meta] = meta and renamed(meta, META, old, OWN)
    return found


def targets_of_reference(targets: Any, profile: Profile) -> list[dict[str, Tensor]]:
    """Targets under the reference's names, with labels from 0 and boxes cxcywh, relative to the image."""
    return [_target_of_reference(target, profile) for target in listed_targets(targets, profile)]


def listed_targets(targets: Any, profile: Profile) -> list[dict[str, Tensor]]:
    """Targets with a dictionary for each image, without padding."""
    keys, layout = profile.keys, profile.targets.layout
    if layout == "listed":
        return list(targets)
    counts = counts_of(targets, profile)
    of_images = [key for key in (keys.target_size,) if key in targets]
    parts = {getattr(keys, name): targets[getattr(keys, name)] for name in TARGETS if getattr(keys, name) in targets}
    split = {
        key: part.split(counts)
        if layout == "concatenated"
        else [own[:count] for own, count in zip(part, counts, strict=True)]
        for key, part in parts.items()
    }
    split |= {key: list(targets[key]) for key in of_images}
    return [{key: part[image] for key, part in split.items()} for image in range(len(counts))]


def counts_of(targets: Any, profile: Profile) -> list[int]:
    """The number of objects of each image."""
    keys = profile.keys
    if profile.targets.layout == "listed":
        return [len(target[keys.labels]) for target in targets]
    rules = profile.targets
    if rules.layout == "padded" and rules.padding_label < rules.first_label and profile.label_beyond_range != "refuse":
        return list((targets[keys.labels] != rules.padding_label).sum(dim=1).tolist())
    if rules.layout == "padded" and "target_counts" not in profile.matcher.arguments:
        return list(targets[keys.target_valid].sum(dim=1).tolist())
    return list(targets[keys.target_counts])


def with_labels(targets: Any, labels: Sequence[Tensor], profile: Profile) -> Any:
    """The targets of a dialect with other labels, from 0 and without those of padding."""
    key, rules = profile.keys.labels, profile.targets
    own = [part.to(getattr(torch, rules.label_dtype)) + rules.first_label for part in labels]
    if rules.layout == "listed":
        return [{**target, key: part} for target, part in zip(targets, own, strict=True)]
    if rules.layout == "concatenated":
        return {**targets, key: torch.cat(own)}
    padded = targets[key].clone()
    for row, part in zip(padded, own, strict=True):
        row[: len(part)] = part
    return {**targets, key: padded}


def _target_of_reference(target: Mapping[str, Tensor], profile: Profile) -> dict[str, Tensor]:
    rules, found = profile.targets, renamed(target, TARGETS, profile.keys, OWN)
    labels = found[OWN.labels]
    if labels.dtype != getattr(torch, rules.label_dtype):
        raise ValueError(f"labels are {labels.dtype}; expected {rules.label_dtype}")
    if profile.keys.target_boxes is None:
        boxes = whole_images(labels.shape, torch.get_default_dtype(), labels.device)
        return {**found, OWN.labels: labels.long() - rules.first_label, BOXES: boxes, UNIT: boxes.new_ones(4)}
    boxes = in_order(found[BOXES], profile)
    unit = boxes.new_ones(4)
    if rules.units == "pixels":
        pixels = target[profile.keys.target_size].flip(0).repeat(2)
        boxes = boxes / pixels
        unit = pixels.to(boxes) if profile.boxes.units == "pixels" else unit
    if rules.box_format == "xywh":
        boxes = torch.cat([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], dim=1)
    if rules.box_format == "xyxy":
        boxes = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
    return {**found, OWN.labels: labels.long() - rules.first_label, BOXES: boxes, UNIT: unit}


def whole_images(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Boxes as large as their images, [*shape, 4], cxcywh: they stand where a dialect has none, and decide nothing."""
    return torch.tensor([0.5, 0.5, 1.0, 1.0], dtype=dtype, device=device).expand(*shape, 4)


def _with_whole_images(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of all layers, with boxes."""
    logits = outputs[OWN.logits]
    found = {**outputs, str(OWN.boxes): whole_images(logits.shape[:2], logits.dtype, logits.device)}
    if OWN.auxiliary in outputs:
        found[OWN.auxiliary] = [_with_whole_images(layer) for layer in outputs[OWN.auxiliary]]
    return found


def units_of(targets: Targets, pairs: Pairs) -> Tensor:
    """What the overlap of each pair is measured in, (W, H, W, H) of its image; [M, 4]."""
    return matched_targets([target[UNIT].expand(len(target["labels"]), 4) for target in targets], pairs)


def columns_before(profile: Profile) -> int:
    """How many logit columns stand before that of the first class."""
    return int(profile.no_object == "first" and profile.has_no_object)


def in_order(boxes: Tensor, profile: Profile) -> Tensor:
    """Boxes in the profile's order of coordinates, or back from it; [..., 4]."""
    return boxes if profile.coordinate_order == "x-first" else boxes[..., [1, 0, 3, 2]]


def reordered(outputs: Mapping[str, Any], profile: Profile, keys: Keys) -> dict[str, Any]:
    """Outputs under some names, in the profile's order of coordinates, or back from it."""
    found = dict(outputs)
    for key in (keys.boxes, keys.references):
        if key in found:
            found[key] = in_order(found[key], profile)
    if keys.edges in found:
        by_edge = found[keys.edges].unflatten(-1, (4, -1)).transpose(-1, -2)
        found[keys.edges] = in_order(by_edge, profile).transpose(-1, -2).flatten(-2)
    if keys.auxiliary in found:
        found[keys.auxiliary] = [reordered(layer, profile, keys) for layer in found[keys.auxiliary]]
    return found


def respelt(
    outputs: Mapping[str, Any], old: Keys, new: Keys, turn: int = 0, names: Sequence[str] = PHRASED
) -> dict[str, Any]:
    """Those outputs of the decoder under other names, whose logit columns are turned by some places."""
    found = renamed(outputs, names, old, new)
    if turn:
        found[new.logits] = found[new.logits].roll(turn, dims=-1)
    if old.auxiliary in outputs:
        found[new.auxiliary] = [respelt(layer, old, new, turn, names) for layer in outputs[old.auxiliary]]
    return found


def _encoder(outputs: Mapping[str, Any], keys: Keys) -> list[Mapping[str, Any]]:
    """The predictions of the encoder."""
    given = outputs.get(keys.encoder, [])
    earlier = [] if keys.encoder_auxiliary_loss is None else outputs.get(keys.encoder_auxiliary, [])
    return list(given) if keys.lists_encoder else [*earlier, given] if given else []


def _denoising(
    outputs: Mapping[str, Any], profile: Profile
) -> tuple[list[Mapping[str, Any]], Mapping[str, Any] | None]:
    """The predictions of denoising queries in each layer, the last one last, and their meta data."""
    keys, layout = profile.keys, profile.denoising.layout
    meta = outputs.get(keys.denoising_meta)
    if meta is None:
        return [], None
    given = (meta if layout == "within-meta" else outputs)[keys.denoising]
    return list(given) if layout == "listed" else [*given.get(keys.auxiliary, ()), given], meta


def without_columns(outputs: Mapping[str, Any], start: int, count: int) -> dict[str, Any]:
    """Outputs of the reference without some logit columns, in every layer."""
    kept = [column for column in range(outputs[OWN.logits].shape[-1]) if not start <= column < start + count]
    layers = {OWN.auxiliary: [without_columns(layer, start, count) for layer in outputs.get(OWN.auxiliary, ())]}
    return {**outputs, OWN.logits: outputs[OWN.logits][..., kept], **(layers if OWN.auxiliary in outputs else {})}


def with_known_labels(
    targets: Sequence[Mapping[str, Tensor]], count: int, phrases: Sequence[Tensor] = ()
) -> list[dict[str, Tensor]]:
    """Targets of the reference with labels below a count, or the phrases of an image: what a profile may leave open."""
    counts = [*map(len, phrases), *[count] * len(targets)]
    return [
        {**target, OWN.labels: target[OWN.labels].clamp(0, own - 1)}
        for target, own in zip(targets, counts, strict=False)
    ]


def declared_outputs(outputs: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """What a model of the reference gives, under the profile's names."""
    return reordered(respelt(outputs, OWN, profile.keys, columns_before(profile)), profile, profile.keys)


def further_outputs(outputs: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """The predictions of further queries, under the names that those of the decoder's queries have."""
    found = {own: outputs[key] for own, key in keys.one_to_many_outputs.items() if key in outputs}
    texts = {key: outputs[key] for key in (keys.phrases, keys.tokens) if key in outputs}
    return {**found, **texts} if found else {}


def of_further_queries(configuration: Configuration) -> Configuration:
    """What the criterion of further queries is built to: that of a decoder alone, whose targets are repeated."""
    profile = configuration.profile
    apart = (
        *("encoder_auxiliary_loss", "encoder_loss", "initial_loss", "one_to_many_loss"),
        *("initial_denoising_loss", "denoising_auxiliary_loss", "denoising_loss"),
    )
    nothing: dict[str, Any] = dict.fromkeys(apart)
    own = replace(
        profile,
        matching=MatchingScope(repeats=profile.one_to_many_repeats),
        keys=replace(profile.keys, **nothing),
        losses=replace(profile.losses, extra=()),
    )
    return replace(configuration, profile=own, masks=configuration.masks and profile.matches_masks, edges=False)


def declared_losses(
    losses: Mapping[str, Tensor], configuration: Configuration, auxiliary_layers: int
) -> dict[str, Tensor]:
    """The losses of the reference as the profile reports them: under its names, weighted, summed or averaged."""
    keys, rules = configuration.profile.keys, configuration.profile.losses
    found: dict[str, Tensor] = {}
    every: list[Tensor] = []
    for name, weight in (configuration.term_weights | dict.fromkeys(METRICS, 0.0)).items():
        own, declared = getattr(OWN, name, name), getattr(keys, name, name)
        if declared is None:
            continue
        parts: dict[str, list[Tensor]] = {}
        for key, loss in _named(losses, own, declared, keys, auxiliary_layers, name in METRICS):
            parts.setdefault(key, []).append(loss)
        factor = weight if rules.weighted and name not in METRICS else 1.0
        for key, together in parts.items():
            whole = torch.stack(together)
            found[key] = factor * (whole.sum() if rules.shared == "sum" else whole.mean())
        if name not in METRICS:
            every += [found[key] if rules.weighted else weight * found[key] for key in parts]
    if keys.total is not None:
        found[keys.total] = torch.stack(every).sum()
    return found | {pattern.replace("*", "1"): torch.zeros(()) for pattern in rules.extra}


def _named(
    losses: Mapping[str, Tensor], own: str, declared: str, keys: Keys, auxiliary_layers: int, is_metric: bool
) -> Iterator[tuple[str, Tensor]]:
    """The losses of one term, or a metric, of all predictions, each with the name that the profile has for it."""
    encoder, initial, denoising, first = (_numbered(losses, f"{own}_{part}") for part in OTHER_PREDICTIONS)
    if own in losses:
        yield declared, losses[own]
    for loss in initial:
        yield str(keys.initial_loss).format(loss=declared), loss
    for loss in denoising[-1:]:
        yield str(keys.denoising_loss).format(loss=declared, layer=auxiliary_layers), loss
    for loss in first:
        yield str(keys.initial_denoising_loss).format(loss=declared), loss
    for number, loss in enumerate(encoder):
        is_earlier = keys.encoder_auxiliary_loss is not None and number < len(encoder) - 1
        template = keys.encoder_auxiliary_loss if is_earlier else keys.encoder_loss
        yield str(template).format(loss=declared, number=number, layer=auxiliary_layers + number), loss
    earlier = (keys.auxiliary_loss, _numbered(losses, own)), (str(keys.denoising_auxiliary_loss), denoising[:-1])
    for template, several in earlier:
        # Layers that share one loss have no metrics of their own.
        for layer, loss in enumerate([] if is_metric and "{layer}" not in template else several):
            yield template.format(loss=declared, layer=layer), loss


def _numbered(losses: Mapping[str, Tensor], name: str) -> list[Tensor]:
    """The losses whose names are this one with a number, from 0 on."""
    return [losses[key] for number in range(len(losses)) if (key := f"{name}_{number}") in losses]
