"""A slice of what happens to real processes: killed at system calls, starved of disk, frozen, doubled, restored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign import processes as real
from tests.campaign.postgres import own_database, served_in_memory
from tests.campaign.processes import Point

STRACE = pytest.mark.skipif(
    not real.has_strace(), reason="strace is missing: no kill at system calls was tried"
)
TMPFS = pytest.mark.skipif(not real.can_mount(), reason="no tmpfs can be mounted: no small disk was tried")
KILLS = [("pwrite64", 10), ("pwrite64", 90), ("fdatasync", 5), ("sendto", 9), ("recvfrom", 30)]
FAILS = [("pwrite64", "ENOSPC", 60), ("pwrite64", "EIO", 150), ("fdatasync", "EIO", 6)]

pytestmark = pytest.mark.xdist_group("campaign-processes")


@STRACE
@pytest.mark.parametrize(("call", "n"), KILLS)
def test_a_kill_at_a_system_call_loses_nothing(tmp_path: Path, call: str, n: int) -> None:
    assert real.dies_or_fails_at(tmp_path, Point(call, n))


@STRACE
@pytest.mark.parametrize(("call", "error", "n"), FAILS)
def test_a_disk_that_fails_stops_the_run_with_16_and_loses_nothing(
    tmp_path: Path, call: str, error: str, n: int
) -> None:
    assert real.dies_or_fails_at(tmp_path, Point(call, n, error))


@STRACE
def test_kills_during_recovery_and_during_its_recovery_lose_nothing(tmp_path: Path) -> None:
    assert real.dies_or_fails_at(tmp_path, Point("recvfrom", 20), Point("recvfrom", 9), Point("pwrite64", 12))


@pytest.mark.parametrize("size", [16_384, 120_000, 200_000])
def test_a_file_that_cannot_grow_stops_the_run_with_16_and_loses_nothing(tmp_path: Path, size: int) -> None:
    assert real.file_cannot_grow_beyond(tmp_path, size)


@TMPFS
@pytest.mark.parametrize("kilobytes", [64, 160])
def test_a_disk_too_small_stops_the_run_with_16_and_loses_nothing(tmp_path: Path, kilobytes: int) -> None:
    assert real.disk_is_as_large_as(tmp_path, kilobytes)


def test_a_frozen_run_keeps_the_lock_and_finishes_when_it_wakes_up(tmp_path: Path) -> None:
    assert 14 == real.is_frozen(tmp_path, after=4)


def test_a_frozen_run_that_was_overtaken_does_no_harm_when_it_wakes_up(tmp_path: Path) -> None:
    assert 10 == real.is_frozen(tmp_path, after=4, lock="stolen")


def test_of_several_started_together_one_runs(tmp_path: Path) -> None:
    assert 14 in real.start_together(tmp_path, runs=3)


def test_two_machines_on_one_tenant_make_nothing_twice(tmp_path: Path) -> None:
    real.two_machines(tmp_path)


@STRACE
def test_a_ledger_put_back_from_a_copy_makes_nothing_twice(tmp_path: Path) -> None:
    real.is_restored(tmp_path, at=Point("sendto", 9))


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with served_in_memory() as url:
        if url is None:
            pytest.skip("no PostgreSQL server to test against")
        yield url


@STRACE
@pytest.mark.parametrize(("call", "n"), [("sendto", 30), ("recvfrom", 60)])
def test_a_kill_with_the_ledger_in_postgresql_loses_nothing(
    tmp_path: Path, postgres: str, call: str, n: int
) -> None:
    with own_database() as ledger:
        assert real.dies_or_fails_at(tmp_path, Point(call, n), ledger=ledger)


# ------------------------------------------------------------------ each of these can fail
def test_a_record_made_twice_by_real_processes_is_seen(tmp_path: Path) -> None:
    with real.stage(tmp_path, faults=[]) as on:
        on.here = True
        on.live()
        on.sandbox.set_faults({"semantics": on.semantics | {"b": "duplicate"}})
        for file in tmp_path.glob("ledger.sqlite*"):
            file.unlink()
        on.live()
        with pytest.raises(real.Wrong, match="I6"):
            on.finish()


def test_an_exit_that_hides_a_full_disk_is_seen(tmp_path: Path) -> None:
    with real.stage(tmp_path, faults=[]) as on:
        on.here = True
        on.live()
        on.lives[-1].error = "StorageError"
        with pytest.raises(real.Wrong, match="I13"):
            on.finish()
