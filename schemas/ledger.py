"""The values that pass between the pipeline and the ledger."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import polars as pl


class State(StrEnum):
    """Where a chunk stands. Every state but `split` and `superseded` is the state of its records."""

    PLANNED = "planned"
    IN_FLIGHT = "in_flight"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    IN_DOUBT = "in_doubt"
    BLOCKED = "blocked"
    SPLIT = "split"
    SUPERSEDED = "superseded"


BUCKETS: Final = 256
"""Customers are spread over so many buckets by a hash of their id; the ledger keeps one page per kind and bucket."""

MANIFEST_SCHEMA = pl.Schema(
    {
        "id": pl.String(),  # of the record itself, as it goes on the wire
        "user_id": pl.String(),
        "location_id": pl.String(),  # null for users and vehicles
        "digest": pl.String(),
        "meter_point_keys": pl.List(pl.UInt64()),
        "bucket": pl.UInt8(),
        "partition": pl.UInt16(),  # where in the plan its body is: partition and position
        "position": pl.UInt32(),
        "row": pl.UInt64(),  # first row it comes from
        "scope": pl.String(),  # the profile that speaks for it: only its full exports can say it vanished
    }
)
"""What the ledger knows of each record of a chunk. Meter points appear only as keyed hashes."""


@dataclass(frozen=True, slots=True)
class FormerKey:
    """An id key that came before the one in use, as `Identity` names keys and tenants."""

    key: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What a ledger belongs to; a ledger of another tenant must never be written.

    Attributes:
        tenant: the client id, as a keyed fingerprint.
        base_url: where records were sent.
        key: fingerprint of the id key, never the key.
        former: the id keys before it, oldest first.
    """

    tenant: str
    base_url: str
    key: str
    former: tuple[FormerKey, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Fingerprints of all keys, oldest first, the one in use last."""
        return [*(one.key for one in self.former), self.key]

    def tenant_under(self, key: str) -> str:
        """The client id as it is named with one of the keys."""
        return {one.key: one.tenant for one in self.former}.get(key, self.tenant)


@dataclass(frozen=True, slots=True)
class Draft:
    """A chunk about to be written: which stretch of the plan it covers, and its records (`MANIFEST_SCHEMA`).

    Attributes:
        stream: the manifest on its way to what the ledger stores, see `pack`; empty: not yet on its way.
    """

    run_seq: int
    phase: str
    lane: int
    cursor_from: int
    cursor_to: int
    manifest: pl.DataFrame
    parent_seq: int | None = None
    stream: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One child of a split: records that share a state."""

    manifest: pl.DataFrame
    state: State
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk as the ledger holds it."""

    chunk_seq: int
    chunk_id: str
    run_seq: int
    phase: str
    lane: int
    cursor_from: int
    cursor_to: int
    parent_seq: int | None
    n: int
    state: State
    reason: str | None
    message: str | None
    attempt: int
    attempt_ended_at: float | None
    absorbed: int
    manifest: pl.DataFrame
    fence: int

    @property
    def requests(self) -> int:
        """Requests one attempt of it takes, until counted: one, as for a batch call."""
        return 1


ADOPTED = "adopted"
"""The fact under which the ledger keeps the newest run there was when `adopt` last built it anew.

What runs up to it did is no proof of what is there: their exports may be loaded again.
"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the ledger holds it; `state` is running, planned, stopped or settled."""

    run_seq: int
    run_id: str
    command: str
    environment: str
    profiles: str
    job_digest: str
    state: str
    plan_digest: str | None
    plan: str | None
    approved: str | None
    spool: str | None
    fence: int
    started_at: float
    ended_at: float | None
    exit_code: int | None
    summary: str | None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One export a run read."""

    index: int
    name: str
    sha256: str
    bytes: int
    rows: int | None

    def as_row(self) -> dict[str, Any]:
        """As a row of the ledger's `source` table."""
        return {
            "source_index": self.index,
            "name": self.name,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "rows": self.rows,
        }


def chunk_id(page: bytes) -> str:
    """A name for a chunk by its stored manifest: the same stretch of the same plan has the same name everywhere."""
    return hashlib.sha256(page).hexdigest()[:32]
