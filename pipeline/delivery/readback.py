"""Settle what is in doubt by reading it back: the only way to know after an answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import orjson
from msgspec import UNSET

from pipeline.delivery.answers import (
    HeldLocation,
    HeldResource,
    MalformedAnswer,
    held_location,
    held_locations,
    held_resource,
    held_resources,
    held_user,
    users_page,
)
from pipeline.delivery.calls import (
    READ_USER_PAGE_SIZE,
    Record,
    read_location_call,
    read_locations_call,
    read_resource_call,
    read_resources_call,
    read_user_call,
    read_users_page_call,
)
from pipeline.delivery.classifier import Expectation, Ruling, Verdict
from pipeline.delivery.comparing import held_meter_points, same_location, same_resource
from pipeline.holdings import DELETED, RELEASED
from pipeline.joining import has_joined, joins
from pipeline.phases import MANNERS, Phase
from schemas.exchange import Answer, Call, NoAnswer
from schemas.outcomes import Kind, Outcome
from schemas.profile import VEHICLE

Asker = Callable[[Call, Expectation], Awaitable[tuple[Verdict, Answer | NoAnswer]]]
"""Sends one read, with patience; what it returns may still be no answer."""

DigestOf = Callable[[str, HeldLocation | HeldResource], str]
"""`(user_id, what that user holds)` to the digest the ledger would know it by."""


class Found(StrEnum):
    """What reading back told of one record."""

    AS_SENT = "as_sent"
    DIFFERENT = "different"
    THERE = "there"
    """To be created and there; what was sent is lost, so nobody can tell whether it says that."""
    ABSENT = "absent"
    UNKNOWN = "unknown"


_AFTER_REMOVAL = {
    Found.ABSENT: Found.AS_SENT,
    Found.AS_SENT: Found.DIFFERENT,
    Found.DIFFERENT: Found.DIFFERENT,
    Found.UNKNOWN: Found.UNKNOWN,
}
"""What reading a record back tells of its removal: done when it is gone."""


REMADE = frozenset({Phase.REPLACE_RESOURCES})
"""Phases that remove a record and make it again: what is read of it may be what was there before the removal."""

LOOKS_FOR_TRUST = 10
"""Records that must be read back at once before absence is believed without the settle time."""
OUTLASTED = 10
"""How many times as long as any of these took is waited instead.

