"""All invariants, one module for each group, and how they are found. Importing this package registers them."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

from detr_spec.invariant import GROUPS, REGISTER, Invariant

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)


def all_invariants() -> tuple[Invariant, ...]:
    """Every registered invariant, in the order of the norm."""
    return tuple(sorted(REGISTER.values(), key=_place))


def _place(item: Invariant) -> tuple[int, int]:
    """Where the norm's list has an invariant: its group's place, and its number in the group."""
    return GROUPS.index(item.number[0]), int(item.number[1:])


class UnknownInvariant(KeyError):
    """No invariant has that id or number."""

    def __str__(self) -> str:
        return str(self.args[0])


def find_invariants(name: str) -> tuple[Invariant, ...]:
    """The invariant of that id, or those of that number in the norm ("M2" names every invariant of M2).

    Raises `UnknownInvariant` with the closest ids otherwise.
    """
    found = tuple(item for item in all_invariants() if item.id == name or item.number == name.upper())
    if not found:
        close = get_close_matches(name, [item.id for item in all_invariants()], n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; `detr-spec list` shows them all"
        raise UnknownInvariant(f"no invariant is called {name!r}{hint}")
    return found
