"""Ledgers of earlier versions, brought up to the one this program writes.

A step is written once and never changed: it says in plain SQL what became different, for both databases. All steps a
ledger needs are taken in the transaction that opens it, so it is of the old version or of the new one, whatever
happens in between. An SQLite file is copied first; a PostgreSQL database is in its owner's backups.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa

from connectors.ledger.tables import POSTGRES_CHUNK_MOVES, SCHEMA_VERSION, SQLITE_CHUNK_MOVES
from schemas.errors import StorageError

COPY_SUFFIX = ".before-v"
"""An SQLite ledger keeps the copy of its older self under its own name with this and the version it was brought to."""


def _to_2(connection: sa.Connection) -> None:
    """Id keys have versions. On PostgreSQL a run that takes over waits for what the one before has under way."""
    run = connection.exec_driver_sql
    run(
        "CREATE TABLE id_key (version INTEGER NOT NULL PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, "
        "since FLOAT NOT NULL)"
    )
    run(
        "INSERT INTO id_key SELECT 1, key.value, CAST(made.value AS FLOAT) FROM meta AS key, meta AS made "
        "WHERE key.key = 'id_key' AND made.key = 'created_at'"
    )
    run("DELETE FROM meta WHERE key = 'id_key'")
    if connection.dialect.name != "sqlite":
        run(POSTGRES_CHUNK_MOVES)
        run("DROP INDEX chunk_unfinished")
        run(
            "CREATE INDEX chunk_unfinished ON chunk (state) "
            "WHERE state in ('planned','in_flight','in_doubt','blocked')"
        )


def _to_3(connection: sa.Connection) -> None:
    """Workers share the partitions of a run: what one claims is a fence of its own."""
    run = connection.exec_driver_sql
    numbers = "BIGINT" if connection.dialect.name != "sqlite" else "INTEGER"
    run(
        f"CREATE TABLE claim (run_seq {numbers} NOT NULL REFERENCES run (run_seq), lane INTEGER NOT NULL, "
        "step INTEGER NOT NULL, steps INTEGER NOT NULL, fence BIGINT NOT NULL, owner TEXT, expires_at FLOAT NOT NULL, "
        "lost INTEGER NOT NULL, trouble TEXT, PRIMARY KEY (run_seq, lane))"
    )
    if connection.dialect.name != "sqlite":
        run(POSTGRES_CHUNK_MOVES)
        return
    for name, trigger in zip(("chunk_born", "chunk_moves"), SQLITE_CHUNK_MOVES, strict=True):
        run(f"DROP TRIGGER {name}")
        run(trigger)


def _to_4(connection: sa.Connection) -> None:
    """What was acknowledged is folded into the holdings while others are sent: it must be found without searching."""
    connection.exec_driver_sql(
        "CREATE INDEX chunk_unabsorbed ON chunk (chunk_seq) WHERE state = 'acknowledged' AND absorbed = 0"
    )


def _to_5(connection: sa.Connection) -> None:
    """How far a phase was cut is asked for with every chunk: it must not cost more with every chunk.

    Pages are packed otherwise from here on; those that are there are read as they are.
    """
    connection.exec_driver_sql("CREATE INDEX chunk_by_cursor ON chunk (run_seq, phase, lane, cursor_to)")


MIGRATIONS: Mapping[int, Callable[[sa.Connection], None]] = MappingProxyType(
    {2: _to_2, 3: _to_3, 4: _to_4, 5: _to_5}
)
"""Version to the step that leads to it from the one before."""


def migrate(connection: sa.Connection, found: int, path: Path | None) -> None:
    """Bring a ledger of version `found` up to `SCHEMA_VERSION`; the caller commits.

    Args:
        path: the file of an SQLite ledger, which is copied first; None for PostgreSQL.

    Raises:
        StorageError: it is newer than this program, or cannot be copied; nothing of it was changed.
    """
    if found > SCHEMA_VERSION:
        raise StorageError(
            f"The ledger has schema version {found}, this program knows {SCHEMA_VERSION} at most.",
            cure="Use the version of meterfeed that wrote it, or a newer one. Nothing was changed.",
        )
    if found == SCHEMA_VERSION:
        return
    if path is not None:
        _copy(path, path.with_name(f"{path.name}{COPY_SUFFIX}{SCHEMA_VERSION}"))
    for version in range(found + 1, SCHEMA_VERSION + 1):
        MIGRATIONS[version](connection)
    connection.execute(
        sa.text("UPDATE meta SET value = :version WHERE key = 'schema_version'"),
        {"version": str(SCHEMA_VERSION)},
    )


def copies_of(path: Path) -> list[Path]:
    """The copies that migrations of this SQLite ledger left beside it."""
    return sorted(path.parent.glob(f"{path.name}{COPY_SUFFIX}*"))


def _copy(path: Path, target: Path) -> None:
    """Copy the ledger as it was last committed; the copy takes its name only when it is whole and on the disk."""
    growing = target.with_name(target.name + ".part")
    try:
        growing.unlink(missing_ok=True)
        os.close(os.open(growing, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(growing)) as copy:
            source.backup(copy)
        with growing.open("rb+") as file:
            os.fsync(file.fileno())
        growing.replace(target)
    except (OSError, sqlite3.Error) as error:
        growing.unlink(missing_ok=True)
        raise StorageError(
            f"The ledger is of an earlier version and could not be copied before bringing it up: {error}.",
            cure=f"{path.stat().st_size:,} bytes are needed beside {path.name}. Nothing was changed.",
        ) from error
