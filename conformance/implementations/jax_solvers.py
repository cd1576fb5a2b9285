"""Solvers of the assignment problem in optax, compiled by `jax.jit`: component `assignment`.

Declared: what happens to entries that are not finite is open, as optax says nothing of them.
"""

from __future__ import annotations

from dataclasses import replace

import optax

from detr_conformance import jax_implementation
from detr_spec.profiles import DETR

PROFILE = replace(DETR, non_finite_costs="unchecked")

IMPLEMENTATIONS = (
    jax_implementation(name="optax-hungarian-algorithm", profile=PROFILE, solver=optax.assignment.hungarian_algorithm),
    jax_implementation(
        name="optax-base-hungarian-algorithm", profile=PROFILE, solver=optax.assignment.base_hungarian_algorithm
    ),
)
