"""The twins of D-FINE and DEIM: unions of pairs and losses by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_reference.dialects import DEIMCriterion, DFINECriterion, DFINEMatcher
from detr_reference.dialects.d_fine import most_frequent_targets

WEIGHTS = {"loss_vfl": 1.0, "loss_mal": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0, "loss_fgl": 0.15, "loss_ddf": 1.5}


def pairs(*own: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """One image's pairs."""
    queries, targets = torch.tensor(own, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return queries, targets


def test_each_query_keeps_its_most_frequent_target() -> None:
    layers = [[pairs((0, 0), (1, 1))], [pairs((0, 1), (2, 0))], [pairs((0, 1), (1, 0))]]
    ((queries, targets),) = most_frequent_targets(layers)
    union = dict(zip(queries.tolist(), targets.tolist(), strict=True))
    assert union == {0: 1, 1: 1, 2: 0}
    assert most_frequent_targets([[pairs()], [pairs()]])[0][0].dtype == torch.int64


class Told(nn.Module):
    """A matcher whose pairs are told, one call after another."""

    def __init__(self, *answers: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.answers = list(answers)

    def forward(self, *_: Any) -> dict[str, Any]:
        """The next pairs of the one image."""
        return {"indices": [self.answers.pop(0)]}


def layer(*boxes: float) -> dict[str, Tensor]:
    """Queries with a logit of 0 and squares of these sides at the centre."""
    sides = torch.tensor(boxes)[:, None]
    return {
        "pred_logits": torch.zeros(1, len(boxes), 1),
        "pred_boxes": torch.cat([sides * 0 + 0.5] * 2 + [sides] * 2, 1)[None],
    }


TARGET = [{"labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.5, 0.5]])}]


def test_box_losses_are_under_the_union_and_classes_are_not() -> None:
    """The last layer has query 0, the encoder query 1: both are in the union, so the divisor of boxes is 2."""
    outputs = {**layer(0.5, 0.25), "enc_aux_outputs": [layer(1.0, 0.5)]}
    criterion = DFINECriterion(Told(pairs((0, 0)), pairs((1, 0))), WEIGHTS, num_classes=1)
    losses = criterion(outputs, TARGET)
    # Sides of .25 are .25 short, twice: L1 .5; of 1 they are .5 long, twice: L1 1.
    assert losses["loss_bbox"].item() == pytest.approx(5 * (0.0 + 0.5) / 2)
    assert losses["loss_bbox_enc_0"].item() == pytest.approx(5 * (1.0 + 0.0) / 2)
    assert losses["loss_giou"].item() == pytest.approx(2 * (0.0 + 0.75) / 2)
    # In the last layer query 0 has an IoU of 1, log 2; query 1 is a negative: .75 / 4 log 2.
    log2 = torch.tensor(2.0).log().item()
    assert losses["loss_vfl"].item() == pytest.approx(log2 * (1 + 0.75 / 4))
    assert sorted(losses) == sorted(
        [*(f"loss_{name}{suffix}" for name in ("vfl", "bbox", "giou") for suffix in ("", "_enc_0"))]
    )


def test_a_pair_without_overlap_counts_in_deim() -> None:
    """DEIM pushes a pair without overlap towards 0 with weight 1; D-FINE leaves it out."""
    apart = {**layer(0.25, 0.25), "pred_boxes": torch.tensor([[[0.125, 0.125, 0.125, 0.125]] * 2])}
    log2 = torch.tensor(2.0).log().item()
    deim = DEIMCriterion(Told(pairs((0, 0))), WEIGHTS, num_classes=1)(apart, TARGET)
    d_fine = DFINECriterion(Told(pairs((0, 0))), WEIGHTS, num_classes=1)(apart, TARGET)
    assert deim["loss_mal"].item() == pytest.approx(log2 * (1 + 0.5**1.5))
    assert d_fine["loss_vfl"].item() == pytest.approx(log2 * 0.75 / 4)


def test_distributions_have_losses_where_they_are_predicted() -> None:
    """Sure of the reference, which is the target: the loss is 0; unsure of nine distances: 4 log 9 times .15."""
    edges, references = torch.zeros(1, 2, 36), torch.tensor([[[0.5, 0.5, 0.5, 0.5]] * 2])
    outputs = {**layer(0.5, 0.5), "pred_corners": edges, "ref_points": references}
    criterion = DFINECriterion(Told(pairs((0, 0))), WEIGHTS, num_classes=1, reg_max=8)
    assert criterion(outputs, TARGET)["loss_fgl"].item() == pytest.approx(0.15 * 4 * torch.tensor(9.0).log().item())
    outputs["pred_corners"] = edges.unflatten(-1, (4, 9)).index_fill(-1, torch.tensor([4]), 60.0).flatten(-2)
    criterion = DFINECriterion(Told(pairs((0, 0))), WEIGHTS, num_classes=1, reg_max=8)
    assert criterion(outputs, TARGET)["loss_fgl"].item() == pytest.approx(0.0, abs=1e-6)


def edges(logit: float) -> Tensor:
    """Two queries each of whose edges has that logit at the first of five distances, and 0 at the others."""
    return torch.tensor([logit, *[0.0] * 4]).repeat(1, 2, 4)


REFERENCES = torch.tensor([[[0.5, 0.5, 0.5, 0.5]] * 2])
LOG4 = math.log(4)
DIVERGENCE = math.log(5 / 4)
"""That of fifths from 1/2 and four eighths: 1/2 log 5/2 + 1/2 log 5/8."""


def test_earlier_layers_learn_the_distributions_of_the_last() -> None:
    """Query 0 has an overlap of 1/4, and the last layer gives query 1 a score of 1/2; both numbers of queries are 1."""
    last = {**layer(0.5, 0.5), "pred_corners": edges(2 * LOG4).requires_grad_(), "ref_points": REFERENCES}
    earlier = {**layer(0.25, 0.5), "pred_corners": edges(0.0).requires_grad_(), "ref_points": REFERENCES}
    twice = {**earlier, "pred_corners": last["pred_corners"]}
    outputs = {**last, "aux_outputs": [earlier, twice]}
    criterion = DFINECriterion(Told(*[pairs((0, 0))] * 3), WEIGHTS, num_classes=1, reg_max=4, temperature=2.0)
    losses = criterion(outputs, TARGET)
    assert losses["loss_ddf_aux_0"].item() == pytest.approx(1.5 * 4 * DIVERGENCE * (0.25 + 0.5) / 2)
    assert losses["loss_ddf_aux_1"].item() == 0
    assert "loss_ddf" not in losses
    sum(losses[f"loss_ddf_aux_{number}"] for number in range(2)).backward()  # type: ignore[union-attr]
    assert last["pred_corners"].grad.abs().max() == 0  # type: ignore[union-attr]
    # The derivative at T = 2 is T (q - p) · u / 2, a quarter of it by the mean over edges: 1/5 - 1/2 at the first.
    slope = 1.5 * 2 * (1 / 5 - 1 / 2) * 0.25 / 2 / 4
    assert earlier["pred_corners"].grad[0, 0, 0].item() == pytest.approx(slope)  # type: ignore[index]


def test_denoising_queries_learn_with_the_numbers_of_the_decoders_queries() -> None:
    """Of 2 queries of the decoder 1 has a target, of 2 denoising ones 1: the roots are 1 : 1, whatever the groups."""
    last = {**layer(0.5, 0.5), "pred_corners": edges(LOG4), "ref_points": REFERENCES}
    earlier = {**layer(0.25, 0.5), "pred_corners": edges(0.0), "ref_points": REFERENCES}
    three = {name: torch.cat([part, part[:, :1]], 1) for name, part in last.items()}
    meta = {"dn_num_group": 1, "dn_positive_idx": [torch.tensor([0])]}
    outputs = {**three, "dn_outputs": [earlier, last], "dn_meta": meta}
    criterion = DFINECriterion(Told(pairs((0, 0))), WEIGHTS, num_classes=1, reg_max=4, temperature=1.0)
    losses = criterion(outputs, TARGET)
    # Of the decoder's three queries one has a target and two have none.
    expected = 1.5 * DIVERGENCE * (0.25 + 2**0.5 * 0.5) / (1 + 2**0.5)
    assert losses["loss_ddf_dn_0"].item() == pytest.approx(expected)
    assert losses["loss_ddf_dn_1"].item() == 0


def test_initial_predictions_of_denoising_queries_have_their_targets_over_all_groups() -> None:
    """Two groups of two queries: of each the first has the target, and both its sides are 1/4 off."""
    meta = {"dn_num_group": 2, "dn_positive_idx": [torch.tensor([0, 2])]}
    given = {"dn_outputs": [layer(0.5, 0.5, 0.5, 0.5)], "dn_pre_outputs": layer(0.25, 0.5, 0.25, 0.5), "dn_meta": meta}
    criterion = DFINECriterion(Told(pairs((1, 0))), WEIGHTS, num_classes=1)
    losses = criterion({**layer(0.25, 0.5), **given}, TARGET)
    assert losses["loss_bbox_dn_0"].item() == 0
    assert losses["loss_bbox_dn_pre"].item() == pytest.approx(WEIGHTS["loss_bbox"] * 2 * (0.25 + 0.25) / 2)
    assert not [key for key in losses if key.startswith(("loss_fgl", "loss_ddf"))]


def test_the_matcher_answers_by_a_key_and_unknown_losses_are_refused() -> None:
    matcher = DFINEMatcher({"cost_class": 2, "cost_bbox": 5, "cost_giou": 2})
    ((queries, targets),) = matcher(layer(0.25, 0.5), TARGET)["indices"]
    assert (queries.tolist(), targets.tolist()) == ([1], [0])
    with pytest.raises(ValueError, match=r"unknown losses \['mal'\]; choose from \['vfl', 'boxes', 'local'\]"):
        DFINECriterion(matcher, WEIGHTS, ("mal",))
