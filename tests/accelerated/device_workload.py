"""What compute-sanitizer watches on a device: every kernel, in both dialects and dtypes, forward and backward.

It is started by `tox run -e cuda`, and is no test by itself.
"""

from __future__ import annotations

import numpy as np
import torch

import detr_accelerated
from detr_accelerated.cuda import solver as cuda_solver

SOLVER_SHAPES = ((6, 7, 300), (4, 50, 50), (3, 70, 40), (2, 100, 900), (5, 1, 33), (3, 300, 300))
BATCHES = (((5, 0, 3), 40, 9, 2), ((40, 2), 33, 70, 3), ((0, 0), 7, 4, 1))


def solve(numbers: np.random.Generator, dtype: torch.dtype) -> None:
    """Problems with many ties, in blocks of all sizes."""
    for problems, targets, queries in SOLVER_SHAPES:
        cost = torch.tensor(numbers.integers(0, 4, (problems, targets, queries)), dtype=dtype, device="cuda")
        sizes = torch.tensor(numbers.integers(0, targets + 1, problems), device="cuda")
        cuda_solver.solve(cost, sizes, check=True)


def step(numbers: np.random.Generator, dtype: torch.dtype, focal: bool, validate: bool) -> None:
    """Match and criterion, forward and backward, of batches in several tiles."""
    for counts, queries, columns, layers in BATCHES:

        def tensor(*shape: int) -> torch.Tensor:
            return torch.tensor(numbers.uniform(0.1, 0.5, shape), dtype=dtype, device="cuda")

        predictions = [
            {
                "pred_logits": tensor(len(counts), queries, columns).requires_grad_(),
                "pred_boxes": tensor(len(counts), queries, 4).requires_grad_(),
            }
            for _ in range(layers)
        ]
        targets = [
            {"labels": torch.tensor(numbers.integers(0, columns - 1, n), device="cuda"), "boxes": tensor(n, 4)}
            for n in counts
        ]
        losses = ["labels", "boxes", "cardinality"]
        if focal:
            cost = detr_accelerated.focal_cost()
            matcher = detr_accelerated.HungarianMatcher(2, 5, 2, class_cost=cost, validate=validate)
            criterion = detr_accelerated.FocalSetCriterion(columns, matcher, {}, losses)
        else:
            matcher = detr_accelerated.HungarianMatcher(1, 5, 2, validate=validate)
            criterion = detr_accelerated.SetCriterion(columns - 1, matcher, {}, 0.1, losses)
        found = criterion({**predictions[0], "aux_outputs": predictions[1:]}, targets)
        sum(loss for loss in found.values() if loss.requires_grad).backward()


def main() -> None:
    """All of it, in an order that is always the same."""
    numbers = np.random.default_rng(0)
    for dtype in (torch.float32, torch.float64):
        solve(numbers, dtype)
        for focal in (False, True):
            for validate in (False, True):
                step(numbers, dtype, focal, validate)
    torch.cuda.synchronize()
    print("all kernels ran")


if __name__ == "__main__":
    main()
