"""What the ledger remembers of protected addresses: which locations were told to be one, until they are told open.

A holding knows it of what is held as it was sent. An export that a guard stopped, a record the API refused, a user that
was removed: of these no holding tells, and the next export may not speak for the flagged row. So whatever a plan finds
protected is remembered before anybody can say no to it, and forgotten only by a run that got past its guards.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from pipeline.holdings import KEY
from pipeline.partition import buckets_of
from pipeline.plan import Plan
from pipeline.planning import FLAGS, WHOLE, read_marked
from pipeline.ports import LedgerBook, RowSpool, RunShelf
from pipeline.protection import FLAGS_PAGE, FLAGS_SCHEMA
from pipeline.removing import is_overtaken, spool_of, store_changed, within
from pipeline.session import Session
from schemas.ledger import RunRow
from schemas.outcomes import Kind

_COLUMNS: Final = FLAGS_SCHEMA.names()


async def note_protected(session: Session, plan: Plan, spool: RowSpool) -> None:
    """Write down what was found protected; before any guard, as a stopped run leaves a correction to load."""
    await session.durable(_note, session.ledger, plan, spool, lift=False)


async def note_open(session: Session, run: RunRow, plan: Plan, shelf: RunShelf) -> None:
    """Forget what the run's exports tell to be open. May be done again for the same run.

    Not where a newer run has begun: it may have told otherwise.
    """
    spool = spool_of(shelf)
    if spool is not None and not await session.durable(is_overtaken, session.ledger, run):
        await session.durable(_note, session.ledger, plan, spool, lift=True)


def _note(ledger: LedgerBook, plan: Plan, spool: RowSpool, *, lift: bool) -> None:
    before = ledger.holdings(FLAGS_PAGE, WHOLE)
    for partition in range(plan.partitions):
        told = read_marked(spool, FLAGS, partition, Kind.LOCATION)
        if told is None:
            continue
        old = within(before, buckets_of(partition, plan.partitions), FLAGS_SCHEMA)
        if lift:
            new = old.join(told.filter(~pl.col("is_protected")), on=KEY, how="anti", maintain_order="left")
        else:
            added = told.filter("is_protected").select(_COLUMNS)
            new = pl.concat([old, added]).unique(KEY, keep="first").sort(KEY)
        store_changed(ledger, FLAGS_PAGE, old, new)
