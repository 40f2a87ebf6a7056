"""A ledger moves between SQLite and PostgreSQL, whole or not at all, and only one of the two is ever in force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from connectors.ledger import Ledger, moving, open_ledger
from connectors.ledger import tables as t
from connectors.ledger.address import without_secrets
from connectors.ledger.moving import move_ledger, table_sums
from connectors.ledger.opening import ARRIVING, MOVED, put_meta
from pipeline.holdings import MERGES
from schemas.errors import BusyError, SettingsError, StorageError
from schemas.ledger import Leaf, State
from tests.ledger.conftest import IDENTITY, begun, draft, manifest
from tests.ledger.old import make_v1

Pair = tuple[str, str]


@pytest.fixture(params=["to postgresql", "to sqlite"])
def pair(request: pytest.FixtureRequest, sqlite_url: str, postgres_url: str) -> Pair:
    """From where, to where."""
    Path(sqlite_url.removeprefix("sqlite:///")).parent.mkdir()
    return (sqlite_url, postgres_url) if request.param == "to postgresql" else (postgres_url, sqlite_url)


def opened(url: str):
    return open_ledger(url, identity=IDENTITY, now=9.0)


def lived(ledger: Ledger) -> None:
    """A bit of everything a ledger can hold."""
    run = begun(ledger)
    first, second, third = ledger.intend(
        [draft(run, "a", "b"), draft(run, "c", "d", start=2), draft(run, "æ", start=4)], now=3.1
    )
    ledger.settle(first.chunk_seq, state=State.ACKNOWLEDGED, now=4.0, status=201, verdict="applied")
    ledger.split(
        second.chunk_seq,
        [
            Leaf(manifest("c"), State.ACKNOWLEDGED),
            Leaf(manifest("d"), State.REJECTED, "refused", "nei — 'å'"),
        ],
        now=4.25,
        status=400,
        verdict="refused",
    )
    ledger.settle(third.chunk_seq, state=State.IN_DOUBT, now=5.0)
    ledger.absorb(MERGES)
    ledger.remember({"learned": "{}"})
    ledger.change_run(run, state="sending", plan="{}", plan_digest="p")


def sums(url: str) -> list[moving.TableSum]:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        found = list(table_sums(connection))
    engine.dispose()
    return found


def test_everything_arrives_and_life_goes_on(pair: Pair) -> None:
    source, target = pair
    with opened(source) as ledger:
        lived(ledger)
    moved = move_ledger(source, target)
    assert moved == sums(target)
    assert {"chunk": 5, "history": 8, "attempt": 3, "holding": 1} == {
        one.table: one.rows for one in moved if one.table in ("chunk", "history", "attempt", "holding")
    }
    with opened(target) as ledger:
        [doubt] = ledger.chunks(states=[State.IN_DOUBT])
        assert (["æ"], ["a", "b", "c"]) == (
            doubt.manifest["id"].to_list(),
            ledger.holdings("user", range(256))["id"].to_list(),
        )
        ledger.settle(doubt.chunk_seq, state=State.ACKNOWLEDGED, now=10.0)
        assert 2 == begun(ledger)
        [chunk] = ledger.intend([draft(2, "e", start=5)], now=11.0)
        assert 6 == chunk.chunk_seq
        with pytest.raises(StorageError, match="illegal move"):
            ledger.settle(doubt.chunk_seq, state=State.PLANNED, now=12.0)


def test_a_ledger_without_runs_moves_and_counts_from_one(pair: Pair) -> None:
    source, target = pair
    with opened(source):
        pass
    move_ledger(source, target)
    with opened(target) as ledger:
        run = begun(ledger)
        [chunk] = ledger.intend([draft(run, "a")], now=3.0)
        assert (1, 1) == (run, chunk.chunk_seq)


def test_the_source_cannot_be_used_by_mistake(pair: Pair) -> None:
    source, target = pair
    with opened(source) as ledger:
        lived(ledger)
    move_ledger(source, target)
    before = sums(source)
    with pytest.raises(SettingsError, match="was moved to") as refused, opened(source):
        pytest.fail("opened")
    assert sa.engine.make_url(target).database.lstrip("/") in refused.value.message
    with pytest.raises(SettingsError, match="was moved to"):
        move_ledger(source, "sqlite:////tmp/elsewhere/never/made.sqlite")
    assert before == sums(source)


def test_there_and_back_again_is_the_same(sqlite_url: str, postgres_url: str, tmp_path: Path) -> None:
    with opened(sqlite_url) as ledger:
        lived(ledger)
    there = move_ledger(sqlite_url, postgres_url)
    back = move_ledger(postgres_url, f"sqlite:///{tmp_path}/back.sqlite")
    assert there == back
    assert 0o600 == (tmp_path / "back.sqlite").stat().st_mode & 0o777


class Broken(Exception):
    """The move is broken off."""


def breaking_after(monkeypatch: pytest.MonkeyPatch, name: str, call: int = 1) -> Callable[[], None]:
    """Make a step of the move fail once it was done."""
    done = getattr(moving, name)
    calls = []

    def breaks(*args, **kwargs):
        found = done(*args, **kwargs)
        calls.append(name)
        if len(calls) == call:
            raise Broken
        return found

    monkeypatch.setattr(moving, name, breaks)
    return monkeypatch.undo


@pytest.mark.parametrize("step", ["_make_room", "_go_on_counting", "_copy", "_compared"])
def test_a_move_broken_off_leaves_the_source_in_force_and_can_be_run_again(
    pair: Pair, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    with opened(source) as ledger:
        lived(ledger)
    before = sums(source)
    mend = breaking_after(monkeypatch, step)
    with pytest.raises(Broken):
        move_ledger(source, target)
    mend()
    if step in ("_copy", "_compared"):
        with pytest.raises(SettingsError, match="did not come to its end"), opened(target):
            pytest.fail("opened")
    assert before == sums(source)
    with opened(source) as ledger:
        begun(ledger)
    assert move_ledger(source, target) == sums(target) != before
    with opened(target) as ledger:
        assert 2 == len(ledger.runs())


def test_a_move_broken_off_at_the_very_end_is_finished_by_running_it_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    with opened(source) as ledger:
        lived(ledger)
    mend = breaking_after(monkeypatch, "put_meta", call=2)  # the source knows, the target does not
    with pytest.raises(Broken):
        move_ledger(source, target)
    mend()
    engine = sa.create_engine(source)
    with engine.begin() as connection:
        put_meta(connection, {MOVED: without_secrets(target)})
    engine.dispose()
    for url in pair:
        with pytest.raises(SettingsError), opened(url):
            pytest.fail("opened")
    move_ledger(source, target)
    with opened(target) as ledger:
        assert 1 == len(ledger.runs())


def test_a_copy_that_differs_is_never_put_in_force(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = pair
    with opened(source) as ledger:
        lived(ledger)
    copied = moving._copy

    def careless(here: Ledger, there: Ledger, told) -> None:
        copied(here, there, told)
        with there.engine.begin() as connection:
            connection.execute(t.holding.update().values(n=7))

    with monkeypatch.context() as patched:
        patched.setattr(moving, "_copy", careless)
        with pytest.raises(StorageError, match="differs from the ledger in: holding"):
            move_ledger(source, target)
    with opened(source):
        pass
    with pytest.raises(SettingsError, match="did not come to its end"), opened(target):
        pytest.fail("opened")


def test_a_target_that_holds_a_ledger_is_left_alone(pair: Pair) -> None:
    source, target = pair
    for url in pair:
        with opened(url) as ledger:
            lived(ledger)
    before = sums(target)
    with pytest.raises(StorageError, match="holds a ledger already"):
        move_ledger(source, target)
    assert before == sums(target)


def test_half_a_move_of_another_ledger_is_not_written_over(pair: Pair) -> None:
    source, target = pair
    for url in pair:
        with opened(url) as ledger:
            lived(ledger)
    engine = sa.create_engine(target)
    with engine.begin() as connection:
        put_meta(connection, {ARRIVING: "of another"})
    engine.dispose()
    with pytest.raises(StorageError, match="holds a ledger already"):
        move_ledger(source, target)


def test_a_ledger_under_a_run_does_not_move(pair: Pair) -> None:
    with opened(pair[0]), pytest.raises(BusyError):
        move_ledger(*pair)


def test_what_is_not_there_does_not_move(pair: Pair) -> None:
    with pytest.raises(SettingsError, match="no ledger to move"):
        move_ledger(*pair)
    with pytest.raises(SettingsError, match="there already"):
        move_ledger(pair[0], pair[0])


def test_an_older_ledger_is_brought_up_on_the_way(pair: Pair) -> None:
    source, target = pair
    make_v1(source, IDENTITY, manifest=manifest("a", "b", "c"))
    move_ledger(source, target)
    with opened(target) as ledger:
        assert 3 == sum(chunk.n for chunk in ledger.chunks(states=list(State)))


def test_the_sums_see_one_changed_value_in_every_table(ledger_url: str) -> None:
    """Otherwise comparing them proves nothing."""
    with opened(ledger_url) as ledger:
        lived(ledger)
    before = {one.table: one.sha256 for one in sums(ledger_url)}
    engine = sa.create_engine(ledger_url)
    changes = {
        t.chunk: {"manifest": b"x"},
        t.run: {"started_at": 2.0000000001},
        t.attempt: {"status": 599},
        t.holding: {"page": b""},
        t.id_key: {"fingerprint": "K"},
    }
    with engine.begin() as connection:
        put_meta(connection, {"fact:learned": "{ }"})
        for table, change in changes.items():
            one = next(iter(table.primary_key))
            smallest = sa.select(sa.func.min(one)).scalar_subquery()
            connection.execute(table.update().where(one == smallest).values(**change))
    engine.dispose()
    after = {one.table: one.sha256 for one in sums(ledger_url)}
    assert {"meta", *(table.name for table in changes)} == {
        name for name in after if after[name] != before[name]
    }


def test_a_value_is_summed_by_its_kind_and_with_its_length() -> None:
    """So that no two rows that differ give the same bytes."""
    values = [(None, t.run.c.plan), (7, t.run.c.run_seq), (1.5, t.run.c.started_at), ("æ-", t.run.c.plan)]
    expected = [b"-", b"i7;", b"f\x3f\xf8" + bytes(6), b"t3;\xc3\xa6-"]
    assert expected == [moving._plain(value, column.type) for value, column in values]
    assert b"t2;ab" == moving._plain(memoryview(b"ab"), t.chunk.c.manifest.type)


def test_progress_is_told_by_table(sqlite_url: str, postgres_url: str) -> None:
    with opened(sqlite_url) as ledger:
        lived(ledger)
    told: list[tuple[str, int, int]] = []
    move_ledger(sqlite_url, postgres_url, told=lambda *one: told.append(one))
    assert ("chunk", 5, 5) in told
    assert pl.DataFrame(told, orient="row")["column_0"].n_unique() > 5
