"""A plan that was made a while ago: does it still say what is missing at the API?

Runs of one profile keep their order by themselves (decision 5), and `Session.take_up` refuses what they overtook.
Customers may come in under another profile too, or be found by `adopt`: a plan that would create them was overtaken,
and a create that is sent twice may be there twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from pipeline.holdings import KEY
from pipeline.partition import buckets_of
from pipeline.phases import Phase
from pipeline.plan import CREATES, Plan
from pipeline.planning import read_phase
from pipeline.ports import LedgerBook, RowSpool, RunShelf
from pipeline.session import PLANNED, SENDING, Session, load_again
from schemas.errors import GuardError, StorageError
from schemas.ledger import RunRow, State
from schemas.outcomes import Kind

ANSWERED: Final = (State.ACKNOWLEDGED, State.REJECTED, State.IN_DOUBT, State.IN_FLIGHT)
"""A record in one of these was sent by its own run, and is not created by it again."""


async def refuse_what_is_held(session: Session, run: RunRow, plan: Plan, shelf: RunShelf) -> None:
    """A plan is not carried out, nor gone on with, when something it has yet to create is held by now.

    Call it after what is in doubt was read back: only then is it known what is held.

    Raises:
        GuardError: it is stale. Its export, planned again, creates only what is absent.
    """
    if not any(plan.phase_sizes.get(phase) for phase in CREATES.values()):
        return
    try:
        spool = shelf.spool()
    except StorageError:
        return  # who sends it says so
    count = await session.durable(_count_held, session.ledger, run, plan, spool)
    if count:
        raise GuardError(
            f"The plan of {run.run_id} is stale: {count} of the records it has yet to create are held by now.",
            guard="stale",
            cure=load_again(run),
        )


async def refuse_before_its_turn(session: Session, run: RunRow) -> None:
    """A plan waits until what an earlier run of its profiles has left is sent: what a delta says is said nowhere else.

    It does not wait for a run that it replaces.

    Raises:
        GuardError: an earlier run is not finished.
    """
    if run.state != PLANNED:
        return
    replaced = await session.durable(session.replaced_by, run)
    unfinished = [one for one in await session.unfinished(profiles=run.profiles) if one not in replaced]
    if unfinished:
        raise GuardError(
            f"The earlier run {unfinished[0]} is not finished; a newer plan is carried out only after it.",
            guard="order",
            cure="Run `meterfeed resume`, then plan again: this plan does not know what that one sends.",
        )


def _count_held(ledger: LedgerBook, run: RunRow, plan: Plan, spool: RowSpool) -> int:
    """Records to be created that are held; those the run itself has created are not to be created any more."""
    return sum(
        _yet_to_create(ledger, run, phase, list(_held(ledger, run, plan, spool, kind, phase)))
        for kind, phase in CREATES.items()
        if plan.phase_sizes.get(phase)
    )


def _held(
    ledger: LedgerBook, run: RunRow, plan: Plan, spool: RowSpool, kind: Kind, phase: Phase
) -> Iterator[pl.DataFrame]:
    """The keys of planned creates that are held, partition by partition."""
    for partition in range(plan.partitions):
        planned = read_phase(spool, phase, partition)
        held = (
            None if planned is None else ledger.holdings(kind.value, buckets_of(partition, plan.partitions))
        )
        if planned is None or held is None:
            continue
        both = planned.select(*KEY, "row", "scope").join(held.select(*KEY, "row", "scope"), on=KEY)
        if run.state == SENDING:
            # What the run has created itself is held just as it was planned: not worth a look at every chunk.
            is_own = (pl.col("row") == pl.col("row_right")) & (pl.col("scope") == pl.col("scope_right"))
            both = both.filter(~is_own)
        if both.height:
            yield both.select(KEY)


def _yet_to_create(ledger: LedgerBook, run: RunRow, phase: Phase, held: list[pl.DataFrame]) -> int:
    """How many of these keys the run has not sent itself."""
    if not held:
        return 0
    left = pl.concat(held)
    for chunk in ledger.chunks(states=ANSWERED, run_seq=run.run_seq, phase=phase.value):
        left = left.join(chunk.manifest, on=KEY, how="anti")
    return left.height
