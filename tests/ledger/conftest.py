from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from connectors.ledger import Ledger
from schemas.ledger import MANIFEST_SCHEMA, Draft, Identity
from tests.postgres_server import running_postgres

IDENTITY = Identity(tenant="t", base_url="http://127.0.0.1/ec", key="k")
SHARED_SERVER = "TEST_POSTGRES_URL"
"""Where a server is there already, its URL: a session then starts none, and leaves nothing there."""
_databases = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server for the session, or the one that is there already; its URL without a database."""
    if there := os.environ.get(SHARED_SERVER):
        yield there
        return
    with running_postgres(tmp_path_factory.mktemp("pg")) as (_, url):
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger, once on each database."""
    return _empty(request, tmp_path, request.param)


@pytest.fixture
def other_url(ledger_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of one more empty ledger on the same kind of database."""
    kind = "sqlite" if ledger_url.startswith("sqlite") else "postgres"
    return _empty(request, tmp_path / "other", kind)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an empty ledger in a file."""
    return f"sqlite:///{tmp_path}/sqlite/ledger.sqlite"


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger on the server."""
    return _empty(request, tmp_path, "postgres")


def _empty(request: pytest.FixtureRequest, folder: Path, kind: str) -> str:
    if kind == "sqlite":
        folder.mkdir(exist_ok=True)
        return f"sqlite:///{folder}/ledger.sqlite"
    url = new_database(request.getfixturevalue("postgres"))
    if SHARED_SERVER in os.environ:
        request.addfinalizer(partial(drop_database, url))
    return url


def new_database(server: str) -> str:
    """The URL of a new, empty database on a server."""
    url = sa.engine.make_url(server)
    name = f"ledger_{next(_databases)}_{os.getpid()}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def drop_database(url: str) -> None:
    """Remove a database from a server that outlives the session."""
    name = sa.engine.make_url(url).database
    engine = sa.create_engine(sa.engine.make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    engine.dispose()


def manifest(*ids: str, bucket: int = 0) -> pl.DataFrame:
    """Records of users with these ids."""
    return pl.DataFrame(
        {
            "id": list(ids),
            "user_id": list(ids),
            "location_id": [None] * len(ids),
            "digest": ["d"] * len(ids),
            "meter_point_keys": [[]] * len(ids),
            "bucket": [bucket] * len(ids),
            "partition": [0] * len(ids),
            "position": list(range(len(ids))),
            "row": list(range(len(ids))),
            "scope": ["p"] * len(ids),
        },
        schema=MANIFEST_SCHEMA,
    )


def begun(ledger: Ledger) -> int:
    """A run, by its number."""
    run = ledger.begin_run(
        command="sync", environment="sandbox", profiles="p", job_digest="j", stamp="20261122", now=2.0
    )
    return run.run_seq


def draft(run_seq: int, *ids: str, start: int = 0) -> Draft:
    return Draft(
        run_seq=run_seq,
        phase="create_users",
        lane=0,
        cursor_from=start,
        cursor_to=start + len(ids),
        manifest=manifest(*ids),
    )
