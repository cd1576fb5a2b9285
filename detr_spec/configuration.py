"""Configurations: what a case asks an implementation to be built with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from detr_spec.calls import CALLS, PLAIN
from detr_spec.profile import Profile
from detr_spec.values import DTYPES, InvalidValue

__all__ = ["Configuration", "replace", "weights_of"]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a component is built with; the cases vary it within the profile and the implementation's limits.

    `weight_dict` and `losses` are derived in the form that DETR's constructors take them. Raises `InvalidValue`
    for numbers that no implementation could be asked for.
    """

    profile: Profile
    dtype: str = "float32"
    device: str = "cpu"
    """Where the implementation computes, in its framework's words."""
    call: str = PLAIN
    """The way in which it is called, one of `CALLS`."""
    num_classes: int = 1
    decoder_layers: int = 1
    cost_class: float = 1.0
    cost_bbox: float = 5.0
    cost_giou: float = 2.0
    loss_class: float = 1.0
    loss_bbox: float = 5.0
    loss_giou: float = 2.0
    loss_mask: float = 1.0
    loss_dice: float = 1.0
    masks: bool = False
    """Whether mask losses are asked for."""
    eos_coef: float = 0.125
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    top_k: int = 100
    threshold: float = 0.5
    hidden_dim: int = 8
    return_intermediate: bool = True
    """Whether a decoder returns the states of all its layers, or the last layer's alone."""
    fixed: tuple[str, ...] = ()
    """The fields that the implementation under test cannot vary, by name."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidValue(f"dtype is {self.dtype!r}; expected one of {', '.join(DTYPES)}")
        if self.call not in CALLS:
            raise InvalidValue(f"call is {self.call!r}; expected one of {', '.join(CALLS)}")
        for name in ("num_classes", "decoder_layers", "top_k", "hidden_dim"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in (
            "cost_class",
            "cost_bbox",
            "cost_giou",
            "loss_class",
            "loss_bbox",
            "loss_giou",
            "loss_mask",
            "loss_dice",
            "eos_coef",
        ):
            if not getattr(self, name) >= 0:
                raise InvalidValue(f"{name} is {getattr(self, name)}; expected a number of at least 0")

    @property
    def columns(self) -> int:
        """The number of logit columns C: K + 1 with a no-object class, K without."""
        return self.profile.columns(self.num_classes)

    @property
    def cost_weights(self) -> tuple[float, float, float]:
        """The weights of class, L1 and GIoU in the matching cost."""
        return self.cost_class, self.cost_bbox, self.cost_giou

    @property
    def losses(self) -> list[str]:
        """The losses to ask for, by the names that DETR's `SetCriterion` gives them."""
        return ["labels", "boxes", "cardinality", *(["masks"] if self.masks else [])]

    @property
    def base_weights(self) -> dict[str, float]:
        """The loss weights of the last layer, by the profile's keys."""
        keys = self.profile.keys
        weights = {
            keys.classification: self.loss_class,
            keys.box_l1: self.loss_bbox,
            keys.box_giou: self.loss_giou,
        }
        return weights | ({keys.mask: self.loss_mask, keys.dice: self.loss_dice} if self.masks else {})

    @property
    def weight_dict(self) -> dict[str, float]:
        """The loss weights by the profile's keys: for all other layers and predictions those of the last. norm §4."""
        keys = self.profile.keys
        names = [partial(keys.auxiliary_loss.format, layer=layer) for layer in range(self.decoder_layers - 1)]
        names += [partial(template.format) for template in (keys.encoder_loss, keys.denoising_loss) if template]
        return self.base_weights | {
            name(loss=key): weight for name in names for key, weight in self.base_weights.items()
        }


def weights_of(profile: Profile) -> dict[str, float]:
    """The weights that a dialect trains with, by the names of a configuration's fields."""
    cost = zip(("cost_class", "cost_bbox", "cost_giou"), profile.cost_weights, strict=True)
    loss = zip(("loss_class", "loss_bbox", "loss_giou"), profile.loss_weights, strict=True)
    return {**dict(cost), **dict(loss)}
