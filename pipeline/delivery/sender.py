"""Send a plan so that nothing is lost and nothing is created twice, whatever the answers are.

Every chunk goes through the same door: the intent is committed, the requests are sent, the verdict is
committed. A refused chunk is split until the culprit stands alone. A chunk whose answer was lost is in doubt,
and only reading back moves it on: what is there is acknowledged, what stays absent is sent again with the same
content. Nothing here knows HTTP or SQL; the table of `classifier.py` decides what an answer means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import polars as pl

from pipeline.delivery.calls import (
    Record,
    batch_call,
    create_call,
    delete_location_call,
    delete_resource_call,
    patch_meter_points_call,
    read_users_page_call,
    update_call,
)
from pipeline.delivery.classifier import Expectation, Reason, Ruling, Verdict, classify
from pipeline.delivery.comparing import has_coordinates, held_meter_points
from pipeline.delivery.readback import Found, Reader
from pipeline.delivery.traffic import Traffic
from pipeline.holdings import DELETED, RELEASED
from pipeline.phases import MANNERS, Phase
from pipeline.ports import Api, Ledger, Notice, World
from schemas.errors import AuthenticationError, ContractError, GuardError, MeterfeedError
from schemas.exchange import Answer, Call, NoAnswer
from schemas.ledger import MANIFEST_SCHEMA, ChunkRow, Draft, Leaf, State
from schemas.outcomes import Kind
from schemas.profile import GuardsSection

T = TypeVar("T")

MANIFEST = MANIFEST_SCHEMA.names()
SINGLES_PER_CHUNK = 200
"""Records of a phase without a batch call that share one intent: the commit costs a few per cent of the calls."""
READ_PATIENCE = 4
"""How often a read is tried before what it asks for stays unknown."""

MOST_UNSETTLED = 20
"""Chunks in doubt that could not be read before the rest is not even tried."""

Durable = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs a ledger operation and returns when it is committed."""


@dataclass(slots=True)
class Tally:
    """Records that came to an end in this run, for the guard on rejects and for progress."""

    acknowledged: int = 0
    rejected: int = 0
    alike: int = 0
    last_refusal: str = ""

    def refused(self, count: int, message: str) -> None:
        """Count refusals; `alike` is how many in a row said the same."""
        self.rejected += count
        self.alike = self.alike + count if message == self.last_refusal else count
        self.last_refusal = message

    def accepted(self, count: int) -> None:
        """Count acknowledgements."""
        self.acknowledged += count
        self.alike = 0


@dataclass(frozen=True, slots=True)
class Shipment:
    """A chunk and the bodies of its records; `body` is null where the spool is lost."""

    chunk: ChunkRow
    records: pl.DataFrame

    @property
    def phase(self) -> Phase:
        """The phase it belongs to."""
        return Phase(self.chunk.phase)


@dataclass(frozen=True, slots=True)
class Ended:
    """How the single request (or short sequence) of one record ended."""

    state: State
    reason: str | None = None
    message: str | None = None
    requests: int = 1
    digest: str | None = None


