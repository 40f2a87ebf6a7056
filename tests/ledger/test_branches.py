"""What the ledger does in its rarer moments; on SQLite, where nothing else is said."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import sys
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from connectors.ledger import lock, open_ledger, store
from connectors.ledger import tables as t
from connectors.ledger.address import without_secrets
from connectors.ledger.frames import from_bytes, to_bytes
from connectors.ledger.journal import Journal
from connectors.ledger.mark import Mark, write_mark
from connectors.ledger.migrations import COPY_SUFFIX, _copy
from connectors.ledger.moving import target_problem
from connectors.ledger.opening import ARRIVING, MOVED, put_meta
from connectors.ledger.store import engine_for, read_ledger, storage_trouble
from schemas.errors import BusyError, ConnectionLost, SettingsError, StorageError
from schemas.ledger import SourceRow, State
from tests.ledger.conftest import IDENTITY, begun, draft, manifest


@pytest.fixture
def ledger(sqlite_url, tmp_path):
    (tmp_path / "sqlite").mkdir()
    with open_ledger(sqlite_url, identity=IDENTITY, now=1.0) as opened:
        yield opened


PAGE = to_bytes(manifest("a", "b", "c"))


@pytest.mark.parametrize(
    "page", [b"", b"no page", b"ARROW1 and no more", PAGE[:4], PAGE[: len(PAGE) // 2], PAGE[:-1]]
)
def test_a_damaged_page_is_storage_trouble(page):
    with pytest.raises(StorageError, match="page that cannot be read"):
        from_bytes(page)


@pytest.mark.parametrize("how", ["file of version 1", "stream of versions 2 to 4", "of today"])
def test_a_page_of_every_version_is_read(how):
    frame = manifest("a", "b", "c")
    buffer = BytesIO()
    if how == "file of version 1":
        frame.write_ipc(buffer, compression="zstd", compat_level=pl.CompatLevel.oldest())
    elif how == "stream of versions 2 to 4":
        frame.write_ipc_stream(buffer, compression="zstd", compat_level=pl.CompatLevel.oldest())
    else:
        page = to_bytes(frame)
        assert bytes is type(page)
        buffer.write(page)
    assert frame.equals(from_bytes(buffer.getvalue()))


# ------------------------------------------------------------------ the lock
@pytest.mark.parametrize("then", ["gone", "another"])
def test_a_lock_file_that_is_replaced_while_it_is_locked_locks_nothing(then, tmp_path, monkeypatch):
    path = tmp_path / "ledger.lock"
    real = fcntl.flock

    def flock(descriptor, how):
        real(descriptor, how)
        path.unlink()
        if then == "another":
            path.touch()

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with pytest.raises(BusyError) as refused, lock.file_lock(path):
        raise AssertionError("it is held by nobody")
    assert "The lock file was replaced while the lock was taken. Start again." == str(refused.value)


def test_a_lock_file_that_cannot_be_made_is_storage_trouble(tmp_path):
    with (
        pytest.raises(StorageError, match=r"ledger\.lock cannot be opened"),
        lock.file_lock(tmp_path / "no" / "ledger.lock"),
    ):
        raise AssertionError("it is held by nobody")


def refusal_of(path) -> str:
    with pytest.raises(BusyError) as busy, lock.file_lock(path):
        raise AssertionError("two hold it")
    return busy.value.message


def test_a_lock_says_which_command_holds_it_and_not_who_held_it_before(tmp_path):
    path = tmp_path / "ledger.lock"
    with lock.file_lock(path, by="a command with a much longer name"):
        pass
    with lock.file_lock(path, by="adopt"):
        ours = f"process {os.getpid()} on {socket.gethostname()}"
        assert f"Another run holds the lock of this ledger: meterfeed adopt, {ours}." == refusal_of(path)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"", "ledger."),
        (b"\x1b[31mroot\n\xff", "ledger: root \ufffd."),
        (b"x" * 4000, f"ledger: {'x' * 126}."),
    ],
)
def test_whatever_stands_in_a_lock_file_is_told_on_one_short_line(written, shown, tmp_path):
    path = tmp_path / "ledger.lock"
    with lock.file_lock(path):
        path.write_bytes(written)
        assert f"Another run holds the lock of this {shown}" == refusal_of(path)


def test_a_lock_holds_where_its_name_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "ledger.lock"

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(lock.os, "pwrite", full)
    with lock.file_lock(path, by="sync"):
        assert "Another run holds the lock of this ledger." == refusal_of(path)


def test_a_lock_of_postgresql_is_let_go_at_once_and_said_to_be_held_before(postgres_url):
    first, second = sa.create_engine(postgres_url), sa.create_engine(postgres_url)
    with (
        lock.postgres_lock(first, by="reconcile"),
        pytest.raises(BusyError) as busy,
        lock.postgres_lock(second),
    ):
        pytest.fail("two hold it")
    ours = f"process {os.getpid()} on {socket.gethostname()}"
    assert f"Another run holds the lock of this ledger: meterfeed reconcile, {ours}." == busy.value.message
    assert "`reconcile` and `adopt` hold the lock too" in busy.value.cure
    with lock.postgres_lock(second):  # the first connection lives on, among those kept for later
        pass
    with lock.postgres_lock(first) as connection:
        connection.connection.dbapi_connection.close()  # a dead session holds nothing, and needs no word
    first.dispose()
    second.dispose()


# ------------------------------------------------------------------ files beside it
def test_a_mark_that_cannot_be_written_is_storage_trouble(tmp_path):
    (tmp_path / "file").touch()
    fields = dict.fromkeys(Mark.__dataclass_fields__, 1)
    with pytest.raises(StorageError, match=r"mark\.json could not be written"):
        write_mark(tmp_path / "file" / "mark.json", Mark(**fields))


def test_a_copy_that_cannot_be_made_leaves_nothing(sqlite_url, ledger, tmp_path):
    with pytest.raises(StorageError, match="could not be copied"):
        _copy(ledger.path, tmp_path / "nowhere" / "copy")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("not a url", "is not an SQLAlchemy URL"),
        ("mysql://h/db", "must be an SQLAlchemy URL of sqlite or postgresql"),
        ("postgresql://u:secret@h/db", "must not hold a password: put it into ~/.pgpass, or set PGPASSWORD"),
        ("postgresql://u@h:abc/db", "is not an SQLAlchemy URL"),
        ("postgresql://u:p@ss@h/db", "holds an @ too many: in a password it must be percent-encoded, as %40"),
        ("sqlite://ledger.sqlite", "names no file: sqlite:/// and its path"),
        (
            "postgresql://u@h/db?password=secret",
            "must not hold a password: put it into ~/.pgpass, or set PGPASSWORD",
        ),
        (
            "postgresql://u@h/db?sslmode=require&sslpassword=secret",
            "must not hold a password: put it into ~/.pgpass, or set PGPASSWORD",
        ),
        ("postgresql://u@h/db?host=/var/run/postgresql", None),
        ("postgresql://u@h/db", None),
        ("postgres://u@h/db", None),
        ("postgresql+psycopg://u@h/db", None),
        ("sqlite:////tmp/x", None),
    ],
)
def test_the_target_of_a_move_is_looked_at_before_anything_is_done(url, problem):
    assert problem == target_problem(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_to_by_the_driver_we_install(scheme):
    engine = engine_for(f"{scheme}://h/db")
    assert ("postgresql", "psycopg") == (engine.dialect.name, engine.dialect.driver)
    engine.dispose()


def test_a_driver_that_is_not_installed_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"not installed\. Install meterfeed\[postgres\]\."):
        read_ledger("postgresql+psycopg://h/db")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:////srv/x.sqlite", "sqlite:////srv/x.sqlite"),
        ("sqlite:///x.sqlite", f"sqlite:///{Path.cwd()}/x.sqlite"),
        ("postgresql://u@h:5433/db", "postgresql+psycopg://u@h:5433/db"),
        (
            "postgresql+psycopg://u:canary@h/db?password=canary&sslmode=require",
            "postgresql+psycopg://u@h/db?sslmode=require",
        ),
        ("postgresql+psycopg:///db?host=/run/pg", "postgresql+psycopg:///db?host=%2Frun%2Fpg"),
    ],
)
def test_an_address_that_is_told_can_be_used_as_it_stands(url, told):
    assert told == without_secrets(url)


# ------------------------------------------------------------------ looking
def test_there_is_nothing_to_read_before_the_first_run(sqlite_url, tmp_path):
    assert read_ledger(sqlite_url) is None
    (tmp_path / "sqlite").mkdir()
    (tmp_path / "sqlite" / "ledger.sqlite").touch()
    reader = read_ledger(sqlite_url)
    assert ([], None) == (reader.runs(), reader.describe())
    reader.close()


def test_a_database_without_a_version_is_no_ledger(ledger):
    with ledger.engine.begin() as connection:
        connection.execute(t.meta.delete().where(t.meta.c.key == "schema_version"))
    with pytest.raises(StorageError, match="no ledger"):
        ledger.describe()


def test_any_other_trouble_of_the_library_is_storage_trouble_without_its_words():
    with (
        pytest.raises(StorageError, match=r"used: CompileError\. Run `meterfeed resume`"),
        storage_trouble(),
    ):
        raise sa.exc.CompileError("kanari")


def test_no_error_of_the_database_holds_what_was_to_be_stored(ledger_url):
    """It is shown with its traceback when somebody looks for a bug."""
    with open_ledger(ledger_url, identity=IDENTITY, now=1.0) as ledger:
        [chunk] = ledger.intend([draft(begun(ledger), "a")], now=3.0)
        ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=4.0)
        with pytest.raises(StorageError) as refused:
            ledger.settle(chunk.chunk_seq, state=State.PLANNED, now=5.0, message="kanari")
    assert isinstance(refused.value.__cause__, sa.exc.DBAPIError)
    assert "kanari" not in str(refused.value.__cause__)


def test_facts_are_recalled_as_they_were_remembered_last(ledger):
    assert ledger.recall("learned") is None
    ledger.remember({"learned": "1", "other": "x"})
    ledger.remember({"learned": "2"})
    assert ("2", "x") == (ledger.recall("learned"), ledger.recall("other"))


def test_runs_are_found_by_state_and_digest_newest_first(ledger):
    first, second, third = (begun(ledger) for _ in range(3))
    for run, state, digest in ((first, "sending", "p"), (second, "sending", "q"), (third, "planned", "p")):
        ledger.change_run(run, state=state, plan="{}", plan_digest=digest)
    assert [second, first] == [run.run_seq for run in ledger.runs(state="sending")]
    assert [third, first] == [run.run_seq for run in ledger.runs(plan_digest="p")]
    assert [first] == [run.run_seq for run in ledger.runs(state="sending", plan_digest="p")]
    assert [third] == [run.run_seq for run in ledger.runs(limit=1)]


def test_a_new_ledger_knows_what_it_is_and_whose(ledger, tmp_path):
    def facts(opened):
        with opened.engine.connect() as connection:
            return dict(connection.execute(sa.select(t.meta)).tuples().all())

    found = facts(ledger)
    name = found.pop("ledger_id")
    expected = {"schema_version": "5", "fence": "1", "created_at": "1.0"}
    assert expected | {"tenant": IDENTITY.tenant, "base_url": IDENTITY.base_url} == found
    assert 16 == len(name)
    with open_ledger(f"sqlite:///{tmp_path}/other", identity=IDENTITY, now=1.0) as other:
        assert name != facts(other)["ledger_id"]


def test_what_a_ledger_says_of_itself(ledger):
    run = begun(ledger)
    [done, _] = ledger.intend([draft(run, "a", "b"), draft(run, "c", start=2)], now=3.0)
    ledger.settle(done.chunk_seq, state=State.ACKNOWLEDGED, now=4.0, status=201, verdict="applied")
    ledger.absorb({"create_users": ("user", merged)})
    ledger.hold([draft(run, "d", start=3), draft(run, "e", start=4)], state=State.PLANNED, reason="test")
    ledger.change_run(begun(ledger), state="planned")
    ledger.store_holdings("location", 0, manifest("l").select("id", "bucket"))
    expected = {
        "schema_version": t.SCHEMA_VERSION,
        "moved_to": None,
        "arriving": False,
        "opened": 1,
        "id_keys": 1,
        "runs": {"running": 1, "planned": 1},
        "open_records": {"in_flight": 1, "planned": 2},
        "held_records": {"user": 2, "location": 1},
    }
    assert expected == ledger.describe()
    with ledger.engine.begin() as connection:
        put_meta(connection, {ARRIVING: "x", MOVED: "y"})
    assert expected | {"moved_to": "y", "arriving": True} == ledger.describe()


def test_who_only_reads_cannot_write(ledger, sqlite_url):
    reader = read_ledger(sqlite_url)
    assert ledger.path == reader.path
    reader.fence = ledger.fence
    with pytest.raises(StorageError, match="readonly"):
        reader.remember({"a": "b"})
    reader.close()


def test_the_highest_lane_says_how_a_run_was_cut(ledger):
    run = begun(ledger)
    assert ledger.highest_lane(run) is None
    ledger.intend([draft(run, "a")], now=3.0)
    assert 0 == ledger.highest_lane(run)
    ledger.intend([replace(draft(run, "b"), lane=3), replace(draft(run, "c"), lane=2)], now=3.0)
    assert 3 == ledger.highest_lane(run)
    assert ledger.highest_lane(begun(ledger)) is None


def test_a_page_that_was_forgotten_is_read_again(ledger, monkeypatch):
    monkeypatch.setattr(store, "_REMEMBERED", 2)
    run = begun(ledger)
    made = [ledger.intend([draft(run, name, start=place)], now=3.0)[0] for place, name in enumerate("abcd")]
    for chunk, name in zip(made, "abcd", strict=True):
        ledger.settle(chunk.chunk_seq, state=State.PLANNED, now=4.0, reason="throttled")
        assert [name] == ledger.again(chunk.chunk_seq, now=5.0).manifest["id"].to_list()
    assert 2 == len(ledger._fresh)


def test_sources_are_replaced_by_what_is_noted_last(ledger):
    run = begun(ledger)
    rows = [SourceRow(0, "a.csv", "s1", 10, 2), SourceRow(1, "b.csv", "s2", 20, None)]
    other = begun(ledger)
    ledger.note_sources(other, rows[:1])
    ledger.note_sources(run, [SourceRow(0, "former.csv", "s0", 1, 1)])
    ledger.note_sources(run, rows[::-1])
    assert rows == ledger.sources(run)
    ledger.note_sources(run, [])
    assert ([], rows[:1]) == (ledger.sources(run), ledger.sources(other))


def test_a_newer_plan_takes_the_place_of_what_was_never_sent(ledger):
    run = begun(ledger)
    ledger.hold([draft(run, "a")], state=State.PLANNED, reason="test")
    ledger.hold([draft(run, "b", start=1)], state=State.BLOCKED, reason="test")
    [sent] = ledger.intend([draft(run, "c", start=2)], now=3.0)
    ledger.supersede(run)
    assert {State.SUPERSEDED: 2, State.IN_FLIGHT: 1} == _states(ledger)
    assert [State.IN_FLIGHT] == ledger.moves(sent.chunk_seq)


def _states(ledger):
    with ledger.engine.connect() as connection:
        rows = connection.execute(sa.select(t.chunk.c.state, sa.func.count()).group_by(t.chunk.c.state)).all()
    return {State(state): n for state, n in rows}


def test_the_moves_of_a_child_begin_with_those_of_its_parent(ledger):
    from schemas.ledger import Leaf

    [parent] = ledger.intend([draft(begun(ledger), "a", "b")], now=3.0)
    leaves = [Leaf(manifest("a"), State.ACKNOWLEDGED), Leaf(manifest("b"), State.REJECTED, "no")]
    [_, refused] = ledger.split(parent.chunk_seq, leaves, now=4.0, verdict="refused")
    assert ["in_flight", "split", "rejected"] == ledger.moves(refused.chunk_seq)


# ------------------------------------------------------------------ holdings
def merged(held: pl.DataFrame | None, fresh: pl.DataFrame) -> pl.DataFrame:
    fresh = fresh.select("id", "bucket")
    return fresh if held is None or not held.height else pl.concat([held, fresh])


def test_many_buckets_are_folded_in_stretches(ledger, monkeypatch):
    monkeypatch.setattr(store, "_ABSORB_BATCH", 3)
    run = begun(ledger)
    for number in range(5):
        made = draft(run, f"a{number}", f"b{number}", start=2 * number)
        made = type(made)(
            run,
            "create_users",
            0,
            2 * number,
            2 * number + 2,
            made.manifest.with_columns(pl.lit(number).alias("bucket").cast(made.manifest.schema["bucket"])),
        )
        [chunk] = ledger.intend([made], now=3.0)
        ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=4.0, status=201, verdict="applied")
    assert 10 == ledger.absorb({"create_users": ("user", merged)})
    with ledger.engine.connect() as connection:
        assert [2] * 5 == connection.execute(
            sa.select(t.holding.c.n).order_by(t.holding.c.bucket)
        ).scalars().all()


def test_a_page_of_holdings_is_replaced_and_an_empty_one_is_none(ledger):
    page = manifest("a", bucket=3).select("id", "bucket")
    ledger.store_holdings("user", 3, page)
    ledger.store_holdings("user", 3, pl.concat([page, page]))
    with ledger.engine.connect() as connection:
        assert [2] == connection.execute(sa.select(t.holding.c.n)).scalars().all()
    ledger.store_holdings("user", 3, page.clear())
    with ledger.engine.connect() as connection:
        assert [] == connection.execute(sa.select(t.holding.c.n)).scalars().all()


def test_erasing_a_user_leaves_everybody_else_and_no_copy(ledger):
    [chunk] = ledger.intend([draft(begun(ledger), "a", "b")], now=3.0)
    ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=4.0, status=201, verdict="applied")
    copy = ledger.path.with_name(f"{ledger.path.name}{COPY_SUFFIX}1")
    copy.touch()
    ledger.hold([draft(1, "a", "c")], state=State.PLANNED, reason="test")
    assert 2 == ledger.redact("a")
    assert 0 == ledger.redact("nobody")
    assert not copy.exists()
    kept = [chunk.manifest["user_id"].to_list() for chunk in ledger.chunks(states=list(State))]
    assert [["erased", "b"], ["erased", "c"]] == kept


# ------------------------------------------------------------------ the journal
def run(ledger, scenario):
    """What a scenario gives back; it fails where somebody waits for a journal that does nothing any more."""

    async def inside():
        async with Journal(ledger) as journal:
            played, idle = asyncio.ensure_future(scenario(journal)), 0
            while not played.done():
                await asyncio.wait({played}, timeout=0.01)
                idle = idle + 1 if journal._worker is None or journal._worker.done() else 0
                assert idle < 100, "nobody works, and somebody waits"
            return played.result()

    return asyncio.run(inside())


def test_a_journal_nobody_used_ends_as_well(ledger):
    async def nothing(_journal):
        return "ended"

    assert "ended" == run(ledger, nothing)


def test_who_comes_after_the_end_is_told_so_and_does_not_wait_for_ever(ledger):
    async def late():
        async with Journal(ledger) as journal:
            first = await journal(begun, ledger)
        return await asyncio.wait_for(
            asyncio.gather(journal(begun, ledger), journal(begun, ledger), return_exceptions=True), 60
        ), first

    refused, first = asyncio.run(late())
    assert [RuntimeError, RuntimeError] == [type(one) for one in refused]
    assert [first] == [row.run_seq for row in ledger.runs()]


def test_operations_that_wait_together_share_one_commit_in_a_thread_of_the_ledger(ledger):
    commits, seen, threads = [], [], set()
    sa.event.listen(ledger.engine, "commit", lambda _connection: commits.append(len(seen)))

    def operation(number, *, named):
        threads.add(threading.current_thread())
        seen.append((number, named, threading.current_thread().name.rpartition("_")[0]))
        return number

    async def four(journal):
        assert 1 == journal._thread._max_workers, "a ledger is for one thread at a time"
        return await asyncio.gather(*(journal(operation, number, named=-number) for number in range(4)))

    assert [0, 1, 2, 3] == run(ledger, four)
    assert ([(number, -number, "ledger") for number in range(4)], [4]) == (seen, commits)
    assert [False] == [thread.is_alive() for thread in threads]


def test_who_waits_beside_a_caller_that_went_away_is_answered(ledger):
    async def three(journal):
        calls = [asyncio.ensure_future(journal(begun, ledger)) for _ in range(3)]
        await asyncio.sleep(0)
        journal._waiting[0][1].cancel()
        return await asyncio.gather(*calls, return_exceptions=True)

    left, *stayed = run(ledger, three)
    assert isinstance(left, asyncio.CancelledError)
    assert [2, 3] == stayed


def test_the_end_waits_for_what_is_under_way(ledger):
    async def left(journal):
        tasks.append(asyncio.ensure_future(journal(begun, ledger)))
        await asyncio.sleep(0)

    tasks: list[asyncio.Future[int]] = []
    run(ledger, left)
    assert [True] == [task.done() for task in tasks]
    assert 1 == len(ledger.runs())


def test_of_several_operations_only_the_failing_one_fails(ledger):
    def fails():
        raise ValueError("no")

    async def three(journal):
        return await asyncio.gather(
            journal(begun, ledger), journal(fails), journal(begun, ledger), return_exceptions=True
        )

    first, failed, second = run(ledger, three)
    assert isinstance(failed, ValueError)
    assert {first, second} == {row.run_seq for row in ledger.runs()}


def test_when_the_connection_was_lost_nothing_is_tried_again(ledger):
    tried = []

    def lost():
        tried.append(1)
        raise ConnectionLost("gone")

    async def two(journal):
        return await asyncio.gather(journal(lambda: tried.append(0)), journal(lost), return_exceptions=True)

    ended = run(ledger, two)
    assert [ConnectionLost, ConnectionLost] == [type(one) for one in ended]
    assert [0, 1] == tried


def test_a_caller_that_goes_away_does_not_take_its_operation_along(ledger):
    async def leaving(journal):
        waiting = asyncio.ensure_future(journal(begun, ledger))
        await asyncio.sleep(0)
        for _, done in journal._waiting:
            done.cancel()
        waiting.cancel()
        return await asyncio.gather(journal(begun, ledger), waiting, return_exceptions=True)

    stayed, left = run(ledger, leaving)
    assert isinstance(left, asyncio.CancelledError)
    assert 2 == len(ledger.runs())
    assert stayed in {row.run_seq for row in ledger.runs()}
