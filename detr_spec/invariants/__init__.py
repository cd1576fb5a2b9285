"""All invariants, one module for each group. Importing this package registers them, in the order of the norm."""

from detr_spec.invariants import matcher

__all__ = ["matcher"]
