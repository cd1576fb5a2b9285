"""Match and criterion on CUDA, in the five kernels of `criterion.cu` and `lsap.cu`; the host waits for none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dialects import CostFormula, Dialect, LossFormula
from ..layer_losses import LOSSES, LayerLosses, by_name, connected
from ..torch.class_losses import refuse_second_derivatives
from . import solver as cuda_solver
from .batch import MOST_IMAGES, MOST_LAYERS, DeviceBatch, put_pointers
from .kernels import WARP, by_value, kernels, on_current_stream

SOURCES = tuple(Path(__file__).with_name(name) for name in ("formulas.cu", "criterion.cu"))
KERNELS = ("costs", "losses", "totals", "gradients")

# As in the kernels.
THREADS = 256
TILE = 32
SUMS = 7

FOUND_LOSSES = np.dtype(
    [*((name, np.uint64, MOST_LAYERS) for name in (*LOSSES, "cardinality_error")), ("class_error", np.uint64)]
)
LOSS_GRADIENTS = np.dtype([(name, np.uint64, MOST_LAYERS) for name in LOSSES])


@dataclass(frozen=True)
class Match:
    """The matching of a batch in P problems, and what it knows of each query, [P, Q].

    columns: int64 [P, T], the query of each target, or -1. highest: the highest logit. exponential_sum: the sum of
    exp(z - highest) over the columns, in the softmax dialect. favourite: int32, the first column of the highest logit.
    """

    dialect: Dialect
    columns: Tensor
    highest: Tensor
    exponential_sum: Tensor
    favourite: Tensor

    @property
    def statistics(self) -> tuple[Tensor, ...]:
        """What is known of each query."""
        return self.highest, self.exponential_sum, self.favourite


def match(
    batch: DeviceBatch, dialect: Dialect, formula: CostFormula, num_labels: int, *, validate: bool
) -> Match | None:
    """Return the matching of least cost; with `validate`, for which the host waits, None where a value is broken.

    Broken are logits of NaN or +inf, boxes that are not finite or have a negative side, labels outside
    [0, num_labels - 1], and costs that are not finite.
    """
    problems, queries = batch.problems, batch.logits[0].shape[1]
    new = batch.logits[0].new_empty
    highest, exponential_sum = new(problems, queries), new(problems, queries)
    statistics = (highest, exponential_sum, new(problems, queries, dtype=torch.int32))
    cost, sizes = new(problems, batch.longest, queries), new(problems, dtype=torch.int64)
    unsound = cost.new_zeros((), dtype=torch.int32) if validate else None
    with on_current_stream(batch.device):
        arguments = (
            batch.argument,
            _numbers(formula),
            np.int32(num_labels),
            _places(statistics),
            cost.data_ptr(),
            sizes.data_ptr(),
            0 if unsound is None else unsound.data_ptr(),
        )
        grid, shared_bytes = (_tiles(queries), problems), 6 * TILE * cost.element_size()
        _kernel("costs", batch, dialect)(grid, (THREADS,), arguments, shared_mem=shared_bytes)
    # Of broken costs the solver makes nothing worse than no matches, so it need not wait for the verdict.
    columns, _ = cuda_solver.solve_unchecked(cost, sizes)
    if unsound is not None and unsound.item():
        return None
    return Match(dialect, columns, *statistics)


def layer_losses(
    batch: DeviceBatch, match: Match, formula: LossFormula, logits: Sequence[Tensor], boxes: Sequence[Tensor]
) -> LayerLosses:
    """Return the losses of all layers under a matching, with a gradient for the logits and boxes of each layer.

    logits and boxes: those of the batch, as they were given. Raises RuntimeError in a backward pass with
    create_graph=True.
    """
    return by_name(_Losses.apply(batch, match, formula, *logits, *boxes))


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, batch: DeviceBatch, match: Match, formula: LossFormula, *predictions: Tensor) -> Any:
        layers = len(batch.logits)
        tiles = _tiles(batch.logits[0].shape[1])
        new = batch.logits[0].new_empty
        sums, class_divisors = new(batch.problems, tiles, SUMS, dtype=torch.float64), new(layers, dtype=torch.float64)
        # Each has memory of its own, so that it may be multiplied in place by its weight.
        found = [new(()) for _ in range(4 * layers + 1)]
        places = np.zeros(1, FOUND_LOSSES)
        for number, name in enumerate((*LOSSES, "cardinality_error")):
            put_pointers(places[0][name], found[number * layers : (number + 1) * layers])
        places[0]["class_error"] = found[-1].data_ptr()
        with on_current_stream(batch.device):
            arguments = (batch.argument, _numbers(formula))
            _kernel("losses", batch, match.dialect)(
                (tiles, batch.problems),
                (THREADS,),
                (*arguments, _places(match.statistics), match.columns.data_ptr(), sums.data_ptr()),
                shared_mem=THREADS // WARP * SUMS * 8 + TILE * 4,
            )
            _kernel("totals", batch, match.dialect)(
                (layers,),
                (MOST_IMAGES,),
                (*arguments, np.int32(tiles), sums.data_ptr(), by_value(places), class_divisors.data_ptr()),
                shared_mem=MOST_IMAGES // WARP * SUMS * 8,
            )
        ctx.dialect, ctx.formula, ctx.dtypes = match.dialect, formula, [tensor.dtype for tensor in predictions]
        ctx.save_for_backward(match.columns, *match.statistics, class_divisors, *batch.tensors)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*found[3 * layers :])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> Any:
        refuse_second_derivatives()
        layers = len(ctx.dtypes) // 2
        *of_match, class_divisors = ctx.saved_tensors[:5]
        match, batch = Match(ctx.dialect, *of_match), DeviceBatch.of_tensors(ctx.saved_tensors[5:], layers)
        places = np.zeros(1, LOSS_GRADIENTS)
        for number, name in enumerate(LOSSES):
            put_pointers(places[0][name], given[number * layers : (number + 1) * layers])
        of_logits, of_boxes = (one[0].new_empty(layers, *one[0].shape) for one in (batch.logits, batch.boxes))
        with on_current_stream(batch.device):
            arguments = (
                batch.argument,
                _numbers(ctx.formula),
                _places(match.statistics),
                match.columns.data_ptr(),
                class_divisors.data_ptr(),
                by_value(places),
                of_logits.data_ptr(),
                of_boxes.data_ptr(),
            )
            grid = (_tiles(batch.logits[0].shape[1]), batch.problems)
            _kernel("gradients", batch, match.dialect)(grid, (THREADS,), arguments, shared_mem=TILE * 4)
        return None, None, None, *connected(given, of_logits.unbind(), of_boxes.unbind(), ctx.dtypes)


def _kernel(name: str, batch: DeviceBatch, dialect: Dialect) -> Any:
    real = "float" if batch.dtype == torch.float32 else "double"
    names = tuple(f"{kernel}<{real}, {dialect.value}>" for kernel in KERNELS)
    return kernels(SOURCES, names)[KERNELS.index(name)]


def _numbers(formula: CostFormula | LossFormula) -> np.ndarray[Any, Any]:
    """Return the numbers of a formula in order as the kernels take them, a structure by value."""
    return by_value(np.array(list(vars(formula).values()), np.float64))


def _places(statistics: Sequence[Tensor]) -> np.ndarray[Any, Any]:
    """Return where the statistics of queries lie as the kernels take it, a structure by value."""
    return by_value(np.array([tensor.data_ptr() for tensor in statistics], np.uint64))


def _tiles(queries: int) -> int:
    return -(-queries // TILE)
