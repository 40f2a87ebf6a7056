"""The world as the pipeline sees it. Connectors fit these by shape; tests pass simple stand-ins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Protocol, Self, TypeVar

import polars as pl

from schemas.details import RunDetails
from schemas.exchange import Answer, Call, Lost, NoAnswer
from schemas.ledger import ChunkRow, Draft, Leaf, RunRow, SourceRow, State
from schemas.quality import QualityFigures
from schemas.summary import Artifacts, Summary

P = ParamSpec("P")
T = TypeVar("T")

# The last four are values that connectors hold too, so they live in `schemas`; they belong to the `Api` port.
__all__ = ["Answer", "Api", "Call", "Export", "Ledger", "Lost", "NoAnswer", "Notice", "RawBatch", "World"]


# ------------------------------------------------------------------ exports
class RawBatch(Protocol):
    """Some consecutive rows of one export, as text."""

    @property
    def source(self) -> int:
        """Index of the export in the run."""
        ...

    @property
    def rows(self) -> pl.DataFrame:
        """The mapped columns under their canonical names.

        String, null where the cell is empty or one of the profile's `nulls`; plus `source_line` (UInt32, first
        physical line of the row, 1-based, counted in the decoded file) and `source_record` (UInt32, 1-based
        number among data rows).
        """
        ...

    @property
    def unreadable(self) -> pl.DataFrame:
        """What could not be read: `source_line` and `lines` (UInt32), `reason` (String, out of a closed list).

        The number of unreadable rows is the sum of `lines`.
        """
        ...


class Export(Protocol):
    """One export, opened under its profile."""

    index: int
    name: str
    sha256: str
    byte_count: int
    is_correction: bool
    """Whether it holds rejected rows of earlier exports, mended; it speaks for those rows only."""

    def batches(self) -> Iterator[RawBatch]:
        """Every row of the export exactly once, in order; raises `schemas.errors.ExportError`."""
        ...

    def columns_present(self) -> frozenset[str]:
        """The canonical columns this export has."""
        ...

    def corrects(self) -> pl.DataFrame:
        """Which earlier row each row of a correction stands for: `source_line, corrects_sha256, corrects_line`."""
        ...

    def row_estimate(self) -> int:
        """About how many rows, rather too many than too few."""
        ...


# ------------------------------------------------------------------ the API
class Api(Protocol):
    """The Energy Coordination API. Tokens are its own business.

    `call` raises `AuthenticationError` (credentials or fresh tokens refused) or `ApiUnavailable` (the
    token endpoint is), both before anything of the request left the machine.
    """

    async def sign_in(self) -> None:
        """Fetch a token now, so that wrong credentials are known before anything else is asked."""
        ...

    async def call(self, call: Call) -> Answer | NoAnswer:
        """Send one request once; a 401 is answered with one new token and one repeat."""
        ...


# ------------------------------------------------------------------ the clock and chance
@dataclass(frozen=True, slots=True)
class World:
    """Everything that is not a function of the input: passed in, never reached for.

    Attributes:
        now: the wall clock, UTC seconds since the epoch; only written down, never compared.
        monotonic: seconds for measuring and for deadlines.
        sleep: waits that many seconds.
        random: a float in [0, 1).
        notice: told of progress; must not raise and must be quick.
    """

    now: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]
    notice: Callable[[Notice], None] = lambda _notice: None


@dataclass(frozen=True, slots=True)
class Notice:
    """Progress of a stage: `done` of `total` (None: not known yet) `unit`s."""

    stage: str
    done: int
    total: int | None
    unit: str


# ------------------------------------------------------------------ the spool
class RowSpool(Protocol):
    """Tables of rows on disk, split into partitions by the column `bucket` (UInt8), which is not stored.

    Every method raises `StorageError` when the disk is full, failing or damaged.
    """

    partitions: int

    def append(self, table: str, rows: pl.DataFrame) -> None:
        """Take rows into a table."""
        ...

    def read(self, table: str, partition: int) -> pl.DataFrame:
        """One partition of a table, in the order of its rows; without columns when it has no row."""
        ...

    def drop(self, table: str) -> None:
        """Forget a table."""
        ...


# ------------------------------------------------------------------ the ledger
class Ledger(Protocol):
    """The durable memory of intents, attempts and outcomes. Every method is one transaction.

    Raises `StorageError` from any method when what it was told cannot be proven to be stored.
    """

    def pack(self, draft: Draft) -> Draft:
        """Prepare a draft for `intend`, in whatever thread: nothing is stored, and no transaction is needed."""
        ...

    def intend(self, drafts: Sequence[Draft], *, now: float) -> list[ChunkRow]:
        """Commit the intent to send new chunks; they are in flight from here on."""
        ...

    def hold(self, drafts: Sequence[Draft], *, state: State, reason: str) -> None:
        """Record chunks that are not sent now."""
        ...

    def again(self, chunk_seq: int, *, now: float) -> ChunkRow:
        """Commit the intent to send a planned chunk."""
        ...

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
        """All records of a chunk ended alike."""
        ...

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
        """The records of a chunk ended apart, or are to be sent apart."""
        ...

    def chunks(
        self, *, states: Sequence[State], run_seq: int | None = None, phase: str | None = None
    ) -> Iterator[ChunkRow]:
        """Chunks in these states, oldest first."""
        ...

    def chunks_of_run(self, run_seq: int, phase: str, *, states: Sequence[State]) -> Iterator[ChunkRow]:
        """Chunks of a phase in these states, oldest first, whoever sends them."""
        ...

    def holdings(self, kind: str, buckets: range) -> pl.DataFrame | None:
        """What the API is believed to hold for users in `buckets`."""
        ...

    def cursor(self, run_seq: int, phase: str, lane: int) -> int:
        """How far the plan of a phase has been cut."""
        ...

    def absorb(self, merge: Mapping[str, Any], *, at_least: int = 1) -> int:
        """Fold acknowledged chunks into the holdings."""
        ...

    def absorb_undone(self, doubts: Mapping[str, Any]) -> int:
        """Fold chunks that were begun and did not end well into the holdings."""
        ...

    def remember(self, values: Mapping[str, str]) -> None:
        """Store small facts of the tenant."""
        ...

    def recall(self, key: str) -> str | None:
        """A fact stored by `remember`, or None."""
        ...


class LedgerBook(Ledger, Protocol):
    """The ledger with its runs and holdings."""

    @property
    def doubt(self) -> str | None:
        """Why it is not the newest copy, while it is being rebuilt; None: it is."""
        ...

    def trust(self) -> None:
        """It was rebuilt: from here on it is the newest copy."""
        ...

    def key_names(self) -> list[str]:
        """Fingerprints of the id keys it knows, oldest first."""
        ...

    def relink(self) -> None:
        """Take the tenant's name and address as they are now for its own."""
        ...

    fence: int

    def highest_lane(self, run_seq: int) -> int | None:
        """The highest lane a run was cut in; None when nothing of it was cut."""
        ...

    def begin_run(
        self, *, command: str, environment: str, profiles: str, job_digest: str, stamp: str, now: float
    ) -> RunRow:
        """Start a run."""
        ...

    def change_run(self, run_seq: int, **values: Any) -> None:
        """Change columns of a run."""
        ...

    def finish_run(
        self, run_seq: int, *, exit_code: int, state: str, summary: Mapping[str, Any], now: float
    ) -> None:
        """Write down how a run ended."""
        ...

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
        """Runs that fit, newest first; brief ones come without their plans and summaries."""
        ...

    def note_sources(self, run_seq: int, sources: Sequence[SourceRow]) -> None:
        """Write down what a run reads."""
        ...

    def sources(self, run_seq: int) -> list[SourceRow]:
        """The sources of a run, in order."""
        ...

    def supersede(self, run_seq: int) -> None:
        """Give up what an older run planned and never sent."""
        ...

    def account(self, run_seq: int) -> list[tuple[str, str, str | None, int]]:
        """Records of a run by `(phase, state, reason, count)`, over leaf chunks only."""
        ...

    def request_counts(self, run_seq: int) -> tuple[int, int, int]:
        """Requests that change something: sent, retried among them, and chunks split."""
        ...

    def holding_counts(self) -> dict[str, int]:
        """Records believed to be held, by kind."""
        ...

    def store_holdings(self, kind: str, bucket: int, page: pl.DataFrame) -> None:
        """Replace one page of holdings."""
        ...

    def moves(self, chunk_seq: int) -> list[str]:
        """The states a chunk went through."""
        ...

    def redact(self, user_id: str) -> int:
        """Take one user's ids out of every manifest."""
        ...


