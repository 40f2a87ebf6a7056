"""A slice of what happens to real processes: killed at system calls, starved of disk, frozen, doubled, restored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline.delivery.readback import Found, Reader
from pipeline.phases import Phase
from tests.campaign import processes as real
from tests.campaign.checker import CHECKS, _rows
from tests.campaign.postgres import own_database, served_in_memory
from tests.campaign.processes import KILLED, Point
from tests.campaign.reference import LEDGER, MAIN, SCHEDULE
from tests.campaign.schedules import schedule
from tests.campaign.simulator import simulate

STRACE = pytest.mark.skipif(
    not real.has_strace(), reason="strace is missing: no kill at system calls was tried"
)
TMPFS = pytest.mark.skipif(not real.can_mount(), reason="no tmpfs can be mounted: no small disk was tried")
OPENING = 80
"""More calls of a kind than the main thread makes before that of the ledger begins, and fewer than it makes in all."""
KILLS = [
    Point(MAIN, "pwrite64", 10),
    Point(MAIN, "fdatasync", 8),
    Point(MAIN, "sendto", 9),
    Point(MAIN, "recvfrom", 30),
    Point(LEDGER, "pwrite64", 1),
    Point(LEDGER, "pwrite64", 200),
    Point(LEDGER, "fdatasync", 5),
    Point(LEDGER, "sendto", 9),
]
FAILS = [
    Point(MAIN, "pwrite64", 30, "EIO"),
    Point(LEDGER, "pwrite64", 1, "ENOSPC", OPENING),
    Point(LEDGER, "pwrite64", 150, "EIO", OPENING),
    Point(LEDGER, "fdatasync", 6, "EIO", OPENING),
]

pytestmark = pytest.mark.xdist_group("campaign-processes")


@STRACE
@pytest.mark.parametrize("point", KILLS, ids=str)
def test_a_kill_at_a_system_call_loses_nothing(tmp_path: Path, point: Point) -> None:
    assert [KILLED] == real.dies_or_fails_at(tmp_path, point)


@STRACE
@pytest.mark.parametrize("point", FAILS, ids=str)
def test_a_disk_that_fails_stops_the_run_with_16_and_loses_nothing(tmp_path: Path, point: Point) -> None:
    assert [16] == real.dies_or_fails_at(tmp_path, point)


@STRACE
def test_kills_during_recovery_and_during_its_recovery_lose_nothing(tmp_path: Path) -> None:
    at = Point(MAIN, "recvfrom", 20), Point(MAIN, "recvfrom", 9), Point(LEDGER, "pwrite64", 12)
    assert [KILLED] * 3 == real.dies_or_fails_at(tmp_path, *at)


@STRACE
def test_every_call_of_every_thread_is_one_point(tmp_path: Path) -> None:
    calls = real.calls_of(tmp_path)
    log = (tmp_path / "calls").read_text(encoding="utf-8", errors="replace")
    made = re.findall(rf"^\d+ +(?:{'|'.join(real.CALLS)})\(", log, re.MULTILINE)
    kills = [point for point in real.points(calls) if point.error is None]
    assert len(made) == len(set(kills)) == len(kills)
    assert {MAIN, LEDGER} == {point.thread for point in kills}
    assert kills == [Point.named(str(point)) for point in kills]


@STRACE
@pytest.mark.parametrize(("point", "runs"), [("ledger pwrite64 1", 0), ("ledger fdatasync 1", 1)])
def test_it_dies_in_the_thread_that_is_meant(tmp_path: Path, point: str, runs: int) -> None:
    with real.stage(tmp_path) as on:
        assert KILLED == on.live(Point.named(point))
        assert runs == len(_rows(on.order.ledger, "SELECT * FROM run"))  # the main thread had made the table


@STRACE
def test_it_dies_before_the_first_request_leaves(tmp_path: Path) -> None:
    with real.stage(tmp_path, faults=[]) as on:
        on.live(Point(MAIN, "sendto", 1))
        assert [] == on.sandbox.requests()


@STRACE
def test_a_point_that_never_comes_is_not_met(tmp_path: Path) -> None:
    assert [None] == real.dies_or_fails_at(tmp_path, Point(LEDGER, "fdatasync", 900))


@pytest.mark.parametrize("size", [16_384, 120_000, 800_000])
def test_a_file_that_cannot_grow_stops_the_run_with_16_and_loses_nothing(tmp_path: Path, size: int) -> None:
    assert real.file_cannot_grow_beyond(tmp_path, size)


@TMPFS
@pytest.mark.parametrize("kilobytes", [64, 800])
def test_a_disk_too_small_stops_the_run_with_16_and_loses_nothing(tmp_path: Path, kilobytes: int) -> None:
    assert real.disk_is_as_large_as(tmp_path, kilobytes)


def test_a_frozen_run_keeps_the_lock_and_finishes_when_it_wakes_up(tmp_path: Path) -> None:
    other, _ = real.is_frozen(tmp_path, after=4)
    assert 14 == other


def test_a_frozen_run_that_was_overtaken_does_no_harm_when_it_wakes_up(tmp_path: Path) -> None:
    other, frozen = real.is_frozen(tmp_path, after=4, lock="stolen")
    assert (10, 16) == (other, frozen)


def test_of_several_started_together_one_runs(tmp_path: Path) -> None:
    assert 14 in real.start_together(tmp_path, runs=3)


def test_two_machines_on_one_tenant_make_nothing_twice(tmp_path: Path) -> None:
    assert real.two_machines(tmp_path)


@STRACE
def test_a_ledger_put_back_from_a_copy_makes_nothing_twice(tmp_path: Path) -> None:
    assert real.is_restored(tmp_path, at=Point(MAIN, "sendto", 9))


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with served_in_memory() as url:
        if url is None:
            pytest.skip("no PostgreSQL server to test against")
        yield url


@STRACE
@pytest.mark.parametrize(
    "points",
    [
        ["main sendto 100"],
        ["ledger recvfrom 150"],
        ["main recvfrom 60", "ledger sendto 20", "ledger recvfrom 60"],
    ],
    ids=" then ".join,
)
def test_kills_with_the_ledger_in_postgresql_lose_nothing(
    tmp_path: Path, postgres: str, points: list[str]
) -> None:
    with own_database() as ledger:
        codes = real.dies_or_fails_at(tmp_path, *map(Point.named, points), ledger=ledger)
    assert [KILLED] * len(points) == codes


def test_of_two_started_together_on_postgresql_one_runs(tmp_path: Path, postgres: str) -> None:
    with own_database() as ledger:
        assert 14 in real.start_together(tmp_path, runs=2, ledger=ledger)


def test_a_frozen_run_whose_sessions_with_postgresql_were_ended_does_no_harm(
    tmp_path: Path, postgres: str
) -> None:
    with own_database() as ledger:
        assert (10, 16) == real.is_frozen(tmp_path, after=4, lock="stolen", ledger=ledger)


@STRACE
def test_a_database_put_back_from_a_copy_makes_nothing_twice(tmp_path: Path, postgres: str) -> None:
    with own_database() as ledger:
        assert real.is_restored(tmp_path, at=Point(MAIN, "sendto", 60), ledger=ledger)


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


def test_reads_of_an_earlier_process_that_never_end_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all processes before the last only the sandbox tells how much they asked for."""
    find = Reader.find

    async def again_and_again(self: Reader, phase: Phase, records: Sequence[Any]) -> list[Found]:
        for _ in range(150):
            found = await find(self, phase, records)
        return found

    with real.stage(tmp_path) as on:
        on.here = True
        with monkeypatch.context() as planted:
            planted.setattr(Reader, "find", again_and_again)
            on.live()
        with pytest.raises(real.Wrong, match="I12: life 0"):
            on.finish()


