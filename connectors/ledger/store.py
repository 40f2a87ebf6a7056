"""The ledger itself: every method is one transaction, and carries the fence of the run that calls it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from connectors.ledger import opening
from connectors.ledger import statements as q
from connectors.ledger import tables as t
from connectors.ledger.address import address_of, file_of
from connectors.ledger.frames import from_bytes, packed, to_bytes, to_stream
from connectors.ledger.lock import file_lock, postgres_lock
from connectors.ledger.mark import CURE as MARK_CURE
from connectors.ledger.mark import Mark, place_of, read_mark, write_mark
from connectors.ledger.migrations import copies_of, migrate
from schemas.errors import AccountError, BusyError, ConnectionLost, SettingsError, StorageError
from schemas.ledger import (
    BUCKETS,
    ChunkRow,
    Draft,
    Identity,
    Leaf,
    RunRow,
    SourceRow,
    State,
    chunk_id,
)

_ABSORB_BATCH = 500_000
_REMEMBERED = 64
"""Fresh manifests that are kept in memory until they are folded into the holdings."""

WHERE = (
    "Check METERFEED_LEDGER and METERFEED_DATA_DIR: is there a folder of ours, on a disk that can be written?"
)
LOCKED = "The ledger is locked by another program."
STALE = "Another run has taken over the ledger while this one had lost its lock (stale fence)."


_LARGE = ("plan", "summary")
"""Columns of a run that are not read where only its name, state or place is asked for."""

Fold = Callable[[pl.DataFrame | None, pl.DataFrame], pl.DataFrame]
"""Maps what is held, and the records of chunks in the same buckets, to what is held after."""

_NAMED = (t.chunk.c.chunk_seq, t.chunk.c.chunk_id, t.chunk.c.phase, t.chunk.c.n)


@contextmanager
def open_ledger(
    url: str,
    *,
    identity: Identity,
    now: float,
    mark_in: Path | None = None,
    rebuilding: bool = False,
    relinking: bool = False,
    by: str = "",
) -> Iterator[Ledger]:
    """Open the ledger as its one writer: lock, check, create or migrate, fence.

    Args:
        url: an SQLAlchemy URL, `sqlite:///…` or `postgresql+psycopg://…`.
        identity: tenant, base URL and keys this ledger belongs to; written on first use, compared after.
        now: UTC seconds, written down as the time of opening.
        mark_in: folder of the mark that tells an older copy of the ledger from the newest; None: nobody looks.
        rebuilding: an older copy, or none, is all there is: open it, and let the caller say when it can be trusted.
        relinking: the tenant may have another name or address than the ledger knows.
        by: the command, for whoever finds the lock held.

    Raises:
        BusyError: another run holds the lock.
        SettingsError: the ledger belongs to another tenant, base URL or id key, or was moved.
        StorageError: the ledger is damaged, newer than this program, older than it was, or cannot be written.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(locked_ledger(url, by=by))
        ledger.mark = None if mark_in is None else place_of(mark_in, identity)
        ledger.identity = identity
        with storage_trouble():
            ledger.prepare(identity, now, rebuilding=rebuilding, relinking=relinking)
            if ledger.doubt is None:
                ledger.trust()
        try:
            yield ledger
        finally:
            if ledger.doubt is None:
                # Where it cannot be written, the mark of the beginning stands: it says less, and no lie.
                with suppress(StorageError, BusyError):
                    ledger.trust()


@contextmanager
def locked_ledger(url: str, *, by: str = "") -> Iterator[Ledger]:
    """The database of a ledger under its lock, which says `by` whom; nothing of it is looked at yet."""
    with ExitStack() as stack:
        path = file_of(url)
        if path is not None:
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"The folder of {path.name} cannot be made: {error.strerror}.", cure=WHERE
                ) from error
            stack.enter_context(file_lock(path.with_name(path.name + ".lock"), by=by))
            _own(path)
        with storage_trouble():
            engine = engine_for(url)
            stack.callback(engine.dispose)
            if path is None:
                stack.enter_context(postgres_lock(engine, by=by))
        yield Ledger(engine, path=path)


def _within(kind: str, buckets: Sequence[int]) -> tuple[sa.ColumnElement[bool], ...]:
    return t.holding.c.kind == kind, t.holding.c.bucket.in_(buckets)


