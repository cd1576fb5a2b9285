"""The entries of a ledger: expected violations, each with its reason and the vector that shows it.

[[violation]]
implementation = "transformers"
profile = "deformable"          # optional; where the implementation is checked in several profiles, it is needed
invariant = "matcher.some-name"
dtypes = ["float16"]            # optional; the others must still hold
devices = ["cuda"]              # optional; elsewhere it must still hold
reason = "what it does instead, and where that comes from"
evidence = "how it can be seen without this program"    # optional
link = "https://…"              # optional
vector = "{…}"                  # written by `detr-spec check --ledger FILE --accept`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detr_conformance.vectors.vector import Vector
from detr_spec.implementation import Implementation

LISTS = ("dtypes", "devices")
REQUIRED = ("implementation", "invariant", "reason", "vector")
FIELDS = ("implementation", "profile", "invariant", "dtypes", "devices", "reason", "evidence", "link", "vector")
"""All fields in the order in which they are written."""


@dataclass(frozen=True, eq=False)
class Entry:
    """An expected violation; the texts a person wrote are in one line. place: the file and the line of the entry.

    number: its place among the entries of its file. vector: None only while a ledger is being written.
    """

    place: str
    number: int
    implementation: str
    invariant: str
    reason: str
    vector: Vector | None
    profile: str | None = None
    dtypes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    evidence: str = ""
    link: str = ""

    def concerns(self, implementation: Implementation) -> bool:
        """Whether the entry is about this implementation in its profile."""
        return implementation.name == self.implementation and self.profile in (None, implementation.profile.name)

    def on(self, device: str) -> bool:
        """Whether the entry is about this device."""
        return not self.devices or device in self.devices

    def of_dtypes(self, dtypes: Sequence[str]) -> tuple[str, ...]:
        """Those of the dtypes that the entry is about."""
        return tuple(dtype for dtype in dtypes if not self.dtypes or dtype in self.dtypes)

    @property
    def told_conditions(self) -> str:
        """The dtypes and devices that it is restricted to, in brackets; empty where it is not."""
        parts = ", ".join((*self.dtypes, *self.devices))
        return f" ({parts})" if parts else ""
