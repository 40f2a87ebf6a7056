"""Cut a plan into chunks, from wherever an earlier start left it, and hold back children without a parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl

from pipeline.delivery.books import MANIFEST, Shipment
from pipeline.phases import MANNERS, WAITS_FOR, Phase
from pipeline.ports import Ledger
from schemas.ledger import ChunkRow, Leaf, State
from schemas.outcomes import Kind

KEPT = 4
"""Partitions of the plan held in memory at a time."""

ReadPlan = Callable[[int, Phase, int], pl.DataFrame | None]
"""`(run_seq, phase, partition)` to the records of the plan with their bodies; None where there are none."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of the plan of a phase, from `cursor` on."""

    cursor: int
    records: pl.DataFrame


@dataclass(slots=True)
class PlanReader:
    """Records of the plan, with their place in it; a few partitions are kept in memory."""

    read: ReadPlan
    _kept: dict[tuple[int, Phase, int], pl.DataFrame | None] = field(default_factory=dict)

    def records(self, run_seq: int, phase: Phase, partition: int) -> pl.DataFrame | None:
        """One partition of a phase: `partition` and `position` name each record's place."""
        key = (run_seq, phase, partition)
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            found = self.read(run_seq, phase, partition)
            if found is not None:
                found = found.with_columns(
                    pl.lit(partition, pl.UInt16).alias("partition"),
                    pl.int_range(pl.len(), dtype=pl.UInt32).alias("position"),
                    pl.col("body").str.len_bytes().alias("body_bytes"),
                )
            self._kept[key] = found
        return self._kept[key]

    def shipment(self, chunk: ChunkRow) -> Shipment:
        """A chunk of the ledger with its bodies."""
        parts = [
            self._with_bodies(chunk, int(partition), part)
            for (partition,), part in chunk.manifest.partition_by(
                "partition", as_dict=True, maintain_order=True
            ).items()
        ]
        return Shipment(chunk, pl.concat(parts, how="diagonal"))

    def _with_bodies(self, chunk: ChunkRow, partition: int, part: pl.DataFrame) -> pl.DataFrame:
        plan = self.records(chunk.run_seq, Phase(chunk.phase), partition)
        if plan is None:
            return part.with_columns(pl.lit(None, pl.String).alias("body"))
        return part.join(plan.select("position", "body"), on="position", how="left", maintain_order="left")


def cuts(
    pieces: Iterator[pl.DataFrame | None], *, start: int, size_of: Callable[[pl.DataFrame], int]
) -> Iterator[Cut]:
    """Stretches of a phase, each as large as a chunk may be at this moment; filled across partitions.

    Args:
        pieces: the records of each partition, in order.
        start: records that were cut before.
        size_of: how many of the first records make the next chunk.
    """
    cursor = 0
    rest = pl.DataFrame()
    for piece in pieces:
        if piece is None:
            continue
        skip = min(piece.height, max(0, start - cursor - rest.height))
        if not rest.height:
            cursor += skip
        fresh = piece.slice(skip)
        rest = pl.concat([rest, fresh]) if rest.height else fresh
        while rest.height and (wanted := size_of(rest)) < rest.height:
            yield Cut(cursor, rest.head(wanted))
            cursor += wanted
            rest = rest.slice(wanted)
    while rest.height:
        wanted = size_of(rest)
        yield Cut(cursor, rest.head(wanted))
        cursor += min(wanted, rest.height)
        rest = rest.slice(wanted)


# ------------------------------------------------------------------ parents
_WAITING_PLACES = frozenset(phase for phase in WAITS_FOR if MANNERS[phase].kind is Kind.LOCATION)


def missing_parents(ledger: Ledger, run_seq: int, phase: Phase) -> pl.DataFrame | None:
    """What a phase's records wait for and is not done: `parent, blocked_by`; None when all is.

    An update that was refused leaves its location in place, so its children may come. A removal waits for the
    removal of all that hangs on it, an update for the meter point it gives up first (`phases.WAITS_FOR`).
    """
    parents = {
        None: (),
        Kind.USER: (Phase.CREATE_USERS,),
        Kind.LOCATION: (Phase.CREATE_USERS, Phase.CREATE_LOCATIONS),
    }[MANNERS[phase].parent]
    earlier = [(before, "parent", _own_name(MANNERS[before].kind)) for before in parents]
    earlier += [(before, "earlier", _awaited_name(phase, before)) for before in WAITS_FOR.get(phase, ())]
    states = [State.REJECTED, State.IN_DOUBT, State.PLANNED, State.BLOCKED]
    found = [
        chunk.manifest.select(name.alias("parent"), pl.lit(f"{what}_{chunk.state}").alias("blocked_by"))
        for before, what, name in earlier
        for chunk in ledger.chunks(states=states, run_seq=run_seq, phase=before)
    ]
    return pl.concat(found).unique("parent", keep="first", maintain_order=True) if found else None


def apart(
    records: pl.DataFrame, missing: pl.DataFrame | None, phase: Phase
) -> tuple[pl.DataFrame, list[tuple[str, pl.DataFrame]]]:
    """Records whose parents are in place, and the others by the reason that holds them back."""
    if missing is None:
        return records, []
    reasons = missing.rename({"blocked_by": "by_user", "parent": "user_id"})
    marked = records.join(reasons, on="user_id", how="left", maintain_order="left")
    if MANNERS[phase].parent is Kind.LOCATION or phase in _WAITING_PLACES:
        reasons = missing.rename({"blocked_by": "by_place", "parent": "place"})
        own = "id" if MANNERS[phase].kind is Kind.LOCATION else "location_id"
        marked = marked.with_columns(_place(own).alias("place")).join(
            reasons, on="place", how="left", maintain_order="left"
        )
        marked = marked.with_columns(pl.coalesce("by_user", "by_place").alias("by_user"))
    held = marked.filter(pl.col("by_user").is_not_null())
    groups = held.partition_by("by_user", as_dict=True, maintain_order=True)
    return (
        marked.filter(pl.col("by_user").is_null()).select(records.columns),
        [(str(reason), group.select(records.columns)) for (reason,), group in groups.items()],
    )


def blocked_leaves(held: list[tuple[str, pl.DataFrame]]) -> list[Leaf]:
    """Records that stay blocked, as leaves of a split."""
    return [Leaf(records.select(MANIFEST), State.BLOCKED, reason) for reason, records in held]


def _place(location: str) -> pl.Expr:
    return pl.concat_str("user_id", pl.col(location).fill_null(""), separator="\x1f")


def _awaited_name(phase: Phase, before: Phase) -> pl.Expr:
    """How records of an earlier phase name what those of `phase` wait for."""
    if MANNERS[phase].kind is Kind.USER:
        return pl.col("user_id")
    return _own_name(Kind.LOCATION) if MANNERS[before].kind is Kind.LOCATION else _place("location_id")


def _own_name(kind: Kind) -> pl.Expr:
    """How children name a parent of this kind."""
    return pl.col("id") if kind is Kind.USER else _place("id")
