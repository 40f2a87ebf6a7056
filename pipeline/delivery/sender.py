"""Send a plan so that nothing is lost and nothing is created twice, whatever the answers are.

Every chunk goes through the same door: the intent is committed, the request is sent, its ending is committed. A
refused chunk is split until the culprit stands alone; a chunk whose answer was lost is in doubt, and only reading
back moves it on. Nothing here knows HTTP or SQL; the table of `classifier.py` decides what an answer means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import polars as pl

from pipeline.delivery.awaiting import Awaited
from pipeline.delivery.books import MANIFEST, Books, Part, Shipment
from pipeline.delivery.calls import batch_call
from pipeline.delivery.classifier import Reason, Ruling, Verdict
from pipeline.delivery.cutting import PlanReader, ReadPlan, blocked_leaves, cuts
from pipeline.delivery.doubts import Doubts
from pipeline.delivery.readback import DigestOf, Found, Reader
from pipeline.delivery.singles import Singles, contract_error, forbidden_error, foreign_error
from pipeline.delivery.traffic import Traffic
from pipeline.delivery.wire import Wire
from pipeline.phases import MANNERS, Phase
from pipeline.ports import Api, Durable, Ledger, World
from schemas.errors import GuardError, MeterfeedError
from schemas.ledger import ChunkRow, Draft, Leaf, State
from schemas.profile import GuardsSection

SINGLES_PER_CHUNK = 200
"""Records of a phase without a batch call that share one intent: the commit costs little beside their calls."""
MOST_HINTED = 8
"""A server that names more than one in so many as culprits is not naming culprits."""

LOOKED_AT = 16
"""Records of a refused chunk that are read back, spread over it, before it counts as not applied at all."""
READ_AFTER_FIRST = 5
"""Acknowledged records of a chunk that are read at once, to learn how long reads may lag."""

Job = Callable[[], Awaitable[None]]
Held = Sequence[tuple[str, Draft]]
"""Chunks that are held back, each with the reason."""
T = TypeVar("T")


@dataclass(slots=True)
class Sender:
    """Delivers the plan of a run.

    Attributes:
        read_plan: where the records of the plan are.
        traffic: pace, patience and budget, shared by everything that is sent.
        guards: limits of the profile.
        settle_seconds: how long "absent" must last before it is believed.
        meter_point_keys: the keys the ledger knows meter points by.
        digest_of: the digest the ledger would know by what a user holds.
        stopping: whether somebody asked the run to end.
        lane: 0 for a whole plan; otherwise one partition of it, counted from 1, which a worker sends alone.
        trace: whether requests name their chunk and attempt in a header.
    """

    api: Api
    ledger: Ledger
    world: World
    durable: Durable
    read_plan: ReadPlan
    traffic: Traffic
    guards: GuardsSection
    settle_seconds: float
    meter_point_keys: Callable[[Sequence[str]], list[int]]
    stopping: Callable[[], bool] = lambda: False
    lane: int = 0
    trace: bool = True
    digest_of: DigestOf | None = None
    books: Books = field(init=False)
    _wire: Wire = field(init=False)
    _reader: Reader = field(init=False)
    _plan: PlanReader = field(init=False)
    _singles: Singles = field(init=False)
    _doubts: Doubts = field(init=False)
    _tries: Counter[int] = field(default_factory=Counter, init=False)
    """How often this run was told to try a chunk again, by its number."""

    def __post_init__(self) -> None:
        self.books = Books(self.ledger, self.durable, self.world, self.guards)
        self._wire = Wire(self.api, self.traffic, self.world, self._over, self.stopping, self.books.fail)
        self._reader = Reader(
            self._wire.ask,
            self.meter_point_keys,
            self.settle_seconds,
            self.world.monotonic,
            partial(self.traffic.pause, over=self._over),
            self.digest_of,
        )
        self._plan = PlanReader(self.read_plan)
        self._singles = Singles(
            self._wire, self.books, self._reader, self.meter_point_keys, self.settle_seconds
        )
        self._doubts = Doubts(
            self._wire, self.books, self._reader, self.settle_seconds, partial(self._guarded, self._again)
        )

    # ------------------------------------------------------------ the run
    async def deliver(self, run_seq: int, sizes: Mapping[Phase, int], partitions: int) -> None:
        """Send every phase of a plan in order, from wherever an earlier start left it.

        Raises:
            MeterfeedError: what stopped the run; everything up to there is in the ledger.
        """
        doubted = False
        for phase in Phase:
            if sizes.get(phase, 0) and not self._over():
                await self._work(self._jobs(run_seq, phase, sizes[phase], partitions))
                await self._doubts.settle()
            self._raise_if_fatal()
            doubted = doubted or bool(self.books.doubts)
        if doubted:
            await self._once_settled(run_seq, [phase for phase in Phase if sizes.get(phase, 0)])

    async def _once_settled(self, run_seq: int, phases: Sequence[Phase]) -> None:
        """What was in doubt when its children's turn came may have been settled since: their turn is now."""
        for phase in phases:
            if self._over():
                return
            awaited = await self.durable(Awaited.by, self.ledger, run_seq, phase)
            doubts = len(self.books.doubts)
            await self._work(self._freed(run_seq, phase, awaited))
            if len(self.books.doubts) > doubts:
                await self._doubts.settle()
            self._raise_if_fatal()

    async def recover(self) -> int:
        """Settle what earlier runs left in doubt; sends nothing that changes anything.

        Returns:
            How many records stay in doubt.
        """
        waiting = await self.durable(lambda: list(self.ledger.chunks(states=[State.IN_DOUBT])))
        self.books.doubts.extend(self._plan.shipment(chunk) for chunk in waiting)
        await self._doubts.settle(resend=False)
        self._raise_if_fatal()
        return sum(shipment.chunk.n for shipment in self.books.doubts)

    def _raise_if_fatal(self) -> None:
        if self.books.fatal is not None:
            raise self.books.fatal

    def _over(self) -> bool:
        return self.books.fatal is not None or self.stopping()

    # ------------------------------------------------------------ jobs
    async def _work(self, jobs: AsyncIterator[Job]) -> None:
        """Run jobs side by side, some more than there are requests in flight, until they end or one is fatal.

        A bug in one of them comes out here, once the others have come to their end.
        """
        running: set[asyncio.Task[None]] = set()
        ended: set[asyncio.Task[None]] = set()
        try:
            async for job in jobs:
                while len(running) >= self.traffic.ceiling:
                    ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    _raise_what_failed(ended)
                if self._over():
                    break
                running.add(asyncio.create_task(self._guarded(job)))
        finally:
            if running:
                ended, _ = await asyncio.wait(running)
        _raise_what_failed(ended)

    async def _guarded(self, job: Callable[..., Awaitable[None]], *args: Shipment) -> None:
        """A job never raises: what stops the run is kept, and the others come to a clean end."""
        try:
            await job(*args)
        except MeterfeedError as error:
            self.books.fail(error)

    async def _jobs(self, run_seq: int, phase: Phase, size: int, partitions: int) -> AsyncIterator[Job]:
        awaited = await self.durable(Awaited.by, self.ledger, run_seq, phase)
        start = await self.durable(self.ledger.cursor, run_seq, phase, self.lane)
        has_canary = MANNERS[phase].batch and size > self.guards.canary
        if has_canary and 0 < start <= self.traffic.size.max_records:
            await self._look_at_the_canary_again(run_seq, phase, start)
        for shipment in await self._not_sent(run_seq, phase):
            again = partial(self._again, shipment)
            if has_canary and _is_first(shipment, start):
                await self._canary(phase, again, shipment.records)
            else:
                yield again
        async for job in self._freed(run_seq, phase, awaited):
            yield job
        canary = is_first_cut = start == 0 and has_canary

        def size_of(records: pl.DataFrame) -> int:
            if is_first_cut:
                return self.guards.canary
            return self.traffic.chunk_size(records) if MANNERS[phase].batch else SINGLES_PER_CHUNK

        which = range(partitions) if self.lane == 0 else (self.lane - 1,)
        pieces = (self._plan.records(run_seq, phase, partition) for partition in which)
        for cut in cuts(pieces, start=start, size_of=size_of):
            is_first_cut = False
            draft = Draft(
                run_seq, phase, self.lane, cut.cursor, cut.cursor + cut.records.height, pl.DataFrame()
            )
            good, apart_from = awaited.apart(cut.records)
            held = [(reason, _holding(draft, records)) for reason, records in apart_from]
            first_time = partial(self._first_time, _holding(draft, good), good, held)
            if not canary:
                yield first_time
            elif good.height:
                canary = False
                await self._canary(phase, first_time, good)
            else:  # held back whole: the next one is the first that goes
                await self._guarded(first_time)

    async def _not_sent(self, run_seq: int, phase: Phase) -> list[Shipment]:
        """Chunks of this run and phase that an earlier start cut and did not send, or not with success."""
        return [self._plan.shipment(chunk) for chunk in await self._waiting(run_seq, phase, State.PLANNED)]

    async def _waiting(self, run_seq: int, phase: Phase, state: State) -> list[ChunkRow]:
        return await self.durable(
            lambda: list(self.ledger.chunks(states=[state], run_seq=run_seq, phase=phase))
        )

    async def _freed(self, run_seq: int, phase: Phase, awaited: Awaited) -> AsyncIterator[Job]:
        """What was held back and need not be any more; what still must be is told by the reason it has now."""
        for chunk in await self._waiting(run_seq, phase, State.BLOCKED):
            free, still = awaited.apart(chunk.manifest)
            if not free.height and all(reason == chunk.reason for reason, _ in still):
                continue
            leaves = blocked_leaves(still)
            if free.height:
                leaves.insert(0, Leaf(free.select(MANIFEST), State.PLANNED))
            born = await self.durable(
                self.ledger.split, chunk.chunk_seq, leaves, now=self.world.now(), verdict="released"
            )
            if free.height:
                yield partial(self._again, self._plan.shipment(born[0]))

    # ------------------------------------------------------------ one chunk
    async def _first_time(self, draft: Draft, records: pl.DataFrame, held: Held) -> None:
        shipment = await self.books.intend(draft, records, held)
        if shipment is not None:
            await self._drive(shipment)

    async def _again(self, shipment: Shipment) -> None:
        """Send a chunk the ledger knows as planned, unless the run is ending or its bodies are lost."""
        if self._over() or shipment.is_lost:
            return
        await self._drive(await self.books.intend_again(shipment))

    async def _canary(self, phase: Phase, job: Job, records: pl.DataFrame) -> None:
        """The first chunk is small, and read back: a surprise costs five records, not a hundred thousand."""
        before = self.books.tally.rejected
        await self._guarded(job)
        await self._doubts.settle()
        if self._over():
            return
        if self.books.tally.rejected - before == records.height:
            said = self.books.tally.last_refusal.rstrip(". ") or "without a reason"
            self.books.fail(
                _canary_error(f"The API refused all {records.height} records of the first chunk: {said}.")
            )
        else:
            await self._compare(phase, records)

    async def _look_at_the_canary_again(self, run_seq: int, phase: Phase, start: int) -> None:
        """A phase of which only the canary was cut: whoever goes on with it may not have mended what it showed."""
        for chunk in await self._waiting(run_seq, phase, State.ACKNOWLEDGED):
            shipment = self._plan.shipment(chunk)
            if (chunk.cursor_from, chunk.cursor_to) == (0, start) and not shipment.is_lost:
                await self._compare(phase, shipment.records)

    async def _compare(self, phase: Phase, records: pl.DataFrame) -> None:
        if Found.DIFFERENT in await self._reader.find(phase, records.head(self.guards.canary).to_dicts()):
            self.books.fail(_canary_error("The API holds other content than was sent in the first chunk."))

    async def _drive(self, shipment: Shipment) -> None:
        trace = f"{shipment.chunk.chunk_id}-{shipment.chunk.attempt}" if self.trace else ""
        if not MANNERS[shipment.phase].batch or shipment.chunk.n == 1:
            await self._singles.drive(shipment, trace)
            return
        began = self.world.monotonic()
        try:
            verdict, _ = await self._wire.send(*batch_call(shipment.phase, shipment.records, trace))
        except MeterfeedError:
            # No token, or the breaker is open: nothing of the request left this machine, so nothing is in doubt.
            reason = _still_absent(shipment) or "not_reached"
            await self.books.settle(shipment, State.PLANNED, reason=reason, requests=0)
            raise
        await self._after_batch(shipment, verdict, began)

    async def _after_batch(self, shipment: Shipment, verdict: Verdict, began: float) -> None:
        match verdict.ruling:
            case Ruling.APPLIED:
                await self.books.settle(shipment, State.ACKNOWLEDGED, verdict)
                first = shipment.records.head(READ_AFTER_FIRST).to_dicts()
                await self._reader.learn_lag(shipment.phase, first, began)
            case Ruling.PARTLY:
                await self._proven_in_part(shipment, verdict)
            case Ruling.NOT_APPLIED | Ruling.THROTTLED:
                await self.books.settle(shipment, State.PLANNED, verdict, reason=_still_absent(shipment))
                self._tries[shipment.chunk.chunk_seq] += 1
                await self.traffic.wait(verdict, self._tries[shipment.chunk.chunk_seq], self._over)
                await self._again(shipment)
            case Ruling.TOO_LARGE:
                await self._halve(shipment, verdict)
            case Ruling.REFUSED | Ruling.CONFLICT | Ruling.PARENT_MISSING | Ruling.GONE:
                await self._refused(shipment, verdict)
            case Ruling.FORBIDDEN:
                if await self._in_doubt_if_stopped(shipment, self._wire.is_everything_forbidden()):
                    await self.books.settle(shipment, State.PLANNED, verdict, reason=_still_absent(shipment))
                    raise forbidden_error()
                await self._refused(shipment, verdict)
            case Ruling.CONTRACT:
                await self.books.settle(shipment, State.PLANNED, verdict, reason=_still_absent(shipment))
                raise contract_error(verdict)
            case _:
                await self.books.settle(shipment, State.IN_DOUBT, verdict)
                if verdict.reason is Reason.FOREIGN_IDS:
                    raise foreign_error()

    async def _in_doubt_if_stopped(self, shipment: Shipment, reading: Awaitable[T]) -> T:
        """What a read tells of a chunk under way; one that cannot be read any more leaves it in doubt."""
        try:
            return await reading
        except MeterfeedError:
            await self.books.settle(shipment, State.IN_DOUBT, reason="not_read_back")
            raise

    async def _proven_in_part(self, shipment: Shipment, verdict: Verdict) -> None:
        """The answer proves some; the rest is in doubt."""
        proven = set(verdict.proven)
        ids = shipment.records["id"].to_list()
        users = shipment.records["user_id"].to_list()
        keys = ids if shipment.phase is Phase.CREATE_USERS else list(zip(users, ids, strict=True))
        is_proven = pl.Series([key in proven for key in keys])
        await self.books.split(
            shipment,
            [
                Part(shipment.records.filter(is_proven), State.ACKNOWLEDGED),
                Part(shipment.records.filter(~is_proven), State.IN_DOUBT, verdict.reason.value),
            ],
            verdict,
        )

    # ------------------------------------------------------------ refusals
    async def _refused(self, shipment: Shipment, verdict: Verdict) -> None:
        """A refused chunk may have been applied in part, anywhere in it: look before cutting it.

        What is there already must not be sent again: not every server refuses an id it knows.
        """
        records = shipment.records
        some = records.gather(sorted({n * records.height // LOOKED_AT for n in range(LOOKED_AT)}))
        found = await self._look(shipment, some)
        if all(one is Found.ABSENT for one in found):
            await self._halve(shipment, verdict)
            return
        if Found.UNKNOWN not in found and some.height < records.height:
            found = await self._look(shipment, records)
        if Found.UNKNOWN in found:
            await self.books.settle(shipment, State.IN_DOUBT, verdict)
            return
        parts = [
            Part(records.filter(pl.Series([one is Found.AS_SENT for one in found])), State.ACKNOWLEDGED),
            Part(
                records.filter(pl.Series([one is Found.DIFFERENT for one in found])),
                State.REJECTED,
                "other_content_there",
            ),
            Part(
                records.filter(pl.Series([one is Found.ABSENT for one in found])),
                State.PLANNED,
                _still_absent(shipment),
            ),
        ]
        await self._go_on(await self.books.split(shipment, parts, verdict))

    async def _look(self, shipment: Shipment, records: pl.DataFrame) -> list[Found]:
        reading = self._reader.find_after_refusal(shipment.phase, records.to_dicts())
        return await self._in_doubt_if_stopped(shipment, reading)

    async def _halve(self, shipment: Shipment, verdict: Verdict) -> None:
        """Cut where the server points, or in the middle. A half that passes says nothing of the other."""
        records, hints = shipment.records, verdict.hints
        if 0 < len(hints) * MOST_HINTED <= records.height:
            named = pl.Series([position in hints for position in range(records.height)])
            pieces = [records.filter(~named), *(records.slice(position, 1) for position in hints)]
        else:
            middle = records.height // 2
            pieces = [records.head(middle), records.slice(middle)]
        parts = [Part(piece, State.PLANNED, _still_absent(shipment)) for piece in pieces]
        await self._go_on(await self.books.split(shipment, parts, verdict))

    async def _go_on(self, children: Sequence[Shipment]) -> None:
        for child in children:
            if child.chunk.state is State.PLANNED:
                await self._again(child)


def _raise_what_failed(ended: Iterable[asyncio.Task[None]]) -> None:
    failures = [
        task.exception() for task in ended
    ]  # all are looked at, so that none is left for the event loop
    for failure in failures:
        if failure is not None:
            raise failure


def _is_first(shipment: Shipment, start: int) -> bool:
    """Whether it is the canary of an earlier start that ended before anything was decided of it.

    The plan goes on right after it, so nothing else was cut, and it is whole: of a part, some was decided.
    """
    chunk = shipment.chunk
    begun = (chunk.cursor_from, chunk.cursor_to) == (0, start)
    return begun and chunk.parent_seq is None and not shipment.is_lost


def _still_absent(shipment: Shipment) -> str | None:
    """The reason that stays with records whose first request may come late, whatever becomes of a later one."""
    return shipment.chunk.reason if shipment.may_come_late else None


def _holding(draft: Draft, records: pl.DataFrame) -> Draft:
    return replace(draft, manifest=records[MANIFEST])


def _canary_error(sentence: str) -> GuardError:
    return GuardError(
        sentence,
        guard="canary",
        cure="Nothing after it was sent; report.html shows what the API said. Mended at the API: `meterfeed resume`. "
        "Wrong in the export or the profile: mend it there and load the export again. Right as it is: `meterfeed "
        "resume --profile PROFILE`, with [guards] canary in it above the number of records.",
    )
