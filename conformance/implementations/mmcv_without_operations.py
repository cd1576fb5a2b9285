"""mmcv-lite with a module in the place of its compiled operations, so that mmdetection can be imported."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class WithoutOperations(ModuleType):
    """A module whose every function says that it is not there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_: object, **__: object) -> None:
            raise NotImplementedError(f"mmcv-lite has no {name}")

        return absent


sys.modules.setdefault("mmcv._ext", WithoutOperations("mmcv._ext"))
