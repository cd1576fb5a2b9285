"""What several tests make of an implementation that they judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detr_spec.configuration import Configuration


def hidden(factory: Callable[[Configuration], Any]) -> Callable[[Configuration], Callable[..., Any]]:
    """The criteria of a factory as functions, which show neither their matching nor their weights."""

    def build(configuration: Configuration) -> Callable[..., Any]:
        criterion = factory(configuration)

        def call(outputs: Any, targets: Any) -> Any:
            return criterion(outputs, targets)

        return call

    return build