That all of them were seen may be luck: lags differ, and may be as long as an answer takes. Of lags that fall off
exponentially, those that let ten through in a time and then outlast ten of it are one in a million at worst, 2 ** -20.
"""


class Reader:
    """Reads records back by id; users also from the list, where that takes fewer requests.

    Args:
        ask: how a read is sent.
        meter_point_keys: the keys the ledger knows meter points by.
        settle_seconds: how long reads may lag, for all that is known.
        clock: monotonic seconds, by which lags are measured; None: they never are.
        pause: waits until reads have caught up; None: nothing was sent that they could lag behind.
        digest_of: the digest the ledger would know by what a user holds; for records whose body is lost.
    """

    def __init__(
        self,
        ask: Asker,
        meter_point_keys: Callable[[Sequence[str]], list[int]],
        settle_seconds: float = 0.0,
        clock: Callable[[], float] | None = None,
        pause: Callable[[float], Awaitable[None]] | None = None,
        digest_of: DigestOf | None = None,
    ) -> None:
        self._ask = ask
        self._keys = meter_point_keys
        self._settle_seconds = self._lag_seconds = settle_seconds
        self._clock = clock
        self._pause = pause
        self._digest_of = digest_of
        self._looks = self._unseen = LOOKS_FOR_TRUST
        self._slowest = 0.0

    async def learn_lag(self, phase: Phase, records: Sequence[Record], since: float) -> None:
        """Read records back that were acknowledged a moment ago: how long may reads lag?

        Looks until enough were seen at once, or one was not: lags differ, and two quick ones prove nothing.

        Args:
            phase: what was done to them.
            records: some of them.
            since: when the request left that did it; how soon it was done then is not known.
        """
        looked = records[: self._looks]
        if not looked or self._clock is None:
            return
        self._looks -= len(looked)
        found = await self.find(phase, looked)
        if any(one is not Found.AS_SENT for one in found):
            self._reads_lag()
            return
        self._slowest = max(self._slowest, self._clock() - since)
        self._unseen -= len(found)
        if self._unseen == 0:
            self._lag_seconds = min(self._lag_seconds, OUTLASTED * self._slowest)

    async def find_after_refusal(self, phase: Phase, records: Sequence[Record]) -> list[Found]:
        """What the API holds of records it refused, which it may have taken in part or had before.

        What is absent is looked for again when reads must have caught up, and so is what was removed a moment ago and
        is seen. Where some of it was otherwise only then, they lag longer than was measured: the others are given
        the settle time, here and from now on.
        """
        found = await self.find(phase, records)
        waited = -1.0
        stale = set(Found) - {Found.UNKNOWN} if phase in REMADE else {Found.ABSENT}
        while self._pause is not None and not stale.isdisjoint(found) and waited < self._lag_seconds:
            waited = self._lag_seconds
            await self._pause(waited)
            doubted = [n for n, one in enumerate(found) if one in stale]
            looked = await self.find(phase, [records[n] for n in doubted])
            for n, one in zip(doubted, looked, strict=True):
                if one not in (found[n], Found.UNKNOWN):
                    self._reads_lag()
                found[n] = one
        return found

    def _reads_lag(self) -> None:
        """What was measured is void, and nothing is measured any more: lags differ, and this one was seen."""
        self._lag_seconds, self._looks, self._unseen = self._settle_seconds, 0, -1

    async def find(self, phase: Phase, records: Sequence[Record]) -> list[Found]:
        """What the API holds of each record, in order."""
        if phase is Phase.CREATE_USERS:
            listed = await self._listed_users(records)
            rest = [record for record in records if record["id"] not in listed]
            found = iter(await asyncio.gather(*(self._one(phase, record) for record in rest)))
            return [Found.AS_SENT if record["id"] in listed else next(found) for record in records]
        return list(await asyncio.gather(*(self._one(phase, record) for record in records)))

    async def location(self, user_id: str, location_id: str) -> HeldLocation | Found:
        """One location as it is held, or `ABSENT` or `UNKNOWN`."""
        held: HeldLocation | Found = await self._read(read_location_call(user_id, location_id), held_location)
        return held

    async def user_is_there(self, user_id: str) -> Found:
        """`AS_SENT` when the user exists: a user is only its id."""
        held = await self._read(read_user_call(user_id), held_user)
        if isinstance(held, Found):
            return held
        return Found.AS_SENT if held.user_id == user_id else Found.UNKNOWN

    async def is_elsewhere(self, kind: Kind, record: Record) -> bool | None:
        """Whether the id of a resource or vehicle names one of somebody else, or of the other kind, by now.

        It is asked for, and removed, by its id alone. None when it cannot be read.
        """
        held = await self._read(read_resource_call(record["id"]), held_resource)
        if isinstance(held, Found):
            return None if held is Found.UNKNOWN else False
        return not _is_of(kind, record, held)

    # ------------------------------------------------------------ what hangs on it
    async def hangs_on_user(self, user_id: str) -> bool | None:
        """Whether a user has locations, resources or vehicles; None when that cannot be read.

        Something there is looked at again when reads must have caught up: it may have been removed just now.
        """
        return await self._surely_hanging(partial(self._on_user, user_id))

    async def hangs_on_location(self, user_id: str, location_id: str) -> bool | None:
        """Whether a location has resources; None when that cannot be read."""
        return await self._surely_hanging(partial(self._on_location, user_id, location_id))

    async def _surely_hanging(self, look: Callable[[], Awaitable[bool | None]]) -> bool | None:
        hanging = await look()
        if not hanging or self._pause is None:
            return hanging
        await self._pause(self._lag_seconds)
        hanging = await look()
        if hanging is False:
            self._reads_lag()
        return hanging

    async def _on_user(self, user_id: str) -> bool | None:
        lists = await asyncio.gather(
            self._read(read_locations_call(user_id), held_locations),
            self._read(read_resources_call(user_id), held_resources),
        )
        if Found.UNKNOWN in lists:
            return None
        return any(one is not Found.ABSENT and len(one) > 0 for one in lists)

    async def _on_location(self, user_id: str, location_id: str) -> bool | None:
        found = await self._read(read_resources_call(user_id), held_resources)
        if isinstance(found, Found):
            return None if found is Found.UNKNOWN else False
        # Whatever does not say where it hangs may hang here.
        return any(
            one.resource_type != VEHICLE and one.location_id in (UNSET, None, location_id) for one in found
        )

    async def _one(self, phase: Phase, record: Record) -> Found:
        manner = MANNERS[phase]
        if manner.removes:
            return _AFTER_REMOVAL[await self._there(manner.kind, record)]
        kind = manner.kind
        if kind is Kind.USER:
            return await self.user_is_there(record["id"])
        if kind is Kind.LOCATION:
            held = await self.location(record["user_id"], record["id"])
            return self._judge_location(phase, record, held)
        resource = await self._read(read_resource_call(record["id"]), held_resource)
        if isinstance(resource, Found):
            return resource
        if resource.resource_id != record["id"]:  # an answer about another one tells nothing
            return Found.UNKNOWN
        if record.get("body") is None:
            return self._judge_by_digest(phase, record, resource)
        return (
            Found.AS_SENT
            if same_resource(record, orjson.loads(record["body"]), resource)
            else Found.DIFFERENT
        )

    async def _there(self, kind: Kind, record: Record) -> Found:
        """Whether a record is there, whatever it says."""
        if kind is Kind.USER:
            return await self.user_is_there(record["id"])
        held = (
            await self.location(record["user_id"], record["id"])
            if kind is Kind.LOCATION
            else await self._read(read_resource_call(record["id"]), held_resource)
        )
        if isinstance(held, HeldResource) and not _is_of(kind, record, held):
            return Found.ABSENT
        return held if isinstance(held, Found) else Found.AS_SENT

    def _judge_location(self, phase: Phase, record: Record, held: HeldLocation | Found) -> Found:
        if record["digest"] in (RELEASED, DELETED):
            return self._judge_release(record, held)
        if isinstance(held, Found):
            return held
        if held.location_id != record["id"]:
            return Found.UNKNOWN
        if record.get("body") is None:
            return self._judge_by_digest(phase, record, held)
        if joins(record):
            return Found.AS_SENT if has_joined(record, held, self._keys) else Found.DIFFERENT
        return Found.AS_SENT if same_location(orjson.loads(record["body"]), held) else Found.DIFFERENT

    def _judge_by_digest(self, phase: Phase, record: Record, held: HeldLocation | HeldResource) -> Found:
        """The spool is lost: of what was sent, only the digest is known.

        Where that is not the one of what is held, a change does not count as made: its record was there before. What
        was to be created is there whatever it says, and must not be made again.
        """
        if isinstance(held, HeldResource) and held.user_id not in (UNSET, None, record["user_id"]):
            return Found.DIFFERENT  # it is asked for by its id alone
        if self._digest_of is not None and not joins(record):
            sent = record["digest"].rpartition(":")[2]  # before it stands how it came about, not what it says
            if sent == self._digest_of(record["user_id"], held):
                return Found.AS_SENT
        return Found.THERE if MANNERS[phase].done is Outcome.CREATED else Found.DIFFERENT

    def _judge_release(self, record: Record, held: HeldLocation | Found) -> Found:
        """Let go: the location is gone, or holds no key but those it may keep."""
        if isinstance(held, Found):
            return Found.AS_SENT if held is Found.ABSENT else held
        kept = set(record["meter_point_keys"] or ())
        left = set(self._keys(held_meter_points(held)))
        return Found.AS_SENT if left <= kept else Found.DIFFERENT

    async def _read(self, request: tuple[Call, Expectation], shape: Callable[[bytes], Any]) -> Any:
        verdict, answer = await self._ask(*request)
        if verdict.ruling is Ruling.GONE:
            return Found.ABSENT
        if verdict.ruling is not Ruling.ANSWERED or not isinstance(answer, Answer):
            return Found.UNKNOWN
        try:
            return shape(answer.body)
        except MalformedAnswer:
            return Found.UNKNOWN

    async def _listed_users(self, records: Sequence[Record]) -> set[str]:
        """Ids among `records` that the list of users shows. Being listed proves presence; not being does not."""
        wanted = {record["id"] for record in records}
        seen: set[str] = set()
        if len(wanted) < 2 * READ_USER_PAGE_SIZE // 100:  # a handful is asked for by id at once
            return seen
        page, pages = 1, 1
        while page <= pages:
            told = await self._read(read_users_page_call(page), users_page)
            if isinstance(told, Found):
                return seen
            if page == 1:
                size = max(1, told.pagination.page_size)
                pages = -(-told.pagination.total_records // size)
                if pages > len(wanted):
                    return seen
            seen.update(user.user_id for user in told.users if user.user_id in wanted)
            page += 1
        return seen


def _is_of(kind: Kind, record: Record, held: HeldResource) -> bool:
    """Whether what is held under the id of a record is of its user, and a vehicle if the record is one."""
    is_theirs = held.user_id in (UNSET, None, record["user_id"])
    return is_theirs and (held.resource_type == VEHICLE) is (kind is Kind.VEHICLE)
