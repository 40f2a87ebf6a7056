"""Tables of the ledger, and the moves a chunk may make, enforced inside the database."""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = 5
"""Raised with every change of what is stored; `migrations.py` then has a step to it."""

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

UNFINISHED = sa.text("state in ('planned','in_flight','in_doubt','blocked')")
UNABSORBED = sa.text("state = 'acknowledged' AND absorbed = 0")
"""Word for word in queries too: a database uses a partial index only where it sees that the query lies within it."""

metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

id_key = sa.Table(
    "id_key",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fingerprint", sa.Text, nullable=False, unique=True),
    sa.Column("since", sa.Float, nullable=False),
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("run_seq", _SEQUENCE, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False, unique=True),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("profiles", sa.Text, nullable=False),
    sa.Column("job_digest", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("plan_digest", sa.Text),
    sa.Column("plan", sa.Text),
    sa.Column("approved", sa.Text),
    sa.Column("spool", sa.Text),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("exit_code", sa.Integer),
    sa.Column("summary", sa.Text),
    sqlite_autoincrement=True,
)

source = sa.Table(
    "source",
    metadata,
    sa.Column("run_seq", sa.ForeignKey("run.run_seq"), primary_key=True),
    sa.Column("source_index", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False, index=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger),
)

chunk = sa.Table(
    "chunk",
    metadata,
    sa.Column("chunk_seq", _SEQUENCE, primary_key=True),
    sa.Column("chunk_id", sa.Text, nullable=False, index=True),
    sa.Column("run_seq", sa.ForeignKey("run.run_seq"), nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("lane", sa.Integer, nullable=False),
    sa.Column("cursor_from", sa.BigInteger, nullable=False),
    sa.Column("cursor_to", sa.BigInteger, nullable=False),
    sa.Column("parent_seq", sa.BigInteger),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("attempt_ended_at", sa.Float),
    sa.Column("absorbed", sa.Integer, nullable=False),
    sa.Column("manifest", sa.LargeBinary, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Index("chunk_by_run", "run_seq", "phase", "state"),
    sa.Index("chunk_by_cursor", "run_seq", "phase", "lane", "cursor_to"),
    sa.Index(
        "chunk_unfinished",
        "state",
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    ),
    sa.Index("chunk_unabsorbed", "chunk_seq", sqlite_where=UNABSORBED, postgresql_where=UNABSORBED),
    sqlite_autoincrement=True,
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("chunk_seq", sa.ForeignKey("chunk.chunk_seq"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("requests", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("status", sa.Integer),
    sa.Column("verdict", sa.Text),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("seq", _SEQUENCE, primary_key=True),
    sa.Column("chunk_seq", sa.BigInteger, nullable=False, index=True),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

legal_move = sa.Table(
    "legal_move",
    metadata,
    sa.Column("from_state", sa.Text, primary_key=True),
    sa.Column("to_state", sa.Text, primary_key=True),
)

holding = sa.Table(
    "holding",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("bucket", sa.Integer, primary_key=True),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("page", sa.LargeBinary, nullable=False),
)

claim = sa.Table(
    "claim",
    metadata,
    sa.Column("run_seq", sa.ForeignKey("run.run_seq"), primary_key=True),
    sa.Column("lane", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("lost", sa.Integer, nullable=False),
    sa.Column("trouble", sa.Text),
)

LEGAL_MOVES = (
    ("", "planned"),
    ("", "in_flight"),  # the intent of a fresh chunk is its first commit
    ("", "blocked"),
    ("", "acknowledged"),  # children of a split are born in the state that was proven for them
    ("", "rejected"),
    ("", "in_doubt"),
    ("planned", "in_flight"),
    ("planned", "blocked"),
    ("planned", "split"),
    ("planned", "superseded"),
    ("in_flight", "acknowledged"),
    ("in_flight", "rejected"),
    ("in_flight", "in_doubt"),
    ("in_flight", "planned"),  # only with proof that nothing was applied
    ("in_flight", "blocked"),  # the API says the parent is not there
    ("in_flight", "split"),
    ("in_doubt", "acknowledged"),
    ("in_doubt", "planned"),  # read as absent twice
    ("in_doubt", "rejected"),  # read back with other content: shown to a person
    ("in_doubt", "split"),
    ("blocked", "planned"),
    ("blocked", "split"),
    ("blocked", "superseded"),
)

SQLITE_CHUNK_MOVES = (
    """CREATE TRIGGER chunk_born BEFORE INSERT ON chunk BEGIN
         SELECT RAISE(ABORT, 'illegal first state') WHERE NOT EXISTS (
           SELECT 1 FROM legal_move WHERE from_state = '' AND to_state = NEW.state);
         SELECT RAISE(ABORT, 'stale fence')
           WHERE CAST(NEW.fence AS TEXT) <> (SELECT value FROM meta WHERE key = 'fence')
             AND NOT EXISTS (SELECT 1 FROM claim
               WHERE run_seq = NEW.run_seq AND lane = NEW.lane AND fence = NEW.fence);
       END""",
    """CREATE TRIGGER chunk_moves BEFORE UPDATE ON chunk BEGIN
         SELECT RAISE(ABORT, 'illegal move') WHERE OLD.state <> NEW.state AND NOT EXISTS (
           SELECT 1 FROM legal_move WHERE from_state = OLD.state AND to_state = NEW.state);
         SELECT RAISE(ABORT, 'stale fence')
           WHERE CAST(NEW.fence AS TEXT) <> (SELECT value FROM meta WHERE key = 'fence')
             AND NOT EXISTS (SELECT 1 FROM claim
               WHERE run_seq = NEW.run_seq AND lane = NEW.lane AND fence = NEW.fence);
       END""",
)

_SQLITE_TRIGGERS = (
    *SQLITE_CHUNK_MOVES,
    """CREATE TRIGGER chunk_born_history AFTER INSERT ON chunk BEGIN
         INSERT INTO history (chunk_seq, from_state, to_state, attempt, fence)
           VALUES (NEW.chunk_seq, '', NEW.state, NEW.attempt, NEW.fence);
       END""",
    """CREATE TRIGGER chunk_history AFTER UPDATE OF state ON chunk WHEN OLD.state <> NEW.state BEGIN
         INSERT INTO history (chunk_seq, from_state, to_state, attempt, fence)
           VALUES (NEW.chunk_seq, OLD.state, NEW.state, NEW.attempt, NEW.fence);
       END""",
    "CREATE TRIGGER history_stays BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'history is append-only'); END",
)

POSTGRES_CHUNK_MOVES = """CREATE OR REPLACE FUNCTION chunk_moves() RETURNS trigger AS $$
       DECLARE was text := ''; fence_now text;
       BEGIN
         IF TG_OP = 'UPDATE' THEN was := OLD.state; END IF;
         IF was <> NEW.state AND NOT EXISTS (
             SELECT 1 FROM legal_move WHERE from_state = was AND to_state = NEW.state) THEN
           RAISE EXCEPTION 'illegal move from %% to %%', was, NEW.state;
         END IF;
         -- The lock on the row makes a run that takes over wait until this transaction has ended.
         SELECT value INTO fence_now FROM meta WHERE key = 'fence' FOR SHARE;
         IF NEW.fence::text <> fence_now THEN
           -- A worker's claim is a fence of its own, for one lane; who takes it over waits likewise.
           PERFORM 1 FROM claim
             WHERE run_seq = NEW.run_seq AND lane = NEW.lane AND fence = NEW.fence FOR SHARE;
           IF NOT FOUND THEN
             RAISE EXCEPTION 'stale fence';
           END IF;
         END IF;
         RETURN NEW;
       END $$ LANGUAGE plpgsql"""

_POSTGRES_TRIGGERS = (
    POSTGRES_CHUNK_MOVES,
    """CREATE OR REPLACE FUNCTION chunk_history() RETURNS trigger AS $$
       DECLARE was text := '';
       BEGIN
         IF TG_OP = 'UPDATE' THEN was := OLD.state; END IF;
         IF was <> NEW.state THEN
           INSERT INTO history (chunk_seq, from_state, to_state, attempt, fence)
             VALUES (NEW.chunk_seq, was, NEW.state, NEW.attempt, NEW.fence);
         END IF;
         RETURN NULL;
       END $$ LANGUAGE plpgsql""",
    """CREATE OR REPLACE FUNCTION history_stays() RETURNS trigger AS $$
       BEGIN RAISE EXCEPTION 'history is append-only'; END $$ LANGUAGE plpgsql""",
    "CREATE TRIGGER chunk_moves BEFORE INSERT OR UPDATE ON chunk FOR EACH ROW EXECUTE FUNCTION chunk_moves()",
    "CREATE TRIGGER chunk_history AFTER INSERT OR UPDATE ON chunk FOR EACH ROW EXECUTE FUNCTION chunk_history()",
    "CREATE TRIGGER history_stays BEFORE UPDATE ON history FOR EACH ROW EXECUTE FUNCTION history_stays()",
)


def create_all(connection: sa.Connection) -> None:
    """Create every table, the list of legal moves and the triggers that hold runs to it; the caller commits."""
    metadata.create_all(connection)
    connection.execute(legal_move.insert(), [{"from_state": a, "to_state": b} for a, b in LEGAL_MOVES])
    create_triggers(connection)


def create_triggers(connection: sa.Connection) -> None:
    """Create the triggers, over what the tables already hold; the caller commits."""
    for statement in _SQLITE_TRIGGERS if connection.dialect.name == "sqlite" else _POSTGRES_TRIGGERS:
        connection.exec_driver_sql(statement)
