"""Configurations derive what DETR's constructors take, and refuse what nobody could be asked."""

from __future__ import annotations

from typing import Any

import pytest

from detr_spec.configuration import Configuration, replace
from detr_spec.profile import Keys
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.values import DTYPES, InvalidValue


def test_weights_of_one_layer_have_the_profiles_keys() -> None:
    configuration = Configuration(profile=DETR, loss_class=1.5, loss_bbox=5.0, loss_giou=2.0)
    assert configuration.weight_dict == {"loss_ce": 1.5, "loss_bbox": 5.0, "loss_giou": 2.0}
    keys = Keys(classification="loss_class", box_l1="l1", box_giou="giou")
    assert Configuration(profile=replace(DETR, keys=keys)).weight_dict == {
        "loss_class": 1.0,
        "l1": 5.0,
        "giou": 2.0,
    }


def test_auxiliary_weights_equal_the_last_layers() -> None:
    configuration = Configuration(profile=DEFORMABLE, decoder_layers=3, loss_class=2.0)
    assert configuration.weight_dict == {
        "loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0,
        "loss_ce_0": 2.0, "loss_bbox_0": 5.0, "loss_giou_0": 2.0,
        "loss_ce_1": 2.0, "loss_bbox_1": 5.0, "loss_giou_1": 2.0,
    }  # fmt: skip
    assert "class_error" not in configuration.weight_dict
    assert "cardinality_error" not in configuration.weight_dict


def test_auxiliary_keys_follow_the_template() -> None:
    keys = replace(DETR.keys, auxiliary_loss="d{layer}.{loss}")
    configuration = Configuration(profile=replace(DETR, keys=keys), decoder_layers=2)
    assert set(configuration.weight_dict) - {"loss_ce", "loss_bbox", "loss_giou"} == {
        "d0.loss_ce", "d0.loss_bbox", "d0.loss_giou",
    }  # fmt: skip


def test_what_constructors_take() -> None:
    configuration = Configuration(profile=DETR, num_classes=91, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0)
    assert configuration.columns == 92
    assert replace(configuration, profile=DEFORMABLE).columns == 91
    assert configuration.cost_weights == (1.0, 5.0, 2.0)
    assert configuration.losses == ["labels", "boxes", "cardinality"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown dtype": ({"dtype": "float8"}, "dtype is 'float8'; expected one of float64, float32"),
    **{
        f"no {name}": ({name: 0}, f"{name} is 0; expected at least 1")
        for name in ("num_classes", "decoder_layers", "top_k", "hidden_dim")
    },
    **{
        f"a negative {name}": ({name: -0.5}, f"{name} is -0.5; expected a number of at least 0")
        for name in (
            "cost_class",
            "cost_bbox",
            "cost_giou",
            "loss_class",
            "loss_bbox",
            "loss_giou",
        )
    },
    "a weight that is no number": (
        {"loss_giou": float("nan")},
        "loss_giou is nan; expected a number of at least 0",
    ),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
def test_what_nobody_could_be_asked_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Configuration(profile=DETR, **fields)
    with pytest.raises(InvalidValue, match=message):
        replace(Configuration(profile=DETR), **fields)


def test_weights_of_zero_and_all_dtypes_can_be_asked() -> None:
    for dtype in DTYPES:
        assert Configuration(profile=DETR, dtype=dtype, cost_giou=0.0).dtype == dtype
