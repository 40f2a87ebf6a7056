"""What was acknowledged a moment ago is folded from memory: it must be what the ledger itself would have given."""

from __future__ import annotations

from contextlib import contextmanager

import polars as pl
import pytest
import sqlalchemy as sa

from connectors.ledger import open_ledger, store
from connectors.ledger import statements as q
from connectors.ledger.store import Ledger
from pipeline.holdings import DELETED, DOUBTS, HOLDING_COLUMNS, MERGES, RELEASED, UNTOLD, doubt, merge
from schemas.errors import StorageError
from schemas.ledger import Draft, State
from tests.ledger.conftest import IDENTITY, begun, manifest


@contextmanager
def opened(url):
    with open_ledger(url, identity=IDENTITY, now=1.0) as ledger:
        yield ledger


def taken(ledger: Ledger, run: int, *manifests: pl.DataFrame) -> None:
    """Send these and have them acknowledged."""
    start = ledger.cursor(run, "create_users", 0)
    for one in manifests:
        draft = ledger.pack(Draft(run, "create_users", 0, start, start + one.height, one))
        [chunk] = ledger.intend([draft], now=2.0)
        ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=3.0)
        start += one.height


def changes() -> list[pl.DataFrame]:
    """Users of two buckets; one is changed again, one is removed."""
    return [
        manifest("b", "a", "z", bucket=7),
        manifest("c", bucket=3),
        manifest("a", bucket=7).with_columns(digest=pl.lit("newer")),
        manifest("b", bucket=7).with_columns(digest=pl.lit(DELETED)),
    ]


@pytest.mark.parametrize("how", ["from memory", "one after another", "by the next process"])
def test_what_is_held_does_not_depend_on_where_it_is_folded_from(how, ledger_url):
    with opened(ledger_url) as ledger:
        run = begun(ledger)
        for one in changes():
            taken(ledger, run, one)
            if how == "one after another":
                ledger.absorb(MERGES)
        if how != "by the next process":
            ledger.absorb(MERGES)
    with opened(ledger_url) as ledger:
        ledger.absorb(MERGES)
        held = ledger.holdings("user", range(256))
    expected = [(3, "c", "d"), (7, "a", "newer"), (7, "z", "d")]
    assert expected == held.select("bucket", "id", "digest").rows()


def test_more_than_is_kept_in_memory_is_folded_too(sqlite_url, tmp_path, monkeypatch):
    (tmp_path / "sqlite").mkdir()
    monkeypatch.setattr(store, "_REMEMBERED", 2)
    with opened(sqlite_url) as ledger:
        taken(ledger, begun(ledger), *(manifest(name) for name in "edcba"))
        assert 2 == len(ledger._fresh)
        assert 5 == ledger.absorb(MERGES)
        assert {} == ledger._fresh
        assert list("abcde") == ledger.holdings("user", range(256))["id"].to_list()


@pytest.mark.parametrize("ended", [State.REJECTED, State.PLANNED, State.BLOCKED])
def test_what_was_begun_and_came_to_nothing_is_not_believed_any_more(ended, ledger_url):
    with opened(ledger_url) as ledger:
        run = begun(ledger)
        ledger.store_holdings("resource", 7, manifest("a", "b", bucket=7).select(HOLDING_COLUMNS))
        draft = Draft(run, "replace_resources", 0, 0, 2, manifest("b", "c", bucket=7))
        [chunk] = ledger.intend([draft], now=2.0)
        assert 0 == ledger.absorb_undone(DOUBTS), "nobody knows yet"
        ledger.settle(chunk.chunk_seq, state=ended, now=3.0)
        assert 2 == ledger.absorb_undone(DOUBTS)
        assert [("a", "d"), ("b", UNTOLD)] == digests(ledger)
        assert 0 == ledger.absorb_undone(DOUBTS), "once is enough"
        if ended is State.PLANNED:
            ledger.again(chunk.chunk_seq, now=4.0)
            ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=5.0)
            ledger.absorb(MERGES)
            assert [("a", "d"), ("b", "d"), ("c", "d")] == digests(ledger)


