"""A plan that was made a while ago: does it still say what is missing at the API?

Runs of one profile keep their order by themselves (decision 5), and `Session.take_up` refuses what they overtook.
Customers may come in under another profile too, or be found by `adopt`: a plan that would create them was overtaken,
and a create that is sent twice may be there twice. They may also be named again, or changed, after a plan to remove
them was made: it must not be carried out either. What `move` sends says all of one location, as it was when somebody
asked for it: it was overtaken when anything has changed that location since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import polars as pl

from pipeline.holdings import KEY, PROTECTED, UNTOLD
from pipeline.partition import bucket_of, buckets_of
from pipeline.phases import Phase
from pipeline.plan import CREATES, Plan
from pipeline.planning import read_phase
from pipeline.ports import LedgerBook, RowSpool, RunShelf
from pipeline.session import MOVE, PLANNED, SENDING, Session, load_again
from pipeline.vanishing import DELETES, evidence_page
from schemas.errors import GuardError, StorageError
from schemas.ledger import RunRow, State
from schemas.outcomes import Kind

ANSWERED: Final = (State.ACKNOWLEDGED, State.REJECTED, State.IN_DOUBT, State.IN_FLIGHT)
"""A record in one of these was sent by its own run, and is not created by it again."""

MOVED: Final = "moved"
"""Spool table of the location a run moves, as it was held when that was planned: columns of a page of holdings. It lies
in the spool and not in the ledger, so that it goes when nobody needs it, with the person if need be."""


async def refuse_what_is_held(session: Session, run: RunRow, plan: Plan, shelf: RunShelf) -> None:
    """A plan is not carried out, nor gone on with, when something it has yet to create is held by now.

    Nor when something it has yet to remove was named by an export since, or changed.

    Call it after what is in doubt was read back: only then is it known what is held.

    Raises:
        GuardError: it is stale. Its export, planned again, creates only what is absent.
    """
    if (outdated := await outdated_move(session, run, shelf)) is not None:
        raise outdated
    if not any(plan.phase_sizes.get(phase) for phase in (*CREATES.values(), *DELETES.values())):
        return
    try:
        spool = shelf.spool()
    except StorageError:
        return  # who sends it says so
    for phases, overtaken, told in (
        (CREATES, _held, "create are held by now"),
        (DELETES, _named_since, "remove were named since"),
    ):
        count = await session.durable(_count, session.ledger, run, plan, spool, phases, overtaken)
        if count:
            raise GuardError(
                f"The plan of {run.run_id} is stale: {count} of the records it has yet to {told}.",
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


# ------------------------------------------------------------------ moves
async def outdated_move(session: Session, run: RunRow, shelf: RunShelf) -> GuardError | None:
    """Why a move must not be gone on with; None: it may, or all of it was sent, or it is no move.

    Call it after what is in doubt was read back. Nobody but whoever asked for the move can ask for it again, so no run
    may wait until somebody does: it is to be given up.
    """
    if run.command != MOVE:
        return None
    why = await session.durable(_why_outdated, session.ledger, run, shelf)
    if why is None:
        return None
    return GuardError(f"The move {run.run_id} is stale: {why}.", guard="stale", cure=load_again(run))


def _why_outdated(ledger: LedgerBook, run: RunRow, shelf: RunShelf) -> str | None:
    if next(ledger.chunks(states=ANSWERED, run_seq=run.run_seq), None) is not None:
        return None
    try:
        planned_on = shelf.spool().read(MOVED, 0)
    except StorageError:
        return "its spool is lost"
    if planned_on.is_empty():
        return "what its location held is not known"
    number = bucket_of(planned_on["user_id"].item())
    page = ledger.holdings(Kind.LOCATION.value, range(number, number + 1))
    held = planned_on.clear() if page is None else page.join(planned_on, on=KEY, how="semi")
    if held.is_empty():
        return "its location is not held any more"
    # The move itself may have begun, and made uncertain what is held.
    is_same = held["digest"].item() in (planned_on["digest"].item(), UNTOLD, PROTECTED + UNTOLD)
    return None if is_same and _rest(held) == _rest(planned_on) else "its location was changed since"


def _rest(location: pl.DataFrame) -> list[Any]:
    """What the ledger knows of one location beside what it says: its meter points, and the row it came from."""
    points, *origin = location.select("meter_point_keys", "row", "scope").row(0)
    return [sorted(points or ()), *origin]


def moves_of(session: Session, location: pl.DataFrame) -> list[str]:
    """Unfinished moves of one location: whoever moves it again says all that they have not sent.

    Args:
        location: the one, by `KEY`.
    """
    moves = (run for run in session.ledger.runs(state=SENDING, brief=True) if run.command == MOVE)
    return [run.run_id for run in moves if _moved(session, run).join(location, on=KEY, how="semi").height]


def _moved(session: Session, run: RunRow) -> pl.DataFrame:
    """`KEY` of the location a run moves; nothing when its spool is lost."""
    nothing = pl.DataFrame(schema=dict.fromkeys(KEY, pl.String))
    with session.ports.shelf.open(run.run_id) as shelf, suppress(StorageError):
        moved = shelf.spool().read(MOVED, 0)
        return moved.select(KEY) if moved.width else nothing
    return nothing


# ------------------------------------------------------------------ creates and removals
Overtaken = Callable[[LedgerBook, RunRow, Plan, RowSpool, Kind, Phase], Iterator[pl.DataFrame]]
"""The keys of a phase that something newer has spoken for, partition by partition."""

AS_PLANNED: Final = (pl.col("row") == pl.col("row_right")) & (pl.col("scope") == pl.col("scope_right"))
"""Whether what is held came from the row that the plan speaks of."""


def _count(
    ledger: LedgerBook,
    run: RunRow,
    plan: Plan,
    spool: RowSpool,
    phases: Mapping[Kind, Phase],
    overtaken: Overtaken,
) -> int:
    """Records of some phases that were overtaken; those the run itself has sent need not be sent any more."""
    return sum(
        _not_answered(ledger, run, phase, list(overtaken(ledger, run, plan, spool, kind, phase)))
        for kind, phase in phases.items()
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
            both = both.filter(~AS_PLANNED)
        if both.height:
            yield both.select(KEY)


def _not_answered(ledger: LedgerBook, run: RunRow, phase: Phase, held: list[pl.DataFrame]) -> int:
    """How many of these keys the run has not sent itself."""
    if not held:
        return 0
    left = pl.concat(held)
    for chunk in ledger.chunks(states=ANSWERED, run_seq=run.run_seq, phase=phase.value):
        left = left.join(chunk.manifest, on=KEY, how="anti")
    return left.height


def _named_since(
    ledger: LedgerBook, _run: RunRow, plan: Plan, spool: RowSpool, kind: Kind, phase: Phase
) -> Iterator[pl.DataFrame]:
    """The keys of planned removals that are held and not missing any more, or held by another row than they were."""
    for partition in range(plan.partitions):
        buckets = buckets_of(partition, plan.partitions)
        planned, held = read_phase(spool, phase, partition), ledger.holdings(kind.value, buckets)
        if planned is None or held is None:
            continue
        there = planned.select(*KEY, "row", "scope").join(held.select(*KEY, "row", "scope"), on=KEY)
        missing = ledger.holdings(evidence_page(kind), buckets)
        # Whoever is to be removed was missed before the plan was made, and is until somebody names it.
        still = there.filter(AS_PLANNED)
        still = still.clear() if missing is None else still.join(missing, on=KEY, how="semi")
        named = there.join(still, on=KEY, how="anti")
        if named.height:
            yield named.select(KEY)
