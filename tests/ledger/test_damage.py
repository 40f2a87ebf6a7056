"""LE1, LE2, DI2: a ledger that is locked, damaged, or not a ledger is refused; it is never silently begun again."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connectors.ledger import open_ledger
from schemas.errors import BusyError, StorageError
from tests.ledger.conftest import IDENTITY, begun, draft


def opened(path: Path):
    return open_ledger(f"sqlite:///{path}", identity=IDENTITY, now=3.0, mark_in=path.parent)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with twenty chunks, closed."""
    path = tmp_path / "data" / "ledger.sqlite"
    with opened(path) as ledger:
        run = begun(ledger)
        for number in range(20):
            ledger.intend([draft(run, f"{number:03d}", start=number)], now=2.0)
    return path


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def not_a_database(path: Path) -> None:
    path.write_bytes(b"Kundenr;Anlegg\n" * 500)


def header_overwritten(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(b"\0" * 100 + raw[100:])


def a_page_of_zeros(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[4096:12288] = bytes(8192)
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [cut, not_a_database, header_overwritten, a_page_of_zeros])
def test_a_damaged_ledger_is_refused_and_left_for_the_doctor(path: Path, damage) -> None:
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StorageError) as refused, opened(path):
        pytest.fail("opened")
    assert (16, before) == (refused.value.exit_code, path.read_bytes())


def test_a_write_ahead_log_of_another_ledger_is_not_taken_for_its_own(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "ledger.sqlite"
    with open_ledger(f"sqlite:///{other}", identity=IDENTITY, now=1.0) as ledger:
        begun(ledger)
        shutil.copy(f"{other}-wal", f"{path}-wal")
    # SQLite takes it: its pages fit. The mark knows which ledger was here.
    with pytest.raises(StorageError, match="another ledger"), opened(path):
        pytest.fail("opened")


def test_a_ledger_that_another_program_holds_is_busy(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError) as busy, opened(path):
            pytest.fail("opened")
        assert 14 == busy.value.exit_code
    with opened(path):
        pass


def test_a_ledger_that_another_program_locks_in_the_middle_is_storage_trouble(path: Path) -> None:
    """Something may have been sent by then: nobody may be told that nothing was done."""
    with opened(path) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        with ledger.together():
            assert ledger._open is not None
            ledger._open.exec_driver_sql("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked by another program") as refused:
            begun(ledger)
        assert (16, "Close it, then run `meterfeed resume`.") == (
            refused.value.exit_code,
            refused.value.cure,
        )
        other.execute("ROLLBACK")
        begun(ledger)


def test_a_ledger_that_is_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"somebody's")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="cannot be opened"), opened(path):
        pytest.fail("opened")
    assert b"somebody's" == (tmp_path / "elsewhere").read_bytes()


@pytest.mark.parametrize("place", ["x" * 300 + "/ledger.sqlite", "x" * 300, "file/ledger.sqlite", "folder"])
def test_a_ledger_that_cannot_be_there_is_storage_trouble(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(StorageError),
        open_ledger(f"sqlite:///{tmp_path}/{place}", identity=IDENTITY, now=1.0),
    ):
        pytest.fail("opened")
