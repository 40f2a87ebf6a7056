"""A ledger from one database to another, between SQLite and PostgreSQL in either direction.

Exactly one ledger is in force at every moment, whatever breaks off the move:

    1. copy everything, in one transaction, into an empty database     the source is in force
    2. count and hash every table on both sides, and compare           the source is in force
    3. write into the source where it was moved to                     neither may be used: run the move again
    4. take the mark of arrival from the target                        the target is in force

A move that was broken off is run again: up to step 3 it starts anew, after it only the last step is left.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from connectors.ledger import tables as t
from connectors.ledger.address import address_problem, holds_secret, without_secrets
from connectors.ledger.migrations import migrate
from connectors.ledger.opening import (
    ARRIVING,
    MOVED,
    check_in_force,
    found_version,
    is_empty,
    meta,
    put_meta,
)
from connectors.ledger.store import Ledger, locked_ledger, storage_trouble
from schemas.errors import SettingsError, StorageError

ROWS_AT_ONCE = 64
"""Rows in memory at once: a chunk's manifest may have 100 kB."""

_OWN_FACTS = (ARRIVING, MOVED)
"""Rows of `meta` that say something of one copy alone."""

_COUNTED_BY_THE_DATABASE = (t.run.c.run_seq, t.chunk.c.chunk_seq, t.history.c.seq)


@dataclass(frozen=True, slots=True)
class TableSum:
    """A table's name, its rows, and a hash over all their values in the order of its key."""

    table: str
    rows: int
    sha256: str


def move_ledger(
    source_url: str, target_url: str, *, told: Callable[[str, int, int], None] = lambda *_: None
) -> list[TableSum]:
    """Move a ledger into an empty database; the source can only be read after.

    Args:
        source_url: where it is.
        target_url: an empty database, or one in which this very move was broken off.
        told: told of progress: table, rows copied, rows in all.

    Returns:
        The tables, equal on both sides.

    Raises:
        BusyError: a run holds one of the two.
        SettingsError: there is nothing to move, or it was moved elsewhere.
        StorageError: the target is not empty, the copy differs, or one of the two cannot be used.
    """
    place = without_secrets(target_url)
    if place == without_secrets(source_url):
        raise SettingsError("The ledger is there already.", cure="Name another place with --to.")
    with ExitStack() as stack:
        source = stack.enter_context(locked_ledger(source_url, by="ledger move"))
        target = stack.enter_context(locked_ledger(target_url, by="ledger move"))
        stack.enter_context(storage_trouble())
        if not _was_marked(source, place):
            _copy(source, target, told)
        sums = _compared(source, target)
        with source.engine.begin() as connection:
            put_meta(connection, {MOVED: place})
        with target.engine.begin() as connection:
            connection.execute(t.meta.delete().where(t.meta.c.key == ARRIVING))
        return sums


def target_problem(url: str) -> str | None:
    """What is wrong with an address that somebody typed; a command line is visible to all on the machine."""
    if (problem := address_problem(url)) is not None:
        return problem
    if holds_secret(url):
        return "must not hold a password: put it into ~/.pgpass, or set PGPASSWORD"
    return None


def _was_marked(source: Ledger, place: str) -> bool:
    """Whether the source was already given up for this target; it is brought up to date otherwise."""
    with source.engine.begin() as connection:
        if is_empty(connection):
            raise SettingsError("There is no ledger to move.", cure="Check METERFEED_LEDGER.")
        if meta(connection, MOVED) == place:
            return True
        check_in_force(connection)
        migrate(connection, found_version(connection), source.path)
        connection.execute(t.claim.delete())  # workers of a run that died must not write behind the copy
        return False


# ------------------------------------------------------------------ copying
def _copy(source: Ledger, target: Ledger, told: Callable[[str, int, int], None]) -> None:
    with source.engine.begin() as reading, target.engine.begin() as writing:
        ledger_id = meta(reading, "ledger_id") or ""
        _make_room(writing, ledger_id)
        t.metadata.create_all(writing)
        for table in t.metadata.sorted_tables:
            total = int(reading.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            done = 0
            for rows in _rows(reading, table).partitions(ROWS_AT_ONCE):
                writing.execute(table.insert(), [dict(row) for row in rows])
                done += len(rows)
                told(table.name, done, total)
        put_meta(writing, {ARRIVING: ledger_id})
        _go_on_counting(writing)
        t.create_triggers(writing)  # not before: history is copied, not made again


def _make_room(writing: sa.Connection, ledger_id: str) -> None:
    """See that the target is empty; what a move of this ledger left there half done is removed."""
    if is_empty(writing):
        return
    if meta(writing, ARRIVING) != ledger_id:
        raise StorageError(
            "The target holds a ledger already.", cure="Name an empty database. Nothing was changed."
        )
    t.metadata.drop_all(writing)


def _rows(connection: sa.Connection, table: sa.Table) -> sa.MappingResult:
    order = [
        column.collate("C")
        if isinstance(column.type, sa.Text) and connection.dialect.name != "sqlite"
        else column
        for column in table.primary_key
    ]
    query = sa.select(table).order_by(*order).execution_options(yield_per=ROWS_AT_ONCE)
    return connection.execute(query).mappings()


def _go_on_counting(writing: sa.Connection) -> None:
    """New rows get numbers after the copied ones. SQLite sees to that itself."""
    if writing.dialect.name == "sqlite":
        return
    for column in _COUNTED_BY_THE_DATABASE:
        name = sa.func.pg_get_serial_sequence(column.table.name, column.name)
        highest = sa.select(sa.func.max(column)).scalar_subquery()
        writing.execute(sa.select(sa.func.setval(name, sa.func.coalesce(highest, 1), highest.is_not(None))))


# ------------------------------------------------------------------ comparing
def _compared(source: Ledger, target: Ledger) -> list[TableSum]:
    with source.engine.begin() as here, target.engine.begin() as there:
        sums = list(table_sums(here))
        differing = [
            mine.table for mine, theirs in zip(sums, table_sums(there), strict=True) if mine != theirs
        ]
    if differing:
        raise StorageError(
            f"The copy differs from the ledger in: {', '.join(differing)}.",
            cure="The ledger is where it was. Look after the storage of the target, and run the move again.",
        )
    return sums


def table_sums(connection: sa.Connection) -> Iterator[TableSum]:
    """Rows and content of every table of a ledger, the same on every database."""
    for table in t.metadata.sorted_tables:
        sha, rows = hashlib.sha256(), 0
        for row in _rows(connection, table):
            if table is t.meta and row["key"] in _OWN_FACTS:
                continue
            rows += 1
            for column in table.columns:
                sha.update(_plain(row[column.name], column.type))
        yield TableSum(table.name, rows, sha.hexdigest())


def _plain(value: Any, kind: sa.types.TypeEngine[Any]) -> bytes:
    """One value as bytes that do not depend on the database, with its length where that is not fixed."""
    if value is None:
        return b"-"
    if isinstance(kind, sa.Float):
        return b"f" + struct.pack(">d", value)
    if isinstance(kind, sa.Integer):
        return b"i%d;" % value
    content = value.encode() if isinstance(value, str) else bytes(value)
    return b"t%d;" % len(content) + content
