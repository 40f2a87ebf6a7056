"""One run, several workers: the plan is leased partition by partition.

The run that holds the ledger's lock plans as ever, puts the plan where all workers can read it, and offers its
partitions. Workers claim one, send it and claim the next; the run itself is one of them, so it comes to its end
alone if need be. A worker that dies is missed when its claim expires: who takes the partition over reads back what
was under way and goes on from there. `docs/decisions/0013` says why nothing is lost or sent twice by that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.crew import Crew
from pipeline.delivery.books import ABSORB_EVERY, Tally
from pipeline.delivery.traffic import Traffic
from pipeline.ending import summary_of
from pipeline.holdings import MERGES
from pipeline.identity import Identity
from pipeline.intake import ROWS
from pipeline.job import fingerprint
from pipeline.order import Order, Ports
from pipeline.phases import MANNERS, Phase
from pipeline.plan import Plan
from pipeline.ports import Notice, RowSpool, RunShelf, World
from pipeline.session import Session, one_plan, spool_to_send
from schemas.errors import ApiUnavailable, ClaimLost, MeterfeedError, SettingsError, StorageError
from schemas.ledger import RunRow
from schemas.outcomes import Exit
from schemas.profile import GuardsSection
from schemas.sharing import Claim
from schemas.summary import Summary

POLL_SECONDS: Final = 0.5
"""How often somebody without a partition asks for one."""

RENEWALS: Final = 4
"""How often a claim is renewed in the time it holds."""

LETS_GO: Final = frozenset({Phase.RELEASE_LOCATIONS, Phase.FREE_LOCATIONS, Phase.UPDATE_LOCATIONS})
"""After these phases, a meter point may be somebody else's."""


def steps_of(sizes: Mapping[Phase, int]) -> list[dict[Phase, int]]:
    """The phases of a plan in groups; all partitions are through with a group before one begins the next.

    A customer's records are in one partition, which keeps their order by itself. Only a meter point passes from one
    partition to another: who gives it up must be through before anybody gets it. What removes comes last.
    """
    steps: list[dict[Phase, int]] = [{}]
    removing = False
    for phase in Phase:
        if not sizes.get(phase, 0):
            continue
        if MANNERS[phase].removes and not removing:
            steps.append({})
            removing = True
        steps[-1][phase] = sizes[phase]
        if phase in LETS_GO:
            steps.append({})
    return [step for step in steps if step]


# ------------------------------------------------------------------ the run
async def send_plan(session: Session, run: RunRow, plan: Plan, shelf: RunShelf) -> MeterfeedError | None:
    """Deliver a plan in the way it was begun, or as the settings say; what stopped it is returned, not raised.

    A plan that was cut as a whole cannot be shared any more, nor the other way round: what was cut would be cut
    again.
    """
    lane = await session.durable(session.ledger.highest_lane, run.run_seq)
    if lane == 0 or (lane is None and session.ports.crew is None):
        return await session.send(run, plan, shelf)
    if session.ports.crew is not None:
        return await _share(session, session.ports, run, plan, shelf)
    for step in steps_of(plan.phase_sizes):
        for number in range(plan.partitions):
            trouble = await session.send(run, replace(plan, phase_sizes=step), shelf, lane=number + 1)
            if trouble is not None or session.ports.stopping():
                return trouble
    return None


async def _share(
    session: Session, ports: Ports, run: RunRow, plan: Plan, shelf: RunShelf
) -> MeterfeedError | None:
    """Offer the partitions of a plan, take a hand in them, and wait until they are through."""
    assert ports.crew is not None
    steps = steps_of(plan.phase_sizes)
    try:
        spool_to_send(run, shelf)
    except StorageError as error:
        return error
    await session.begin_sending(run)
    if not steps:
        return None
    try:
        shelf.publish(without=[ROWS])
        async with ports.crew() as crew:
            worker = await Worker.of(crew, session.environment, ports)
            fence = session.ledger.fence
            await crew.durable(
                crew.ledger.post, run.run_seq, lanes=plan.partitions, steps=len(steps), fence=fence
            )
            try:
                return await _see_through(worker, session)
            finally:
                crew.ledger.forget()
                await crew.durable(crew.ledger.retract, run.run_seq, fence=fence)
    except MeterfeedError as error:
        return error


