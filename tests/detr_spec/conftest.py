"""What is drawn in these tests depends on nothing but the strategies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from detr_conformance.judging.search import no_local_constants


@pytest.fixture(autouse=True)
def _nothing_drawn_from_loaded_modules() -> Iterator[None]:
    with no_local_constants():
        yield
