"""A ledger of an earlier version is brought up and goes on; one of a later version is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
import sqlalchemy as sa

from connectors.ledger import migrations, open_ledger
from connectors.ledger import tables as t
from pipeline.holdings import MERGES
from pipeline.phases import Phase
from sandbox.server import Sandbox
from schemas.errors import StorageError
from schemas.ledger import Identity, State
from tests.delivery.harness import Bench, creates, users
from tests.ledger.conftest import IDENTITY, manifest
from tests.ledger.old import make_v1

IDS = [f"user-{number:05d}" for number in range(9)]


def definition(url: str) -> dict[str, object]:
    """Everything the database is told to be: columns, keys, indexes and triggers, by name."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        look = sa.inspect(connection)
        found: dict[str, object] = {}
        for table in look.get_table_names():
            columns = [(c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(table)]
            found[table] = (
                columns,
                look.get_pk_constraint(table)["constrained_columns"],
                sorted(str(c["column_names"]) for c in look.get_unique_constraints(table)),
                sorted(_index(one) for one in look.get_indexes(table)),
            )
        triggers = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            if connection.dialect.name == "sqlite"
            else "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
            "UNION ALL SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
        )
        found |= dict(sorted((name, body) for name, body in connection.exec_driver_sql(triggers)))
    engine.dispose()
    return found


def _index(found) -> str:
    options = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return f"{found['name']} {found['column_names']} {bool(found['unique'])} {options}"


def test_a_ledger_brought_up_is_like_a_new_one(ledger_url: str, other_url: str) -> None:
    make_v1(ledger_url, IDENTITY, manifest=manifest(*IDS))
    for url in (ledger_url, other_url):
        with open_ledger(url, identity=IDENTITY, now=2.0):
            pass
    assert definition(other_url) == definition(ledger_url)


def test_every_version_has_a_step_that_leads_to_it() -> None:
    assert list(range(2, t.SCHEMA_VERSION + 1)) == list(migrations.MIGRATIONS)


def test_what_an_old_ledger_knew_is_known_after_bringing_it_up(ledger_url: str) -> None:
    make_v1(ledger_url, IDENTITY, manifest=manifest(*IDS))
    with open_ledger(ledger_url, identity=IDENTITY, now=2.0) as ledger:
        states = {chunk.state: chunk.manifest["id"].to_list() for chunk in ledger.chunks(states=list(State))}
        assert {
            State.ACKNOWLEDGED: IDS[:3],
            State.IN_DOUBT: IDS[3:6],
            State.PLANNED: IDS[6:],
        } == states
        assert 3 == ledger.absorb(MERGES)
        assert [IDENTITY.key] == ledger.key_names()


def test_a_run_begun_by_an_old_version_is_finished_by_this_one(tmp_path: Path) -> None:
    """The records of its one chunk in flight were applied; the API must not be asked to make them again."""
    plan = {Phase.CREATE_USERS: users(9)}
    with Sandbox() as sandbox:
        identity = Identity("t", sandbox.base_url, "k")
        applied = Bench(sandbox, tmp_path / "earlier")
        applied.deliver({Phase.CREATE_USERS: users(6)})
        make_v1(f"sqlite:///{tmp_path}/ledger.sqlite", identity, manifest=manifest(*IDS))
        done = Bench(sandbox, tmp_path).deliver(plan, resume=True)
        assert (None, {("create_users", "acknowledged"): 9}) == (done.error, done.accounted)
        assert dict.fromkeys((f"user:{one}" for one in IDS), 1) == creates(sandbox)


def test_an_sqlite_ledger_is_copied_before_it_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    make_v1(f"sqlite:///{path}", IDENTITY, manifest=manifest(*IDS))
    with open_ledger(f"sqlite:///{path}", identity=IDENTITY, now=2.0) as ledger:
        [copy] = migrations.copies_of(path)
        assert 0o600 == copy.stat().st_mode & 0o777
        with closing(sqlite3.connect(copy)) as old:
            assert [("1",)] == old.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
            assert [(3,)] == old.execute("SELECT count(*) FROM chunk").fetchall()
        ledger.redact("nobody")
        assert [] == migrations.copies_of(path)  # a copy names users too


