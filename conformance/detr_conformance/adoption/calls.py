"""Calls of an object with a tiny valid batch, in each spelling and with each number of columns that is known."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from detr_conformance.adoption.construction import Construction
from detr_conformance.adoption.losses import place_of_losses
from detr_conformance.adoption.matchers import CALLS, rules_of_answer
from detr_conformance.base.errors import one_line
from detr_conformance.base.tracebacks import raised_at
from detr_conformance.bridges.criteria import spelt_matcher
from detr_spec.configuration import Configuration
from detr_spec.profile import DenoisingRules, DetectionRules, Keys, MatcherRules, Profile
from detr_spec.profiles import PROFILES

Role = Literal["matcher", "criterion", "postprocess"]

LOGITS = ("pred_logits", "logits")
LABELS = ("labels", "class_labels")
AUXILIARY = ("aux_outputs", "auxiliary_outputs")
SPELT = [(name,) for name in (*LOGITS, *LABELS)]
"""What a `KeyError` says that asks for another of these spellings."""

CLASSIFICATION = ("loss_ce", "loss_class", "loss_cls", "loss_label", "loss_labels", "loss_focal", "loss_vfl")
BOX_L1 = ("loss_bbox", "loss_box", "loss_boxes", "loss_l1")
BOX_GIOU = ("loss_giou", "loss_iou")
TEMPLATES = ("{loss}_{layer}", "{loss}_aux_{layer}", "d{layer}.{loss}", "{loss}_aux{layer}")

CLASSES, QUERIES, SIZES, COUNTS = 3, 4, ((10, 20), (30, 40)), (1, 2)
"""The tiny batch: two images of these heights and widths, with one target and two."""


@dataclass(frozen=True)
class Called:
    """What an object turned out to be when it was called: its role, and the dialect that it was called in."""

    role: Role
    profile: Profile
    unread: tuple[str, ...] = ()
    """The losses of the norm that none of the answer's keys is known to be."""


@dataclass(frozen=True)
class NotCalled:
    """Why no call of an object made it a component. place: where in its answer there is a dictionary of losses."""

    why: str
    place: int | None = None


class InAnswer(Exception):
    """The dictionary of losses is in what was answered, at a place."""

    def __init__(self, place: int) -> None:
        super().__init__(f"the dictionary of losses is at place {place} of what it returned")
        self.place = place


def spellings(base: Profile) -> Iterator[Profile]:
    """The profile with each spelling of the keys, DETR's first, with padded targets, whose padding has label 0 or −1,
    and with each call of a matcher with all that it reads."""
    for logits in LOGITS:
        for labels in LABELS:
            yield replace(base, keys=replace(base.keys, logits=logits, labels=labels))
    for padding_label in (0, -1):
        padded = replace(base.targets, layout="padded", padding_label=padding_label)
        for logits in LOGITS:
            for labels in LABELS:
                keys = replace(base.keys, logits=logits, labels=labels)
                yield replace(base, keys=keys, targets=padded, matcher=MatcherRules())
    for layout, arguments in CALLS:
        given = replace(base, targets=replace(base.targets, layout=layout), matcher=MatcherRules())
        if set(arguments) == set(given.matcher_arguments):
            yield replace(given, matcher=MatcherRules(arguments=arguments))


def called(built: Construction, base: Profile) -> Called | NotCalled:
    """What an object is in the dialect of that profile; or, where no call succeeds, why not.

    That is what the first call raised that did not ask for another spelling of a key that is known.
    """
    errors: list[BaseException] = []
    for profile in spellings(base):
        try:
            return _called(built, profile)
        except InAnswer as found:
            return NotCalled(str(found), found.place)
        except (Exception, SystemExit) as error:
            errors.append(error)
    telling = (error for error in errors if not (isinstance(error, KeyError) and error.args[:1] in SPELT))
    why = next(telling, errors[0])
    return NotCalled(one_line(why) if str(why) else f"{one_line(why)} ({raised_at(why)})")


def takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function may be called with two arguments, or as a matcher of tensors."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    for count in (2, *(len(arguments) for _, arguments in CALLS)):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return True
    return False


def configuration_of(profile: Profile, dtype: str = "float32") -> Configuration:
    """The configuration of the tiny batch."""
    return Configuration(profile=profile, num_classes=CLASSES, decoder_layers=2, dtype=dtype)


