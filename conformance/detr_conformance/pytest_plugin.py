"""The pytest plugin: the options of `conformance_tests`. Every run of pytest loads it: it imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares how many cases are drawn for each invariant, from which seed, and where they are run."""
    group = parser.getgroup("detr-spec", "conformance of DETR losses")
    group.addoption(
        "--detr-spec-examples",
        type=int,
        default=30,
        metavar="N",
        help="cases for each invariant (default 30; more of the rare)",
    )
    group.addoption("--detr-spec-seed", default="0", metavar="SEED", help="an integer, or 'random' (default 0)")
    group.addoption("--detr-spec-device", default="cpu", metavar="NAME", help="where to compute (default cpu)")
    group.addoption(
        "--detr-spec-database",
        action="append",
        default=[],
        metavar="FOLDER",
        help="where failing cases are kept, and run first; repeatable",
    )
    group.addoption(
        "--detr-spec-ledger", action="append", metavar="FILE", help="a file of expected violations; repeatable"
    )
