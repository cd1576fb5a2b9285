from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_reference import HungarianMatcher, SetCriterion, build_weight_dict, training_step

LAYERS = 2
TARGETS = [{"labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.25, 0.5]])}]
IMAGES = [torch.zeros(3, 4, 4)]


class FreePredictions(nn.Module):
    """Logits and boxes that are parameters themselves, the same in every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, 3, 3))
        self.boxes = nn.Parameter(torch.tensor([[[0.3, 0.3, 0.4, 0.4], [0.6, 0.6, 0.3, 0.3], [0.5, 0.4, 0.3, 0.4]]]))

    def forward(self, images: list[Tensor]) -> dict[str, Any]:
        layer = {"pred_logits": self.logits, "pred_boxes": self.boxes}
        return {**layer, "aux_outputs": [layer] * (LAYERS - 1)}


def criterion() -> SetCriterion:
    weights = build_weight_dict(decoder_layers=LAYERS)
    return SetCriterion(2, HungarianMatcher(1, 5, 2), weights, 0.1, ["labels", "boxes", "cardinality"])


def test_a_step_logs_every_loss_with_and_without_its_weight() -> None:
    model = FreePredictions()
    expected = criterion()(model(IMAGES), TARGETS)
    metrics = training_step(model, criterion(), torch.optim.SGD(model.parameters(), 0.1), IMAGES, TARGETS)
    assert metrics.unweighted == pytest.approx({name: loss.item() for name, loss in expected.items()})
    weights = build_weight_dict(decoder_layers=LAYERS)
    assert metrics.weighted == pytest.approx({name: weights[name] * metrics.unweighted[name] for name in weights})
    assert metrics.total == pytest.approx(sum(metrics.weighted.values()))
    assert "class_error" not in metrics.weighted
    assert "cardinality_error_0" in metrics.unweighted


def test_the_gradient_is_clipped_to_the_norm() -> None:
    model = FreePredictions()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    rate = 0.5
    metrics = training_step(model, criterion(), torch.optim.SGD(model.parameters(), rate), IMAGES, TARGETS)
    assert metrics.gradient_norm > 0.1
    moved = [(now - was).flatten() for now, was in zip(model.parameters(), before, strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(rate * 0.1, rel=1e-3)


def test_steps_lower_the_loss() -> None:
    model = FreePredictions()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    totals = [training_step(model, criterion(), optimizer, IMAGES, TARGETS).total for _ in range(50)]
    assert totals[-1] < totals[0]


def test_a_loss_that_is_not_finite_updates_nothing() -> None:
    model = FreePredictions()
    before = model.logits.detach().clone()
    broken = criterion()
    broken.weight_dict = {"loss_ce": float("inf")}
    with pytest.raises(ValueError, match="training loss is inf"):
        training_step(model, broken, torch.optim.SGD(model.parameters(), 0.1), IMAGES, TARGETS)
    assert torch.equal(model.logits, before)