def test_a_second_attempt_that_came_to_nothing_is_one_more_reason_for_doubt(ledger_url):
    with opened(ledger_url) as ledger:
        run = begun(ledger)
        ledger.store_holdings("resource", 7, manifest("a", bucket=7).select(HOLDING_COLUMNS))
        [chunk] = ledger.intend([Draft(run, "replace_resources", 0, 0, 1, manifest("a", bucket=7))], now=2.0)
        ledger.settle(chunk.chunk_seq, state=State.PLANNED, now=3.0)
        assert 1 == ledger.absorb_undone(DOUBTS)
        ledger.store_holdings("resource", 7, manifest("a", bucket=7).select(HOLDING_COLUMNS))
        ledger.again(chunk.chunk_seq, now=4.0)
        ledger.settle(chunk.chunk_seq, state=State.REJECTED, now=5.0)
        assert 1 == ledger.absorb_undone(DOUBTS)
        assert [("a", UNTOLD)] == digests(ledger)


def of(digest: str, *ids: str) -> pl.DataFrame:
    """Records with one digest."""
    return manifest(*ids).with_columns(digest=pl.lit(digest))


def test_a_protected_location_that_gives_something_up_stays_protected():
    held = pl.concat([of("protected:x", "a", "c"), of("joined:protected:x", "b"), of("x", "d", "e")])
    after = merge(held.select(HOLDING_COLUMNS), pl.concat([of(RELEASED, "a", "b", "d"), of("new", "c")]))
    expected = {"a": "protected:released", "b": "protected:released", "c": "new", "d": "released", "e": "x"}
    assert expected == dict(after.select("id", "digest").rows())


def test_a_protected_location_stays_protected_whatever_is_doubted_of_it():
    held = pl.concat([of("joined:protected:x", "a"), of("x", "b")]).select(HOLDING_COLUMNS)
    assert ["protected:untold", "untold"] == doubt(held, manifest("a", "b"))["digest"].to_list()


def test_where_nothing_is_held_there_is_nothing_to_doubt():
    assert [] == doubt(None, manifest("a")).rows()


def digests(ledger: Ledger) -> list[tuple[str, str]]:
    """The resources that are believed to be held, and what of."""
    return ledger.holdings("resource", range(256)).select("id", "digest").rows()


def test_a_chunk_that_was_not_stored_is_not_taken_for_the_one_that_got_its_number(ledger_url):
    with opened(ledger_url) as ledger:
        run = begun(ledger)

        def fails() -> None:
            with ledger.together():
                ledger.intend([Draft(run, "create_users", 0, 0, 1, manifest("lost"))], now=2.0)
                raise StorageError("full")

        with pytest.raises(StorageError, match="full"):
            fails()
        taken(ledger, run, manifest("kept"))
        ledger.absorb(MERGES)
        assert ["kept"] == ledger.holdings("user", range(256))["id"].to_list()


def test_who_is_erased_does_not_come_back_from_memory(ledger_url):
    with opened(ledger_url) as ledger:
        taken(ledger, begun(ledger), manifest("a", "b"))
        assert 1 == ledger.redact("a")
        ledger.absorb(MERGES)
        assert {"erased", "b"} == set(ledger.holdings("user", range(256))["user_id"])


def test_how_far_a_phase_is_cut_is_looked_up_and_not_searched_for(sqlite_url, tmp_path):
    (tmp_path / "sqlite").mkdir()
    with opened(sqlite_url) as ledger, ledger.engine.connect() as connection:
        query = str(q.CURSOR.compile(connection, compile_kwargs={"render_postcompile": True}))
        plan = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query.replace('?', '1')}")).all()
    assert any("COVERING INDEX chunk_by_cursor" in row.detail for row in plan), plan