def _called(built: Construction, profile: Profile) -> Called:
    component = built.built(configuration_of(profile))
    if not callable(component):
        raise TypeError(f"{type(component).__name__} cannot be called")
    try:
        answer = spelt_matcher(component, profile)(outputs_of(profile), targets_of(profile))
    except (Exception, SystemExit):
        # Whatever it is, it takes no targets: the error of that call says most where it takes no sizes either.
        rules = _detection_rules(component, profile)
        if rules is None:
            raise
        return Called("postprocess", replace(profile, detection=rules))
    form = rules_of_answer(answer, COUNTS, QUERIES)
    if form is not None:
        return Called("matcher", replace(profile, matcher=replace(form, arguments=profile.matcher.arguments)))
    if isinstance(answer, Mapping) and not profile.matcher.arguments:
        if profile.targets.layout == "padded":
            _require_same(answer, component(outputs_of(profile), targets_of(profile, padding=3)))
        return _criterion(component, profile, answer)
    place = place_of_losses(answer)
    if place is not None and built.place is None and not profile.matcher.arguments:
        raise InAnswer(place)
    if _is_matching(answer):
        return Called("matcher", profile)
    raise TypeError(f"called with outputs and targets it returned {type(answer).__name__}")


def outputs_of(profile: Profile, layers: Sequence[str] = ()) -> dict[str, Any]:
    """The outputs of the tiny batch; layers: the keys under which there is an auxiliary layer."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(SIZES), QUERIES)

    def layer() -> dict[str, Any]:
        logits = torch.randn(*shape, profile.columns(CLASSES), generator=generator)
        boxes = 0.25 + 0.5 * torch.rand(*shape, 4, generator=generator)
        return {profile.keys.logits: logits.requires_grad_(), str(profile.keys.boxes): boxes.requires_grad_()}

    return layer() | {key: [layer()] for key in layers}


def targets_of(profile: Profile, padding: int = 1) -> Any:
    """The targets of the tiny batch; padding: how much longer than the most objects they are where they are padded."""
    keys = profile.keys
    boxes = torch.tensor([[0.3, 0.4, 0.2, 0.3], [0.6, 0.5, 0.3, 0.2]])
    parts = {keys.labels: (torch.tensor([1]), torch.tensor([2, 0])), keys.target_boxes: (boxes[:1], boxes)}
    if profile.targets.layout == "concatenated":
        return {**{key: torch.cat(part) for key, part in parts.items()}, keys.target_counts: list(COUNTS)}
    if profile.targets.layout == "padded":
        return {
            keys.labels: _padded(parts[keys.labels], profile.targets.padding_label, padding),
            keys.target_boxes: _padded(parts[keys.target_boxes], 0, padding),
            keys.target_valid: _padded([torch.ones(count, dtype=torch.bool) for count in COUNTS], False, padding),
            keys.target_counts: list(COUNTS),
        }
    return [{key: part[image] for key, part in parts.items()} for image in range(len(COUNTS))]


def _require_same(losses: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Raises `ValueError` where padding counts, as losses change with more of it."""
    for name, loss in losses.items():
        if not torch.allclose(torch.as_tensor(loss), torch.as_tensor(others[name])):
            raise ValueError(f"{name} depends on padding")


def _padded(parts: Sequence[Tensor], padding: float, length: int) -> Tensor:
    """The parts of the images as one tensor, by a length longer than the longest."""
    whole = parts[0].new_full((len(parts), length + max(COUNTS), *parts[0].shape[1:]), padding)
    for own, part in zip(whole, parts, strict=True):
        own[: len(part)] = part
    return whole


def _is_matching(answer: Any) -> bool:
    if not isinstance(answer, (list, tuple)) or len(answer) != len(SIZES):
        return False
    lengths = [[len(side) for side in pair] for pair in answer]
    return lengths == [[1, 1], [2, 2]]


def _criterion(component: Callable[..., Any], profile: Profile, answer: Mapping[str, Any]) -> Called:
    """A criterion, with the names of its losses as far as they are known."""
    keys = profile.keys
    names = {
        "classification": next((name for name in CLASSIFICATION if name in answer), None),
        "box_l1": next((name for name in BOX_L1 if name in answer), None),
        "box_giou": next((name for name in BOX_GIOU if name in answer), None),
    }
    found: dict[str, Any] = {field: name for field, name in names.items() if name is not None}
    for field in ("class_error", "cardinality"):
        found[field] = getattr(keys, field) if getattr(keys, field) in answer else None
    keys = replace(keys, **found)
    auxiliary = _auxiliary(component, replace(profile, keys=keys), set(answer))
    return Called(
        "criterion",
        replace(profile, keys=replace(keys, **auxiliary)),
        tuple(field for field, name in names.items() if name is None),
    )


