"""What must change at the API so that it holds what the exports say: compared set-wise, one partition at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from pipeline.holdings import HOLDING_COLUMNS, KEY, RELEASED
from pipeline.partition import user_key
from pipeline.phases import MANNERS, Phase
from schemas.ledger import MANIFEST_SCHEMA
from schemas.outcomes import Kind

PLAN_SCHEMA = pl.Schema(
    {name: dtype for name, dtype in MANIFEST_SCHEMA.items() if name not in ("partition", "position")}
    | {"body": pl.String}
)
"""One line per record to change: what the ledger will know of it, and its JSON body."""

CREATES = {
    Kind.USER: Phase.CREATE_USERS,
    Kind.LOCATION: Phase.CREATE_LOCATIONS,
    Kind.RESOURCE: Phase.CREATE_RESOURCES,
    Kind.VEHICLE: Phase.CREATE_VEHICLES,
}
_UPDATES = {Kind.LOCATION: Phase.UPDATE_LOCATIONS, Kind.RESOURCE: Phase.REPLACE_RESOURCES}


REQUESTS_EACH = {Phase.REPLACE_RESOURCES: 2}
"""Requests that change something for one record, where it is not one."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of one partition, compared with what is held.

    Attributes:
        create, update: in `PLAN_SCHEMA`.
        unchanged: records that are there already with the same content.
        vanished: held records the exports no longer name, as far as a full export speaks for them.
    """

    create: pl.DataFrame
    update: pl.DataFrame
    unchanged: int
    vanished: pl.DataFrame


def compare(
    kind: Kind, records: pl.DataFrame, held: pl.DataFrame | None, full_scopes: Sequence[str]
) -> Compared:
    """Sort records into create, update and unchanged, and holdings into named and vanished.

    A user is only its id, so it is never updated. A vehicle that changed is left as it is: there is no call
    that changes one, and its only content beside the id is its type, which cannot differ.
    """
    if held is None or not held.height:
        return Compared(_ordered(records), _empty(), 0, pl.DataFrame(schema=_held_schema()))
    known = held.select(*KEY, pl.col("digest").alias("held_digest"))
    matched = records.join(known, on=KEY, how="left", maintain_order="left")
    is_new = pl.col("held_digest").is_null()
    is_same = pl.col("held_digest") == pl.col("digest")
    if kind not in _UPDATES:
        is_same = pl.lit(value=True)
    update = matched.filter(~is_new & ~is_same)
    vanished = held.filter(pl.col("scope").is_in(list(full_scopes))).join(
        records.select(KEY), on=KEY, how="anti"
    )
    create = matched.filter(is_new)
    return Compared(
        _ordered(create),
        _ordered(update),
        records.height - create.height - update.height,
        vanished.select(HOLDING_COLUMNS),
    )


def phases_of(kind: Kind, compared: Compared) -> Iterator[tuple[Phase, pl.DataFrame]]:
    """The phases that carry out a comparison, with their records."""
    yield CREATES[kind], compared.create
    if kind in _UPDATES:
        yield _UPDATES[kind], compared.update


def _ordered(records: pl.DataFrame) -> pl.DataFrame:
    """By the hash that decides piece, partition and bucket: however a run is cut, its plan has the same order."""
    planned = records.select(PLAN_SCHEMA.names()).cast(dict(PLAN_SCHEMA))  # type: ignore[arg-type]
    return planned.sort(user_key(pl.col("user_id")), *KEY)


def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema=PLAN_SCHEMA)


def _held_schema() -> pl.Schema:
    return pl.Schema({name: MANIFEST_SCHEMA[name] for name in HOLDING_COLUMNS})


# ------------------------------------------------------------------ handover
def claims(records: pl.DataFrame) -> pl.DataFrame:
    """Meter points that created or updated locations want: `key, user_id, id`."""
    return (
        records.select(pl.col("meter_point_keys").alias("key"), "user_id", "id")
        .explode("key")
        .drop_nulls("key")
    )


@dataclass(frozen=True, slots=True)
class Handover:
    """Meter points that pass from one location to another.

    Attributes:
        releases: holdings that must give up the keys in `released_keys` first (`PLAN_SCHEMA` and
            `released_keys`); their body is null: what remains is read back when it is their turn.
        moved: meter points released and given on.
        reported: meter points claimed from a holder we may not touch (a delta export says nothing of it).
    """

    releases: pl.DataFrame
    moved: int
    reported: int


def handover(wanted: pl.DataFrame, held: pl.DataFrame, *, full_scopes: Sequence[str]) -> Handover:
    """Find who holds a wanted meter point now.

    Args:
        wanted: `claims` of all records that change.
        held: holdings of locations, any number of buckets.
        full_scopes: profiles whose full export is in this run: only for those may a holder be told to let go.
    """
    holders = (
        held.select(*HOLDING_COLUMNS)
        .with_columns(pl.col("meter_point_keys").alias("key"))
        .explode("key")
        .drop_nulls("key")
        .join(
            wanted.select("key", pl.col("user_id").alias("new_user"), pl.col("id").alias("new_id")), on="key"
        )
        .filter((pl.col("user_id") != pl.col("new_user")) | (pl.col("id") != pl.col("new_id")))
    )
    ours = holders.filter(pl.col("scope").is_in(list(full_scopes)))
    releases = (
        ours.group_by(*KEY, maintain_order=True)
        .agg(
            pl.all().exclude("key", "new_user", "new_id").first(),
            pl.col("key").unique().sort().alias("released_keys"),
        )
        .with_columns(
            pl.col("meter_point_keys").list.set_difference("released_keys"),
            pl.lit(RELEASED).alias("digest"),
            pl.lit(None, dtype=pl.String).alias("body"),
        )
    )
    return Handover(
        releases.select(*PLAN_SCHEMA.names(), "released_keys").sort("bucket", *KEY),
        moved=ours["key"].n_unique() if ours.height else 0,
        reported=holders.height - ours.height,
    )


@dataclass(frozen=True, slots=True)
class LetGo:
    """Meter points that pass between locations of one run, each of which also gets something new.

    Attributes:
        frees: locations that must let go of a meter point before anybody is given one (`PLAN_SCHEMA`, body null):
            an update alone would meet its present holder, and in a circle nobody could be first.
        moved: meter points that updated locations give on.
    """

    frees: pl.DataFrame
    moved: int


def let_go(wanted: pl.DataFrame, held: pl.DataFrame, updated: pl.DataFrame) -> LetGo:
    """Find updated locations that hold what another updated location wants.

    What a location to be created wants needs no step of its own: updates come before creates.

    Args:
        wanted: `claims` of all records that change, with `by_update`.
        held: holdings of locations, any number of buckets.
        updated: `user_id, id, new_keys` of the locations this run updates.
    """
    given = (
        held.select(HOLDING_COLUMNS)
        .join(updated, on=KEY, how="inner", maintain_order="left")
        .with_columns(pl.col("meter_point_keys").list.set_difference("new_keys").alias("key"))
        .explode("key")
        .drop_nulls("key")
        .join(
            wanted.select(
                "key", "by_update", pl.col("user_id").alias("new_user"), pl.col("id").alias("new_id")
            ),
            on="key",
        )
        .filter((pl.col("user_id") != pl.col("new_user")) | (pl.col("id") != pl.col("new_id")))
    )
    frees = (
        given.filter("by_update")
        .group_by(*KEY, maintain_order=True)
        .agg(
            pl.col(*[name for name in HOLDING_COLUMNS if name not in KEY]).first(),
            pl.col("key").unique().alias("released_keys"),
        )
        .with_columns(
            pl.col("meter_point_keys").list.set_difference("released_keys"),
            pl.lit(RELEASED).alias("digest"),
            pl.lit(None, dtype=pl.String).alias("body"),
        )
    )
    return LetGo(
        frees.select(PLAN_SCHEMA.names()).sort("bucket", *KEY), given["key"].n_unique() if given.height else 0
    )


LOST = "meter_points_lost"
"""Fact of a plan: meter points that deltas take from their location, and nobody else in the run brings."""


def lost(wanted: pl.DataFrame, held: pl.DataFrame, updated: pl.DataFrame) -> int:
    """Meter points that updated locations no longer name and nobody else in this run brings.

    Args:
        wanted: `claims` of all records that change.
        held: holdings of locations, any number of buckets.
        updated: `user_id, id, new_keys` of locations this run updates.
    """
    return (
        held.select(*KEY, "meter_point_keys")
        .join(updated, on=KEY)
        .select(pl.col("meter_point_keys").list.set_difference("new_keys").alias("key"))
        .explode("key")
        .drop_nulls("key")
        .join(wanted.select("key"), on="key", how="anti")
        .height
    )


# ------------------------------------------------------------------ the plan
@dataclass(frozen=True, slots=True)
class KindPlan:
    """Counts of one kind: `planned = create + update + release + unchanged`.

    What is missing from the exports (`vanished`), and what of it is to be removed (`delete`), is no record of theirs.
    """

    create: int = 0
    update: int = 0
    release: int = 0
    unchanged: int = 0
    vanished: int = 0
    delete: int = 0

    @property
    def planned(self) -> int:
        """Records this run answers for."""
        return self.create + self.update + self.release + self.unchanged

    def plus(self, other: KindPlan) -> KindPlan:
        """The sum of two plans of one kind."""
        mine, theirs = asdict(self), asdict(other)
        return KindPlan(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, in numbers; the records are in the spool.

    Attributes:
        digest: names exactly this plan; `apply` and `--approve` are bound to it.
        counts: per kind.
        phase_sizes: records per phase.
        partitions: how many partitions the plan has.
        users: distinct users any record of the run belongs to.
    """

    digest: str
    counts: Mapping[Kind, KindPlan]
    phase_sizes: Mapping[Phase, int]
    partitions: int
    users: int
    handovers_moved: int = 0
    handovers_reported: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def requests(
        self, chunk_size: int, *, chunk_bytes: int | None = None, canary: int = 0, shared: bool = False
    ) -> int:
        """HTTP requests that change something, without retries and splits.

        Args:
            chunk_size: records in a chunk at most.
            chunk_bytes: bytes of body in a chunk at most.
            canary: records of the first chunk of a phase; 0 for none.
            shared: each partition is cut by itself, canary and all, as several workers do; otherwise chunks are filled
                across partitions.
        """
        total = 0
        for phase, size in self.phase_sizes.items():
            if not MANNERS[phase].batch:
                total += size * REQUESTS_EACH.get(phase, 1)
                continue
            first = canary if size > canary > 0 else 0
            pieces = self.facts.get("pieces", {}).get(phase.value) if shared else None
            for records, body_bytes in pieces or [(size, self._bytes(phase))]:
                by_size = -(-max(0, records - first) // chunk_size)
                by_bytes = -(-body_bytes // chunk_bytes) if chunk_bytes and records > first else 0
                total += max(by_size, by_bytes) + (first > 0)
        return total

    @property
    def removals(self) -> int:
        """Records to be removed because they vanished, with all that hangs on them."""
        return sum(counts.delete for counts in self.counts.values())

    def _bytes(self, phase: Phase) -> int:
        return int(self.facts.get("bytes", {}).get(phase.value, 0))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` reads it back."""
        return {
            "digest": self.digest,
            "counts": {kind.value: asdict(counts) for kind, counts in self.counts.items()},
            "phase_sizes": {phase.value: size for phase, size in self.phase_sizes.items()},
            "partitions": self.partitions,
            "users": self.users,
            "handovers_moved": self.handovers_moved,
            "handovers_reported": self.handovers_reported,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Read back what `to_json` wrote."""
        return cls(
            **{
                **document,
                "counts": {Kind(kind): KindPlan(**counts) for kind, counts in document["counts"].items()},
                "phase_sizes": {Phase(phase): size for phase, size in document["phase_sizes"].items()},
            }
        )


def plan_digest(parts: Iterable[tuple[Phase, pl.DataFrame]]) -> str:
    """A name for a plan by its content: phase, ids and digests in the order of sending."""
    sha = hashlib.sha256()
    for phase, records in parts:
        sha.update(f"{phase}\x1d{records.height}\x1d".encode())
        if records.height:
            line = pl.concat_str("user_id", "id", "digest", separator="\x1f").str.join("\x1e")
            sha.update(records.select(line).item().encode())
    return sha.hexdigest()[:32]
