"""The ledger keeps its promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from connectors.ledger import open_ledger
from connectors.ledger import tables as t
from connectors.ledger.store import Ledger, read_ledger
from schemas.errors import AccountError, BusyError, SettingsError, StorageError
from schemas.ledger import Leaf, State
from tests.ledger.conftest import IDENTITY, begun, draft, manifest


def opened(url: str, tmp_path: Path, **changes: str):
    return open_ledger(url, identity=replace(IDENTITY, **changes), now=1.0)


def test_an_intent_is_there_after_reopening_and_is_then_in_doubt(ledger_url: str, tmp_path: Path) -> None:
    with opened(ledger_url, tmp_path) as ledger:
        ledger.intend([draft(begun(ledger), "a", "b")], now=3.0)
    with opened(ledger_url, tmp_path) as ledger:
        [chunk] = ledger.chunks(states=[State.IN_DOUBT])
        assert ("run_died", ["a", "b"]) == (chunk.reason, chunk.manifest["id"].to_list())


@pytest.mark.parametrize("n", [63, 64, 129])
def test_chunks_are_read_a_few_at_a_time_and_none_is_left_out(
    sqlite_url: str, tmp_path: Path, n: int
) -> None:
    with opened(sqlite_url, tmp_path) as ledger:
        run, other = begun(ledger), begun(ledger)
        ledger.hold([draft(run, f"u{i}") for i in range(n)], state=State.PLANNED, reason="test")
        ledger.hold([draft(other, "x")], state=State.PLANNED, reason="test")
        ledger.hold([draft(run, "y")], state=State.BLOCKED, reason="test")
        found = ledger.chunks(states=[State.PLANNED], run_seq=run, phase="create_users", lane=0)
        assert [[f"u{i}"] for i in range(n)] == [chunk.manifest["id"].to_list() for chunk in found]


@pytest.mark.parametrize("target", [State.PLANNED, State.SUPERSEDED, State.BLOCKED])
def test_an_acknowledged_chunk_cannot_move_on(ledger_url: str, tmp_path: Path, target: State) -> None:
    with opened(ledger_url, tmp_path) as ledger:
        [chunk] = ledger.intend([draft(begun(ledger), "a")], now=3.0)
        ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=4.0, status=201, verdict="applied")
        with pytest.raises(StorageError, match="illegal move"):
            ledger.settle(chunk.chunk_seq, state=target, now=5.0)


def test_every_state_is_reached_only_by_a_listed_move(ledger_url: str, tmp_path: Path) -> None:
    """The database refuses every pair that is not in LEGAL_MOVES, whoever asks."""
    listed = {pair for pair in t.LEGAL_MOVES if pair[0]}
    with opened(ledger_url, tmp_path) as ledger:
        run = begun(ledger)
        for before in State:
            for after in State:
                if before == after:
                    continue
                ledger.hold([draft(run, "a")], state=State.PLANNED, reason="test")
                with ledger.engine.begin() as connection:
                    seq = connection.execute(sa.select(sa.func.max(t.chunk.c.chunk_seq))).scalar_one()
                    for name in ("chunk_moves",):
                        _without_trigger(connection, name, seq, before)
                moved = True
                try:
                    ledger.settle(seq, state=after, now=1.0)
                except StorageError:
                    moved = False
                assert ((before, after) in listed) == moved, (before, after)


def _without_trigger(connection: sa.Connection, name: str, seq: int, state: State) -> None:
    if connection.dialect.name == "sqlite":
        definition = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE name = ?", (name,)
        ).scalar_one()
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.execute(t.chunk.update().where(t.chunk.c.chunk_seq == seq).values(state=state))
        connection.exec_driver_sql(definition)
        return
    connection.exec_driver_sql(f"ALTER TABLE chunk DISABLE TRIGGER {name}")
    connection.execute(t.chunk.update().where(t.chunk.c.chunk_seq == seq).values(state=state))
    connection.exec_driver_sql(f"ALTER TABLE chunk ENABLE TRIGGER {name}")


def test_a_run_that_lost_the_lock_can_write_nothing(ledger_url: str, tmp_path: Path) -> None:
    with opened(ledger_url, tmp_path) as ledger:
        run = begun(ledger)
        woken = Ledger(ledger.engine, ledger.path, fence=ledger.fence - 1)
        with pytest.raises(StorageError, match="stale fence"):
            woken.intend([draft(run, "a")], now=3.0)


def test_a_split_keeps_every_record(ledger_url: str, tmp_path: Path) -> None:
    with opened(ledger_url, tmp_path) as ledger:
        run = begun(ledger)
        [chunk] = ledger.intend([draft(run, "a", "b", "c")], now=3.0)
        with pytest.raises(AccountError, match="lose or invent"):
            ledger.split(chunk.chunk_seq, [Leaf(manifest("a"), State.ACKNOWLEDGED)], now=4.0)
        ledger.split(
            chunk.chunk_seq,
            [
                Leaf(manifest("a", "b"), State.ACKNOWLEDGED),
                Leaf(manifest("c"), State.REJECTED, "refused", "no"),
            ],
            now=4.0,
        )
        assert [("create_users", "acknowledged", None, 2), ("create_users", "rejected", "refused", 1)] == (
            ledger.account(run)
        )


def test_absorbing_is_done_once_and_merges_by_bucket(ledger_url: str, tmp_path: Path) -> None:
    def merge(page: pl.DataFrame | None, records: pl.DataFrame) -> pl.DataFrame:
        return records if page is None else pl.concat([page, records])

    with opened(ledger_url, tmp_path) as ledger:
        run = begun(ledger)
        for number, name in enumerate("abc"):
            [chunk] = ledger.intend([draft(run, name, start=number)], now=3.0)
            ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=4.0)
        phases = {"create_users": ("user", merge)}
        assert 3 == ledger.absorb(phases)
        assert 0 == ledger.absorb(phases)
        held = ledger.holdings("user", range(256))
        assert held is not None
        assert ["a", "b", "c"] == held["id"].to_list()
        assert {"user": 3} == ledger.holding_counts()


def test_the_cursor_tells_how_far_a_phase_was_cut(ledger_url: str, tmp_path: Path) -> None:
    with opened(ledger_url, tmp_path) as ledger:
        run = begun(ledger)
        assert 0 == ledger.cursor(run, "create_users", 0)
        ledger.intend([draft(run, "a", "b"), draft(run, "c", start=2)], now=3.0)
        assert 3 == ledger.cursor(run, "create_users", 0)


def test_a_second_writer_is_refused_while_the_first_lives(ledger_url: str, tmp_path: Path) -> None:
    with opened(ledger_url, tmp_path), pytest.raises(BusyError), opened(ledger_url, tmp_path):
        pytest.fail("two writers")


def test_a_killed_writer_leaves_no_lock(ledger_url: str, tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from connectors.ledger import open_ledger; from schemas.ledger import Identity\n"
        "with open_ledger(sys.argv[1],"
        " identity=Identity('t', 'http://127.0.0.1/ec', 'k'), now=1.0):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, ledger_url, str(tmp_path)], cwd=Path.cwd(), check=False
    )
    assert -9 == done.returncode
    for _ in range(600):  # the server notices the closed session as soon as it is given a core
        try:
            with opened(ledger_url, tmp_path):
                return
        except BusyError:
            subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail("the lock outlived its process")


@pytest.mark.parametrize("changed", ["tenant", "base_url", "key"])
def test_a_ledger_of_another_tenant_is_refused(ledger_url: str, tmp_path: Path, changed: str) -> None:
    with opened(ledger_url, tmp_path):
        pass
    with pytest.raises(SettingsError, match="another"), opened(ledger_url, tmp_path, **{changed: "other"}):
        pytest.fail("opened")


def test_a_damaged_sqlite_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with opened(f"sqlite:///{path}", tmp_path) as ledger:
        begun(ledger)
    raw = bytearray(path.read_bytes())
    raw[5000:9000] = random.Random(1).randbytes(4000)
    path.write_bytes(raw)
    with pytest.raises(StorageError), opened(f"sqlite:///{path}", tmp_path):
        pytest.fail("opened")


def test_a_ledger_file_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with opened(f"sqlite:///{path}", tmp_path):
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.glob("ledger*")}
    assert {"0o600"} == set(modes.values()), modes


def test_reading_needs_no_lock(ledger_url: str, tmp_path: Path) -> None:
    with opened(ledger_url, tmp_path) as ledger:
        begun(ledger)
        reader = read_ledger(ledger_url)
        assert reader is not None
        assert ["20261122-0001"] == [run.run_id for run in reader.runs()]
        reader.engine.dispose()


def test_what_waits_to_be_absorbed_is_found_without_searching(tmp_path: Path) -> None:
    with (
        opened(f"sqlite:///{tmp_path}/ledger.sqlite", tmp_path) as ledger,
        ledger.engine.begin() as connection,
    ):
        waiting = sa.select(t.chunk.c.n).where(t.UNABSORBED).order_by(t.chunk.c.chunk_seq)
        query = str(waiting.compile(connection, compile_kwargs={"literal_binds": True}))
        [plan] = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert "chunk_unabsorbed" in plan[3]
