"""How implementations spell outputs, targets and losses: their names, and which sums of terms they report. norm §4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detr_spec.declarations import require_choices, require_different, require_template
from detr_spec.values import InvalidValue


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Names of outputs, targets and losses. A loss whose name is None is one that the dialect does not report."""

    logits: str = "pred_logits"
    boxes: str = "pred_boxes"
    masks: str = "pred_masks"
    auxiliary: str = "aux_outputs"
    encoder: str = "enc_outputs"
    denoising: str = "dn_outputs"
    labels: str = "labels"
    target_boxes: str = "boxes"
    target_masks: str = "masks"
    target_size: str = "size"
    target_valid: str = "valid"
    target_counts: str = "counts"
    classification: str = "loss_ce"
    box_l1: str = "loss_bbox"
    box_giou: str = "loss_giou"
    mask: str = "loss_mask"
    dice: str = "loss_dice"
    class_error: str | None = "class_error"
    cardinality: str | None = "cardinality_error"
    auxiliary_loss: str = "{loss}_{layer}"
    """How an auxiliary loss is named from the main loss and the number of its decoder layer, 0 … L−2.

    A name without "{layer}", such as "{loss}_aux", is that of one loss of all auxiliary layers; "{loss}" alone is that
    of one loss of all layers, the last among them."""
    encoder_loss: str | None = None
    """How a loss of the encoder's own predictions is named from the main loss, such as "{loss}_enc", or, where they
    come after the auxiliary layers, "{loss}_{layer}" with the number L−1; None where they have no losses."""
    denoising_loss: str | None = None
    """How a loss of denoising queries, which are grouped as norm §4 says, is named from the main loss, such as
    "{loss}_dn"; None where they have no losses."""
    total: str | None = None
    """The name of Σ weight · loss over all terms and layers; None where that is not reported beside its parts."""

    def __post_init__(self) -> None:
        require_different("outputs", self.logits, self.boxes, self.masks, self.auxiliary, self.encoder, self.denoising)
        of_object = self.labels, self.target_boxes, self.target_masks
        require_different("parts of a target", *of_object, self.target_size, self.target_valid, self.target_counts)
        for name in ("auxiliary_loss", "encoder_loss", "denoising_loss"):
            if (template := getattr(self, name)) is not None:
                require_template(name, template, "loss", optional=() if name == "denoising_loss" else ("layer",))
        main = self.losses
        auxiliary = None if self.auxiliary_loss == "{loss}" else self.auxiliary_loss
        templates = (auxiliary, 0), (self.encoder_loss, 1), (self.denoising_loss, 0)
        others = [template.format(loss=loss, layer=layer) for template, layer in templates if template for loss in main]
        require_different("losses", *main, *others)

    @property
    def losses(self) -> list[str]:
        """The names of all losses and metrics of the last layer, and of the total, as far as they are reported."""
        terms = self.classification, self.box_l1, self.box_giou, self.mask, self.dice
        named = (*terms, self.class_error, self.cardinality, self.total)
        return [loss for loss in named if loss is not None]

    @property
    def shares_layers(self) -> bool:
        """Whether the auxiliary layers have one loss together."""
        return "{layer}" not in self.auxiliary_loss


@dataclass(frozen=True, kw_only=True)
class LossRules:
    """What a criterion reports of its training terms."""

    weighted: bool = False
    """Whether each loss is given times its weight, so that the training loss is the plain sum of the losses."""
    shared: Literal["sum", "mean"] = "sum"
    """What a loss of several layers is, where `Keys.auxiliary_loss` names one: the sum or the mean of theirs."""
    extra: tuple[str, ...] = ()
    """Names of entries beside the losses and metrics, with * for any text; what they hold is open."""

    def __post_init__(self) -> None:
        require_choices(self)
        for pattern in self.extra:
            if not pattern:
                raise InvalidValue("an extra name is empty; expected the name of an entry, with * for any text")


@dataclass(frozen=True, kw_only=True)
class TargetRules:
    """How the objects of an image are written."""

    box_format: Literal["cxcywh", "xyxy", "xywh"] = "cxcywh"
    """The four numbers of a box: centre and sides, two corners, or the upper left corner and sides."""
    units: Literal["relative", "pixels"] = "relative"
    """What a box is measured in: relative to the image, or in pixels, with the image's (height, width) beside it."""
    first_label: int = 0
    """The label of the first class, in targets and in detections."""
    label_dtype: Literal["int64", "int32"] = "int64"
    """The dtype of labels, but where a way of calling has another."""
    layout: Literal["listed", "padded", "concatenated"] = "listed"
    """A dictionary for each image; or one of arrays for the batch: "padded", [B, N, …], with a mask [B, N] that is true
    where an object is, and the padding after them; "concatenated", [Σ n, …], the objects of one image after those of
    another. Both come with the number of objects of each image, a list of integers."""
    padding_label: int = 0
    """The label of padding, whose boxes and masks are 0."""

    def __post_init__(self) -> None:
        require_choices(self)
        if self.first_label < 0:
            raise InvalidValue(f"first_label is {self.first_label}; expected a label of at least 0")

    @property
    def parts(self) -> tuple[str, ...]:
        """What targets consist of beside masks, by fields of `Keys`."""
        size = ("target_size",) if self.units == "pixels" else ()
        joined = {"listed": (), "padded": ("target_valid", "target_counts"), "concatenated": ("target_counts",)}
        return ("labels", "target_boxes", *size, *joined[self.layout])


@dataclass(frozen=True, kw_only=True)
class MatcherRules:
    """How a matcher is called, and how it says which query has which target."""

    arguments: tuple[str, ...] = ()
    """What it is called with, by fields of `Keys`, such as ("logits", "boxes", "labels", "target_boxes"): tensors of
    outputs and of targets, a list of tensors where these are listed. Where there are none, it is called with both."""
    answer: Literal["pairs", "columns", "rows", "assignment"] = "pairs"
    """What it answers of each image: the vectors of query and target indices; these as an array [2, k], or [k, 2]; or
    the target index of each query, [Q], which is `first_target` − 1 where it has none."""
    entry: str | None = None
    """The key of the answer in a dictionary; None where it is not in one."""
    first_target: int = 0
    """The index of the first target."""
    target_indices: Literal["image", "batch"] = "image"
    """Whether target indices count the targets of each image, or those of the whole batch, one image after another."""
    padding: Literal["left-out", "matched"] = "left-out"
    """Whether padding is left out, or matched like targets: what queries it has is open, and not looked at."""
    index_dtype: Literal["int64", "int32", "any"] = "int64"
    """The dtype of indices."""

    def __post_init__(self) -> None:
        require_choices(self)
        if self.first_target < 0:
            raise InvalidValue(f"first_target is {self.first_target}; expected an index of at least 0")
