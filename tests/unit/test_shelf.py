"""What runs leave in the data directory, and what is taken away again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connectors.shelf import FileShelf


@pytest.fixture
def shelf(tmp_path: Path) -> FileShelf:
    (tmp_path / "20260101-0001").mkdir()
    return FileShelf(tmp_path)


def test_what_a_dead_process_was_writing_holds_values_and_is_purged(shelf: FileShelf) -> None:
    folder = shelf.data_dir / "20260101-0001"
    (folder / ".quarantine.parquet.4711.part").write_bytes(b"values")
    (folder / "report.html").write_bytes(b"none")
    assert ["20260101-0001"] == shelf.with_values()
    assert {"folders": 1, "files": 1, "bytes": 6} == shelf.purge(before=float("inf"), keep=[])
    assert ["report.html"] == os.listdir(folder)
    assert [] == shelf.with_values()


def test_half_an_index_is_purged_once_it_is_old(shelf: FileShelf) -> None:
    half = shelf.data_dir / ".index.html.4711.part"
    half.write_bytes(b"<html>")
    os.utime(half, (1000.0, 1000.0))
    shelf.purge(before=1000.0, keep=[])
    assert half.exists()
    shelf.purge(before=1001.0, keep=[])
    assert not half.exists()


def test_a_run_counts_from_its_end_however_often_its_report_was_made_again(shelf: FileShelf) -> None:
    folder = shelf.data_dir / "20260101-0001"
    (folder / "quarantine.parquet").write_bytes(b"values")
    os.utime(folder, (5000.0, 5000.0))
    for ended in (None, {"20260101-0002": 1.0}, {"20260101-0001": 2000.0}):
        shelf.purge(before=2000.0, keep=[], ended=ended)
    assert ["20260101-0001"] == shelf.with_values()
    shelf.purge(before=2001.0, keep=[], ended={"20260101-0001": 2000.0})
    assert [] == shelf.with_values()
