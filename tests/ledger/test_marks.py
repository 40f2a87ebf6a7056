"""A ledger that lost its last runs is noticed before anything is done with it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import stat
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.ledger import Ledger, open_ledger
from connectors.ledger.mark import Mark, place_of, read_mark, write_mark
from schemas.errors import StorageError
from schemas.ledger import FormerKey, State
from tests.ledger.conftest import IDENTITY, begun, draft
from tests.ledger.test_postgres_trouble import HOLDS_THE_LOCK, kill_backends


def opened(url: str, folder: Path, **how: bool) -> AbstractContextManager[Ledger]:
    return open_ledger(url, identity=IDENTITY, now=1.0, mark_in=folder, **how)


def one_run(url: str, folder: Path, name: str) -> None:
    with opened(url, folder) as ledger:
        [chunk] = ledger.intend([draft(begun(ledger), name)], now=3.0)
        ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=4.0)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_a_ledger_put_back_from_a_backup_is_refused(path: Path, marks: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{path}"
    one_run(url, marks, "a")
    shutil.copy(path, tmp_path / "backup")
    one_run(url, marks, "b")
    shutil.copy(tmp_path / "backup", path)
    with pytest.raises(StorageError, match="older than it was") as refused, opened(url, marks):
        pytest.fail("opened")
    assert "meterfeed adopt" in refused.value.cure


def test_a_backup_made_while_a_run_was_going_on_is_refused_too(
    path: Path, marks: Path, tmp_path: Path
) -> None:
    """It was opened as often as the newest; only the moves of its chunks tell."""
    url = f"sqlite:///{path}"
    with opened(url, marks) as ledger:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(tmp_path / "backup")) as copy:
            source.backup(copy)
        ledger.intend([draft(begun(ledger), "a")], now=3.0)
    shutil.copy(tmp_path / "backup", path)
    with pytest.raises(StorageError, match="older than it was"), opened(url, marks):
        pytest.fail("opened")


def test_a_ledger_that_lost_its_write_ahead_log_is_refused(path: Path, marks: Path, tmp_path: Path) -> None:
    """As a killed run leaves it, with everything it wrote still in the log."""
    url, killed = f"sqlite:///{path}", tmp_path / "killed"
    one_run(url, marks, "a")
    with opened(url, marks) as ledger:
        ledger.intend([draft(begun(ledger), "b")], now=3.0)
        shutil.copytree(tmp_path, killed, ignore=shutil.ignore_patterns("killed"))
    (killed / "ledger.sqlite-wal").unlink()
    (killed / "ledger.sqlite-shm").unlink()
    with (
        pytest.raises(StorageError, match="older"),
        opened(f"sqlite:///{killed}/{path.name}", killed / "data"),
    ):
        pytest.fail("opened")


@pytest.mark.parametrize("left", ["nothing", "zero bytes"])
def test_a_ledger_that_is_gone_is_not_silently_begun_again(path: Path, marks: Path, left: str) -> None:
    url = f"sqlite:///{path}"
    one_run(url, marks, "a")
    path.unlink()
    if left == "zero bytes":
        path.touch()
    for _ in range(2):
        with pytest.raises(StorageError, match="gone"), opened(url, marks):
            pytest.fail("opened")


def test_a_ledger_in_postgresql_that_is_older_is_refused(postgres_url: str, marks: Path) -> None:
    one_run(postgres_url, marks, "a")
    [place] = marks.iterdir()
    newest = Mark(**json.loads(place.read_text()))
    write_mark(place, replace(newest, fence=newest.fence + 1))
    with pytest.raises(StorageError, match="opened 1 times where it had been 2"), opened(postgres_url, marks):
        pytest.fail("opened")


def test_a_refused_ledger_is_left_as_it_was(ledger_url: str, marks: Path) -> None:
    one_run(ledger_url, marks, "a")
    [place] = marks.iterdir()
    newest = Mark(**json.loads(place.read_text()))
    write_mark(place, replace(newest, moves=99))
    for _ in range(2):
        with pytest.raises(StorageError, match="older"), opened(ledger_url, marks):
            pytest.fail("opened")
    write_mark(place, newest)
    with opened(ledger_url, marks) as ledger:
        assert 2 == ledger.fence


def test_one_that_was_rebuilt_is_trusted_from_then_on_and_numbers_its_runs_after_the_old_ones(
    path: Path, marks: Path
) -> None:
    url = f"sqlite:///{path}"
    for name in "abc":
        one_run(url, marks, name)
    path.unlink()
    with opened(url, marks, rebuilding=True) as ledger:
        assert ledger.doubt
    with pytest.raises(StorageError, match="another ledger"), opened(url, marks):
        pytest.fail("nobody said that it was rebuilt")
    with opened(url, marks, rebuilding=True) as ledger:
        ledger.trust()
    with opened(url, marks) as ledger:
        begun(ledger)
        assert "20261122-0004" == ledger.runs()[0].run_id
        begun(ledger)
        assert "20261122-0005" == ledger.runs()[0].run_id
    with open_ledger(url, identity=IDENTITY, now=1.0) as ledger:  # nothing but the ledger itself to go by
        begun(ledger)
        assert "20261122-0006" == ledger.runs()[0].run_id
    path.unlink()
    with opened(url, marks, rebuilding=True) as ledger:
        begun(ledger)
        assert "20261122-0006" == ledger.runs()[0].run_id, "the mark knows of the fifth"


def test_the_number_of_a_run_that_was_killed_and_then_forgotten_is_not_given_again(
    path: Path, marks: Path, tmp_path: Path
) -> None:
    """Its folder is still there, with a plan in it."""
    url = f"sqlite:///{path}"
    one_run(url, marks, "a")
    shutil.copy(path, tmp_path / "backup")
    with opened(url, marks) as ledger:
        begun(ledger)
        shutil.copytree(marks, tmp_path / "killed")
    shutil.copy(tmp_path / "backup", path)
    with opened(url, tmp_path / "killed", rebuilding=True) as ledger:
        ledger.trust()
    with opened(url, tmp_path / "killed") as ledger:
        begun(ledger)
        assert "20261122-0003" == ledger.runs()[0].run_id


def test_a_ledger_that_comes_with_its_first_mark_is_trusted(ledger_url: str, marks: Path) -> None:
    with open_ledger(ledger_url, identity=IDENTITY, now=1.0) as ledger:
        begun(ledger)
    with opened(ledger_url, marks):
        pass
    assert 1 == len(list(marks.iterdir()))


def test_the_mark_is_found_again_after_the_id_key_was_changed(marks: Path) -> None:
    rotated = replace(IDENTITY, key="k2", tenant="t2", former=(FormerKey(IDENTITY.key, IDENTITY.tenant),))
    assert place_of(marks, IDENTITY) == place_of(marks, rotated)
    assert place_of(marks, IDENTITY) != place_of(marks, replace(IDENTITY, tenant="other"))


def test_a_mark_that_cannot_be_written_stops_before_anything_is_done(ledger_url: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way of the folder")
    with pytest.raises(StorageError), opened(ledger_url, tmp_path / "data"):
        pytest.fail("opened")


def test_a_mark_that_cannot_be_read_is_no_licence(ledger_url: str, marks: Path) -> None:
    one_run(ledger_url, marks, "a")
    [place] = marks.iterdir()
    place.write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        read_mark(place)
    with pytest.raises(StorageError, match="cannot be read"), opened(ledger_url, marks):
        pytest.fail("opened")


def test_a_run_whose_lock_was_lost_does_not_turn_the_mark_back(postgres_url: str, marks: Path) -> None:
    with opened(postgres_url, marks) as first:
        assert 1 == kill_backends(postgres_url, HOLDS_THE_LOCK)
        assert first.fence == 1
        with opened(postgres_url, marks) as second:
            assert 2 == second.fence
    [place] = marks.iterdir()
    assert 2 == read_mark(place).fence


# ------------------------------------------------------------------ the file
MARK = Mark("x", 1, 2, 3)


def test_a_mark_and_its_folder_are_ours_alone(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "mark.json"
    assert read_mark(place) is None
    for mark in (MARK, replace(MARK, runs=4)):
        write_mark(place, mark)
        assert mark == read_mark(place)
        assert ["mark.json"] == [one.name for one in place.parent.iterdir()]
    assert (0o700, 0o600) == (place.parent.stat().st_mode & 0o777, place.stat().st_mode & 0o777)


def test_a_mark_is_on_the_disk_with_its_name_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss right after it forgets neither what is in the file nor that it has this name."""
    flushed: list[tuple[str, Mark | None]] = []

    def flush(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        flushed.append((name, read_mark(tmp_path / "data" / "mark.json")))

    monkeypatch.setattr(os, "fsync", flush)
    write_mark(tmp_path / "data" / "mark.json", MARK)
    assert [("mark.json.part", None), ("data", MARK)] == flushed


def test_a_mark_whose_name_could_not_be_flushed_is_no_mark_to_rely_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(StorageError, match="could not be written: Input/output error"):
        write_mark(tmp_path / "mark.json", MARK)


def test_a_mark_of_which_a_part_was_written_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "mark.json.part").write_text("x" * 1000)
    write_mark(tmp_path / "mark.json", MARK)
    assert MARK == read_mark(tmp_path / "mark.json")
    assert ["mark.json"] == [one.name for one in tmp_path.iterdir()]


def test_a_link_in_the_way_of_a_mark_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "mark.json.part").symlink_to(tmp_path / "theirs")
    with pytest.raises(StorageError, match="could not be written"):
        write_mark(tmp_path / "mark.json", MARK)
    assert ["theirs"] == [one.name for one in tmp_path.iterdir()]
    assert "theirs" == (tmp_path / "theirs").read_text()
