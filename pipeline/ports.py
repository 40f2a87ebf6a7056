"""The world as the pipeline sees it. Connectors fit these by shape; tests pass simple stand-ins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from schemas.exchange import Answer, Call, Lost, NoAnswer
from schemas.ledger import ChunkRow, Draft, Leaf, State

# The last four are values that connectors hold too, so they live in `schemas`; they belong to the `Api` port.
__all__ = ["Answer", "Api", "Call", "Export", "Ledger", "Lost", "NoAnswer", "Notice", "RawBatch", "World"]


# ------------------------------------------------------------------ exports
@dataclass(frozen=True, slots=True)
class RawBatch:
    """Some consecutive rows of one export, as text.

    Attributes:
        rows: the mapped columns under their canonical names, String, null where the cell is empty or one
            of the profile's `nulls`; plus `source_line` (UInt32, first physical line of the row, 1-based,
            counted in the decoded file) and `source_record` (UInt32, 1-based number among data rows).
        unreadable: columns `source_line` (UInt32), `lines` (UInt32: how many physical lines) and `reason`
            (String, a name out of a closed list). The number of unreadable rows is the sum of `lines`.
    """

    source: int
    rows: pl.DataFrame
    unreadable: pl.DataFrame


class Export(Protocol):
    """One export, opened under its profile."""

    index: int
    name: str
    sha256: str
    byte_count: int

    def batches(self) -> Iterator[RawBatch]:
        """Every row of the export exactly once, in order; raises `schemas.errors.ExportError`."""
        ...

    def columns_present(self) -> frozenset[str]:
        """The canonical columns this export has."""
        ...


# ------------------------------------------------------------------ the API
class Api(Protocol):
    """The Energy Coordination API. Tokens are its own business.

    `call` raises `AuthenticationError` (credentials or fresh tokens refused) or `ApiUnavailable` (the
    token endpoint is), both before anything of the request left the machine.
    """

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

    def cursor(self, run_seq: int, phase: str, lane: int) -> int:
        """How far the plan of a phase has been cut."""
        ...