@dataclass(slots=True)
class Sender:
    """Delivers the phases of one run.

    Attributes:
        api, ledger, world: the ports.
        durable: how ledger operations are run.
        read_plan: `(phase, partition) -> records with bodies`, or None where the spool is lost.
        traffic: pace, patience and budget, shared by everything that is sent.
        guards: limits of the profile.
        settle_seconds: how long "absent" must last before it is believed.
        meter_point_keys: the keys the ledger knows meter points by.
        stopping: whether somebody asked the run to end.
        trace: whether requests name their chunk and attempt in a header.
    """

    api: Api
    ledger: Ledger
    world: World
    durable: Durable[Any]
    read_plan: Callable[[Phase, int], pl.DataFrame | None]
    traffic: Traffic
    guards: GuardsSection
    settle_seconds: float
    meter_point_keys: Callable[[Sequence[str]], list[int]]
    stopping: Callable[[], bool] = lambda: False
    trace: bool = True
    tally: Tally = field(default_factory=Tally)
    fatal: MeterfeedError | None = None
    reader: Reader = field(init=False)
    _doubts: list[Shipment] = field(default_factory=list)
    _bodies: dict[tuple[Phase, int], pl.DataFrame | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reader = Reader(self._ask_patiently, self.meter_point_keys)

    # ------------------------------------------------------------ the run
    async def deliver(self, run_seq: int, sizes: Mapping[Phase, int], partitions: int) -> None:
        """Send every phase of a plan in order, from wherever an earlier start left it.

        Raises:
            MeterfeedError: what stopped the run; everything up to there is in the ledger.
        """
        for phase in Phase:
            if sizes.get(phase, 0):
                await self._deliver_phase(run_seq, phase, sizes[phase], partitions)
                self._raise_fatal()

    async def _deliver_phase(self, run_seq: int, phase: Phase, size: int, partitions: int) -> None:
        blocked = await self._bad_parents(run_seq, phase)
        jobs = self._jobs(run_seq, phase, size, partitions, blocked)
        await self._work(jobs)
        await self.settle_doubts()

    async def _work(self, jobs: AsyncIterator[Callable[[], Awaitable[None]]]) -> None:
        """Run jobs side by side, at most as many as the traffic allows, until they end or one is fatal."""
        running: set[asyncio.Task[None]] = set()
        try:
            async for job in jobs:
                if self._over():
                    break
                while len(running) >= self.traffic.ceiling:
                    _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if self._over():
                    break
                running.add(asyncio.create_task(self._guarded(job)))
        finally:
            if running:
                await asyncio.wait(running)

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        """A job never raises: what stops the run is kept, and the others come to a clean end."""
        try:
            await job()
        except MeterfeedError as error:
            self.fatal = self.fatal or error

    def _over(self) -> bool:
        return self.fatal is not None or self.stopping()

    def _raise_fatal(self) -> None:
        if self.fatal is not None:
            raise self.fatal

    # ------------------------------------------------------------ cutting
    async def _jobs(
        self, run_seq: int, phase: Phase, size: int, partitions: int, blocked: pl.DataFrame | None
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        async for chunk in self._left_over(run_seq, phase, blocked):
            shipment = self._with_bodies(chunk)
            yield lambda shipment=shipment: self._again(shipment)
        start = await self.durable(lambda: self.ledger.cursor(run_seq, phase, 0))
        canary = start == 0 and MANNERS[phase].batch and size > self.guards.canary
        for cut in self._cut(phase, partitions, start, canary=canary):
            draft = Draft(run_seq, phase, 0, cut.cursor, cut.cursor + cut.records.height, pl.DataFrame())
            good, held_back = _apart(cut.records, blocked, phase)
            await self._hold(draft, held_back)
            if not good.height:
                continue
            fresh = _with_manifest(draft, good)
            if canary:
                canary = False
                await self._canary(fresh, good)
                continue
            yield lambda fresh=fresh, good=good: self._fresh(fresh, good)

    def _cut(self, phase: Phase, partitions: int, start: int, *, canary: bool) -> Iterator[_Cut]:
        """Stretches of the plan from `start` on, each as large as a chunk may be at this moment."""
        batch = MANNERS[phase].batch
        cursor = 0
        rest = pl.DataFrame()
        for partition in range(partitions):
            found = self._plan(phase, partition)
            if found is None or cursor + found.height <= start:
                cursor += 0 if found is None else found.height
                continue
            if cursor < start:
                found = found.slice(start - cursor)
                cursor = start
            rest = pl.concat([rest, found]) if rest.height else found
            while rest.height:
                wanted = (
                    self.guards.canary
                    if canary
                    else (self.traffic.chunk_size(rest) if batch else SINGLES_PER_CHUNK)
                )
                if rest.height < wanted and partition < partitions - 1:
                    break  # fill the chunk from the next partition
                canary = False
                yield _Cut(cursor, rest.head(wanted))
                cursor += min(wanted, rest.height)
                rest = rest.slice(wanted)

    async def _left_over(
        self, run_seq: int, phase: Phase, blocked: pl.DataFrame | None
    ) -> AsyncIterator[ChunkRow]:
        """Chunks of this run and phase that were cut and not sent, or blocked and now free."""
        for state in (State.PLANNED, State.BLOCKED):
            waiting = await self.durable(
                lambda state=state: list(self.ledger.chunks(states=[state], run_seq=run_seq, phase=phase))
            )
            for chunk in waiting:
                if state is State.PLANNED:
                    yield chunk
                    continue
                free, still = _apart(chunk.manifest, blocked, phase)
                if free.height == chunk.n:
                    await self.durable(
                        lambda chunk=chunk: self.ledger.settle(
                            chunk.chunk_seq, state=State.PLANNED, now=self.world.now()
                        )
                    )
                    yield chunk
                elif free.height:
                    leaves = [Leaf(free.select(MANIFEST), State.PLANNED), *_blocked_leaves(still)]
                    born = await self.durable(
                        lambda chunk=chunk, leaves=leaves: self.ledger.split(
                            chunk.chunk_seq, leaves, now=self.world.now()
                        )
                    )
                    yield born[0]

    def _plan(self, phase: Phase, partition: int) -> pl.DataFrame | None:
        """The records of one phase and partition of the plan, with their place in it; the last few are kept."""
        key = (phase, partition)
        if key not in self._bodies:
            while len(self._bodies) >= 4:
                self._bodies.pop(next(iter(self._bodies)))
            found = self.read_plan(phase, partition)
            self._bodies[key] = (
                None
                if found is None or not found.height
                else found.with_columns(
                    pl.lit(partition, pl.UInt16).alias("partition"),
                    pl.int_range(pl.len(), dtype=pl.UInt32).alias("position"),
                )
            )
        return self._bodies[key]

    def _with_bodies(self, chunk: ChunkRow) -> Shipment:
        phase = Phase(chunk.phase)
        parts = []
        for (partition,), part in chunk.manifest.partition_by(
            "partition", as_dict=True, maintain_order=True
        ).items():
            plan = self._plan(phase, int(partition))
            if plan is None:
                parts.append(part.with_columns(pl.lit(None, pl.String).alias("body")))
                continue
            extra = [name for name in plan.columns if name not in part.columns]
            parts.append(
                part.join(plan.select("position", *extra), on="position", how="left", maintain_order="left")
            )
        return Shipment(chunk, pl.concat(parts, how="diagonal"))

    async def _hold(self, draft: Draft, held_back: pl.DataFrame) -> None:
        for leaf in _blocked_leaves(held_back):
            held = _with_manifest(draft, leaf.manifest)
            await self.durable(
                lambda held=held, leaf=leaf: self.ledger.hold(
                    [held], state=State.BLOCKED, reason=leaf.reason or "parent_rejected"
                )
            )

    async def _bad_parents(self, run_seq: int, phase: Phase) -> pl.DataFrame | None:
        """Parents of this phase's records that are not in place: `parent, reason`, or None for none."""
        parent = MANNERS[phase].parent
        if parent is None:
            return None
        kinds = {Kind.USER} if parent is Kind.USER else {Kind.USER, Kind.LOCATION}
        states = [State.REJECTED, State.IN_DOUBT, State.PLANNED, State.BLOCKED]

        def read() -> pl.DataFrame | None:
            found = [
                chunk.manifest.select(
                    _parent_name(MANNERS[earlier].kind).alias("parent"),
                    pl.lit(f"parent_{chunk.state}").alias("blocked_by"),
                )
                for earlier in Phase
                if MANNERS[earlier].kind in kinds
                and earlier is not Phase.RELEASE_LOCATIONS
                # An update that was refused leaves the location in place: its children may come.
                and earlier not in (Phase.UPDATE_LOCATIONS, phase)
                for chunk in self.ledger.chunks(states=states, run_seq=run_seq, phase=earlier)
            ]
            return pl.concat(found).unique("parent", keep="first", maintain_order=True) if found else None

        return await self.durable(read)

    # ------------------------------------------------------------ one chunk
    async def _fresh(self, draft: Draft, records: pl.DataFrame) -> None:
        [chunk] = await self.durable(lambda: self.ledger.intend([draft], now=self.world.now()))
        await self._drive(Shipment(chunk, records))

    async def _again(self, shipment: Shipment) -> None:
        """Send a chunk that the ledger knows as planned."""
        if self._over():
            return
        if shipment.records["body"].null_count() and shipment.phase is not Phase.RELEASE_LOCATIONS:
            return  # the spool is lost: the records stay unsent, a new plan will send them
        chunk = await self.durable(lambda: self.ledger.again(shipment.chunk.chunk_seq, now=self.world.now()))
        await self._drive(Shipment(chunk, shipment.records))

    async def _canary(self, draft: Draft, records: pl.DataFrame) -> None:
        """The first chunk is small, and read back: a surprise costs five records, not a hundred thousand."""
        before = self.tally.rejected
        await self._guarded(lambda: self._fresh(draft, records))
        if self._over():
            return
        await self.settle_doubts()
        if self.tally.rejected - before == records.height:
            self.fatal = GuardError(
                f"The API refused all {records.height} records of the first, small chunk: "
                f"{self.tally.last_refusal or 'without a reason'}.",
                guard="canary",
                cure="Nothing else was sent. Compare the plan with what the API asks for.",
            )
            return
        found = await self.reader.find(Phase(draft.phase), records.to_dicts())
        if Found.DIFFERENT in found:
            self.fatal = GuardError(
                "The API holds other content than was sent for the first, small chunk.",
                guard="canary",
                cure="Nothing else was sent. Read one of its records back with `meterfeed explain`.",
            )

    async def _drive(self, shipment: Shipment) -> None:
        if MANNERS[shipment.phase].batch and shipment.chunk.n > 1:
            await self._drive_batch(shipment)
        else:
            await self._drive_singles(shipment)

    async def _drive_batch(self, shipment: Shipment) -> None:
        trace = f"{shipment.chunk.chunk_id}-{shipment.chunk.attempt}" if self.trace else ""
        call, expectation = batch_call(shipment.phase, shipment.records, trace)
        verdict, _ = await self._send(call, expectation)
        match verdict.ruling:
            case Ruling.APPLIED:
                await self._settle(shipment, State.ACKNOWLEDGED, verdict)
            case Ruling.PARTLY:
                await self._part(shipment, verdict)
            case Ruling.NOT_APPLIED | Ruling.THROTTLED:
                await self._settle(shipment, State.PLANNED, verdict)
                await self.traffic.wait(verdict, shipment.chunk.attempt, self._over)
                await self._again(shipment)
            case Ruling.TOO_LARGE:
                await self._halve(shipment, verdict, ())
            case Ruling.FORBIDDEN:
                await self._forbidden(shipment, verdict)
                await self._refused(shipment, verdict)
            case Ruling.REFUSED | Ruling.CONFLICT | Ruling.PARENT_MISSING | Ruling.GONE:
                await self._refused(shipment, verdict)
            case Ruling.CONTRACT:
                await self._settle(shipment, State.PLANNED, verdict)
                raise _contract_error(verdict)
            case _:
                await self._settle(shipment, State.IN_DOUBT, verdict)
                self._doubts.append(shipment)

    async def _part(self, shipment: Shipment, verdict: Verdict) -> None:
        """The answer proves some; the rest is in doubt."""
        proven = set(verdict.proven)
        keys = _keys(shipment)
        is_proven = pl.Series([key in proven for key in keys])
        await self._split(
            shipment,
            [
                (shipment.records.filter(is_proven), State.ACKNOWLEDGED, None, None),
                (shipment.records.filter(~is_proven), State.IN_DOUBT, verdict.reason.value, None),
            ],
            verdict,
        )

    async def _refused(self, shipment: Shipment, verdict: Verdict) -> None:
        """A refused chunk may have been applied in part: look at its ends before cutting it."""
        ends = [shipment.records.row(0, named=True), shipment.records.row(-1, named=True)]
        if Found.ABSENT in await self.reader.find(shipment.phase, ends[:1]) and Found.ABSENT in (
            await self.reader.find(shipment.phase, ends[1:])
        ):
            await self._halve(shipment, verdict, verdict.hints)
            return
        found = await self.reader.find(shipment.phase, shipment.records.to_dicts())
        states = pl.Series([str(one) for one in found])
        present = shipment.records.filter(states == Found.AS_SENT)
        if not present.height or Found.UNKNOWN in found:
            await self._halve(shipment, verdict, verdict.hints)
            return
        rest = shipment.records.filter(states != Found.AS_SENT)
        await self._split(
            shipment,
            [
                (present, State.ACKNOWLEDGED, None, None),
                (rest, State.PLANNED, None, None),
            ],
            verdict,
        )

    async def _halve(self, shipment: Shipment, verdict: Verdict, hints: tuple[int, ...]) -> None:
        records = shipment.records
        if 0 < len(hints) <= max(1, records.height // 8):
            named = pl.Series([position in set(hints) for position in range(records.height)])
            parts = [records.filter(~named)] + [records.slice(position, 1) for position in hints]
        else:
            middle = records.height // 2
            parts = [records.head(middle), records.slice(middle)]
        await self._split(
            shipment, [(part, State.PLANNED, None, None) for part in parts if part.height], verdict
        )

    async def _split(
        self,
        shipment: Shipment,
        parts: Sequence[tuple[pl.DataFrame, State, str | None, str | None]],
        verdict: Verdict | None,
        requests: int | None = None,
    ) -> None:
        """Write children that each end alike, then go on with those that have not ended."""
        leaves = [
            Leaf(part.select(MANIFEST), state, reason, message)
            for part, state, reason, message in parts
            if part.height
        ]
        frames = [part for part, *_ in parts if part.height]
        born = await self.durable(
            lambda: self.ledger.split(
                shipment.chunk.chunk_seq,
                leaves,
                now=self.world.now(),
                status=verdict.status if verdict else None,
                verdict=str(verdict.ruling) if verdict else "read_back",
                requests=requests,
            )
        )
        for chunk, frame in zip(born, frames, strict=True):
            child = Shipment(chunk, frame)
            self._count(child, chunk.state, chunk.message)
            if chunk.state is State.PLANNED:
                await self._again(child)
            elif chunk.state is State.IN_DOUBT:
                self._doubts.append(child)

    async def _settle(self, shipment: Shipment, state: State, verdict: Verdict) -> None:
        reason = None if state is State.ACKNOWLEDGED else verdict.reason.value
        message = verdict.message or None if state is State.REJECTED else None
        await self.durable(
            lambda: self.ledger.settle(
                shipment.chunk.chunk_seq,
                state=state,
                now=self.world.now(),
                status=verdict.status,
                verdict=str(verdict.ruling),
                reason=reason,
                message=message,
            )
        )
        self._count(shipment, state, message)

    def _count(self, shipment: Shipment, state: State, message: str | None) -> None:
        """Feed the guard on rejects, which counts records that ended, never chunks that were split."""
        if state is State.ACKNOWLEDGED:
            self.tally.accepted(shipment.chunk.n)
        elif state is State.REJECTED:
            self.tally.refused(shipment.chunk.n, message or "")
            self._guard_rejects()
        if state in (State.ACKNOWLEDGED, State.REJECTED):
            done = self.tally.acknowledged + self.tally.rejected
            self.world.notice(Notice(shipment.phase.value, done, None, "records"))

    def _guard_rejects(self) -> None:
        ended = self.tally.acknowledged + self.tally.rejected
        too_many = ended >= self.guards.minimum_sent and self.tally.rejected > self.guards.rejected * ended
        if too_many or self.tally.alike >= self.guards.rejected_alike:
            share = self.tally.rejected / ended
            raise GuardError(
                f"The API refused {self.tally.rejected} of {ended} records ({share:.1%}); "
                f"the last one said: {self.tally.last_refusal or 'nothing'}.",
                guard="rejected",
                cure="Mend the cause and run `meterfeed resume`, or raise [guards] rejected in the profile.",
            )

    async def _forbidden(self, shipment: Shipment, verdict: Verdict) -> None:
        """403: when a harmless read is forbidden too, it is us and not the content."""
        safe, _ = await self._send(*read_users_page_call(1))
        if safe.ruling is not Ruling.ANSWERED:
            await self._settle(shipment, State.PLANNED, verdict)
            raise AuthenticationError(
                "The API answers 403 to everything.",
                cure="Ask for the right to register users; then `meterfeed resume`.",
            )

    # ------------------------------------------------------------ one record
    async def _drive_singles(self, shipment: Shipment) -> None:
        """Requests of their own for each record, side by side under one intent."""
        records = shipment.records.to_dicts()
        trace = f"{shipment.chunk.chunk_id}-{shipment.chunk.attempt}" if self.trace else ""
        ended = await asyncio.gather(*(self._single(shipment.phase, record, trace) for record in records))
        requests = sum(one.requests for one in ended)
        changed = [one.digest or record["digest"] for one, record in zip(ended, records, strict=True)]
        with_digests = Shipment(
            shipment.chunk, shipment.records.with_columns(pl.Series("digest", changed, pl.String))
        )
        groups = _grouped(with_digests.records, ended)
        await self._split_or_settle(with_digests, groups, requests)
        if self.fatal is None and any(one.state is State.PLANNED for one in ended):
            self._raise_fatal()

    async def _split_or_settle(
        self,
        shipment: Shipment,
        groups: list[tuple[pl.DataFrame, State, str | None, str | None]],
        requests: int,
    ) -> None:
        untouched = not any(
            one != before
            for one, before in zip(shipment.records["digest"], shipment.chunk.manifest["digest"], strict=True)
        )
        if len(groups) == 1 and untouched:
            _, state, reason, message = groups[0]
            await self.durable(
                lambda: self.ledger.settle(
                    shipment.chunk.chunk_seq,
                    state=state,
                    now=self.world.now(),
                    verdict=str(state),
                    reason=reason,
                    message=message,
                    requests=requests,
                )
            )
            self._count(shipment, state, message)
            if state is State.IN_DOUBT:
                self._doubts.append(shipment)
            return
        leaves = [
            Leaf(part.select(MANIFEST), state, reason, message) for part, state, reason, message in groups
        ]
        born = await self.durable(
            lambda: self.ledger.split(
                shipment.chunk.chunk_seq,
                leaves,
                now=self.world.now(),
                verdict="ended_apart",
                requests=requests,
            )
        )
        for chunk, (frame, *_) in zip(born, groups, strict=True):
            child = Shipment(chunk, frame)
            self._count(child, chunk.state, chunk.message)
            if chunk.state is State.IN_DOUBT:
                self._doubts.append(child)

    async def _single(self, phase: Phase, record: Record, trace: str) -> Ended:
        """One record to its end; what is certainly not applied is tried again here, within patience."""
        requests = 0
        for attempt in range(1, self.traffic.attempts + 1):
            if self._over():
                break
            verdict, digest, sent = await self._act(phase, record, trace)
            requests += sent
            ended = await self._ending(phase, record, verdict)
            if ended.state is not State.PLANNED or verdict.ruling is Ruling.CONTRACT:
                return Ended(ended.state, ended.reason, ended.message, requests, digest)
            if attempt < self.traffic.attempts:
                try:
                    await self.traffic.wait(verdict, attempt, self._over)
                except MeterfeedError as error:
                    self.fatal = self.fatal or error
                    break
        return Ended(State.PLANNED, "not_sent", None, requests)

    async def _act(self, phase: Phase, record: Record, trace: str) -> tuple[Verdict, str | None, int]:
        """The request(s) of one record: the deciding verdict, a digest if it differs from the plan's, the count."""
        if phase is Phase.UPDATE_LOCATIONS:
            verdict, _ = await self._send(*update_call(record, trace))
            if verdict.ruling is Ruling.GONE:  # it was given up once: put it back
                verdict, _ = await self._send(*create_call(Phase.CREATE_LOCATIONS, record, trace))
                return verdict, None, 2
            return verdict, None, 1
        if phase is Phase.RELEASE_LOCATIONS:
            return await self._release(record, trace)
        if phase is Phase.REPLACE_RESOURCES:
            verdict, _ = await self._send(*delete_resource_call(record, trace))
            if verdict.ruling is not Ruling.APPLIED:
                return verdict, None, 1
            verdict, _ = await self._send(*create_call(phase, record, trace))
            return verdict, None, 2
        verdict, _ = await self._send(*create_call(phase, record, trace))
        return verdict, None, 1

    async def _release(self, record: Record, trace: str) -> tuple[Verdict, str | None, int]:
        """Let a location give up meter points: PATCH what remains, or remove the location when nothing does."""
        held = await self.reader.location(record["user_id"], record["id"])
        if held is Found.ABSENT:
            return Verdict(Ruling.APPLIED, Reason.ALREADY_GONE), DELETED, 0
        if isinstance(held, Found):
            return Verdict(Ruling.NOT_APPLIED, Reason.NOT_SENT), None, 0
        points = held_meter_points(held)
        kept_keys = set(record["meter_point_keys"] or ())
        remaining = [
            point
            for point, key in zip(points, self.meter_point_keys(points), strict=True)
            if key in kept_keys
        ]
        if remaining or has_coordinates(held):
            verdict, _ = await self._send(*patch_meter_points_call(record, remaining, trace))
            return verdict, RELEASED, 1
        verdict, _ = await self._send(*delete_location_call(record, trace))
        return verdict, DELETED, 1

    async def _ending(self, phase: Phase, record: Record, verdict: Verdict) -> Ended:
        """What a verdict means for one record, reading back where a refusal may hide an earlier success."""
        match verdict.ruling:
            case Ruling.APPLIED:
                return Ended(State.ACKNOWLEDGED)
            case Ruling.NOT_APPLIED | Ruling.THROTTLED:
                return Ended(State.PLANNED, verdict.reason.value)
            case Ruling.REFUSED | Ruling.CONFLICT | Ruling.TOO_LARGE | Ruling.GONE:
                return await self._after_refusal(phase, record, verdict)
            case Ruling.PARENT_MISSING:
                return Ended(State.BLOCKED, "parent_absent", verdict.message or None)
            case Ruling.FORBIDDEN:
                safe, _ = await self._send(*read_users_page_call(1))
                if safe.ruling is Ruling.ANSWERED:
                    return Ended(State.REJECTED, verdict.reason.value, verdict.message or None)
                self.fatal = self.fatal or AuthenticationError("The API answers 403 to everything.")
                return Ended(State.PLANNED, verdict.reason.value)
            case Ruling.CONTRACT:
                self.fatal = self.fatal or _contract_error(verdict)
                return Ended(State.PLANNED, verdict.reason.value)
            case _:
                return Ended(State.IN_DOUBT, verdict.reason.value)

    async def _after_refusal(self, phase: Phase, record: Record, verdict: Verdict) -> Ended:
        [found] = await self.reader.find(phase, [record])
        if found is Found.AS_SENT:
            return Ended(State.ACKNOWLEDGED)
        if found is Found.UNKNOWN:
            return Ended(State.IN_DOUBT, verdict.reason.value)
        if found is Found.DIFFERENT and MANNERS[phase].done.value == "created":
            return Ended(State.REJECTED, "other_content_there", verdict.message or None)
        return Ended(State.REJECTED, verdict.reason.value, verdict.message or None)

    # ------------------------------------------------------------ in doubt
    async def recover(self) -> int:
        """Settle everything earlier runs left in doubt; returns how many records could not be settled."""
        waiting = await self.durable(lambda: list(self.ledger.chunks(states=[State.IN_DOUBT])))
        self._doubts.extend(self._with_bodies(chunk) for chunk in waiting)
        await self.settle_doubts(resend=False)
        self._raise_fatal()
        return sum(shipment.chunk.n for shipment in self._doubts)

    async def settle_doubts(self, *, resend: bool = True) -> None:
        """Read back what is in doubt until it is settled, or reading brings nothing more.

        Present is believed at once. Absent is believed when it is read a second time, `settle_seconds` after
        the attempt ended; then the same content may be sent again.
        """
        unsettled: list[Shipment] = []
        while self._doubts and not self._over():
            shipment = self._doubts.pop(0)
            try:
                settled = await self._settle_doubt(shipment, resend=resend)
            except MeterfeedError as error:
                self.fatal = self.fatal or error
                settled = False
            if not settled:
                unsettled.append(shipment)
            if len(unsettled) > MOST_UNSETTLED:
                break  # reading does not work at all: the records stay in doubt, and are reported so
        self._doubts = [*unsettled, *self._doubts]

    async def _settle_doubt(self, shipment: Shipment, *, resend: bool) -> bool:
        rest = await self._acknowledge_present(shipment, await self._found(shipment))
        if rest is None:
            return True
        ended = rest.chunk.attempt_ended_at or self.world.now()
        await self.traffic.pause(max(0.0, ended + self.settle_seconds - self.world.now()), self._over)
        if self._over():
            return False
        found = await self._found(rest)
        if Found.UNKNOWN in found:
            rest = await self._acknowledge_present(rest, found)
            return rest is None
        await self._believe_absent(rest, found, resend=resend)
        return True

    async def _found(self, shipment: Shipment) -> list[Found]:
        return await self.reader.find(shipment.phase, shipment.records.to_dicts())

    async def _acknowledge_present(self, shipment: Shipment, found: list[Found]) -> Shipment | None:
        """Settle what is there; returns what is left in doubt, or None."""
        states = pl.Series([str(one) for one in found])
        creates = MANNERS[shipment.phase].done.value == "created"
        present = shipment.records.filter(states == Found.AS_SENT)
        other = shipment.records.filter((states == Found.DIFFERENT) & pl.lit(creates).first())
        rest = shipment.records.filter(
            (states != Found.AS_SENT) & ~((states == Found.DIFFERENT) & pl.lit(creates).first())
        )
        if rest.height == shipment.records.height:
            return shipment
        parts = [
            (present, State.ACKNOWLEDGED, None, None),
            (other, State.REJECTED, "other_content_there", None),
            (rest, State.IN_DOUBT, shipment.chunk.reason, None),
        ]
        if present.height == shipment.records.height:
            await self.durable(
                lambda: self.ledger.settle(
                    shipment.chunk.chunk_seq, state=State.ACKNOWLEDGED, now=self.world.now()
                )
            )
            self._count(shipment, State.ACKNOWLEDGED, None)
            return None
        before = len(self._doubts)
        await self._split(shipment, parts, None)
        if len(self._doubts) == before:
            return None
        return self._doubts.pop()

    async def _believe_absent(self, shipment: Shipment, found: list[Found], *, resend: bool) -> None:
        rest = await self._acknowledge_present(shipment, found)
        if rest is None:
            return
        await self.durable(
            lambda: self.ledger.settle(
                rest.chunk.chunk_seq, state=State.PLANNED, now=self.world.now(), reason="absent"
            )
        )
        if resend:
            await self._guarded(lambda: self._again(rest))

    # ------------------------------------------------------------ the wire
    async def _send(self, call: Call, expectation: Expectation) -> tuple[Verdict, Answer | NoAnswer]:
        """One request, at the pace the API bears; the verdict feeds pace, breaker and budget."""
        async with self.traffic.slot(is_read=call.method == "GET") as slot:
            answer = await self.api.call(call)
            verdict = classify(expectation, answer, self.world.now())
            self.traffic.learn(verdict, slot, byte_count=len(call.body or b""))
        return verdict, answer

    async def _ask_patiently(self, call: Call, expectation: Expectation) -> tuple[Verdict, Answer | NoAnswer]:
        """One read, tried again while it brings neither an answer nor an absence."""
        for attempt in range(1, READ_PATIENCE + 1):
            verdict, answer = await self._send(call, expectation)
            if verdict.ruling in (Ruling.ANSWERED, Ruling.GONE) or attempt == READ_PATIENCE or self._over():
                break
            await self.traffic.wait(verdict, attempt, self._over)
        return verdict, answer


@dataclass(frozen=True, slots=True)
class _Cut:
    cursor: int
    records: pl.DataFrame


def _apart(
    records: pl.DataFrame, bad_parents: pl.DataFrame | None, phase: Phase
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Records whose parent is in place, and the others with the reason in `blocked_by`."""
    if bad_parents is None:
        return records, records.clear()
    parent = MANNERS[phase].parent
    name = pl.col("user_id") if parent is Kind.USER else _place("location_id")
    marked = records.with_columns(name.alias("parent")).join(
        bad_parents, on="parent", how="left", maintain_order="left"
    )
    if parent is Kind.LOCATION:  # a location is missing as well when its user is
        by_user = bad_parents.rename({"parent": "user_id", "blocked_by": "by_user"})
        marked = (
            marked.join(by_user, on="user_id", how="left", maintain_order="left")
            .with_columns(pl.coalesce("blocked_by", "by_user").alias("blocked_by"))
            .drop("by_user")
        )
    good = pl.col("blocked_by").is_null()
    return marked.filter(good).select(records.columns), marked.filter(~good).select(
        *records.columns, "blocked_by"
    )


def _place(location: str) -> pl.Expr:
    return pl.concat_str("user_id", pl.col(location).fill_null(""), separator="\x1f")


def _parent_name(kind: Kind) -> pl.Expr:
    """How children name a parent of this kind."""
    return pl.col("id") if kind is Kind.USER else _place("id")


def _blocked_leaves(held_back: pl.DataFrame) -> list[Leaf]:
    """Blocked records as leaves, one for each reason."""
    if not held_back.height:
        return []
    parts = held_back.partition_by("blocked_by", as_dict=True, maintain_order=True)
    return [Leaf(part, State.BLOCKED, str(reason)) for (reason,), part in parts.items()]


def _with_manifest(draft: Draft, records: pl.DataFrame) -> Draft:
    return replace(draft, manifest=records.select(MANIFEST))


def _keys(shipment: Shipment) -> list[Any]:
    ids = shipment.records["id"].to_list()
    if shipment.phase is Phase.CREATE_USERS:
        return ids
    return list(zip(shipment.records["user_id"].to_list(), ids, strict=True))


def _grouped(
    records: pl.DataFrame, ended: Sequence[Ended]
) -> list[tuple[pl.DataFrame, State, str | None, str | None]]:
    """Records that ended alike, together."""
    groups: dict[tuple[State, str | None, str | None], list[int]] = {}
    for position, one in enumerate(ended):
        groups.setdefault((one.state, one.reason, one.message), []).append(position)
    return [(records[positions], *alike) for alike, positions in groups.items()]


def _contract_error(verdict: Verdict) -> ContractError:
    return ContractError(
        f"The API answered {verdict.status} where records are registered: it moved, or the base URL is wrong.",
        cure="Check METERFEED_BASE_URL; nothing more was sent.",
    )