async def _see_through(worker: Worker, session: Session) -> MeterfeedError | None:
    """Work like any other until every partition is through, or the run must end and nobody is at work any more.

    Meanwhile what all have sent is folded into the holdings; the workers cannot do that.
    """
    world, ports = worker.world, worker.ports
    seen = 0
    while True:
        standing = await worker.crew.durable(worker.crew.ledger.standing)
        if standing is None:
            return ApiUnavailable(
                "The partitions of this run are not on offer any more.", cure="Run `meterfeed resume`."
            )
        if standing.done > seen:
            seen = standing.done
            await session.durable(session.ledger.absorb, MERGES, at_least=ABSORB_EVERY)
        world.notice(Notice("send", standing.done, standing.lanes, "partitions"))
        if standing.is_done:
            return None
        if ports.stopping() and standing.trouble is None:
            over = ApiUnavailable("The run was asked to end.", cure="Run `meterfeed resume`.")
            await worker.crew.durable(worker.crew.ledger.stop, over)
        elif standing.trouble is not None:
            if not standing.held:
                return None if ports.stopping() else standing.trouble
        elif (claim := await worker.claim()) is not None:
            await worker.send(claim)
            continue
        await world.sleep(POLL_SECONDS)


# ------------------------------------------------------------------ the worker
async def work(order: Order, ports: Ports) -> Summary:
    """Take a hand in the run that is shared at this moment, until nothing of it is left.

    Raises:
        SettingsError: runs are not shared here.
        MeterfeedError: what this worker met that ends the run.
    """
    if ports.crew is None:
        raise SettingsError(
            "METERFEED_SHARED is not set: runs are not shared with other workers here.",
            cure="docs/scaling.md shows how several machines share a run.",
        )
    async with ports.crew() as crew:
        worker = await Worker.of(crew, order.environment, ports)
        busy = ports.world.monotonic()
        while not ports.stopping():
            claim = await worker.claim(order.lane)
            if claim is not None:
                trouble = await worker.send(claim)
                if trouble is not None:
                    trouble.has_sent = worker.settled > 0
                    raise trouble
                busy = ports.world.monotonic()
            elif order.lane is not None or await _nothing_to_wait_for(worker, busy + order.wait):
                break
            else:
                await ports.world.sleep(POLL_SECONDS)
        told = {"partitions": worker.through, "lost": worker.lost, "records_settled": worker.settled}
        exits = {ports.interruption()} if ports.stopping() else {Exit.OK}
        return summary_of("work", order.environment, ports.world, exits=exits, **told)


async def _nothing_to_wait_for(worker: Worker, until: float) -> bool:
    standing = await worker.crew.durable(worker.crew.ledger.standing)
    if standing is not None and not standing.is_done and standing.trouble is None:
        return False
    return worker.world.monotonic() >= until


