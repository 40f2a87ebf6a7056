"""What the ledger remembers of records that vanish: since when they are missing, and which were removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from pipeline.holdings import KEY
from pipeline.order import Opened
from pipeline.partition import buckets_of
from pipeline.plan import Plan
from pipeline.planning import NAMED, VANISHED, WHOLE, read_marked
from pipeline.ports import LedgerBook, RowSpool, RunShelf
from pipeline.session import SETTLED, Session
from pipeline.vanishing import (
    DELETES,
    EVIDENCE_SCHEMA,
    TOMBSTONE_SCHEMA,
    Absence,
    buried,
    evidence_page,
    name_of_exports,
    remembered,
    tombstone_page,
)
from schemas.errors import GuardError, StorageError
from schemas.ledger import RunRow, State
from schemas.outcomes import Kind

APPROVAL_HOURS = 24.0
"""How long a plan that removes something may wait: what vanished may be back by then."""
HOUR = 3600.0
"""Seconds."""
READ = "read:"
"""Facts of the ledger: when an export was first read, by the first 32 hex digits of its SHA-256."""


async def absence_of(session: Session, opened: Opened, *, asked: bool) -> Absence | None:
    """What it means that these exports do not name something; None when none of them is full.

    The time that counts is when these very bytes were read first: reading them again later proves nothing new.
    """
    full = [(export, profile) for export, profile in opened if profile.export.kind == "full"]
    if not full:
        return None
    hashes = [export.sha256 for export, _ in full]
    read_at = await session.durable(_first_read, session.ledger, hashes, session.ports.world.now())
    hours = max(profile.guards.deletes_hours_apart for _, profile in full)
    return Absence(asked, name_of_exports(hashes), read_at, hours)


def _first_read(ledger: LedgerBook, hashes: list[str], now: float) -> float:
    names = [READ + one[:32] for one in hashes]
    known = {name: ledger.recall(name) for name in names}
    fresh = {name: str(now) for name, value in known.items() if value is None}
    if fresh:
        ledger.remember(fresh)
    return max(float(value) if value is not None else now for value in known.values())


# ------------------------------------------------------------------ before and after sending
async def note_absence(session: Session, run: RunRow, plan: Plan, shelf: RunShelf) -> None:
    """Write down what the run's full exports do not name, and forget what is named again.

    Only a run that got past its guards comes here: what a broken export does not name is not missing. May be done
    again for the same run.
    """
    spool = spool_of(shelf)
    if spool is not None:
        now = session.ports.world.now()
        await session.durable(_note_absence, session.ledger, run, plan, spool, now)


def _note_absence(ledger: LedgerBook, run: RunRow, plan: Plan, spool: RowSpool, now: float) -> None:
    facts = plan.facts.get("vanished") or {
        "absence": {"export": "", "read_at": 0.0},
        "full": [],
        "blind_rows": 0,
    }
    absence = Absence(**facts["absence"])
    if is_overtaken(ledger, run):
        # Somebody spoke since, and what was not missing then leaves no trace of being named: it is missing from now on.
        absence = replace(absence, read_at=max(now, absence.read_at))
    speaking = [] if facts["blind_rows"] else facts["full"]
    for kind in Kind:
        page = evidence_page(kind)
        before = ledger.holdings(page, WHOLE)
        for partition in range(plan.partitions):
            missing = read_marked(spool, VANISHED, partition, kind) if speaking else None
            if before is None and missing is None:
                continue
            named = read_marked(spool, NAMED, partition, kind)
            old = within(before, buckets_of(partition, plan.partitions), EVIDENCE_SCHEMA)
            new = remembered(
                old,
                _no_keys() if missing is None else missing,
                _no_keys() if named is None else named,
                full_scopes=speaking,
                absence=absence,
            )
            store_changed(ledger, page, old, new)


def is_overtaken(ledger: LedgerBook, run: RunRow) -> bool:
    """Whether a newer run has begun, whose exports may have said otherwise."""
    return any(newest.run_seq > run.run_seq for newest in ledger.runs(limit=1, brief=True))


async def note_removed(session: Session, run: RunRow, plan: Plan, shelf: RunShelf) -> None:
    """Put up tombstones for what the run removed, and take down those of customers who are back."""
    if plan.removals or plan.facts.get("returning"):
        now = session.ports.world.now()
        await session.durable(_note_removed, session.ledger, run, plan, spool_of(shelf), now)


def _note_removed(ledger: LedgerBook, run: RunRow, plan: Plan, spool: RowSpool | None, now: float) -> None:
    for kind, phase in DELETES.items():
        page, evidence = tombstone_page(kind), evidence_page(kind)
        for removed in _acknowledged(ledger, run.run_seq, phase.value):
            for (number,), part in removed.partition_by("bucket", as_dict=True).items():
                bucket = range(int(number), int(number) + 1)
                old = within(ledger.holdings(page, bucket), bucket, TOMBSTONE_SCHEMA)
                store_changed(ledger, page, old, buried(old, part, at=now))
                known = within(ledger.holdings(evidence, bucket), bucket, EVIDENCE_SCHEMA)
                store_changed(ledger, evidence, known, known.join(part, on=KEY, how="anti"))
        if spool is None or not plan.facts.get("returning", {}).get(kind.value):
            continue
        for partition in range(plan.partitions):
            back = read_marked(spool, NAMED, partition, kind)
            buckets = buckets_of(partition, plan.partitions)
            held = None if back is None else ledger.holdings(kind.value, buckets)
            if back is not None and held is not None:
                old = within(ledger.holdings(page, buckets), buckets, TOMBSTONE_SCHEMA)
                risen = back.join(held, on=KEY, how="semi")
                store_changed(ledger, page, old, old.join(risen, on=KEY, how="anti"))


def spool_of(shelf: RunShelf) -> RowSpool | None:
    """What was planned; None when it is lost, which is for the sender to say."""
    try:
        return shelf.spool()
    except StorageError:
        return None


def _acknowledged(ledger: LedgerBook, run_seq: int, phase: str) -> Iterator[pl.DataFrame]:
    for chunk in ledger.chunks(states=[State.ACKNOWLEDGED], run_seq=run_seq, phase=phase):
        yield chunk.manifest


def within(page: pl.DataFrame | None, buckets: range, schema: pl.Schema) -> pl.DataFrame:
    """The buckets of a page; None is an empty one."""
    if page is None:
        return pl.DataFrame(schema=schema)
    return page.filter(pl.col("bucket").is_between(buckets.start, buckets.stop - 1))


def store_changed(ledger: LedgerBook, page: str, old: pl.DataFrame, new: pl.DataFrame) -> None:
    """Replace the buckets of a page that differ."""
    before, after = old.partition_by("bucket", as_dict=True), new.partition_by("bucket", as_dict=True)
    for bucket in sorted({*before, *after}):
        mine = after.get(bucket, new.clear())
        if bucket not in before or not mine.equals(before[bucket]):
            ledger.store_holdings(page, int(bucket[0]), mine)


def _no_keys() -> pl.DataFrame:
    return pl.DataFrame(schema=EVIDENCE_SCHEMA)


# ------------------------------------------------------------------ approval
async def refuse_a_used_approval(session: Session, plan: Plan) -> None:
    """`--approve` lets a removal through once: in a schedule's command line it must not do so again.

    Raises:
        GuardError: a settled run had this approval.
    """
    if not plan.removals:
        return
    runs = await session.durable(session.ledger.runs, plan_digest=plan.digest, state=SETTLED)
    used = [one for one in runs if one.approved == plan.digest]
    if used:
        raise GuardError(
            f"This approval was used by {used[0].run_id}; the same records have vanished again.",
            guard="approval",
            cure="Nothing was sent. Run `meterfeed plan` with --delete-vanished, look, then `meterfeed apply` it.",
        )


def refuse_an_old_removal(run: RunRow, plan: Plan, now: float) -> None:
    """A plan that removes something is not applied a day later.

    Raises:
        GuardError: it is too old.
    """
    if plan.removals and run.state == "planned" and now - run.started_at > APPROVAL_HOURS * HOUR:
        raise GuardError(
            f"The plan of {run.run_id} removes records and is older than {APPROVAL_HOURS:.0f} hours.",
            guard="stale",
            cure="What vanished may be back. Plan again: `meterfeed plan EXPORT --profile PROFILE --delete-vanished`.",
        )