def read_ledger(url: str) -> Ledger | None:
    """Open the ledger for reading only, without the lock; None when there is none yet."""
    path = file_of(url)
    if path is not None and not path.exists():
        return None
    with storage_trouble():
        return Ledger(engine_for(url, read_only=True), path=path)


def _own(path: Path) -> None:
    """Make sure the ledger file is ours alone before SQLite opens it (its -wal and -shm follow its mode)."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
    except OSError as error:
        raise StorageError(
            f"The ledger {path.name} cannot be opened: {error.strerror}.", cure=WHERE
        ) from error


_READING: Final = ("query_only = ON", "wal_autocheckpoint = 0")
_WRITING: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",
    "mmap_size = 0",
    "temp_store = MEMORY",
    "cache_size = -20000",
)


def engine_for(url: str, *, read_only: bool = False) -> sa.Engine:
    """Connections to a ledger's database, set up the way a ledger wants them.

    Raises:
        SettingsError: the ledger is in PostgreSQL, and its driver is not installed.
    """
    address = address_of(url)
    if address.get_backend_name() != "sqlite":
        return _postgres_engine(address)
    engine = sa.create_engine(
        address,
        poolclass=sa.pool.StaticPool,
        hide_parameters=True,
        connect_args={"timeout": 5, "check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN IMMEDIATE ourselves: a deferred one fails late
        with closing(connection.cursor()) as cursor:  # or a failure leaves its statement, and the file, open
            for pragma in _READING if read_only else _WRITING:
                cursor.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN DEFERRED" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgres_engine(address: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(
            address, pool_size=2, max_overflow=2, pool_pre_ping=False, hide_parameters=True
        )
    except ImportError:
        raise SettingsError(
            "The ledger is in PostgreSQL, and what speaks to it is not installed.",
            cure="Install meterfeed[postgres].",
        ) from None


@contextmanager
def storage_trouble(*, is_open: bool = False) -> Iterator[None]:
    """Turn every database error into `StorageError`; its text holds no row, only the driver's sentence.

    Args:
        is_open: the ledger was opened before: who finds it locked by now may have done something already, and is no
            more told that somebody else is at work and nothing was done.
    """
    try:
        yield
    except DBAPIError as error:
        sentence = str(error.orig).splitlines()[0][:160] if error.orig else type(error).__name__
        if "stale fence" in sentence:
            raise StorageError(STALE, cure="Run `meterfeed resume`.") from error
        if "database is locked" in sentence and is_open:
            raise StorageError(LOCKED, cure="Close it, then run `meterfeed resume`.") from error
        if "database is locked" in sentence:
            raise BusyError(LOCKED, cure="Close it and start again.") from error
        if error.connection_invalidated:
            raise ConnectionLost(
                f"The connection to the ledger's database was lost: {sentence}.",
                cure="Run `meterfeed resume` when the database is there again.",
            ) from error
        raise StorageError(
            f"The ledger could not be used: {sentence}.",
            cure="Free space or repair the storage, then run `meterfeed resume`.",
        ) from error
    except SQLAlchemyError as error:
        raise StorageError(
            f"The ledger could not be used: {type(error).__name__}.",
            cure="Run `meterfeed resume`; if it stays so, put the newest backup back: docs/ledger.md.",
        ) from error


@dataclass(slots=True)
class Ledger:
    """The ledger of one tenant. Not thread-safe: the caller keeps all calls in one thread at a time."""

    engine: sa.Engine
    path: Path | None
    fence: int = 0
    identity: Identity | None = None
    mark: Path | None = None
    doubt: str | None = None
    """Why this is not the newest copy of the ledger, while it is being rebuilt; None: it is."""
    runs_before: int = 0
    dropped_plans: list[str] = field(default_factory=list)
    """Runs whose plans no key of today fits any more, since it was opened: their spools can go."""
    _open: sa.Connection | None = None
    _fresh: dict[str, pl.DataFrame] = field(default_factory=dict)
    """Manifests written last, by their content's name, so that folding need not read and unpack them again."""

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction of a run that still holds the ledger; who takes over waits until it has ended.

        What changes chunks need not ask: their triggers do.
        """
        with self._transaction() as connection:
            if connection.execute(q.FENCE).scalar() != str(self.fence):
                raise StorageError(STALE, cure="Run `meterfeed resume`.")
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        if self._open is not None:
            yield self._open
            return
        with storage_trouble(is_open=self.fence > 0), self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the database; for a ledger opened by `read_ledger`."""
        self.engine.dispose()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let every method called inside share one transaction: all of them are stored, or none is."""
        with self._transaction() as connection:
            self._open = connection
            try:
                yield
            finally:
                self._open = None

    # ------------------------------------------------------------ opening
    def prepare(
        self, identity: Identity, now: float, *, rebuilding: bool = False, relinking: bool = False
    ) -> None:
        """Check health, create or migrate the schema, check the identity, take a new fence."""
        with self._transaction() as connection:
            if connection.dialect.name == "sqlite":
                self._check_health(connection)
            empty = opening.is_empty(connection)
            if not empty:
                opening.check_in_force(connection)
                migrate(connection, opening.found_version(connection), self.path)
            self._check_mark(None if empty else connection, rebuilding=rebuilding)
            if empty:
                opening.create(connection, identity, now)
            dropped = opening.check_identity(connection, identity, now, relink=relinking)
            self._take_over(connection, now)
        self.dropped_plans = dropped

    def _take_over(self, connection: sa.Connection, now: float) -> None:
        self.fence = int(opening.meta(connection, "fence") or 0) + 1
        # Claims first, as workers do: so nobody waits for somebody who waits for him.
        connection.execute(q.END_CLAIMS)
        opening.put_meta(connection, {"fence": str(self.fence)})
        connection.execute(q.DOUBT_WHAT_WAS_IN_FLIGHT, {"at": now, "by": self.fence})
        connection.execute(q.STOP_RUNS, {"by": self.fence})

    @staticmethod
    def _check_health(connection: sa.Connection) -> None:
        verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if verdict != "ok":
            raise StorageError(
                "The ledger file is damaged.",
                cure="Restore it from a backup, or move it away and rebuild it with `meterfeed adopt`.",
            )

    # ------------------------------------------------------------ is it the newest?
    def _check_mark(self, connection: sa.Connection | None, *, rebuilding: bool) -> None:
        written = None if self.mark is None else read_mark(self.mark)
        if written is None:
            return
        found = None if connection is None else self._how_far(connection)
        self.doubt = written.doubt(found)
        self.runs_before = written.runs
        if self.doubt is not None and not rebuilding:
            raise StorageError(self.doubt, cure=MARK_CURE)

    @staticmethod
    def _how_far(connection: sa.Connection) -> Mark:
        def highest(column: sa.Column[int]) -> int:
            return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(column), 0))).scalar_one())

        return Mark(
            ledger=opening.meta(connection, "ledger_id") or "",
            fence=int(opening.meta(connection, "fence") or 0),
            moves=highest(t.history.c.seq),
            runs=highest(t.run.c.run_seq),
        )

    def trust(self) -> None:
        """Write down how far the ledger has come: an older copy of it will be noticed from here on.

        Raises:
            StorageError: it cannot be written down.
        """
        if self.mark is None:
            return
        with self._transaction() as connection:
            found = self._how_far(connection)
        if found.fence == self.fence:  # otherwise another run has taken over, and writes its own
            write_mark(self.mark, replace(found, runs=max(found.runs, self.runs_before)))
            self.doubt = None

    def describe(self) -> dict[str, Any] | None:
        """What the ledger says of itself; None when the database is empty."""
        with self._transaction() as connection:
            return None if opening.is_empty(connection) else opening.describe(connection)

    def relink(self) -> None:
        """Take the name and address of the tenant that the ledger was opened with for its own."""
        assert self.identity is not None
        with self._writing() as connection:
            opening.relink(connection, self.identity)

    def key_names(self) -> list[str]:
        """Fingerprints of the id keys this ledger knows, oldest first."""
        with self._transaction() as connection:
            return opening.key_names(connection)

    def remember(self, values: Mapping[str, str]) -> None:
        """Store small facts of the tenant (learned limits, counters) under keys of their own."""
        with self._writing() as connection:
            opening.put_meta(connection, {f"fact:{key}": value for key, value in values.items()})

    def recall(self, key: str) -> str | None:
        """A fact stored by `remember`, or None."""
        with self._transaction() as connection:
            return opening.meta(connection, f"fact:{key}")

    # ------------------------------------------------------------ runs
    def begin_run(
        self, *, command: str, environment: str, profiles: str, job_digest: str, stamp: str, now: float
    ) -> RunRow:
        """Start a run; its id is `stamp` (the UTC day) and a number that only grows."""
        with self._writing() as connection:
            newest = sa.select(t.run.c.run_id).order_by(t.run.c.run_seq.desc()).limit(1)
            # Of its id, not of its row: after a ledger was put back and rebuilt, ids are ahead of rows.
            told = str(connection.execute(newest).scalar() or "0").rpartition("-")[2]
            self.runs_before = max(int(told), self.runs_before) + 1
            run_id = f"{stamp}-{self.runs_before:04d}"
            self._keep_number()
            connection.execute(
                t.run.insert().values(
                    run_id=run_id,
                    command=command,
                    environment=environment,
                    profiles=profiles,
                    job_digest=job_digest,
                    state="running",
                    fence=self.fence,
                    started_at=now,
                )
            )
            return self._run(connection, t.run.c.run_id == run_id)

    def _keep_number(self) -> None:
        """Write down outside of the ledger which number is taken, before there is a folder of that name.

        A run that is killed, and then forgotten by a ledger that is put back, leaves its folder behind.
        """
        if self.mark is not None and (written := read_mark(self.mark)) is not None:
            write_mark(self.mark, replace(written, runs=self.runs_before))

    def change_run(self, run_seq: int, **values: Any) -> None:
        """Change columns of a run: `plan`, `plan_digest`, `spool`, `approved`, `state`."""
        with self._writing() as connection:
            connection.execute(
                t.run.update().where(t.run.c.run_seq == run_seq).values(fence=self.fence, **values)
            )

    def finish_run(
        self, run_seq: int, *, exit_code: int, state: str, summary: Mapping[str, Any], now: float
    ) -> None:
        """Write down how a run ended; `state` is "settled" only when nothing of it is left open."""
        self.change_run(
            run_seq,
            exit_code=exit_code,
            state=state,
            ended_at=now,
            summary=json.dumps(summary, separators=(",", ":"), allow_nan=False),
        )

    @staticmethod
    def _run(connection: sa.Connection, *where: Any) -> RunRow:
        return RunRow(**connection.execute(sa.select(t.run).where(*where)).mappings().one())

    def runs(
        self,
        *,
        run_seq: int | None = None,
        run_id: str | None = None,
        job_digest: str | None = None,
        profiles: str | None = None,
        state: str | None = None,
        plan_digest: str | None = None,
        limit: int | None = None,
        brief: bool = False,
    ) -> list[RunRow]:
        """Runs that fit, newest first: all of them, unless a limit is given.

        Args:
            brief: without their plans and summaries, which are kilobytes each: for looking through all runs.
        """
        wanted = {
            "run_seq": run_seq,
            "run_id": run_id,
            "job_digest": job_digest,
            "profiles": profiles,
            "state": state,
            "plan_digest": plan_digest,
        }
        left_out = _LARGE if brief else ()
        columns = [
            sa.null().label(column.name) if column.name in left_out else column for column in t.run.columns
        ]
        query = sa.select(*columns).order_by(t.run.c.run_seq.desc()).limit(limit)
        for column, value in wanted.items():
            if value is not None:
                query = query.where(t.run.c[column] == value)
        with self._transaction() as connection:
            if not sa.inspect(connection).has_table("run"):
                return []
            return [RunRow(**row) for row in connection.execute(query).mappings()]

    def note_sources(self, run_seq: int, sources: Sequence[SourceRow]) -> None:
        """Write down what a run reads, replacing what was noted for it before."""
        with self._writing() as connection:
            connection.execute(t.source.delete().where(t.source.c.run_seq == run_seq))
            if sources:
                connection.execute(t.source.insert(), [{"run_seq": run_seq, **s.as_row()} for s in sources])

    def sources(self, run_seq: int) -> list[SourceRow]:
        """The sources of a run, in order."""
        query = sa.select(t.source).where(t.source.c.run_seq == run_seq).order_by(t.source.c.source_index)
        with self._transaction() as connection:
            return [
                SourceRow(row.source_index, row.name, row.sha256, row.bytes, row.rows)
                for row in connection.execute(query)
            ]

    # ------------------------------------------------------------ chunks
    @staticmethod
    def pack(draft: Draft) -> Draft:
        """A draft with its manifest as a stream. May be called in any thread: the database is not asked."""
        return replace(draft, stream=to_stream(draft.manifest))

    def intend(self, drafts: Sequence[Draft], *, now: float) -> list[ChunkRow]:
        """Commit the intent to send: each draft becomes a chunk in flight with its first attempt."""
        with self._transaction() as connection:
            born = [self._insert(connection, draft, State.IN_FLIGHT, attempt=1) for draft in drafts]
            connection.execute(
                q.INSERT_ATTEMPT,
                [
                    {"chunk_seq": row.chunk_seq, "attempt": 1, "requests": row.requests, "started_at": now}
                    for row in born
                ],
            )
            return born

    def hold(self, drafts: Sequence[Draft], *, state: State, reason: str) -> None:
        """Record chunks that are not sent now (`blocked`, or `planned` for later) with the reason."""
        with self._transaction() as connection:
            for draft in drafts:
                self._insert(connection, draft, state, attempt=0, reason=reason)

    def again(self, chunk_seq: int, *, now: float) -> ChunkRow:
        """Commit the intent to send a planned chunk once more, with the same content."""
        with self._transaction() as connection:
            connection.execute(q.TRY_AGAIN, {"of_chunk": chunk_seq, "by": self.fence})
            row = self._chunk(connection, chunk_seq)
            connection.execute(
                q.INSERT_ATTEMPT,
                {
                    "chunk_seq": chunk_seq,
                    "attempt": row.attempt,
                    "requests": row.requests,
                    "started_at": now,
                },
            )
            return row

    def settle(
        self,
        chunk_seq: int,
        *,
        state: State,
        now: float,
        status: int | None = None,
        verdict: str = "",
        reason: str | None = None,
        message: str | None = None,
        requests: int | None = None,
    ) -> None:
        """Write down how the attempt of a chunk ended, for all its records alike."""
        with self._transaction() as connection:
            self._end_attempt(connection, chunk_seq, now, status, verdict, requests)
            ending = {"becomes": state, "why": reason, "said": message, "at": now}
            connection.execute(q.SETTLE_CHUNK, {"of_chunk": chunk_seq, "by": self.fence, **ending})

    def split(
        self,
        chunk_seq: int,
        leaves: Sequence[Leaf],
        *,
        now: float,
        status: int | None = None,
        verdict: str = "",
        requests: int | None = None,
    ) -> list[ChunkRow]:
        """Replace a chunk by children that each have one state; together they hold exactly its records."""
        with self._transaction() as connection:
            parent = self._chunk(connection, chunk_seq)
            if sum(leaf.manifest.height for leaf in leaves) != parent.n:
                raise AccountError("A split would lose or invent records; refused.")
            self._end_attempt(connection, chunk_seq, now, status, verdict, requests)
            connection.execute(q.SPLIT_CHUNK, {"of_chunk": chunk_seq, "at": now, "by": self.fence})
            return [
                self._insert(
                    connection,
                    Draft(
                        run_seq=parent.run_seq,
                        phase=parent.phase,
                        lane=parent.lane,
                        cursor_from=parent.cursor_from,
                        cursor_to=parent.cursor_to,
                        manifest=leaf.manifest,
                        parent_seq=chunk_seq,
                    ),
                    leaf.state,
                    attempt=0 if leaf.state is State.PLANNED else parent.attempt,
                    reason=leaf.reason,
                    message=leaf.message,
                    attempt_ended_at=parent.attempt_ended_at
                    if leaf.state is State.IN_DOUBT and parent.state is State.IN_DOUBT
                    else now,
                )
                for leaf in leaves
            ]

    def _end_attempt(
        self,
        connection: sa.Connection,
        chunk_seq: int,
        now: float,
        status: int | None,
        verdict: str,
        requests: int | None,
    ) -> None:
        if not verdict:
            return
        ending = {"at": now, "answered": status, "judged": verdict, "sent": requests}
        connection.execute(q.END_ATTEMPT, {"of_chunk": chunk_seq, **ending})

    def _insert(
        self,
        connection: sa.Connection,
        draft: Draft,
        state: State,
        *,
        attempt: int,
        reason: str | None = None,
        message: str | None = None,
        attempt_ended_at: float | None = None,
    ) -> ChunkRow:
        page = packed(draft.stream) if draft.stream else to_bytes(draft.manifest)
        values: dict[str, Any] = {
            "chunk_id": chunk_id(page),
            "run_seq": draft.run_seq,
            "phase": draft.phase,
            "lane": draft.lane,
            "cursor_from": draft.cursor_from,
            "cursor_to": draft.cursor_to,
            "parent_seq": draft.parent_seq,
            "n": draft.manifest.height,
            "state": state,
            "reason": reason,
            "message": message,
            "attempt": attempt,
            "attempt_ended_at": attempt_ended_at,
            "absorbed": 0,
            "fence": self.fence,
        }
        result = connection.execute(q.INSERT_CHUNK, {"manifest": page, **values})
        self._remember(values["chunk_id"], draft.manifest)
        return ChunkRow(chunk_seq=result.scalar_one(), manifest=draft.manifest, **values)

    def _remember(self, name: str, manifest: pl.DataFrame) -> None:
        """Keep a manifest under the hash of its page: it is right for whatever chunk holds that page."""
        self._fresh[name] = manifest
        if len(self._fresh) > _REMEMBERED:
            del self._fresh[next(iter(self._fresh))]

    def _chunk(self, connection: sa.Connection, chunk_seq: int) -> ChunkRow:
        row = connection.execute(q.CHUNK, {"of_chunk": chunk_seq}).mappings().one()
        return self._chunk_row(row)

    @staticmethod
    def _chunk_row(row: sa.RowMapping) -> ChunkRow:
        page = row["manifest"]
        manifest = from_bytes(page) if page else pl.DataFrame()
        return ChunkRow(**{**row, "manifest": manifest, "state": State(row["state"])})

    def chunks(
        self,
        *,
        states: Sequence[State],
        run_seq: int | None = None,
        phase: str | None = None,
        lane: int | None = None,
    ) -> Iterator[ChunkRow]:
        """Chunks in one of `states`, oldest first, a few at a time so that memory stays bounded."""
        place = {"of_run": run_seq, "of_phase": phase, "of_lane": lane}
        asked: dict[str, Any] = {name: value for name, value in place.items() if value is not None}
        query = q.chunks(**{name: name in asked for name in place})
        asked |= {"states": list(states), "last": 0}
        while True:
            with self._transaction() as connection:
                rows = [self._chunk_row(row) for row in connection.execute(query, asked).mappings()]
            yield from rows
            if len(rows) < q.SEVERAL:
                return
            asked["last"] = rows[-1].chunk_seq

    def chunks_of_run(self, run_seq: int, phase: str, *, states: Sequence[State]) -> Iterator[ChunkRow]:
        """Chunks of a phase in one of `states`, oldest first; also those of lanes that somebody else sends."""
        return Ledger.chunks(self, states=states, run_seq=run_seq, phase=phase)

    def supersede(self, run_seq: int) -> None:
        """Give up what an older run planned and never sent: a newer plan takes its place."""
        with self._writing() as connection:
            connection.execute(
                t.chunk.update()
                .where(t.chunk.c.run_seq == run_seq, t.chunk.c.state.in_([State.PLANNED, State.BLOCKED]))
                .values(state=State.SUPERSEDED, fence=self.fence)
            )

    def cursor(self, run_seq: int, phase: str, lane: int) -> int:
        """How far the plan of a phase has been cut into chunks."""
        place = {"of_run": run_seq, "of_phase": phase, "of_lane": lane}
        with self._transaction() as connection:
            return int(connection.execute(q.CURSOR, place).scalar_one())

    def highest_lane(self, run_seq: int) -> int | None:
        """The highest lane a run was cut in: 0 when one process sends it whole, None when nothing was cut."""
        query = sa.select(sa.func.max(t.chunk.c.lane)).where(t.chunk.c.run_seq == run_seq)
        with self._transaction() as connection:
            found = connection.execute(query).scalar()
            return None if found is None else int(found)

    def account(self, run_seq: int) -> list[tuple[str, str, str | None, int]]:
        """Records of a run by `(phase, state, reason, count)`, over leaf chunks only."""
        with self._transaction() as connection:
            found = connection.execute(q.ACCOUNT, {"of_run": run_seq})
            return [(row[0], row[1], row[2], int(row[3])) for row in found]

    def request_counts(self, run_seq: int) -> tuple[int, int, int]:
        """Requests that change something: sent, retried among them, and chunks split."""
        of_run = sa.and_(t.attempt.c.chunk_seq == t.chunk.c.chunk_seq, t.chunk.c.run_seq == run_seq)
        total = sa.func.coalesce(sa.func.sum(t.attempt.c.requests), 0)
        retried = sa.func.coalesce(
            sa.func.sum(sa.case((t.attempt.c.attempt > 1, t.attempt.c.requests), else_=0)), 0
        )
        split = sa.select(sa.func.count()).where(t.chunk.c.run_seq == run_seq, t.chunk.c.state == State.SPLIT)
        with self._transaction() as connection:
            sent, again = connection.execute(
                sa.select(total, retried).select_from(sa.join(t.attempt, t.chunk, of_run))
            ).one()
            return int(sent), int(again), int(connection.execute(split).scalar_one())

    # ------------------------------------------------------------ holdings
    def holdings(self, kind: str, buckets: range) -> pl.DataFrame | None:
        """What the API is believed to hold for users in `buckets`, or None for nothing."""
        with self._transaction() as connection:
            return self._pages(connection, kind, buckets)

    @staticmethod
    def _pages(connection: sa.Connection, kind: str, buckets: Sequence[int]) -> pl.DataFrame | None:
        query = sa.select(t.holding.c.page).where(*_within(kind, buckets)).order_by(t.holding.c.bucket)
        pages = [from_bytes(row.page) for row in connection.execute(query)]
        return pl.concat(pages) if pages else None

    @staticmethod
    def _stretches(connection: sa.Connection, kind: str, records: pl.DataFrame) -> list[list[int]]:
        """The buckets of `records`, as many at a time as can be merged in memory with what is held in them."""
        counts = np.bincount(records["bucket"].to_numpy(), minlength=BUCKETS)
        buckets = [int(bucket) for bucket in counts.nonzero()[0]]
        held = sa.select(t.holding.c.bucket, t.holding.c.n).where(*_within(kind, buckets))
        sizes: dict[int, int] = {row.bucket: row.n for row in connection.execute(held)}
        together: list[list[int]] = [[]]
        size = 0
        for bucket in buckets:
            grown = int(counts[bucket]) + sizes.get(bucket, 0)
            if together[-1] and size + grown > _ABSORB_BATCH:
                together.append([])
                size = 0
            together[-1].append(bucket)
            size += grown
        return together

    def holding_counts(self) -> dict[str, int]:
        """Records believed to be held, by kind."""
        query = sa.select(t.holding.c.kind, sa.func.sum(t.holding.c.n)).group_by(t.holding.c.kind)
        with self._transaction() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def store_holdings(self, kind: str, bucket: int, page: pl.DataFrame) -> None:
        """Replace one page of holdings."""
        with self._writing() as connection:
            self._store_pages(connection, kind, [bucket], page)

    @staticmethod
    def _store_pages(
        connection: sa.Connection, kind: str, buckets: Sequence[int], pages: pl.DataFrame
    ) -> None:
        """Replace the pages of some buckets by records of exactly those."""
        connection.execute(t.holding.delete().where(*_within(kind, buckets)))
        stored = [
            {"kind": kind, "bucket": int(bucket), "n": page.height, "page": to_bytes(page)}
            for (bucket,), page in (
                pages.partition_by("bucket", as_dict=True) if pages.height else {}
            ).items()
        ]
        if stored:
            connection.execute(t.holding.insert(), stored)

    def absorb(self, merge: Mapping[str, Any], *, at_least: int = 1) -> int:
        """Fold acknowledged chunks into the holdings, oldest first; both change in one transaction.

        Args:
            merge: per phase, `(kind, function)` where the function maps `(held, records)` of some buckets
                to what is held after. Which kinds of change there are is the pipeline's business, not ours.
            at_least: do nothing while fewer records than this wait.

        Returns:
            The number of records absorbed.
        """
        total = 0
        while True:
            with self._transaction() as connection:
                if connection.execute(q.WAITING).scalar_one() < max(at_least, 1):
                    return total
                total += self._absorb_some(connection, merge)

    def _absorb_some(self, connection: sa.Connection, merge: Mapping[str, Any]) -> int:
        query = sa.select(*_NAMED).where(t.UNABSORBED).order_by(t.chunk.c.chunk_seq)
        taken: list[sa.Row[Any]] = []
        size = 0
        with closing(connection.execute(query.execution_options(yield_per=64))) as result:
            for row in result:
                if taken and (row.phase != taken[0].phase or size >= _ABSORB_BATCH):
                    break
                taken.append(row)
                size += row.n
        self._fold(connection, taken, *merge[taken[0].phase])
        return size

    def absorb_undone(self, doubts: Mapping[str, tuple[str, Fold]]) -> int:
        """Fold chunks that were begun and did not end well into the holdings: each once per attempt, all in one commit.

        Args:
            doubts: as for `absorb`, of the phases in question; the function maps to what can still be believed.

        Returns:
            The number of records whose holdings were gone through.
        """
        # By run, for the index's sake: there is none of what was refused.
        query = sa.select(*_NAMED).where(
            t.chunk.c.run_seq.in_(sa.select(t.run.c.run_seq)),
            t.chunk.c.state.in_([State.PLANNED, State.BLOCKED, State.REJECTED]),
            t.chunk.c.absorbed == 0,
        )
        total = 0
        with self._transaction() as connection:
            for phase, (kind, doubt) in doubts.items():
                undone = connection.execute(query.where(t.chunk.c.phase == phase)).all()
                if undone:
                    self._fold(connection, undone, kind, doubt)
                total += sum(row.n for row in undone)
        return total

    def _fold(self, connection: sa.Connection, taken: Sequence[sa.Row[Any]], kind: str, merge: Fold) -> None:
        """Bring the holdings up to date with what became of some chunks."""
        records = pl.concat([self._manifest(connection, row) for row in taken])
        stretches = self._stretches(connection, kind, records)
        for buckets in stretches:
            part = records if len(stretches) == 1 else records.filter(pl.col("bucket").is_in(buckets))
            held = self._pages(connection, kind, buckets)
            self._store_pages(connection, kind, buckets, merge(held, part))
        connection.execute(
            t.chunk.update()
            .where(t.chunk.c.chunk_seq.in_([row.chunk_seq for row in taken]))
            .values(absorbed=1, fence=self.fence)
        )

    def _manifest(self, connection: sa.Connection, row: sa.Row[Any]) -> pl.DataFrame:
        """The records of a chunk, once: what was kept of them is let go."""
        found = self._fresh.pop(row.chunk_id, None)
        return self._chunk(connection, row.chunk_seq).manifest if found is None else found

    # ------------------------------------------------------------ looking back
    def moves(self, chunk_seq: int) -> list[str]:
        """The states a chunk went through, in order, its ancestors' included."""
        with self._transaction() as connection:
            line: list[int] = []
            current: int | None = chunk_seq
            while current is not None:
                line.append(current)
                query = sa.select(t.chunk.c.parent_seq).where(t.chunk.c.chunk_seq == current)
                current = connection.execute(query).scalar()
            return [
                str(row.to_state)
                for one in reversed(line)
                for row in connection.execute(
                    sa.select(t.history.c.to_state)
                    .where(t.history.c.chunk_seq == one)
                    .order_by(t.history.c.seq)
                )
            ]

    def redact(self, user_id: str) -> int:
        """Take one user's ids out of every manifest; counts and states stay. Returns the records redacted.

        Copies of the ledger that a migration left beside it are removed: they name the user too.
        """
        for copy in [] if self.path is None else copies_of(self.path):
            copy.unlink(missing_ok=True)
        self._fresh.clear()  # it keeps its name, and not its content
        redacted = 0
        for row in self.chunks(states=[state for state in State if state is not State.SPLIT]):
            mine = row.manifest["user_id"] == user_id
            if mine.any():
                redacted += int(mine.sum())
                blank = pl.when(pl.col("user_id") == user_id).then(pl.lit("erased"))
                manifest = row.manifest.with_columns(
                    blank.otherwise(pl.col(name)).alias(name)
                    for name in ("id", "user_id", "location_id", "digest")
                )
                with self._writing() as connection:
                    connection.execute(
                        t.chunk.update()
                        .where(t.chunk.c.chunk_seq == row.chunk_seq)
                        .values(manifest=to_bytes(manifest), fence=self.fence)
                    )
        return redacted
