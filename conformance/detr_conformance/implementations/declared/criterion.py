"""The criterion that a profile declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

import detr_reference as reference
from detr_conformance.bridges.criteria import matchings
from detr_conformance.bridges.torch_framework import TORCH
from detr_conformance.implementations.declared.boxes import Overlaps
from detr_conformance.implementations.declared.classes import QUALITY_LOSSES, counted_logits, positive_logits
from detr_conformance.implementations.declared.distributions import distillation, edge_loss, queries_counted
from detr_conformance.implementations.declared.masks import MASK_LOSSES, compared_in_losses
from detr_conformance.implementations.declared.matcher import DeclaredMatcher
from detr_conformance.implementations.declared.names import (
    OWN,
    TEXT,
    declared_losses,
    declared_outputs,
    further_outputs,
    of_further_queries,
    outputs_of_reference,
    targets_of_reference,
    units_of,
    with_known_labels,
    with_labels,
    without_columns,
)
from detr_conformance.testee.detr_testee import matcher_arguments
from detr_reference.batch import (
    Outputs,
    Pairs,
    Targets,
    check_masks,
    check_output_values,
    matched_queries,
    matched_targets,
)
from detr_reference.boxes import upcast_half
from detr_reference.criterion import Matcher, SetPredictionCriterion, average_num_boxes
from detr_reference.dialects.grounding_dino import check_texts
from detr_reference.masks import pad_masks
from detr_spec.configuration import Configuration, replace
from detr_spec.losses import METRICS
from detr_spec.profile import FurtherLoss
from detr_spec.terms import (
    BoxCiou,
    BoxCiouThroughWeight,
    BoxDiou,
    BoxGiou,
    BoxL1,
    ClampedCrossEntropy,
    ClassesNotJudged,
    ClassTerm,
    ClassWeightedCrossEntropy,
    CornerL1,
    CrossEntropy,
    DistributionDistillation,
    EdgeTerm,
    Focal,
    FocalOverPairs,
    MaskTerm,
    SoftmaxFocal,
    Term,
)

Kind = TypeVar("Kind", bound=Term)


class DeclaredCriterion(nn.Module):
    """Takes outputs and targets, and gives losses, under the profile's names; so does its matcher."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        self.profile, self.keys = configuration.profile, configuration.profile.keys
        self.matcher = DeclaredMatcher(configuration)
        self.weight_dict = configuration.weight_dict
        self.criterion = self._criterion(configuration)
        has_further = configuration.profile.keys.one_to_many_loss is not None
        self.further = DeclaredCriterion(of_further_queries(configuration)) if has_further else None

    def forward(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """The losses and metrics that the profile reports, 0-dimensional."""
        given = outputs_of_reference(outputs, self.profile)
        if self.profile.target_count == "unchecked" and self.profile.targets.layout == "listed":
            labels = torch.zeros(0, dtype=getattr(torch, self.profile.targets.label_dtype))
            nothing = {self.keys.labels: labels, str(self.keys.target_boxes): torch.zeros(0, 4)}
            nothing |= {self.keys.target_masks: torch.zeros(0, 1, 1)} if self.configuration.masks else {}
            size = {self.keys.target_size: torch.ones(2)} if self.profile.targets.units == "pixels" else {}
            images = len(given["pred_logits"])
            targets = [*targets, *[nothing | size] * images][:images]
        self._given = targets
        truth = targets_of_reference(targets, self.profile)
        if self.profile.label_beyond_range == "unchecked":
            truth = with_known_labels(truth, self.criterion.num_classes, given.get(OWN.phrases, ()))
        classes, surplus = self.configuration.num_classes, given[OWN.logits].shape[-1] - self.configuration.columns
        criterion = self.criterion
        if surplus > 0 and self.profile.surplus_columns == "ignored":
            given = without_columns(given, classes, surplus)
        elif surplus > 0 and self.profile.surplus_columns != "refuse":
            whole = replace(self.configuration, num_classes=classes + surplus)
            criterion = self._criterion(whole).train(self.training)
        losses = criterion(given, truth)
        found = declared_losses(losses, self.configuration, len(given.get(OWN.auxiliary, ())))
        absent = self.profile.one_to_many_evaluation == "absent" and not self.training
        further = {} if absent else further_outputs(outputs, self.keys)
        return found | self._of_further_queries(further, targets, found) if further else found

    def _of_further_queries(self, outputs: Any, targets: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of further queries, as those of another criterion, and the total with them."""
        if self.further is None:
            return {}
        total, weight = self.keys.total, self.configuration.one_to_many_weight
        losses = {key: weight * loss for key, loss in self.further(outputs, targets).items()}
        named = {str(self.keys.one_to_many_loss).format(loss=key): loss for key, loss in losses.items() if key != total}
        return named if total is None else {**named, total: found[total] + losses[total]}

    def _criterion(self, configuration: Configuration) -> DeclaredLosses:
        return CRITERIA[type(configuration.class_loss)](configuration, self._match)

    def _match(self, outputs: Outputs, targets: Targets) -> Pairs:
        """The pairs that the matcher answers, which is called and answers as the profile says."""
        profile, labels = self.profile, [target[OWN.labels] for target in targets]
        given = declared_outputs(outputs, profile), with_labels(self._given, labels, profile)
        answer = self.matcher(*matcher_arguments(*given, profile.keys, profile.matcher))
        found, _ = matchings("the matcher", answer, list(map(len, labels)), profile.matcher, TORCH)
        return [(torch.tensor(own.queries).long(), torch.tensor(own.targets).long()) for own in found]


class DeclaredLosses(SetPredictionCriterion):
    """What a profile may declare of the reference's criteria, which come after it in the order of inheritance."""

    configuration: Configuration
    _union: Pairs | None = None
    _teacher: Outputs | None = None
    _counts: tuple[int, int] | None = None

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The losses of the decoder's layers, and those that the profile has of predictions apart."""
        self._union, self._teacher, self._counts = self._pairs_of_all_layers(outputs, targets), outputs, None
        losses = super().forward(outputs, targets)
        if "masks" in self.losses:
            losses |= self._mask_losses(
                outputs, targets, self._match(outputs, targets), self.num_boxes(outputs, targets)
            )
        if self.configuration.profile.matching.box_pairs != "all-predictions":
            self._union = None
        for number, layer in enumerate(outputs.get(OWN.encoder, ())):
            losses |= _with_suffix(self._encoder_losses(layer, targets), f"encoder_{number}")
        if OWN.initial in outputs:
            losses |= _with_suffix(self._initial_losses(outputs[OWN.initial], targets), "initial_0")
        self._union = None
        if OWN.denoising in outputs:
            losses |= self._of_denoising(self._given_denoising(outputs), targets)
        return losses

    def _encoder_losses(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The losses of the encoder's own predictions, matched like a layer's."""
        return self._matched_losses(outputs, self._encoder_targets(targets))

    def _initial_losses(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The losses of initial predictions."""
        return self._matched_losses(outputs, targets)

    def _encoder_targets(self, targets: Targets) -> Targets:
        if self.configuration.profile.encoder_labels == "classes":
            return targets
        return [{**target, "labels": torch.zeros_like(target["labels"])} for target in targets]

    def _matched_losses(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The losses of predictions apart that are matched."""
        pairs = self._match(outputs, targets)
        return self._layer_losses(outputs, targets, pairs, self.num_boxes(outputs, targets))

    def _given_denoising(self, outputs: Outputs) -> Outputs:
        """The outputs, without denoising queries in evaluation where these are absent then."""
        absent = self.configuration.profile.denoising.evaluation == "absent" and not self.training
        return {**outputs, OWN.denoising: [], OWN.denoising_meta: None} if absent else outputs

    def _of_denoising(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The losses of denoising queries in every layer; without them zeros, where the profile declares these."""
        meta = outputs[OWN.denoising_meta]
        counted = self._denoising_boxes(outputs, targets, 0 if meta is None else meta[OWN.denoising_groups])
        if meta is None:
            return self._zeros(outputs)
        pairs = [
            (queries, torch.arange(len(target["labels"])).repeat(meta[OWN.denoising_groups]))
            for queries, target in zip(meta[OWN.denoising_positives], targets, strict=True)
        ]
        found: dict[str, Tensor] = {}
        self._teacher = outputs[OWN.denoising][-1]
        for number, layer in enumerate(outputs[OWN.denoising]):
            if layer["pred_logits"].shape[1] != meta[OWN.denoising_queries]:
                raise ValueError(f"the meta data say {meta[OWN.denoising_queries]} denoising queries")
            found |= _with_suffix(self._denoising_losses(layer, targets, pairs, counted), f"denoising_{number}")
        if OWN.initial_denoising in outputs:
            initial = self._denoising_losses(outputs[OWN.initial_denoising], targets, pairs, counted)
            found |= _with_suffix(initial, "initial_denoising_0")
        return found

    def _denoising_losses(
        self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float
    ) -> dict[str, Tensor]:
        """The losses of one layer's denoising queries, which have their targets already."""
        return self._layer_losses(outputs, targets, pairs, num_boxes)

    def _denoising_boxes(self, outputs: Outputs, targets: Targets, groups: int) -> float:
        """What the losses of denoising queries are divided by; also asked where there are none, as ranks wait."""
        labels, rule = [target["labels"] for target in targets], self.configuration.profile.denoising.denominator
        if rule == "all-groups":
            return self._average([own.repeat(groups) for own in labels], outputs)
        return self._average(labels, outputs) * (groups if rule == "each-group" else 1)

    def _zeros(self, outputs: Outputs) -> dict[str, Tensor]:
        """What is reported without denoising queries; other ranks may have some, and wait for their weight."""
        profile = self.configuration.profile
        earlier = len(outputs.get(OWN.auxiliary, ())) if profile.keys.denoising_auxiliary_loss is not None else 0
        has_initial = profile.keys.initial_denoising_loss is not None
        if profile.rank_reduction == "sum" and profile.has_no_object:
            for _ in range(earlier + 1 + has_initial):
                sum_of_ranks(outputs["pred_logits"].new_zeros(()))
        if profile.denoising.absent == "nothing":
            return {}
        reported = [name for name in (*self.configuration.apart, *METRICS) if name != "class_error"]
        zero = outputs["pred_logits"].new_zeros(())
        found = {
            f"{getattr(OWN, name, name)}_denoising_{layer}": zero for name in reported for layer in range(earlier + 1)
        }
        edges = self.configuration.moving("edges")
        first = [name for name in reported if has_initial and name not in edges]
        return found | {f"{getattr(OWN, name, name)}_initial_denoising_0": zero for name in first}

    def _check(self, outputs: Outputs, auxiliary: Sequence[Outputs], targets: Targets) -> None:
        if self.configuration.profile.labels == "columns":
            super()._check(outputs, auxiliary, targets)
            return
        for layer in (outputs, *auxiliary):
            check_texts(layer, targets)
            check_output_values(layer)
        if "masks" in self.losses:
            check_masks(outputs, targets)

    def _class_error(self, outputs: Outputs, targets: Targets, pairs: Pairs) -> Tensor:
        where = matched_queries(pairs)
        positive, logits = positive_logits(outputs, targets, pairs)[where], outputs["pred_logits"][where]
        right = positive.gather(1, logits.argmax(dim=1, keepdim=True))
        return 100 - 100 * right.to(logits.dtype).sum() / max(len(right), 1)

    def num_boxes(self, outputs: Outputs, targets: Targets) -> float:
        """The number of targets, or of matches, of this rank or as the mean over the ranks; at least 1."""
        labels = [target["labels"] for target in targets]
        scope = self.configuration.profile.matching
        groups = scope.groups if self.training else 1
        if self.configuration.profile.denominator == "matches":
            size = outputs["pred_logits"].shape[1] // groups
            labels = [own.repeat(scope.repeats)[:size].repeat(groups) for own in labels]
        else:
            counted = groups if scope.group_losses == "mean" else 1
            labels = [own.repeat(scope.repeats * counted) for own in labels]
        return self._average(labels, outputs)

    def _average(self, counted: list[Tensor], outputs: Outputs) -> float:
        rule, device = self.configuration.profile.rank_reduction, outputs["pred_logits"].device
        if rule == "local":
            return float(max(sum(map(len, counted)), 1))
        if rule == "sum":
            return max(sum_of_ranks(torch.tensor(float(sum(map(len, counted))), device=device)).item(), 1.0)
        return average_num_boxes([{"labels": own} for own in counted], device)

    def _pairs_of_all_layers(self, outputs: Outputs, targets: Targets) -> Pairs | None:
        """The target that each query has in most layers, where the losses of boxes are under these pairs."""
        box_pairs = self.configuration.profile.matching.box_pairs
        if box_pairs == "layer":
            return None
        layers = [self._match(layer, targets) for layer in (*outputs.get(OWN.auxiliary, ()), outputs)]
        if box_pairs == "all-predictions":
            encoder = self._encoder_targets(targets)
            layers += [self._match(layer, encoder) for layer in outputs.get(OWN.encoder, ())]
            layers += [self._match(outputs[OWN.initial], targets)] if OWN.initial in outputs else []
        return [_most_frequent([layer[image] for layer in layers]) for image in range(len(targets))]

    def detected(self, logits: Tensor) -> Tensor:
        """Which queries, bool [B, Q], count as objects for the cardinality error."""
        if self.configuration.profile.cardinality == "score-above-half":
            return (logits.sigmoid() > 0.5).any(dim=-1)
        return logits.argmax(dim=-1) != logits.shape[-1] - 1

    def _match(self, outputs: Outputs, targets: Targets) -> Pairs:
        names = [name for name in ("pred_logits", "pred_boxes", "pred_masks") if name in outputs]
        predictions = {name: upcast_half(outputs[name]) for name in names}
        return self.matcher(predictions | {key: outputs[key] for key in TEXT if key in outputs}, targets)

    def _layer_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        losses, configuration = super()._layer_losses(outputs, targets, pairs, num_boxes), self.configuration
        if "masks" in self.losses and configuration.profile.masks.layers == "every":
            losses |= self._mask_losses(outputs, targets, pairs, num_boxes)
        if "boxes" in self.losses:
            if self._union is not None:
                pairs, num_boxes = self._union, self._average([queries for queries, _ in self._union], outputs)
            predicted = outputs["pred_boxes"][matched_queries(pairs)]
            truth = matched_targets([target["boxes"] for target in targets], pairs)
            unit = units_of(targets, pairs)
            terms: dict[str, Term] = {"loss_bbox": configuration.box_loss, "loss_giou": configuration.overlap_loss}
            for further in configuration.profile.further_losses:
                if not isinstance(further.term, EdgeTerm):
                    terms[further.key] = further.term
                elif OWN.edges in outputs and not isinstance(further.term, DistributionDistillation):
                    whole = edge_loss(further, outputs, targets, pairs, configuration.profile.boxes)
                    losses[further.key] = whole / num_boxes
            if OWN.edges in outputs:
                losses |= self._distillation(outputs, targets, pairs)
            for key, term in _judged(terms):
                losses[key] = BOX_LOSSES[type(term)](configuration, predicted, truth, unit).sum() / num_boxes
            distances = (predicted - truth).detach().abs()
            losses |= {"loss_xy": distances[:, :2].sum() / num_boxes, "loss_hw": distances[:, 2:].sum() / num_boxes}
        return losses

    def _distilled(self) -> list[FurtherLoss]:
        """The further losses by which earlier layers learn from the last."""
        every = self.configuration.profile.further_losses
        return [further for further in every if isinstance(further.term, DistributionDistillation)]

    def _distillation(self, outputs: Outputs, targets: Targets, pairs: Pairs) -> dict[str, Tensor]:
        """What a layer loses to its teacher; nothing in the decoder's last layer, which is the first to be asked."""
        first, self._counts = self._counts is None, self._counts or queries_counted(outputs, pairs)
        if first or self._teacher is None:
            return {}
        given = outputs, self._teacher, targets, pairs, self._counts, self.configuration.profile.boxes
        return {further.key: distillation(further, *given) for further in self._distilled()}

    def _mask_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        """The losses of masks of some predictions."""
        configuration = self.configuration
        truth = matched_targets(pad_masks([target["masks"] for target in targets]), pairs)
        images, queries = matched_queries(pairs)
        own_sizes = [tuple(targets[image]["masks"].shape[1:]) for image in images.tolist()]
        compared = compared_in_losses(configuration, outputs["pred_masks"][images, queries], truth, own_sizes)
        terms: dict[str, MaskTerm] = {"loss_mask": configuration.mask_loss, "loss_dice": configuration.dice_loss}
        return {
            key: torch.cat([MASK_LOSSES[type(term)](*part, *term.numbers.values()) for part in compared]).sum()
            / num_boxes
            for key, term in _judged(terms)
        }


def sum_of_ranks(share: Tensor) -> Tensor:
    """The sum of a number over the ranks, without a gradient; [] → []."""
    whole = share.detach().clone()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(whole)
    return whole


def _judged(terms: Mapping[str, Kind]) -> list[tuple[str, Kind]]:
    return [(key, term) for key, term in terms.items() if term.is_judged]


def _most_frequent(pairs: Pairs) -> tuple[Tensor, Tensor]:
    found: dict[int, list[int]] = {}
    for queries, objects in pairs:
        for query, target in zip(queries.tolist(), objects.tolist(), strict=True):
            found.setdefault(query, []).append(target)
    chosen = {query: max(own, key=own.count) for query, own in found.items()}
    return torch.tensor([*chosen], dtype=torch.int64), torch.tensor([*chosen.values()], dtype=torch.int64)


def _corner_distance(_: Configuration, predicted: Tensor, truth: Tensor, __: Tensor) -> Tensor:
    return (reference.box_cxcywh_to_xyxy(predicted) - reference.box_cxcywh_to_xyxy(truth)).abs()


def _without(overlap: Callable[..., Callable[[Tensor, Tensor], Tensor]]) -> Callable[..., Tensor]:
    """1 less an overlap of boxes; overlap: gives it for the overlaps of a profile."""

    def loss(configuration: Configuration, predicted: Tensor, truth: Tensor, unit: Tensor) -> Tensor:
        boxes = (reference.box_cxcywh_to_xyxy(own) * unit for own in (predicted, truth))
        return 1 - overlap(Overlaps(configuration.profile.boxes))(*boxes)

    return loss


BOX_LOSSES: dict[type[Term], Callable[[Configuration, Tensor, Tensor, Tensor], Tensor]] = {
    BoxL1: lambda _, predicted, truth, __: (predicted - truth).abs(),
    CornerL1: _corner_distance,
    BoxGiou: _without(lambda overlaps: overlaps.elementwise_giou),
    BoxDiou: _without(lambda overlaps: overlaps.diou),
    BoxCiou: _without(lambda overlaps: overlaps.ciou),
    BoxCiouThroughWeight: _without(lambda overlaps: partial(overlaps.ciou, weight_moves=True)),
}
"""What answers for each loss of boxes that can be declared."""


def _with_suffix(losses: dict[str, Tensor], suffix: str) -> dict[str, Tensor]:
    return {f"{name}_{suffix}": loss for name, loss in losses.items()}


class DeclaredSetCriterion(DeclaredLosses, reference.SetCriterion):
    """Softmax with a no-object class."""

    def __init__(self, configuration: Configuration, matcher: Matcher) -> None:
        given = configuration.num_classes, matcher, configuration.weight_dict
        reference.SetCriterion.__init__(
            self, *given, configuration.class_loss.numbers["eos_coef"], configuration.losses
        )
        self.configuration = configuration

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        """The cross-entropy with the weights of the classes, or the focal loss, []."""
        if isinstance(self.configuration.class_loss, SoftmaxFocal):
            return self._focal(logits, query_classes) / num_boxes
        weights = logits.new_tensor([*self.configuration.class_weights, self.eos_coef])
        mean, share = reference.weighted_cross_entropy(logits, query_classes, weights), weights[query_classes].sum()
        whole = sum_of_ranks(share) if self.configuration.profile.rank_reduction == "sum" else share
        if isinstance(self.configuration.class_loss, ClampedCrossEntropy):
            whole = whole.clamp(min=1)
        return mean * share / whole if share > 0 or whole == 0 else 0 * logits.sum()

    def _focal(self, logits: Tensor, query_classes: Tensor) -> Tensor:
        """The sum of focal losses of a softmax, []."""
        log_p = logits.log_softmax(dim=-1).gather(-1, query_classes[..., None])[..., 0]
        weights = torch.where(query_classes == self.num_classes, self.eos_coef, 1.0)
        return (weights * (1 - log_p.exp()) ** self.configuration.class_loss.numbers["gamma"] * -log_p).sum()


class DeclaredFocalCriterion(DeclaredLosses, reference.FocalSetCriterion):
    """Sigmoids."""

    def __init__(self, configuration: Configuration, matcher: Matcher) -> None:
        given = configuration.num_classes, matcher, configuration.weight_dict, configuration.losses
        reference.FocalSetCriterion.__init__(self, *given, *configuration.class_loss.numbers.values())
        self.configuration = configuration

    def _classification(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> Tensor:
        if isinstance(self.configuration.class_loss, FocalOverPairs):
            num_boxes = max(sum(len(queries) for queries, _ in pairs), 1)
        if OWN.phrases not in outputs:
            return super()._classification(outputs, targets, pairs, num_boxes)
        counted, positive = counted_logits(outputs), positive_logits(outputs, targets, pairs)
        logits = outputs["pred_logits"][counted]
        losses = reference.sigmoid_focal_loss(logits, positive[counted], self.focal_alpha, self.focal_gamma)
        return losses.sum() / num_boxes


class DeclaredQualityCriterion(DeclaredFocalCriterion):
    """Sigmoids, whose targets are overlaps."""

    def __init__(self, configuration: Configuration, matcher: Matcher) -> None:
        given = configuration.num_classes, matcher, configuration.weight_dict, configuration.losses
        reference.FocalSetCriterion.__init__(self, *given)
        self.configuration = configuration

    def _classification(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> Tensor:
        counted, positive = counted_logits(outputs), positive_logits(outputs, targets, pairs)
        quality = torch.where(positive, self._overlaps(outputs, targets, pairs)[..., None], 0.0)
        term = self.configuration.class_loss
        given = outputs["pred_logits"][counted], positive[counted], quality[counted]
        return QUALITY_LOSSES[type(term)](*given, **term.numbers).sum() / num_boxes

    def _overlaps(self, outputs: Outputs, targets: Targets, pairs: Pairs) -> Tensor:
        """The overlap of each matched query with its target, without a gradient; [B, Q]."""
        where, rules = matched_queries(pairs), self.configuration.profile.boxes
        unit = 1.0 if rules.quality_units == "relative" else units_of(targets, pairs)
        boxes = outputs["pred_boxes"][where].detach(), matched_targets([own["boxes"] for own in targets], pairs)
        corners = [reference.box_cxcywh_to_xyxy(own) * unit for own in boxes]
        found = torch.zeros_like(outputs["pred_logits"][..., 0])
        found[where] = Overlaps(rules).elementwise_iou(*corners).to(found.dtype)
        return found


def _not_judged(configuration: Configuration, matcher: Matcher) -> DeclaredLosses:
    """Trains classes by what belongs to the activation, for any loss is right."""
    term: ClassTerm = CrossEntropy() if configuration.profile.has_no_object else Focal()
    return CRITERIA[type(term)](replace(configuration, class_loss=term), matcher)


CRITERIA: dict[type[ClassTerm], Callable[[Configuration, Matcher], DeclaredLosses]] = {
    CrossEntropy: DeclaredSetCriterion,
    ClampedCrossEntropy: DeclaredSetCriterion,
    ClassWeightedCrossEntropy: DeclaredSetCriterion,
    SoftmaxFocal: DeclaredSetCriterion,
    Focal: DeclaredFocalCriterion,
    FocalOverPairs: DeclaredFocalCriterion,
    ClassesNotJudged: _not_judged,
    **dict.fromkeys(QUALITY_LOSSES, DeclaredQualityCriterion),
}
"""What answers for each classification loss that can be declared."""
