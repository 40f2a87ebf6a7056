"""One writer: a lock that dies with its process, whatever kills it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from schemas.errors import BusyError, StorageError

_POSTGRES_LOCK = 0x6D65746572666564  # "meterfed": one tenant and ledger per PostgreSQL database

_BUSY = "Another run holds the lock of this ledger."
_CURE = "Wait for it to end, or find it with `meterfeed runs`; a killed run releases its lock by itself."


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive kernel lock on `path`; released by the kernel on any death of the process.

    Raises:
        BusyError: someone else holds it.
        StorageError: the lock file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"The lock file {path.name} cannot be opened: {error.strerror}.",
            cure="Check METERFEED_LEDGER and METERFEED_DATA_DIR: can we write there?",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(_BUSY, cure=_CURE) from None
        # Someone may have removed the file between our open and our lock: then we hold a lock nobody sees.
        try:
            same = path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            same = False
        if not same:
            raise BusyError("The lock file was replaced while the lock was taken.", cure="Start again.")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def postgres_lock(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Hold a session advisory lock on a connection of its own; the server drops it with the session.

    Raises:
        BusyError: someone else holds it.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(
            sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _POSTGRES_LOCK}
        ).scalar():
            raise BusyError(_BUSY, cure=_CURE)
        try:
            yield connection
        finally:
            # The server learns of the end of a session later than the next run may ask; a dead one needs no word.
            with suppress(SQLAlchemyError):
                connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _POSTGRES_LOCK})
