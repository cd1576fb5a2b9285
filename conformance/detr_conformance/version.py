"""The version of this distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version of the installed distribution, "unknown" where it is not installed."""
    try:
        return version("detr-spec")
    except PackageNotFoundError:
        return "unknown"
