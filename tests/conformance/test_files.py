"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_conformance.errors import UsageError
from detr_conformance.files import require_writable, write_whole


def test_writing_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("something longer than what comes")
    require_writable(path)
    write_whole("new", path)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_whole("new", tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_what_is_no_regular_file_is_written_to_directly() -> None:
    device = Path("/dev/null")
    if not device.is_char_device():
        pytest.skip("there is no /dev/null here")
    require_writable(device)
    write_whole("new", device)
    assert device.is_char_device()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        require_writable(tmp_path)
    with pytest.raises(UsageError, match=r"missing/report.json cannot be written: No such file"):
        require_writable(tmp_path / "missing" / "report.json")
