"""The costs of boxes: L1 and GIoU. Carion et al. 2020, section 3.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from detr_spec.boxes import giou
from detr_spec.costs.cost import BoxCost, Pairs
from detr_spec.distances import elementwise_ciou, elementwise_diou
from detr_spec.tolerance import Numbers, absolute, rounded_like
from detr_spec.values import InvalidValue


@dataclass(frozen=True, kw_only=True)
class L1Cost(BoxCost):
    """‖b̂ − b‖₁ of every pair, boxes as (cx, cy, w, h)."""

    name = "l1"
    laws = frozenset({"sum over coordinates"})

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        return absolute(pairs.boxes[:, None, :] - pairs.truth[None, :, :]).sum(axis=-1)


@dataclass(frozen=True, kw_only=True)
class GiouCost(BoxCost):
    """−GIoU of every pair."""

    name = "giou"
    laws = frozenset({"scale-invariant"})

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        overlap = giou(*pairs.corners, pairs.rules)
        return -rounded_like(overlap, pairs.boxes)


@dataclass(frozen=True, kw_only=True)
class OneMinusGiou(GiouCost):
    """1 − GIoU of every pair: the cost −GIoU, of which the sum with 1 rounds away what is far below 1."""

    name = "one-minus-giou"

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        return 1.0 + super().value(pairs)


@dataclass(frozen=True, kw_only=True)
class DiouCost(BoxCost):
    """−DIoU of every pair. Zheng et al. 2020, "Distance-IoU Loss"."""

    name = "diou"

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        queries, targets = pairs.corners
        return -rounded_like(elementwise_diou(queries[:, None, :], targets[None, :, :], pairs.rules), pairs.boxes)


@dataclass(frozen=True, kw_only=True)
class CiouCost(BoxCost):
    """−CIoU of every pair. Zheng et al. 2020, "Distance-IoU Loss"; keras-hub matches D-FINE by it."""

    name = "ciou"
    laws = frozenset({"compares shapes"})

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        queries, targets = pairs.corners
        return -rounded_like(elementwise_ciou(queries[:, None, :], targets[None, :, :], pairs.rules), pairs.boxes)


@dataclass(frozen=True, kw_only=True)
class NoBoxCost(BoxCost):
    """What stands for a cost of boxes that a dialect does not have."""

    name = "none"
    reads = frozenset()
    is_there = False

    def value(self, pairs: Pairs) -> NoReturn:
        """Raises `InvalidValue`: there is none."""
        raise InvalidValue(
            f"a cost that a dialect does not have has no value; its {len(pairs.labels)} targets need none"
        )
