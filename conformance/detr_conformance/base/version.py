"""The version of this distribution."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed_version() -> str:
    """The version of the installed distribution, "unknown" where it is not installed."""
    try:
        return version("detr-spec")
    except PackageNotFoundError:
        return "unknown"


installed_version()  # while files can be read, which an implementation may end
