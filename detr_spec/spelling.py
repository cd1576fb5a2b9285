"""How implementations spell outputs, targets and losses: their names, and which sums of terms they report. norm §4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detr_spec.declarations import require_choices, require_different, require_template
from detr_spec.places import APART, Place, places_of
from detr_spec.values import InvalidValue

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "auxiliary_loss": ("layer",),
    "encoder_loss": ("layer", "number"),
    "encoder_auxiliary_loss": ("number",),
    "initial_loss": (),
    "one_to_many_loss": (),
    "denoising_loss": ("layer",),
    "denoising_auxiliary_loss": ("layer",),
    "initial_denoising_loss": (),
}
"""The names of losses that are made from the main loss, and what else may be in them."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Names of outputs, targets and losses. A loss whose name is None is one that the dialect does not report."""

    logits: str = "pred_logits"
    boxes: str | None = "pred_boxes"
    """None where there are no boxes, as in MaskFormer; those of targets are None then too."""
    masks: str = "pred_masks"
    edges: str = "pred_corners"
    references: str = "ref_points"
    phrases: str = "label_maps"
    tokens: str = "text_mask"
    auxiliary: str = "aux_outputs"
    encoder: str = "enc_outputs"
    encoder_auxiliary: str = "enc_layer_outputs"
    """The list of what the encoder predicts before its last prediction, where this is not in the list."""
    initial: str = "pre_outputs"
    one_to_many: str = "{output}_one2many"
    """How the logits, boxes, masks and auxiliary outputs of further queries are named from those of the decoder's."""
    denoising: str = "dn_outputs"
    initial_denoising: str = "dn_pre_outputs"
    denoising_meta: str = "dn_meta"
    denoising_groups: str = "dn_num_group"
    denoising_queries: str = "pad_size"
    denoising_positives: str = "dn_positive_idx"
    labels: str = "labels"
    target_boxes: str | None = "boxes"
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
    box_centre: str | None = None
    """A metric: the part of the L1 distance that centres have, over num_boxes; none in DETR."""
    box_size: str | None = None
    """Likewise, the part that sides have."""
    auxiliary_loss: str = "{loss}_{layer}"
    """How an auxiliary loss is named from the main loss and the number of its decoder layer, 0 … L−2.

    A name without "{layer}", such as "{loss}_aux", is that of one loss of all auxiliary layers; "{loss}" alone is that
    of one loss of all layers, the last among them."""
    encoder_loss: str | None = None
    """How a loss of the encoder's own predictions is named from the main loss, such as "{loss}_enc"; None where they
    have no losses.

    Where there may be several, "{loss}_enc_{number}" counts them from 0, and "{loss}_{layer}" from L−1, after the
    auxiliary layers; they are a list then."""
    encoder_auxiliary_loss: str | None = None
    """How a loss of the encoder's predictions before its last one is named from the main loss, such as
    "{loss}_enc_{number}"; None where there are none, or where `encoder_loss` counts them."""
    initial_loss: str | None = None
    """How a loss of initial predictions is named from the main loss, such as "{loss}_pre"; None where they have no
    losses."""
    one_to_many_loss: str | None = None
    """How a loss of further queries is named from that of the decoder's queries in the same layer, such as
    "{loss}_one2many"; None where they have no losses."""
    denoising_loss: str | None = None
    """How a loss of denoising queries in the last layer is named from the main loss, such as "{loss}_dn", or
    "{loss}_dn_{layer}" with the number L−1; None where they have no losses."""
    denoising_auxiliary_loss: str | None = None
    """Likewise in the auxiliary layers, such as "{loss}_dn_{layer}", or, for one loss of all of them, "{loss}_aux_dn";
    None where only the last layer has predictions of denoising queries."""
    initial_denoising_loss: str | None = None
    """How a loss of the initial predictions of denoising queries is named from the main loss, such as "{loss}_dn_pre";
    None where they have no losses."""
    total: str | None = None
    """The name of Σ weight · loss over all terms and layers; None where that is not reported beside its parts."""

    def __post_init__(self) -> None:
        require_template("one_to_many", self.one_to_many, "output")
        apart = (
            *(self.encoder, self.encoder_auxiliary, self.initial, self.denoising, self.initial_denoising),
            *(self.denoising_meta, *self.one_to_many_outputs.values()),
        )
        of_layer = self.logits, self.boxes, self.masks, self.edges, self.references, self.phrases, self.tokens
        require_different("outputs", *(key for key in (*of_layer, self.auxiliary, *apart) if key is not None))
        of_groups = self.denoising_groups, self.denoising_queries, self.denoising_positives
        require_different("parts of the meta data", self.denoising, *of_groups)
        if (self.boxes is None) is not (self.target_boxes is None):
            raise InvalidValue(
                f"boxes is {self.boxes!r}, and target_boxes {self.target_boxes!r}; expected None for both, or neither"
            )
        of_object = self.labels, self.target_masks, *([] if self.target_boxes is None else [self.target_boxes])
        require_different("parts of a target", *of_object, self.target_size, self.target_valid, self.target_counts)
        for name, optional in _TEMPLATES.items():
            if (template := getattr(self, name)) is not None:
                require_template(name, template, "loss", optional=optional)
        for name in ("denoising_auxiliary_loss", "initial_denoising_loss"):
            if self.denoising_loss is None and getattr(self, name) is not None:
                raise InvalidValue(f"{name} is given without denoising_loss; expected both, or neither")
        if self.encoder_auxiliary_loss is not None and (self.encoder_loss is None or self.lists_encoder):
            raise InvalidValue(
                f"encoder_auxiliary_loss is given, and encoder_loss is {self.encoder_loss!r}; "
                "expected a name without a number, such as '{loss}_enc'"
            )
        main = self.losses
        places = [Place(whose) for whose in APART]
        places += [Place(layer=0)] if self.auxiliary_loss != "{loss}" else []
        places += [Place("one_to_many", 0)] if self.auxiliary_loss != "{loss}" else []
        places += [Place("denoising", 0)] if self.denoising_auxiliary_loss != self.denoising_loss else []
        places += [Place("encoder", 0)] if self.encoder_auxiliary_loss is not None else []
        named = [self.named(loss, place, 2, 1) for place in places for loss in main]
        require_different("losses", *main, *(loss for loss in named if loss is not None))

    @property
    def losses(self) -> list[str]:
        """The names of all losses and metrics of the last layer, and of the total, as far as they are reported."""
        terms = self.classification, self.box_l1, self.box_giou, self.mask, self.dice
        named = (*terms, self.class_error, self.cardinality, self.box_centre, self.box_size, self.total)
        return [loss for loss in named if loss is not None]

    @property
    def one_to_many_outputs(self) -> dict[str, str]:
        """The names of what further queries predict, by those of the same of the decoder's queries."""
        own = (self.logits, self.boxes, self.masks, self.auxiliary)
        return {key: self.one_to_many.format(output=key) for key in own if key is not None}

    def places(self, decoder_layers: int, encoder_predictions: int) -> tuple[Place, ...]:
        """Whose predictions have losses: the decoder's, the last layer's first, and of those apart what is named."""
        encoder = places_of("encoder", encoder_predictions) if self.encoder_loss is not None else ()
        initial = places_of("initial", 1) if self.initial_loss is not None else ()
        further = places_of("one_to_many", decoder_layers) if self.one_to_many_loss is not None else ()
        denoising = (
            places_of("denoising", self.denoising_layers(decoder_layers)) if self.denoising_loss is not None else ()
        )
        if self.initial_denoising_loss is not None:
            denoising = (*denoising, *places_of("initial_denoising", 1))
        return (*places_of("decoder", decoder_layers), *encoder, *initial, *further, *denoising)

    def denoising_layers(self, decoder_layers: int) -> int:
        """In how many of the decoder's layers denoising queries have predictions."""
        return decoder_layers if self.denoising_auxiliary_loss is not None else 1

    def named(self, loss: str, place: Place, decoder_layers: int, encoder_predictions: int) -> str | None:
        """What the loss of a place is called, from the main loss; None where the place has no losses."""
        last = place.layer is None
        if place.whose == "one_to_many":
            same = self.named(loss, Place(layer=place.layer), decoder_layers, encoder_predictions)
            return None if self.one_to_many_loss is None else self.one_to_many_loss.format(loss=same)
        templates = {
            "decoder": "{loss}" if last else self.auxiliary_loss,
            "encoder": self.encoder_loss if last or self.lists_encoder else self.encoder_auxiliary_loss,
            "initial": self.initial_loss,
            "initial_denoising": self.initial_denoising_loss,
            "denoising": self.denoising_loss if last else self.denoising_auxiliary_loss,
        }
        of_encoder, template = place.whose == "encoder", templates[place.whose]
        number = (encoder_predictions if of_encoder else decoder_layers) - 1 if place.layer is None else place.layer
        layer = number + (decoder_layers - 1 if of_encoder else 0)
        return None if template is None else template.format(loss=loss, layer=layer, number=number)

    @property
    def lists_encoder(self) -> bool:
        """Whether the encoder's predictions are a list, of one or several."""
        return any(counted in (self.encoder_loss or "") for counted in ("{layer}", "{number}"))

    @property
    def has_several_of_encoder(self) -> bool:
        """Whether the encoder may have several predictions."""
        return self.lists_encoder or self.encoder_auxiliary_loss is not None

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
class DenoisingRules:
    """How denoising queries are written, and what their losses are divided by. norm §4."""

    layout: Literal["nested", "listed", "within-meta"] = "nested"
    """Predictions of the last layer, with those of the auxiliary layers in them as in outputs; a list of those of all
    layers; or as the first, inside the meta data. Beside them the meta data say how many groups and queries there are,
    and which queries of each image have targets; where there are no denoising queries, they are None."""
    denominator: Literal["each-group", "all-groups", "one-group"] = "each-group"
    """What losses are divided by: num_boxes times the groups; what num_boxes is where it counts the targets once for
    each group, before the mean over ranks and the clamp; or num_boxes, so that losses are a sum over groups."""
    absent: Literal["nothing", "zeros"] = "nothing"
    """What is reported where there are no denoising queries, as without targets: no loss of them, or losses of 0."""
    evaluation: Literal["as-in-training", "absent"] = "as-in-training"
    """Whether denoising queries have losses in evaluation too, or are as if they were not there."""

    def __post_init__(self) -> None:
        require_choices(self)


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
    padded_to: Literal["most-objects", "queries"] = "most-objects"
    """What N is where targets are padded: one more than the most objects of an image, or the number of queries, so that
    no image has more objects than queries."""
    padding_label: int = 0
    """The label of padding, whose boxes and masks are 0."""

    def __post_init__(self) -> None:
        require_choices(self)
        if self.padded_to == "queries" and self.layout != "padded":
            raise InvalidValue(f"padded_to is 'queries', and layout is {self.layout!r}; expected the layout 'padded'")
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
