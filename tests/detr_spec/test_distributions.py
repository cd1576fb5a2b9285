"""The losses of distributions of edges, against numbers worked out by hand and the steps of the published code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detr_reference.distributions import edge_distances as distances_in_torch
from detr_reference.distributions import edge_targets, fine_grained_loss
from detr_spec.terms import FineGrainedLocalization, Layer
from detr_spec.terms.distributions import edge_distances, shares_of
from detr_spec.tolerance import interval, lift
from detr_spec.values import Floats

EIGHT = FineGrainedLocalization(reg_max=8.0)


def test_distances_lie_closer_near_0() -> None:
    """With c · up = 2 and R = 8 the ratio of distances is the third root of 3."""
    step = 3.0 ** (1 / 3)
    expected = np.array([-4.0, -2.0, 1 - step**2, 1 - step, 0.0, step - 1, step**2 - 1, 2.0, 4.0])
    assert EIGHT.positions(np.zeros(1)) == pytest.approx(expected, abs=1e-15)
    assert distances_in_torch(8, 0.5, 4.0, torch.zeros(1, dtype=torch.float64)).numpy() == pytest.approx(expected)
    assert len(FineGrainedLocalization().positions(np.zeros(1))) == FineGrainedLocalization().count == 33


def test_the_edges_of_a_reference_are_at_0() -> None:
    reference = np.array([[0.5, 0.5, 0.25, 0.5]])
    assert edge_distances(reference, reference, 4.0) == pytest.approx(np.zeros((1, 4)), abs=1e-12)
    wider = np.array([[0.5, 0.5, 0.5, 0.5]])
    # The side of the wider box is twice 0.25, so each edge is half a side farther out: 0.125 / (0.25 / 4) = 2.
    assert edge_distances(reference, wider, 4.0) == pytest.approx(np.array([[2.0, 0.0, 2.0, 0.0]]), abs=1e-12)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (-9.0, [1.0, 0.0, 0.0]),
        (-1.0, [1.0, 0.0, 0.0]),
        (-0.75, [0.75, 0.25, 0.0]),
        (0.0, [0.0, 1.0, 0.0]),
        (0.5, [0.0, 0.75, 0.25]),
        (2.0, [0.0, 0.0, 1.0]),
        (9.0, [0.0, 0.0, 1.0]),
    ],
)
def test_a_distance_is_shared_by_its_neighbours(distance: float, expected: list[float]) -> None:
    positions = np.array([-1.0, 0.0, 2.0])
    assert shares_of(np.array([[distance]]), positions)[0, 0].tolist() == expected
    ranged = interval(shares_of(lift(np.array([[distance]]), "float32"), lift(positions, "float32")))
    assert (ranged.lower <= expected).all()
    assert (expected <= ranged.upper).all()


def layer(edges: Floats, reference: list[float], box: list[float], truth: list[float]) -> Layer:
    """One query that is matched."""
    return Layer(
        logits=np.zeros((1, 1, 1)),
        classes=np.zeros((1, 1), dtype=np.int64),
        boxes=np.array([box]),
        truth=np.array([truth]),
        images=np.array([0]),
        queries=np.array([0]),
        normaliser=np.array(2.0),
        edges=edges[None, None],
        references=np.array([[reference]]),
    )


def test_the_loss_by_hand() -> None:
    """An overlap of a half, all logits 0: four edges of log 9 each, over two pairs."""
    box = [0.5, 0.5, 0.25, 0.5]
    shown = layer(np.zeros(36), box, [0.5, 0.5, 0.125, 0.5], box)
    assert EIGHT.value(shown) == pytest.approx(0.5 * 4 * np.log(9.0) / 2)
    sure = np.zeros((4, 9))
    sure[:, 4] = 50.0
    assert EIGHT.value(layer(sure.ravel(), box, box, box)) == pytest.approx(0.0, abs=1e-12)


def test_the_loss_is_that_of_the_published_steps() -> None:
    """Bins below and above each distance, as D-FINE weighs their cross-entropies, for random boxes."""
    generator = np.random.default_rng(0)
    distances = EIGHT.positions(np.zeros(1))
    for _ in range(20):
        reference, box, truth = (generator.uniform(0.2, 0.8, 4).tolist() for _ in range(3))
        edges = generator.normal(0.0, 2.0, 36)
        shown = layer(edges, reference, box, truth)
        wanted = edge_distances(shown.references[0], shown.truth, 4.0)[0]  # type: ignore[index]
        expected = 0.0
        for logits, distance in zip(edges.reshape(4, 9), wanted, strict=True):
            surprise = np.log(np.exp(logits).sum()) - logits
            number = int((distances <= distance).sum()) - 1
            if number < 0:
                expected += surprise[0]
            elif number >= 8:
                expected += surprise[8]
            else:
                left, right = abs(distance - distances[number]), abs(distances[number + 1] - distance)
                expected += (right * surprise[number] + left * surprise[number + 1]) / (left + right)
        assert EIGHT.value(shown) == pytest.approx(float(shown.iou[0]) * expected / 2)


def test_the_twin_has_the_same_loss() -> None:
    references, boxes = torch.tensor([[0.5, 0.5, 0.25, 0.5]]), torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    below, nearness = edge_targets(references, boxes, torch.tensor([-1.0, 0.0, 4.0]), 4.0)
    assert below.tolist() == [[1, 1, 1, 1]]
    assert nearness.tolist() == [[0.5, 0.0, 0.5, 0.0]]
    losses = fine_grained_loss(torch.zeros(1, 4, 3), below, nearness)
    assert losses.tolist() == [pytest.approx([np.log(3.0)] * 4)]