class Durable(Protocol):
    """Runs a ledger operation and returns once it is committed."""

    def __call__(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Await the operation's result; raises what it raised."""
        ...


# ------------------------------------------------------------------ files
class PlanSpool(RowSpool, Protocol):
    """A spool that can be finished, found again and removed."""

    def finish(self, facts: Mapping[str, Any] | None = None) -> None:
        """Put everything on disk for good."""
        ...

    def row_count(self, table: str, partition: int | None = None) -> int:
        """Rows in a table, or in one partition of it."""
        ...


class RunShelf(Protocol):
    """The folder of one run. Use as a context manager."""

    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def new_spool(self, partitions: int) -> PlanSpool:
        """An empty spool."""
        ...

    def spool(self) -> PlanSpool:
        """The finished spool of an earlier start; raises `StorageError` when it is gone."""
        ...

    def drop_spool(self) -> None:
        """Remove the spool: nothing needs it any more."""
        ...

    def publish(self, *, without: Collection[str]) -> None:
        """Put the spool where the workers of all machines can read it, but for these tables."""
        ...

    def keep_aside(self, exports: Sequence[Export], marks: Sequence[pl.DataFrame]) -> None:
        """Copy marked rows (`source_line, rules`, one frame per export) into quarantine and correction file."""
        ...

    def write_table(self, table: str, frames: Iterator[pl.DataFrame]) -> None:
        """Write one of the tables that `connectors/reports/tables.py` names."""
        ...

    def copy_table(self, table: str) -> None:
        """Copy a table that was written for spreadsheets."""
        ...

    def drop_table(self, table: str) -> None:
        """Remove a table and its copy, if they are there."""
        ...

    def write_reports(
        self,
        summary: Summary,
        *,
        details: RunDetails,
        quality: QualityFigures | None,
        previous: Mapping[str, Any] | None,
        history: Sequence[Mapping[str, Any]] = (),
    ) -> Artifacts:
        """Write the pages and `summary.json`; returns what lies in the folder."""
        ...


class KeptRun(Protocol):
    """A run by what lies in its folder."""

    @property
    def run_id(self) -> str:
        """As `runs` lists it."""
        ...

    @property
    def command(self) -> str:
        """What made it."""
        ...

    @property
    def started_at(self) -> str:
        """An instant, ISO 8601."""
        ...

    @property
    def sources(self) -> Sequence[tuple[str, str]]:
        """Display name and SHA-256 of each export."""
        ...

    def broken(self, file: str, line: int) -> list[tuple[str, str]]:
        """Rules a row broke, each with `quarantine` or `warn`; why it could not be read, with `unreadable`."""
        ...

    def records(self, file: str, line: int) -> list[dict[str, Any]] | None:
        """Records that began with a row: `kind, masked_id, operation, outcome, reason, message, attempts`.

        None where the run sent nothing, so that no record has an outcome.
        """
        ...

    def corrects(self) -> list[tuple[str, int, str, int]]:
        """Rows of corrections: SHA-256 and line, then the (shortened) SHA-256 and line they stand for."""
        ...


class Shelf(Protocol):
    """Where runs keep their files."""

    def fresh(self, label: str, *, now: float) -> RunShelf:
        """A folder for something that is no run of the ledger; its name is new."""
        ...

    def open(self, run_id: str, *, fresh: bool = False) -> RunShelf:
        """The folder of a run."""
        ...

    def shared_spool(self, run_id: str) -> RowSpool:
        """The spool of a run as its own machine published it; raises `StorageError` when there is none."""
        ...

    def with_values(self) -> list[str]:
        """Folders that hold files with customers' values."""
        ...

    def purge(
        self, *, before: float, keep: Collection[str], ended: Mapping[str, float] | None = None
    ) -> dict[str, int]:
        """Remove files that hold customers' values from folders of runs that ended before an instant.

        Args:
            before: UTC seconds.
            keep: runs whose spool is still needed.
            ended: when runs ended; folders of others count from their last change.

        Returns:
            `folders`, `files` and `bytes` removed.
        """
        ...
