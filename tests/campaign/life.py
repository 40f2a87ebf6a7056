"""One life of a loader: take up the run in the ledger or begin it, settle what is open, send what is left.

The simulator lives it in virtual time, the reference delivery in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import polars as pl

from connectors.api import ApiClient
from connectors.ledger.journal import Journal
from connectors.ledger.store import Ledger
from pipeline import account
from pipeline.delivery.sender import Sender
from pipeline.delivery.traffic import Traffic
from pipeline.holdings import DOUBTS, MERGES
from pipeline.phases import COUNTED, MANNERS, Phase
from pipeline.plan import KindPlan, Plan
from pipeline.ports import World
from schemas.details import ReasonCount
from schemas.errors import AccountError, ApiUnavailable, MeterfeedError
from schemas.ledger import RunRow, State
from schemas.outcomes import Exit, Kind, Outcome, worst
from schemas.profile import GuardsSection
from schemas.summary import RecordCounts

Lines = list[tuple[str, str, str | None, int]]


@dataclass
class Ending:
    """How a life ended, as the loader tells it."""

    exit_code: int
    settled: bool
    error: str | None = None
    guard: str | None = None
    lines: Lines = field(default_factory=list)


@dataclass
class Manner:
    """How a life goes about it."""

    chunk: int
    concurrency: int
    canary: int
    settle_seconds: float
    stopping: Callable[[], bool] = lambda: False
    trouble: Callable[[Ledger], AbstractContextManager[object]] = lambda _: nullcontext()
    """What goes wrong with the ledger while it delivers."""
    guarded: bool = False
    """Whether the guards on refusals stand; else nothing but the canary stops a delivery that is refused."""


SMALL_SAMPLES = {"minimum_sent": 8, "rejected": 0.05, "rejected_alike": 3}
"""Guards on refusals for plans of a few records; by default they look at hundreds."""
WIDE_OPEN = {"rejected": 1.0, "rejected_alike": 10**6}


class Work(Protocol):
    """What is to be sent, and what the ledger knows beforehand."""

    @property
    def frames(self) -> dict[Phase, pl.DataFrame]:
        """The plan."""

    @property
    def held(self) -> Mapping[Kind, pl.DataFrame]:
        """What is believed to be held."""


def keys_of(points: Sequence[str]) -> list[int]:
    """The keys a ledger knows meter points by."""
    return [int.from_bytes(blake2b(point.encode(), digest_size=8).digest()) for point in points]


async def live(
    work: Work,
    ledger: Ledger,
    durable: Journal,
    client: ApiClient,
    world: World,
    manner: Manner,
) -> Ending:
    """Live it; whatever stops it is told in the ending."""
    frames = work.frames
    run = await durable(_run, ledger, work.held, world.now())
    sender = Sender(
        api=client,
        ledger=ledger,
        world=world,
        durable=durable,
        read_plan=lambda _run, phase, _partition: frames.get(phase),
        traffic=Traffic(world, chunk_records=manner.chunk, concurrency=manner.concurrency),
        guards=GuardsSection(**(SMALL_SAMPLES if manner.guarded else WIDE_OPEN), canary=manner.canary),
        settle_seconds=manner.settle_seconds,
        meter_point_keys=keys_of,
        stopping=manner.stopping,
    )
    error: MeterfeedError | None = None
    try:
        with manner.trouble(ledger):
            if await sender.recover():
                raise ApiUnavailable("in doubt from before")
            await sender.deliver(run.run_seq, {phase: frame.height for phase, frame in frames.items()}, 1)
    except MeterfeedError as caught:
        error = caught
    return ending_of(frames, await _account(ledger, durable, run.run_seq), error)


def _run(ledger: Ledger, held: Mapping[Kind, pl.DataFrame], now: float) -> RunRow:
    """The run that is under way, or a new one over what is held before it."""
    for run in ledger.runs():
        return run
    for kind, page in held.items():
        ledger.store_holdings(kind.value, 0, page)
    return ledger.begin_run(
        command="sync",
        environment="sandbox",
        profiles="p",
        job_digest="j",
        stamp="20260101",
        now=now,
    )


async def _account(ledger: Ledger, durable: Journal, run_seq: int) -> Lines:
    lines = await durable(ledger.account, run_seq)
    await durable(ledger.absorb, MERGES)
    await durable(ledger.absorb_undone, DOUBTS)
    return lines


def ending_of(frames: dict[Phase, pl.DataFrame], lines: Lines, error: MeterfeedError | None) -> Ending:
    """What the loader says about it, as the report would: its sums and its reasons agree, or it is a bug."""
    plan = _plan(frames)
    counts = account.record_counts(plan, lines)
    _check_reasons(counts, account.reason_counts(lines, plan))
    found = account.exits(None, counts.values())
    open_states = (State.PLANNED, State.IN_DOUBT, State.IN_FLIGHT)
    seen = sum(n for _, _, _, n in lines)
    return Ending(
        exit_code=int(worst(found | ({Exit(error.exit_code)} if error else set()))),
        settled=seen == sum(frame.height for frame in frames.values())
        and not any(line[1] in open_states for line in lines),
        error=type(error).__name__ if error else None,
        guard=getattr(error, "guard", None),
        lines=lines,
    )


NOT_IN_PLACE = (Outcome.REJECTED, Outcome.BLOCKED, Outcome.IN_DOUBT, Outcome.NOT_SENT)


def _check_reasons(counts: Mapping[Kind, RecordCounts], reasons: Sequence[ReasonCount]) -> None:
    """A reason for every record that is not in place; no page shows figures in which one is missing."""
    for kind, one in counts.items():
        for outcome in NOT_IN_PLACE:
            told = sum(entry.count for entry in reasons if (entry.outcome, entry.kind) == (outcome, kind))
            if told != getattr(one, outcome.value):
                raise AccountError(f"the reasons for {outcome} {kind} records {told} are not their number")


def _plan(frames: dict[Phase, pl.DataFrame]) -> Plan:
    counts = {kind: KindPlan() for kind in Kind}
    for phase, frame in frames.items():
        if phase not in COUNTED:
            continue
        verb = {"C": "create", "U": "update", "R": "release"}[
            phase.value[0].upper() if phase != Phase.REPLACE_RESOURCES else "U"
        ]
        counts[MANNERS[phase].kind] = counts[MANNERS[phase].kind].plus(KindPlan(**{verb: frame.height}))
    return Plan("d", counts, {p: f.height for p, f in frames.items()}, 1, 1)
