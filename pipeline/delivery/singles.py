"""Phases without a batch call, and the leaves of a split: one record, its own requests, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import polars as pl

from pipeline.delivery.answers import HeldLocation
from pipeline.delivery.books import ABSENT, Books, Part, Shipment
from pipeline.delivery.calls import (
    Record,
    create_call,
    delete_location_call,
    delete_resource_call,
    delete_user_call,
    patch_meter_points_call,
    update_call,
)
from pipeline.delivery.classifier import Reason, Ruling, Verdict
from pipeline.delivery.comparing import has_coordinates, held_meter_points
from pipeline.delivery.readback import Found, Reader
from pipeline.delivery.wire import Wire
from pipeline.holdings import DELETED, RELEASED
from pipeline.joining import joined_body, joins
from pipeline.phases import MANNERS, Phase
from schemas.errors import AuthenticationError, ContractError, GuardError, MeterfeedError
from schemas.ledger import State
from schemas.outcomes import Kind, Outcome

STAYS = "has_other_records"
"""Reason of a removal that would take something along that nobody asked to remove."""
NOT_REMADE = "removed_not_remade"
"""Reason of a resource that was removed to be changed, and whose new content the API refuses: it holds neither."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one record ended.

    Attributes:
        requests: requests it took.
        digest: what the ledger is to know of its content, where that differs from the plan.
    """

    state: State
    reason: str | None = None
    message: str | None = None
    requests: int = 1
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class _Acted:
    """What the request(s) of one record brought; `ended` where no answer has to be judged any more."""

    verdict: Verdict
    requests: int = 1
    digest: str | None = None
    ended: Ended | None = None


_NOT_READ = _Acted(Verdict(Ruling.NOT_APPLIED, Reason.NOT_SENT), requests=0)
"""What had to be known first could not be read; nothing was sent."""
_KEPT = _Acted(
    Verdict(Ruling.REFUSED, Reason.NOT_SENT), requests=0, ended=Ended(State.REJECTED, STAYS, requests=0)
)
"""Not removed, because something hangs on it that stays."""


@dataclass(slots=True)
class Singles:
    """Sends records that have a request of their own, side by side under one intent.

    Attributes:
        settle_seconds: how long a record that was refused may still come by an earlier request without an answer.
    """

    wire: Wire
    books: Books
    reader: Reader
    meter_point_keys: Callable[[Sequence[str]], list[int]]
    settle_seconds: float

    async def drive(self, shipment: Shipment, trace: str) -> None:
        """Bring every record of a shipment to its end, and write it down."""
        records = shipment.records.to_dicts()
        ended = await asyncio.gather(*(self._to_its_end(shipment, record, trace) for record in records))
        requests = sum(one.requests for one in ended)
        digests = [one.digest or record["digest"] for one, record in zip(ended, records, strict=True)]
        told = shipment.records.with_columns(pl.Series("digest", digests, pl.String))
        parts = _alike(told, ended)
        if len(parts) == 1 and told["digest"].equals(shipment.records["digest"]):
            [part] = parts
            await self.books.settle(
                shipment, part.state, reason=part.reason, message=part.message, requests=requests
            )
        else:
            await self.books.split(Shipment(shipment.chunk, told), parts, requests=requests)

    async def _to_its_end(self, shipment: Shipment, record: Record, trace: str) -> Ended:
        """One record; what was certainly not applied is tried again, within patience."""
        phase, requests = shipment.phase, 0
        reason: str | None = "not_reached"
        for attempt in range(1, self.wire.traffic.attempts + 1):
            if self.wire.over():
                break
            try:
                acted = await self._act(phase, record, trace)
                requests += acted.requests
                ended = await self._ending(phase, record, acted)
                if ended.state is State.REJECTED and shipment.may_come_late:
                    ended = await self._unless_it_came(phase, record, acted, ended)
                if ended.state is not State.PLANNED or self.books.fatal is not None:
                    return Ended(ended.state, ended.reason, ended.message, requests, ended.digest)
                reason = ended.reason
                await self.wire.traffic.wait(acted.verdict, attempt, self.wire.over)
            except MeterfeedError as error:
                self.books.fail(error)
        return Ended(State.PLANNED, ABSENT if shipment.may_come_late else reason, None, requests)

    # ------------------------------------------------------------ requests
    async def _act(self, phase: Phase, record: Record, trace: str) -> _Acted:
        if phase is Phase.UPDATE_LOCATIONS:
            return await self._update(record, trace)
        if phase in (Phase.RELEASE_LOCATIONS, Phase.FREE_LOCATIONS):
            return await self._release(phase, record, trace)
        if MANNERS[phase].removes:
            return await self._remove(phase, record, trace)
        if phase is Phase.REPLACE_RESOURCES:
            return await self._replace(record, trace)
        verdict, _ = await self.wire.send(*create_call(phase, record, trace))
        return _Acted(verdict)

    async def _update(self, record: Record, trace: str) -> _Acted:
        if joins(record):
            held = await self.reader.location(record["user_id"], record["id"])
            if held is Found.UNKNOWN:
                return _Acted(Verdict(Ruling.NOT_APPLIED, Reason.NOT_SENT), requests=0)
            if not isinstance(held, Found):
                record = {**record, "body": joined_body(record, held, self.meter_point_keys)}
        verdict, _ = await self.wire.send(*update_call(record, trace))
        if verdict.ruling is not Ruling.GONE:
            return _Acted(verdict)
        [found] = await self.reader.find_after_refusal(Phase.UPDATE_LOCATIONS, [record])
        if found is not Found.ABSENT:
            return _Acted(replace(verdict, ruling=Ruling.IN_DOUBT))
        # It was given up once, in a handover: put it back.
        verdict, _ = await self.wire.send(*create_call(Phase.CREATE_LOCATIONS, record, trace))
        return _Acted(verdict, requests=2)

    async def _replace(self, record: Record, trace: str) -> _Acted:
        """There is no call that changes a resource; nothing hangs on it, so it is removed and made again."""
        verdict, _ = await self.wire.send(*delete_resource_call(record, trace))
        verdict = await self._surely_gone(Phase.REPLACE_RESOURCES, record, verdict, Found.ABSENT)
        if verdict.ruling is not Ruling.APPLIED:
            return _Acted(verdict)
        verdict, _ = await self.wire.send(*create_call(Phase.REPLACE_RESOURCES, record, trace))
        return _Acted(verdict, requests=2)

    async def _release(self, phase: Phase, record: Record, trace: str) -> _Acted:
        """Let a location give up meter points: leave it what remains, remove it when nothing does.

        One that is given new ones right after gets its new coordinates now, if that keeps it from being empty.
        """
        held = await self.reader.location(record["user_id"], record["id"])
        if held is Found.ABSENT:
            return _Acted(Verdict(Ruling.APPLIED, Reason.ALREADY_GONE), requests=0, digest=DELETED)
        if isinstance(held, Found):
            return _NOT_READ
        points = held_meter_points(held)
        kept = set(record["meter_point_keys"] or ())
        keys = self.meter_point_keys(points)
        remaining = [point for point, key in zip(points, keys, strict=True) if key in kept]
        if remaining == points and (remaining or has_coordinates(held)):
            return _Acted(Verdict(Ruling.APPLIED, Reason.ALREADY_GONE), requests=0, digest=RELEASED)
        place = _coming_coordinates(record) if not remaining and not has_coordinates(held) else None
        if remaining or has_coordinates(held) or place:
            verdict, _ = await self.wire.send(*patch_meter_points_call(record, remaining, trace, place))
            return _Acted(verdict, digest=RELEASED)
        return await self._empty(phase, record, held, trace)

    async def _empty(self, phase: Phase, record: Record, held: HeldLocation, trace: str) -> _Acted:
        """Nothing is left of a location but what hangs on it; if anything does, it stays, without a meter point."""
        hanging = await self.reader.hangs_on_location(record["user_id"], held.location_id)
        if hanging is None:
            return _NOT_READ
        if hanging:
            verdict, _ = await self.wire.send(*patch_meter_points_call(record, [], trace))
            return _Acted(verdict, digest=RELEASED)
        verdict, _ = await self.wire.send(*delete_location_call(record, trace))
        verdict = await self._surely_gone(phase, record, verdict, Found.AS_SENT)
        return _Acted(verdict, digest=DELETED)

    async def _remove(self, phase: Phase, record: Record, trace: str) -> _Acted:
        """Remove what vanished from the exports, unless something hangs on it that the ledger does not know of."""
        kind = MANNERS[phase].kind
        if kind is Kind.USER:
            hanging = await self.reader.hangs_on_user(record["id"])
            call = delete_user_call(record["id"], trace)
        elif kind is Kind.LOCATION:
            hanging = await self.reader.hangs_on_location(record["user_id"], record["id"])
            call = delete_location_call(record, trace)
        else:
            elsewhere = await self.reader.is_elsewhere(kind, record)
            if elsewhere:  # with it, what somebody else has would go
                return _Acted(Verdict(Ruling.APPLIED, Reason.ALREADY_GONE), requests=0)
            hanging, call = elsewhere, delete_resource_call(record, trace)
        if hanging is None:
            return _NOT_READ
        if hanging:
            return _KEPT
        verdict, _ = await self.wire.send(*call)
        return _Acted(await self._surely_gone(phase, record, verdict, Found.AS_SENT))

    async def _surely_gone(self, phase: Phase, record: Record, verdict: Verdict, wanted: Found) -> Verdict:
        """A removal answered with 404 may have met a path that is wrong: it is believed when reading agrees."""
        if verdict.reason is not Reason.ALREADY_GONE:
            return verdict
        [found] = await self.reader.find(phase, [record])
        return verdict if found is wanted else replace(verdict, ruling=Ruling.IN_DOUBT)

    # ------------------------------------------------------------ what it means
    async def _ending(self, phase: Phase, record: Record, acted: _Acted) -> Ended:
        if acted.ended is not None:
            return acted.ended
        verdict = acted.verdict
        reason, message = verdict.reason.value, verdict.message or None
        match verdict.ruling:
            case Ruling.APPLIED:
                return Ended(State.ACKNOWLEDGED, digest=acted.digest)
            case Ruling.NOT_APPLIED | Ruling.THROTTLED:
                return Ended(State.PLANNED, reason)
            case Ruling.REFUSED | Ruling.CONFLICT | Ruling.TOO_LARGE | Ruling.GONE:
                return await self._after_refusal(phase, record, acted)
            case Ruling.PARENT_MISSING:
                return Ended(State.BLOCKED, "parent_absent", message)
            case Ruling.FORBIDDEN:
                if not await self.wire.is_everything_forbidden():
                    return await self._after_refusal(phase, record, acted)
                self.books.fail(forbidden_error())
                return Ended(State.PLANNED, reason)
            case Ruling.CONTRACT:
                self.books.fail(contract_error(verdict))
                return Ended(State.PLANNED, reason)
            case _:
                if verdict.reason is Reason.FOREIGN_IDS:
                    self.books.fail(foreign_error())
                return Ended(State.IN_DOUBT, reason)

    async def _unless_it_came(self, phase: Phase, record: Record, acted: _Acted, refused: Ended) -> Ended:
        """A refusal says nothing of an earlier request that got no answer: that has the settle time once more to come.

        It is waited for once, however many are refused.
        """
        now = self.wire.world.now()
        self.books.absent_at = now if self.books.absent_at is None else self.books.absent_at
        since = max(0.0, now - self.books.absent_at)  # the clock may have been set back meanwhile
        await self.wire.traffic.pause(self.settle_seconds - since, self.wire.over)
        if self.wire.over():
            return Ended(State.IN_DOUBT, refused.reason, refused.message)
        [found] = await self.reader.find(phase, [record])
        if found is Found.UNKNOWN:
            return Ended(State.IN_DOUBT, refused.reason, refused.message)
        return Ended(State.ACKNOWLEDGED, digest=acted.digest) if found is Found.AS_SENT else refused

    async def _after_refusal(self, phase: Phase, record: Record, acted: _Acted) -> Ended:
        """A refusal may hide that the record is there already: look before calling it rejected."""
        verdict = acted.verdict
        [found] = await self.reader.find_after_refusal(phase, [record])
        if found is Found.AS_SENT:
            return Ended(State.ACKNOWLEDGED, digest=acted.digest)
        if found is Found.UNKNOWN:
            return Ended(State.IN_DOUBT, verdict.reason.value)
        if found is Found.DIFFERENT and MANNERS[phase].done is Outcome.CREATED:
            return Ended(State.REJECTED, "other_content_there", verdict.message or None)
        if phase is Phase.REPLACE_RESOURCES and found is Found.ABSENT:
            return Ended(State.REJECTED, NOT_REMADE, verdict.message or None)
        return Ended(State.REJECTED, verdict.reason.value, verdict.message or None)


def _coming_coordinates(record: Record) -> Any:
    """The coordinates a location is about to be given, or None."""
    return orjson.loads(record["body"]).get("coordinates") if record.get("body") else None


def _alike(records: pl.DataFrame, ended: Sequence[Ended]) -> list[Part]:
    """Records that ended alike, together."""
    groups: dict[tuple[State, str | None, str | None], list[int]] = {}
    for position, one in enumerate(ended):
        groups.setdefault((one.state, one.reason, one.message), []).append(position)
    return [Part(records[positions], *alike) for alike, positions in groups.items()]


def contract_error(verdict: Verdict) -> ContractError:
    """The API answered in a way that says this is not the endpoint we know."""
    return ContractError(
        f"The API answered {verdict.status} where records are registered: it moved, or the base URL is wrong.",
        cure="Check METERFEED_BASE_URL; nothing more was sent.",
    )


def forbidden_error() -> AuthenticationError:
    """The API answers 403 to everything."""
    return AuthenticationError(
        "The API answers 403 to everything.",
        cure="Ask for the right to register users, then run `meterfeed resume`.",
    )


def foreign_error() -> GuardError:
    """The API named records nobody sent."""
    return GuardError(
        "An answer names records that were not sent: two tenants may be mixed up.",
        guard="foreign_ids",
        cure="Nothing more was sent. Ask the vendor before running `meterfeed resume`.",
    )
