"""What is written down while sending: intents before, endings after, and the sums that can stop the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from pipeline.delivery.classifier import Verdict
from pipeline.holdings import MERGES
from pipeline.phases import MANNERS, Phase
from pipeline.ports import Durable, Ledger, Notice, World
from schemas.errors import GuardError, MeterfeedError, StorageError
from schemas.ledger import MANIFEST_SCHEMA, ChunkRow, Draft, Leaf, State
from schemas.profile import GuardsSection

MANIFEST = MANIFEST_SCHEMA.names()
ABSENT = "absent"
"""The reason of a chunk that goes out again because what was in doubt is not there."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """A chunk and the bodies of its records; `body` is null where the spool is lost."""

    chunk: ChunkRow
    records: pl.DataFrame

    @property
    def phase(self) -> Phase:
        """The phase it belongs to."""
        return Phase(self.chunk.phase)

    @property
    def may_come_late(self) -> bool:
        """Whether an earlier request with these records got no answer, and they were absent ever since."""
        return self.chunk.reason == ABSENT

    @property
    def is_lost(self) -> bool:
        """Whether a body that its request needs is not in the spool any more."""
        return bool(self.records["body"].null_count()) and not MANNERS[self.phase].bodiless


@dataclass(frozen=True, slots=True)
class Part:
    """Some records of a shipment that share a state."""

    records: pl.DataFrame
    state: State
    reason: str | None = None
    message: str | None = None


@dataclass(slots=True)
class Tally:
    """Records that came to an end in this run."""

    acknowledged: int = 0
    rejected: int = 0
    alike: int = 0
    last_refusal: str = ""

    @property
    def ended(self) -> int:
        """Records that were taken or refused."""
        return self.acknowledged + self.rejected

    def refused(self, count: int, message: str) -> None:
        """Count refusals; `alike` is how many in a row said the same."""
        self.rejected += count
        self.alike = self.alike + count if message == self.last_refusal else count
        self.last_refusal = message

    def accepted(self, count: int) -> None:
        """Count acknowledgements."""
        self.acknowledged += count
        self.alike = 0


ABSORB_EVERY = 50_000
"""Acknowledged records that are folded into the holdings together, while others are on their way."""


@dataclass(slots=True)
class Books:
    """The ledger as the sender uses it.

    Attributes:
        doubts: shipments whose fate must be read back.
        fatal: the first thing that makes the run end; the rest comes to a clean stop.
        absent_at: when something in doubt was last found not to be there, and was to go out again.
    """

    ledger: Ledger
    durable: Durable
    world: World
    guards: GuardsSection
    tally: Tally = field(default_factory=Tally)
    doubts: list[Shipment] = field(default_factory=list)
    fatal: MeterfeedError | None = None
    absent_at: float | None = None
    _unabsorbed: int = field(default=0, init=False)

    def fail(self, error: MeterfeedError) -> None:
        """Make the run end with this error, unless an earlier one already does."""
        self.fatal = self.fatal or error

    # ------------------------------------------------------------ before
    async def intend(
        self, draft: Draft, records: pl.DataFrame, held: Sequence[tuple[str, Draft]] = ()
    ) -> Shipment | None:
        """Commit the intent to send records for the first time, and what of their stretch is held back.

        Both are one transaction: the cursor must not pass a record that is in no chunk.

        Args:
            held: chunks whose parents are not in place, each with the reason.

        Returns:
            What is to be sent, or None when everything is held back.
        """
        now = self.world.now()
        # Here and not in the ledger's thread: there it would wait for this one at every step, and we for it.
        packed = self.ledger.pack(draft) if records.height else draft

        def write() -> list[ChunkRow]:
            if draft.cursor_from > self.ledger.cursor(draft.run_seq, draft.phase, draft.lane):
                # Its stretch failed to be stored while ours waited: going past it would forget its records.
                raise StorageError(
                    "The stretch of the plan before this one is not in the ledger.",
                    cure="Run `meterfeed resume` when the storage is well.",
                )
            for reason, blocked in held:
                self.ledger.hold([blocked], state=State.BLOCKED, reason=reason)
            return self.ledger.intend([packed], now=now) if records.height else []

        born = await self.durable(write)
        return Shipment(born[0], records) if born else None

    async def intend_again(self, shipment: Shipment) -> Shipment:
        """Commit the intent to send a planned chunk, with the content it always had."""
        chunk = await self.durable(self.ledger.again, shipment.chunk.chunk_seq, now=self.world.now())
        return Shipment(chunk, shipment.records)

    # ------------------------------------------------------------ after
    async def settle(
        self,
        shipment: Shipment,
        state: State,
        verdict: Verdict | None = None,
        *,
        reason: str | None = None,
        message: str | None = None,
        requests: int | None = None,
    ) -> None:
        """All records of a shipment ended alike; one in doubt joins the doubts with the time its attempt ended."""
        now = self.world.now()
        if verdict is not None and state is not State.ACKNOWLEDGED:
            reason = reason or verdict.reason.value
        await self.durable(
            self.ledger.settle,
            shipment.chunk.chunk_seq,
            state=state,
            now=now,
            status=verdict.status if verdict else None,
            verdict=str(verdict.ruling) if verdict else str(state),
            reason=reason,
            message=message,
            requests=requests,
        )
        self._count(shipment.chunk, state, message)
        await self._absorb_some()
        if state is State.IN_DOUBT:
            chunk = replace(shipment.chunk, state=state, attempt_ended_at=now)
            self.doubts.append(Shipment(chunk, shipment.records))

    async def split(
        self,
        shipment: Shipment,
        parts: Sequence[Part],
        verdict: Verdict | None = None,
        *,
        requests: int | None = None,
    ) -> list[Shipment]:
        """The records of a shipment end apart; those in doubt join the doubts.

        Returns:
            The children, in the order of `parts` that hold a record.
        """
        held = [part for part in parts if part.records.height]
        leaves = [Leaf(part.records[MANIFEST], part.state, part.reason, part.message) for part in held]
        born = await self.durable(
            self.ledger.split,
            shipment.chunk.chunk_seq,
            leaves,
            now=self.world.now(),
            status=verdict.status if verdict else None,
            verdict=str(verdict.ruling) if verdict else "ended_apart",
            requests=requests,
        )
        children = [Shipment(chunk, part.records) for chunk, part in zip(born, held, strict=True)]
        for child in children:
            self._count(child.chunk, child.chunk.state, child.chunk.message)
            if child.chunk.state is State.IN_DOUBT:
                self.doubts.append(child)
        return children

    async def _absorb_some(self) -> None:
        """Fold what was acknowledged into the holdings now and then: left to the end, it would be waited for."""
        if self._unabsorbed >= ABSORB_EVERY:
            self._unabsorbed = 0
            await self.durable(self.ledger.absorb, MERGES)

    # ------------------------------------------------------------ sums
    def _count(self, chunk: ChunkRow, state: State, message: str | None) -> None:
        """Count records that ended; chunks that were refused and split are not counted, their leaves are."""
        if state is State.ACKNOWLEDGED:
            self.tally.accepted(chunk.n)
            self._unabsorbed += chunk.n
        elif state is State.REJECTED:
            self.tally.refused(chunk.n, message or "")
            self._guard_rejects()
        else:
            return
        self.world.notice(Notice("send", self.tally.ended, None, "records"))

    def _guard_rejects(self) -> None:
        tally, guards = self.tally, self.guards
        too_many = tally.ended >= guards.minimum_sent and tally.rejected > guards.rejected * tally.ended
        if not too_many and tally.alike < guards.rejected_alike:
            return
        self.fail(
            GuardError(
                f"The API refused {tally.rejected} of {tally.ended} records "
                f"({tally.rejected / tally.ended:.1%}); the last one said: {tally.last_refusal or 'nothing'}.",
                guard="rejected",
                cure="Mend the cause and run `meterfeed resume`. Are so many right: raise [guards] "
                f"{'rejected' if too_many else 'rejected_alike'} in the profile, then `meterfeed resume --profile P`.",
            )
        )
