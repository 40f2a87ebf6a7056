"""Settle what is in doubt. Present is believed at once; absent only when it stays so; nothing ages into either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import polars as pl

from pipeline.delivery.books import ABSENT, Books, Part, Shipment
from pipeline.delivery.readback import REMADE, Found, Reader
from pipeline.delivery.wire import Wire
from pipeline.holdings import UNTOLD, untold
from pipeline.phases import MANNERS, Phase
from schemas.errors import MeterfeedError
from schemas.ledger import State
from schemas.outcomes import Outcome

MOST_UNSETTLED = 20
"""Chunks that could not be read back before the rest is not even tried: reading does not work at all."""

LOOKS_FOR_ITSELF = frozenset({Phase.RELEASE_LOCATIONS, Phase.FREE_LOCATIONS})
"""Phases that look what is left to do before they do it, so they may be done twice."""
REMOVING = LOOKS_FOR_ITSELF | REMADE
"""Phases whose requests may take away what is wanted: a late one may still remove what is there at this moment.

Where being gone is what was wanted (`Manner.removes`), a late one does no harm: gone is believed at once.
"""


@dataclass(slots=True)
class Doubts:
    """Reads back shipments in doubt, one after the other.

    Attributes:
        settle_seconds: how long after the attempt an absence may still be a delay.
        send_again: sends what is proven absent, with the same content.
    """

    wire: Wire
    books: Books
    reader: Reader
    settle_seconds: float
    send_again: Callable[[Shipment], Awaitable[None]]
    _sent_again: Counter[int] = field(default_factory=Counter, init=False)
    """How often this run sent a chunk again, by its number; a child has its parent's count."""

    async def settle(self, *, resend: bool = True) -> None:
        """Go through the doubts until each is settled or reading brings nothing more."""
        unsettled: list[Shipment] = []
        while self.books.doubts and not self.wire.over() and len(unsettled) <= MOST_UNSETTLED:
            shipment = self.books.doubts.pop(0)
            try:
                settled = await self._settle_one(shipment, resend=resend)
            except MeterfeedError as error:
                self.books.fail(error)
                settled = False
            if not settled:
                unsettled.append(shipment)
        self.books.doubts = [*unsettled, *self.books.doubts]

    async def _settle_one(self, shipment: Shipment, *, resend: bool) -> bool:
        """Two reads, the second when the settle time is over; returns whether nothing is left in doubt."""
        removes = shipment.phase in REMOVING
        rest = shipment if removes else await self._without_present(shipment, await self._found(shipment))
        if rest is None:
            return True
        now = self.wire.world.now()
        since = max(
            0.0, now - (rest.chunk.attempt_ended_at or now)
        )  # the clock may have been set back meanwhile
        await self.wire.traffic.pause(self._settle_seconds(shipment.phase) - since, self.wire.over)
        if self.wire.over():
            return self._still_open(rest, shipment)
        if shipment.phase in LOOKS_FOR_ITSELF:
            return await self._once_more(rest, shipment, resend=resend)
        found = await self._found(rest)
        settled = await self._without_present(rest, found)
        if settled is None:
            return True
        if Found.UNKNOWN in found:
            return self._still_open(settled, shipment)
        return await self._once_more(settled, shipment, resend=resend)

    def _settle_seconds(self, phase: Phase) -> float:
        """How long after an attempt what is read is believed.

        Sending again what came late does no harm, so being late and being seen late need not be waited for both. What
        was made by an earlier attempt and taken away by the removal of a later one is different: it is still seen
        for as long as reads lag *after* that removal, which itself may have come late.
        """
        return 2 * self.settle_seconds if phase in REMADE else self.settle_seconds

    async def _once_more(self, rest: Shipment, shipment: Shipment, *, resend: bool) -> bool:
        """Send again what is proven absent; what was never answered conclusively stays in doubt at last."""
        times = self._sent_again[rest.chunk.chunk_seq] = 1 + max(
            self._sent_again[one.chunk.chunk_seq] for one in (rest, shipment)
        )
        if resend and times >= self.wire.traffic.attempts:
            return self._still_open(rest, shipment)
        await self.books.settle(rest, State.PLANNED, reason=ABSENT)
        self.books.absent_at = self.wire.world.now()
        if resend:
            await self.send_again(rest)
        return True

    def _still_open(self, rest: Shipment, shipment: Shipment) -> bool:
        """What could not be read stays in doubt; a child that replaced the shipment joins the doubts itself."""
        if rest is shipment:
            return False
        self.books.doubts.append(rest)
        return True

    async def _found(self, shipment: Shipment) -> list[Found]:
        return await self.reader.find(shipment.phase, shipment.records.to_dicts())

    async def _without_present(self, shipment: Shipment, found: list[Found]) -> Shipment | None:
        """Settle what is there; returns what is left in doubt, or None.

        A created record that is there with other content is nobody's success: it is rejected and shown. A
        changed one that still has other content was simply not changed yet. One that is there and may say anything
        is not made again, and the ledger does not pretend to know what it says.
        """
        states = pl.Series([str(one) for one in found])
        unsaid = states == Found.THERE
        present = (states == Found.AS_SENT) | unsaid
        creates = MANNERS[shipment.phase].done is Outcome.CREATED
        other = (states == Found.DIFFERENT) if creates else pl.Series([False] * len(found))
        if not (present | other).any():
            return shipment
        if present.all() and not unsaid.any():
            await self.books.settle(shipment, State.ACKNOWLEDGED)
            return None
        without_word = shipment.records.filter(unsaid).with_columns(untold())
        children = await self.books.split(
            shipment,
            [
                Part(shipment.records.filter(present & ~unsaid), State.ACKNOWLEDGED),
                Part(without_word, State.ACKNOWLEDGED, UNTOLD),
                Part(shipment.records.filter(other), State.REJECTED, "other_content_there"),
                Part(shipment.records.filter(~present & ~other), State.IN_DOUBT, shipment.chunk.reason),
            ],
        )
        rest = next((child for child in children if child.chunk.state is State.IN_DOUBT), None)
        if rest is not None:
            self.books.doubts.remove(rest)  # it is in our hands
        return rest
