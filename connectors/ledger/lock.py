"""One writer: a lock that dies with its process, whatever kills it."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from schemas.errors import BusyError, StorageError
from schemas.masking import printable

_POSTGRES_LOCK = 0x6D65746572666564  # "meterfed": one tenant and ledger per PostgreSQL database
_NAME_LIMIT = 63  # of an application_name of PostgreSQL

_CURE = (
    "Wait for it to end: `reconcile` and `adopt` hold the lock too, and take hours over many users. "
    "A killed process releases it by itself."
)

_NAME = sa.text("SELECT set_config('application_name', :name, false)")
_HOLDER = sa.text(
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid = :high AND objid = :low AND objsubid = 1"
)


@contextmanager
def file_lock(path: Path, *, by: str = "") -> Iterator[None]:
    """Hold an exclusive kernel lock on `path`; released by the kernel on any death of the process.

    Args:
        path: the lock file; it holds who took it last, and is never removed.
        by: the command that takes it, for whoever finds it held.

    Raises:
        BusyError: someone else holds it; it names who, as far as that is known.
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
            raise _busy(os.pread(descriptor, 2 * _NAME_LIMIT, 0).decode(errors="replace")) from None
        # Someone may have removed the file between our open and our lock: then we hold a lock nobody sees.
        try:
            same = path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            same = False
        if not same:
            raise BusyError("The lock file was replaced while the lock was taken.", cure="Start again.")
        with suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _name(by).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def postgres_lock(engine: sa.Engine, *, by: str = "") -> Iterator[sa.Connection]:
    """Hold a session advisory lock on a connection of its own; the server drops it with the session.

    Raises:
        BusyError: someone else holds it; it names who, as far as that is known.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Named before it is taken, so that nobody meets a lock without a name.
        connection.execute(_NAME, {"name": _name(by)})
        if not connection.execute(
            sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _POSTGRES_LOCK}
        ).scalar():
            halves = {"high": _POSTGRES_LOCK >> 32, "low": _POSTGRES_LOCK & 0xFFFFFFFF}
            raise _busy(connection.execute(_HOLDER, halves).scalar() or "")
        try:
            yield connection
        finally:
            # The server learns of the end of a session later than the next run may ask; a dead one needs no word.
            with suppress(SQLAlchemyError):
                connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": _POSTGRES_LOCK})


def _name(command: str) -> str:
    """Who we are, for whoever finds the lock held."""
    told = f"meterfeed {command}".strip()
    return f"{told}, process {os.getpid()} on {socket.gethostname()}"[:_NAME_LIMIT]


def _busy(holder: str) -> BusyError:
    who = printable(holder)
    return BusyError(f"Another run holds the lock of this ledger{': ' * bool(who)}{who}.", cure=_CURE)
