"""The points at which masks are compared, for implementations in PyTorch that draw them at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from detr_spec.configuration import Configuration
from detr_spec.masks import repeated


def sampler_of(configuration: Configuration) -> Callable[..., Tensor]:
    """What draws points in place of `torch.rand`: each drawing of [..., n, 2] has the first n points of the sample.

    It is `torch.rand` where the configuration has no sample.
    """
    if not configuration.sample:
        return torch.rand
    points = configuration.points

    def sampler(*shape: Any, **options: Any) -> Tensor:
        lengths = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        drawn = torch.tensor(repeated(points, lengths[-2]), dtype=torch.float64)
        drawn = drawn.to(options.get("device"), options.get("dtype") or torch.get_default_dtype())
        return drawn.expand(*lengths).clone()

    return sampler


@contextmanager
def points_given(configuration: Configuration) -> Iterator[None]:
    """Whatever calls `torch.rand` within it draws the points of the sample: what has no sampler of its own."""
    with patch.object(torch, "rand", sampler_of(configuration)):
        yield
