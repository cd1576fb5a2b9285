"""Options that several commands have, each with one argument for what they say together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from detr_conformance.running.selection import Selection

scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Use the workers of a Dask cluster, such as tcp://host:8786."
)
"""Where the work is done, in place of worker processes of this machine."""


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command --profile, --component, --invariant and --level, and its function one argument `selection`."""

    @click.option("--profile", metavar="NAME", help="Only in this profile.")
    @click.option("--component", "components", metavar="NAME", multiple=True, help="Only this component; repeatable.")
    @click.option("--invariant", "invariants", metavar="ID", multiple=True, help="Only this id or number; repeatable.")
    @click.option("--level", metavar="MUST|SHOULD", help="Only invariants of this level.")
    @functools.wraps(function)
    def with_selection(
        *arguments: Any,
        profile: str | None,
        components: tuple[str, ...],
        invariants: tuple[str, ...],
        level: str | None,
        **named: Any,
    ) -> Any:
        return function(*arguments, selection=Selection(profile, components, invariants, level), **named)

    return with_selection