@dataclass(slots=True)
class Worker:
    """Sends partitions, one after the other, each under a claim that it keeps alive meanwhile.

    Attributes:
        session: over the ledger of this worker.
        through: partitions, and steps of them, it has finished.
        lost: claims it lost.
        settled: records that came to an end in its hands.
    """

    crew: Crew
    ports: Ports
    session: Session
    through: int = 0
    lost: int = 0
    settled: int = 0
    _asked: float = 0.0
    _run: _Taken | None = None

    @classmethod
    async def of(cls, crew: Crew, environment: str, ports: Ports) -> Worker:
        """A worker that has signed in.

        Raises:
            AuthenticationError: the credentials are refused.
            ContractError: the API is not the one we know.
        """
        quiet = replace(ports, world=replace(ports.world, notice=lambda _notice: None))
        session = Session(environment, quiet, crew.ledger, crew.durable, crew.api, fingerprint(ports.key))
        await session.sign_in()
        return cls(crew, ports, session)

    @property
    def world(self) -> World:
        """The clock, and whom to tell of progress."""
        return self.ports.world

    async def claim(self, lane: int | None = None) -> Claim | None:
        """A partition that is due and free, or this one; None when there is none."""
        seconds = self.ports.lease_seconds
        self._asked = self.world.monotonic()
        return await self.crew.durable(self.crew.ledger.take, self.crew.owner, seconds=seconds, lane=lane)

    async def send(self, claim: Claim) -> MeterfeedError | None:
        """Send what is due of a partition; what must end the run is written down for all, and returned."""
        seconds = self.ports.lease_seconds
        lease = _Lease(self.crew, claim, self.world, seconds, good_until=self._asked + seconds)
        keeping = asyncio.create_task(lease.keep())
        trouble = None
        try:
            await self._deliver(claim, lambda: lease.is_over() or self.ports.stopping())
        except ClaimLost:
            lease.lost = True
        except MeterfeedError as error:
            trouble = error
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        return await self._let_go(claim, lease, trouble)

    async def _let_go(
        self, claim: Claim, lease: _Lease, trouble: MeterfeedError | None
    ) -> MeterfeedError | None:
        done = trouble is None and not lease.is_over() and not self.ports.stopping()
        if not lease.lost:
            try:
                await self.crew.durable(self.crew.ledger.leave, claim, done=done, trouble=trouble)
            except ClaimLost:
                lease.lost = True
        if lease.lost:
            self.lost += 1
            self.crew.ledger.forget()
            return None  # whoever took the partition over goes on with it
        self.through += done
        return trouble

    async def _deliver(self, claim: Claim, stopping: Callable[[], bool]) -> None:
        taken = await self._taken(claim.run_seq)
        sender = self.session.sender(
            one_plan(claim.run_seq, taken.spool),
            taken.limits,
            lane=claim.lane,
            traffic=taken.traffic,
            tally=taken.tally,
            stopping=stopping,
            identity=taken.identity,
        )
        before = taken.tally.ended
        try:
            await sender.recover()  # what stays in doubt holds back its children, and is told at the end
            await sender.deliver(claim.run_seq, taken.steps[claim.step], taken.partitions)
        finally:
            self.settled += taken.tally.ended - before

    async def _taken(self, run_seq: int) -> _Taken:
        [run] = await self.crew.durable(lambda: self.crew.ledger.runs(run_seq=run_seq))
        start = (run.run_seq, run.fence, run.plan)
        if self._run is None or self._run.start != start:
            kept = json.loads(run.plan or "{}")
            plan = Plan.from_json(kept["plan"])
            spool = self.ports.shelf.shared_spool(run.run_id)
            limits = GuardsSection(**kept.get("limits", {}))
            traffic = await self.crew.durable(self.session.traffic)
            steps = steps_of(plan.phase_sizes)
            identity = await self.crew.durable(self.session.identity)
            self._run = _Taken(start, steps, plan.partitions, limits, spool, traffic, identity)
        return self._run


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a worker knows of the run it has a hand in.

    Attributes:
        start: the run, and which start of it: the next one begins with other limits, and counts anew.
        traffic: pace, breaker and budget of this worker, over all partitions of the run.
        tally: what came to an end in its hands, for the guard that counts refusals.
    """

    start: tuple[int, int, str | None]
    steps: list[dict[Phase, int]]
    partitions: int
    limits: GuardsSection
    spool: RowSpool
    traffic: Traffic
    identity: Identity
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class _Lease:
    """A claim and how long it holds by the clock of this machine, counted from before it was asked for."""

    crew: Crew
    claim: Claim
    world: World
    seconds: float
    good_until: float
    lost: bool = False
    ending: bool = False

    def is_over(self) -> bool:
        """Whether nothing more may be sent under it: it may be somebody else's by now, or the run is ending."""
        return self.lost or self.ending or self.world.monotonic() >= self.good_until

    async def keep(self) -> None:
        """Renew it until it is lost. A ledger that does not answer is asked again: the time runs meanwhile."""
        while not self.lost:
            await self.world.sleep(self.seconds / RENEWALS)
            asked = self.world.monotonic()
            try:
                goes_on = await self.crew.durable(self.crew.ledger.renew, self.claim, seconds=self.seconds)
            except ClaimLost:
                self.lost = True
            except MeterfeedError:
                continue
            else:
                self.good_until = asked + self.seconds
                self.ending = not goes_on
