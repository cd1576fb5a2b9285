"""Causes of findings, as data: what would explain several violations at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Cause:
    """What explains some of the findings on one implementation.

    kind: "declaration", a difference that the profile may declare, under which their cases hold; or "defect", a planted
    one that is found by nearly the same invariants. name: the field of the profile, or the defect's id in the bank.
    message: the line to write in the profile, or what was planted. invariants: the ids of the findings. agree, of: how
    many invariants say the same of the defect and of the implementation, and how many were asked of both; of a
    declaration, how many findings it explains, and how many there are.
    """

    kind: Literal["declaration", "defect"]
    name: str
    message: str
    invariants: tuple[str, ...]
    agree: int
    of: int


@dataclass(frozen=True)
class Explained:
    """What is known of why an implementation's findings are there.

    dtypes: by the ids of findings, what each dtype gives, such as "holds" or "violated", where dtypes differ.
    """

    causes: tuple[Cause, ...] = ()
    dtypes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
