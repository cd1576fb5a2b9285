"""How far apart two right answers of one implementation may be where no formula can be followed.

A decoder's weights and inner formulas are its own, so no interval can be carried through it as `detr_spec.tolerance`
does for losses. What can be done is to look at its own rounding. Where an invariant compares an answer with that to
the same question put in another order (queries permuted, padding added), both compute the same real numbers and differ
by rounding errors alone. Asking the same question again with every number of the input moved by one spacing of the
dtype gives another such pair: each sum, product and exponential inside is rounded anew, and the errors grow through
later layers as they grow in the case at hand, be it well or ill conditioned. The change seen, ρ, is a sample of what
rounding does here, enlarged by the input's own change. So

    allowance = 16 · (max ρ over 3 seeded perturbations + 1 spacing of the largest magnitude of the answer).

This is the one allowance that is not derived, and the norm names it so (§10).

The second term stands for sums whose order changes where the perturbation happens to change nothing. The factor is
there since the maximum of three samples is not the maximum of all: over some ten thousand cases in five dtypes, right
implementations (PyTorch's attention, its explicit form for some shapes, one in float64 inside, one image at a time)
stayed below 1.5 times the sum. The allowance is usually about 1e-13 in float64 and 1e-5 in float32, and a hundred times
that where a layer norm meets states that are nearly constant; a defect that changes an answer by 1e-3 of itself is
found. In narrow dtypes only gross defects are.

A move is one spacing of the largest number of its array, as the errors of matrix products are relative to that. On
devices other than the CPU, float32 counts as 11 bits wide, as the factors of products may be (TF32).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.tolerance import SPACING
from detr_spec.values import Floats, round_to
from detr_spec.violation import require_equal

Answers = tuple[Floats, ...]
"""The arrays of one answer, each with an allowance of its own."""

PERTURBATIONS = 3
MULTIPLE = 16.0
TF32_SPACING = 2.0**-10


def spacing(configuration: Configuration) -> float:
    """The relative spacing of the numbers that a configuration's computations round to."""
    if configuration.dtype == "float32" and configuration.device != "cpu":
        return TF32_SPACING
    return SPACING[configuration.dtype]


def moved(array: Floats, configuration: Configuration, generator: np.random.Generator) -> Floats:
    """The array with each number up or down by one spacing of the largest, or of 1 where all are 0."""
    step = spacing(configuration) * (float(np.abs(array).max(initial=0.0)) or 1.0)
    return round_to(array + generator.choice((-step, step), size=array.shape), configuration.dtype)


def allowances(
    ask_moved: Callable[[np.random.Generator], Answers],
    settled: Answers,
    configuration: Configuration,
    generator: np.random.Generator,
) -> tuple[float, ...]:
    """How far each array of another right answer may lie from the settled one.

    ask_moved asks the same question with its numbers `moved` by the generator. Raises `Violation` where an answer to
    that has another shape.
    """
    largest = [0.0] * len(settled)
    for _ in range(PERTURBATIONS):
        answer = ask_moved(generator)
        got, expected = ([array.shape for array in arrays] for arrays in (answer, settled))
        require_equal("the same input, moved by its rounding, has an answer of another shape", got, expected)
        changes = [float(np.abs(array - other).max(initial=0.0)) for array, other in zip(answer, settled, strict=True)]
        largest = list(map(max, largest, changes))
    one = spacing(configuration)
    return tuple(
        MULTIPLE * (change + one * float(np.abs(array).max(initial=0.0)))
        for change, array in zip(largest, settled, strict=True)
    )
