"""Criteria whose answer has the dictionary of losses in it, beside a total or anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


class LossesAt(nn.Module):
    """A criterion that answers with the dictionary at one place of what another answers.

    It shows the other's matcher and table of weights, where that has them.
    """

    def __init__(self, criterion: Any, place: int) -> None:
        super().__init__()
        self.criterion, self.place = criterion, place
        for name in ("matcher", "weight_dict"):
            if hasattr(criterion, name):
                setattr(self, name, getattr(criterion, name))

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The dictionary of losses."""
        return self.criterion(outputs, targets)[self.place]


def place_of_losses(answer: Any) -> int | None:
    """The place of the one dictionary in a tuple or list; None for what is not such, as a dictionary itself."""
    if not isinstance(answer, (tuple, list)):
        return None
    places = [place for place, part in enumerate(answer) if isinstance(part, Mapping) and part]
    return places[0] if len(places) == 1 and len(answer) > 1 else None