WRITTEN = {
    "meta.value": "UPDATE meta SET value = value || :canary WHERE key = 'tenant'",
    "run.summary": "UPDATE run SET summary = :canary",
    "source.name": "INSERT INTO source SELECT run_seq, 0, :canary, '', 0, 0 FROM run",
    "attempt.verdict": "UPDATE attempt SET verdict = :canary",
    "holding.kind": "UPDATE holding SET kind = kind || :canary",
}


def test_a_meter_point_in_any_column_of_postgresql_is_seen(tmp_path: Path, postgres: str) -> None:
    """The ledger is edited: each of these columns is written in a place of its own."""
    sizes = {"create_users": 1, "release_locations": 1, "update_locations": 0, "replace_resources": 0}
    one = replace(schedule(1, 1), faults=[], kills=[], hiccups=[], sizes=SCHEDULE.sizes | sizes)
    seen = {}
    with own_database() as ledger:
        done = simulate(one, tmp_path, ledger)
        engine = sa.create_engine(ledger)
        for number, (column, statement) in enumerate(WRITTEN.items()):
            only = replace(done, canaries=frozenset({f"70705759999000000{number}"}))
            assert [] == list(CHECKS["I14"](only))
            with engine.begin() as connection:
                connection.execute(sa.text(statement), {"canary": f"written: {min(only.canaries)}"})
            seen[column] = list(CHECKS["I14"](only)) != []
        engine.dispose()
    assert dict.fromkeys(WRITTEN, True) == seen


def test_an_exit_that_hides_a_full_disk_is_seen(tmp_path: Path) -> None:
    with real.stage(tmp_path, faults=[]) as on:
        on.here = True
        on.live()
        on.lives[-1].error = "StorageError"
        with pytest.raises(real.Wrong, match="I13"):
            on.finish()
