"""Turn spooled rows into a plan in the spool: fold each partition, compare it with what is held, name the whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import polars as pl

from pipeline.conflicts import ConflictPolicy, find_conflicts
from pipeline.identity import Identity
from pipeline.joining import joined
from pipeline.partition import buckets_of
from pipeline.phases import Phase
from pipeline.plan import KindPlan, Plan, claims, compare, handover, phases_of, plan_digest
from pipeline.ports import Notice, RowSpool, World
from pipeline.prepare import Judged
from pipeline.records import Folded, Folding, fold_all
from schemas.outcomes import Kind
from schemas.profile import Profile

UNCHANGED = "unchanged"
"""Spool table of records that are in place already: `kind, id, row, row_count`."""
PROVENANCE = "provenance"
"""Spool table of `kind, id, row`: which rows each record comes from."""

SOURCE_SHIFT = 1 << 40

Holdings = Callable[[str, range], pl.DataFrame | None]
"""What is held of a kind for a range of buckets; the ledger's, or nothing for a quality run."""


def nothing_held(_kind: str, _buckets: range) -> None:
    """Holdings of a run that compares with nothing."""


def phase_table(phase: Phase) -> str:
    """The spool table that holds a phase of the plan."""
    return f"plan_{phase.value}"


def read_phase(spool: RowSpool, phase: Phase, partition: int) -> pl.DataFrame | None:
    """The records of one phase and partition with their bodies, or None."""
    records = spool.read(phase_table(phase), partition)
    return records.rename({"ledger_bucket": "bucket"}) if records.width else None


def _append(spool: RowSpool, table: str, records: pl.DataFrame) -> None:
    if records.height:
        spool.append(table, records.with_columns(pl.col("bucket").alias("ledger_bucket")))


@dataclass(slots=True)
class _Draft:
    counts: dict[Kind, KindPlan] = field(default_factory=dict)
    sizes: dict[Phase, int] = field(default_factory=dict)
    users: int = 0
    wanted: list[pl.DataFrame] = field(default_factory=list)
    updated: list[pl.DataFrame] = field(default_factory=list)

    def add(self, kind: Kind, part: KindPlan) -> None:
        self.counts[kind] = self.counts.get(kind, KindPlan()).plus(part)

    def grow(self, phase: Phase, records: pl.DataFrame) -> None:
        self.sizes[phase] = self.sizes.get(phase, 0) + records.height


def make_plan(
    judged: Judged,
    identity: Identity,
    holdings: Holdings,
    *,
    world: World,
    over: Callable[[], bool] = lambda: False,
) -> Plan:
    """Fold and compare every partition; the plan's records are in the spool when this returns.

    Also completes the tally: conflicts between rows, duplicates and mapped rows are known only now.

    """
    spool, draft, profiles = judged.spool, _Draft(), judged.profiles
    policy = policy_of(profiles)
    find_conflicts(spool, policy)
    folding = Folding(identity, policy, [profile.name for profile in profiles])
    full = [profile.name for profile in profiles if profile.export.kind == "full"]
    with closing(fold_all(spool, folding)) as folds:
        for partition, (rows, folded) in enumerate(folds):
            if over():
                break
            judged.take_folded(rows, folded)
            _plan_partition(spool, partition, folded, holdings, full, judged.corrections, draft)
            world.notice(Notice("plan", partition + 1, spool.partitions, "partitions"))
    moved, reported = _plan_handovers(spool, holdings, full, draft)
    digest = plan_digest(
        (phase, found)
        for phase in Phase
        for partition in range(spool.partitions)
        if (found := read_phase(spool, phase, partition)) is not None
    )
    return Plan(digest, draft.counts, draft.sizes, spool.partitions, draft.users, moved, reported)


def policy_of(profiles: Sequence[Profile]) -> ConflictPolicy:
    """The stricter policy wins where profiles of one run differ."""

    def strictest(name: str) -> str:
        chosen = {getattr(profile.conflicts, name) for profile in profiles}
        return "keep-first" if chosen == {"keep-first"} else "quarantine"

    return ConflictPolicy(meter_point=strictest("meter_point"), location=strictest("location"))  # type: ignore[arg-type]


def _plan_partition(
    spool: RowSpool,
    partition: int,
    folded: Folded,
    holdings: Holdings,
    full: Sequence[str],
    corrections: Collection[int],
    draft: _Draft,
) -> None:
    if folded.provenance.height:
        spool.append(PROVENANCE, _in_partition(folded.provenance, partition, spool.partitions))
    users = []
    for kind in Kind:
        records = folded.records[kind]
        held = holdings(kind.value, buckets_of(partition, spool.partitions))
        compared = compare(kind, records, held, full)
        if kind is Kind.LOCATION:
            compared = replace(compared, update=joined(compared.update, held, corrections))
        _append_unchanged(spool, kind, records, compared.create, compared.update)
        draft.add(
            kind,
            KindPlan(
                create=compared.create.height,
                update=compared.update.height,
                unchanged=compared.unchanged,
                vanished=compared.vanished.height,
            ),
        )
        for phase, part in phases_of(kind, compared):
            _append(spool, phase_table(phase), part)
            draft.grow(phase, part)
        if kind is Kind.LOCATION:
            draft.wanted.append(claims(pl.concat([compared.create, compared.update])))
            draft.updated.append(compared.update.select("user_id", "id"))
        users.append(records["user_id"])
    draft.users += pl.concat(users).n_unique()


def _in_partition(rows: pl.DataFrame, partition: int, partitions: int) -> pl.DataFrame:
    """Rows that belong to a partition as a whole: any bucket of it will do."""
    return rows.with_columns(pl.lit(buckets_of(partition, partitions).start, pl.UInt8).alias("bucket"))


def _append_unchanged(
    spool: RowSpool, kind: Kind, records: pl.DataFrame, create: pl.DataFrame, update: pl.DataFrame
) -> None:
    changed = pl.concat([create.select("user_id", "id"), update.select("user_id", "id")])
    same = records.join(changed, on=["user_id", "id"], how="anti") if changed.height else records
    if same.height:
        spool.append(
            UNCHANGED, same.select(pl.lit(kind.value).alias("kind"), "id", "row", "row_count", "bucket")
        )


def _plan_handovers(
    spool: RowSpool, holdings: Holdings, full: Sequence[str], draft: _Draft
) -> tuple[int, int]:
    """Add the releases that must come before a meter point can be given on; returns moved and reported."""
    wanted = pl.concat(draft.wanted) if draft.wanted else pl.DataFrame()
    if not wanted.height:
        return 0, 0
    updated = pl.concat(draft.updated)
    moved = reported = 0
    for partition in range(spool.partitions):
        held = holdings(Kind.LOCATION.value, buckets_of(partition, spool.partitions))
        if held is None:
            continue
        # A holder that is updated in this run lets go by itself.
        found = handover(wanted, held.join(updated, on=["user_id", "id"], how="anti"), full_scopes=full)
        moved, reported = moved + found.moved, reported + found.reported
        _append(spool, phase_table(Phase.RELEASE_LOCATIONS), found.releases.drop("released_keys"))
        draft.grow(Phase.RELEASE_LOCATIONS, found.releases)
        draft.add(Kind.LOCATION, KindPlan(release=found.releases.height))
    return moved, reported