def _auxiliary(component: Callable[..., Any], profile: Profile, main: set[str]) -> dict[str, str]:
    """The key of the auxiliary layers, and the form of their losses' names; nothing where none are seen."""
    for key in AUXILIARY:
        try:
            more = set(component(outputs_of(profile, [key]), targets_of(profile))) - main
        except (Exception, SystemExit):
            continue
        for template in TEMPLATES:
            if template.format(loss=profile.keys.box_l1, layer=0) in more:
                return {"auxiliary": key, "auxiliary_loss": template}
    return {}


def _detection_rules(component: Callable[..., Any], profile: Profile) -> DetectionRules | None:
    """The profile's rules, with what is seen of sizes, threshold and clamping; None for what is no post-processing."""
    heights_first = torch.tensor(SIZES)
    try:
        sure = component(_alike(profile, score=20.0, box=(0.5, 0.5, 1.0, 1.0)), heights_first)
        unsure = component(_alike(profile, score=-20.0, box=(0.5, 0.5, 1.0, 1.0)), heights_first)
        beyond = component(_alike(profile, score=20.0, box=(1.0, 1.0, 1.0, 1.0)), heights_first)
        if not all({"scores", "labels", "boxes"} <= set(image) for image in sure):
            return None
        corner, farther = (answer[0]["boxes"][0].tolist()[2:] for answer in (sure, beyond))
        threshold = len(unsure[0]["boxes"]) == 0
    except (Exception, SystemExit):
        return None
    height, width = SIZES[0]
    return replace(
        profile.detection,
        size_order="width-height" if corner == [height, width] else "height-width",
        threshold=threshold,
        clamp=farther == corner,
    )


def _alike(profile: Profile, score: float, box: Sequence[float]) -> dict[str, Any]:
    """Outputs of which all queries are alike: the logit of the first class, or with softmax its odds, and the box."""
    logits = torch.full((len(SIZES), QUERIES, profile.columns(CLASSES)), -20.0)
    logits[..., 0] = score
    if profile.has_no_object:
        logits[..., -1] = -score
    boxes = torch.tensor(box).expand(len(SIZES), QUERIES, 4).clone()
    return {profile.keys.logits: logits, str(profile.keys.boxes): boxes}


def base_profiles() -> tuple[Profile, ...]:
    """The named profiles that differ, with DETR's spelling of every key.

    Without those of targets in another form, and of labels that name phrases.
    """
    found: dict[Profile, Profile] = {}
    for profile in PROFILES.values():
        rules = profile.targets
        plain = rules.units == "relative" and rules.layout != "padded"
        if profile.has_boxes and plain and profile.labels == "columns":
            spelt = replace(profile, keys=Keys())
            # What stands apart is not tried, and distinguishes nothing here.
            found.setdefault(replace(spelt, name="", summary="", denoising=DenoisingRules()), spelt)
    return tuple(found.values())


def dtypes_of(built: Construction, found: Called) -> tuple[str, ...]:
    """The dtypes of float32 and float64 in which the object can be called."""

    def works(dtype: str) -> bool:
        component = built.built(configuration_of(found.profile))
        kind = getattr(torch, dtype)
        if isinstance(component, torch.nn.Module):
            component.to(kind)
        outputs = {key: value.detach().to(kind) for key, value in outputs_of(found.profile).items()}
        targets = _in_dtype(targets_of(found.profile), kind)
        try:
            if found.role == "postprocess":
                component(outputs, torch.tensor(SIZES))
            else:
                spelt_matcher(component, found.profile)(outputs, targets)
        except (Exception, SystemExit):
            return False
        return True

    return tuple(dtype for dtype in ("float32", "float64") if works(dtype))


def _in_dtype(value: Any, kind: torch.dtype) -> Any:
    """Dictionaries, lists and tensors with floating-point numbers in a dtype."""
    if isinstance(value, dict):
        return {key: _in_dtype(part, kind) for key, part in value.items()}
    if isinstance(value, list):
        return [_in_dtype(part, kind) for part in value]
    return value.to(kind) if isinstance(value, Tensor) and value.is_floating_point() else value