def test_a_step_that_fails_leaves_the_old_ledger_in_force(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_v1(ledger_url, IDENTITY, manifest=manifest(*IDS))
    before = definition(ledger_url)

    def breaks(connection: sa.Connection) -> None:
        migrations._to_2(connection)
        raise StorageError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "MIGRATIONS", MappingProxyType({2: breaks}))
        with (
            pytest.raises(StorageError, match="disk full"),
            open_ledger(ledger_url, identity=IDENTITY, now=2.0),
        ):
            pytest.fail("opened")
    assert before == definition(ledger_url)
    with open_ledger(ledger_url, identity=IDENTITY, now=2.0) as ledger:
        assert 3 == len(list(ledger.chunks(states=list(State))))


def test_a_newer_ledger_is_refused_and_left_as_it_is(ledger_url: str) -> None:
    with open_ledger(ledger_url, identity=IDENTITY, now=1.0):
        pass
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(t.meta.update().where(t.meta.c.key == "schema_version").values(value="99"))
    with (
        pytest.raises(StorageError, match="schema version 99"),
        open_ledger(ledger_url, identity=IDENTITY, now=2.0),
    ):
        pytest.fail("opened")
    with engine.connect() as connection:
        facts = dict(connection.execute(sa.select(t.meta)).tuples().all())
    engine.dispose()
    assert ("99", "1") == (facts["schema_version"], facts["fence"])


def test_a_database_of_something_else_is_no_ledger(ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE run (other INTEGER)")
    with (
        pytest.raises(StorageError, match="something else"),
        open_ledger(ledger_url, identity=IDENTITY, now=1.0),
    ):
        pytest.fail("opened")
    with engine.connect() as connection:
        assert ["run"] == sa.inspect(connection).get_table_names()
    engine.dispose()


STEPS = Path(__file__).parent / "old" / "steps.sql"
"""What each step tells each database; what they take from the tables of today is named only."""


class Told:
    """Takes the place of a connection, and writes down what it is told."""

    def __init__(self, name: str) -> None:
        self.dialect = SimpleNamespace(name=name)
        self.lines: list[str] = []

    def exec_driver_sql(self, statement: str) -> None:
        names = {t.POSTGRES_CHUNK_MOVES: "POSTGRES_CHUNK_MOVES"} | {
            trigger: f"SQLITE_CHUNK_MOVES[{number}]" for number, trigger in enumerate(t.SQLITE_CHUNK_MOVES)
        }
        self.lines.append(names.get(statement, statement) + ";")


def test_a_step_is_written_once_and_never_changed() -> None:
    """Ledgers out there took it as it was. What must become otherwise is a new step."""
    told = []
    for version, step in migrations.MIGRATIONS.items():
        for name in ("sqlite", "postgresql"):
            connection = Told(name)
            step(connection)
            told += [f"-- to {version} on {name}", *connection.lines]
    assert STEPS.read_text() == "\n".join(told) + "\n"


def test_nothing_of_the_old_way_to_know_keys_is_left(ledger_url: str, other_url: str) -> None:
    make_v1(ledger_url, IDENTITY, manifest=manifest(*IDS))
    facts = []
    for url in (ledger_url, other_url):
        with open_ledger(url, identity=IDENTITY, now=2.0) as ledger, ledger.engine.connect() as connection:
            known = dict(connection.execute(sa.select(t.meta)).tuples().all())
            facts.append((set(known), known["schema_version"]))
            since = connection.execute(sa.select(t.id_key.c.version, t.id_key.c.since)).all()
        assert [(1, 1763800000.25 if url == ledger_url else 2.0)] == since
    assert facts[1] == facts[0]
