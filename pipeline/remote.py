"""What the API holds, in the shape of the ledger's pages: for `adopt` and `reconcile`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl
from msgspec import UNSET

from pipeline.bodies import COORDINATE_DECIMALS, with_location_body, with_resource_body, with_user_body
from pipeline.delivery.answers import (
    HeldLocation,
    HeldResource,
    MalformedAnswer,
    held_locations,
    held_resources,
    held_user,
    users_page,
)
from pipeline.delivery.calls import (
    read_locations_call,
    read_resources_call,
    read_user_call,
    read_users_page_call,
)
from pipeline.delivery.classifier import Expectation, Ruling
from pipeline.delivery.comparing import has_coordinates, held_meter_points
from pipeline.delivery.wire import Exchange, Wire
from pipeline.holdings import HOLDING_COLUMNS, JOINED, KEY, PROTECTED, RELEASED, UNTOLD
from pipeline.identity import Identity, record_digest
from pipeline.partition import bucket, user_key
from pipeline.ports import World
from schemas.errors import ApiUnavailable
from schemas.exchange import Answer, Call
from schemas.ledger import MANIFEST_SCHEMA
from schemas.outcomes import Kind
from schemas.profile import VEHICLE

T = TypeVar("T")

DRIFTS = ("missing", "different", "unexpected", "doubled")
"""How what is held can differ from what the ledger believes."""

PAGES_AT_MOST = 1_000_000
"""A list of users that is longer than this shifts or loops while it is read."""


class Throttle:
    """So many turns a second, and no more than a second's worth at once.

    Args:
        rate: turns per second, above 0.
    """

    def __init__(self, world: World, rate: float) -> None:
        self._world, self._gap = world, 1.0 / rate
        self._next = world.monotonic() - 1.0

    async def turn(self) -> None:
        """Wait for one's turn."""
        now = self._world.monotonic()
        self._next = max(self._next, now - 1.0) + self._gap
        if self._next > now:
            await self._world.sleep(self._next - now)


async def _at_once() -> None:
    """No throttle: the pace of the wire is all there is."""


@dataclass(slots=True)
class Remote:
    """Reads users with all that hangs on them.

    Attributes:
        identity: makes digests and meter point keys comparable with the ledger's.
        scope: the profile that shall speak for what is read; empty for none.
        turn: waits before each request, for those who may not be in a hurry.
    """

    wire: Wire
    identity: Identity
    scope: str = ""
    turn: Callable[[], Awaitable[None]] = _at_once

    async def ask(self, call: Call, expectation: Expectation) -> Exchange:
        """One read, when it is our turn."""
        await self.turn()
        return await self.wire.ask(call, expectation)

    async def users(self) -> AsyncIterator[list[str]]:
        """User ids, a page at a time, each id once even when pages shift.

        Raises:
            ApiUnavailable: the list cannot be read to its end.
        """
        seen: set[int] = set()
        async for listed in self.user_pages():
            fresh = [user_id for user_id in dict.fromkeys(listed) if hash(user_id) not in seen]
            seen.update(hash(user_id) for user_id in fresh)
            yield fresh

    async def user_pages(self) -> AsyncIterator[list[str]]:
        """User ids as the list shows them, a page at a time: twice when it shows them twice.

        The server says how large its pages are; a smaller one than was asked for hides nobody.

        Raises:
            ApiUnavailable: the list cannot be read to its end, or it brings the same page again and again.
        """
        page, shown, total, is_full = 1, 0, 1, True
        before: list[str] = []
        while (shown < total or is_full) and page < PAGES_AT_MOST:
            told = await self._read(read_users_page_call(page), users_page)
            if told is None:
                raise ApiUnavailable("The list of users could not be read.", cure="Start again later.")
            users = [user.user_id for user in told.users]
            if users and users == before:
                raise ApiUnavailable(
                    "The list of users brings the same page again.", cure="Ask the vendor, then start again."
                )
            total, shown, before = told.pagination.total_records, shown + len(users), users
            is_full = len(users) >= max(1, told.pagination.page_size)
            yield users
            if not users:
                return
            page += 1

    async def held_of(self, user_ids: Sequence[str]) -> dict[Kind, pl.DataFrame]:
        """Everything these users have, as pages of holdings; a user that is gone has nothing.

        Raises:
            ApiUnavailable: something could not be read.
        """
        answers = await asyncio.gather(*(self._of_user(user_id) for user_id in user_ids))
        there = [(user_id, held) for user_id, held in zip(user_ids, answers, strict=True) if held is not None]
        locations = [(user_id, one) for user_id, (places, _) in there for one in places]
        resources = [(user_id, one) for user_id, (_, things) in there for one in things]
        return {
            Kind.USER: self._page(Kind.USER, with_user_body(_users([user_id for user_id, _ in there]))),
            Kind.LOCATION: self._page(
                Kind.LOCATION, with_location_body(_location_rows([_location_row(*one) for one in locations]))
            ),
            Kind.RESOURCE: self._page(
                Kind.RESOURCE, with_resource_body(_resources(resources, vehicles=False))
            ),
            Kind.VEHICLE: self._page(Kind.VEHICLE, with_resource_body(_resources(resources, vehicles=True))),
        }

    async def _of_user(self, user_id: str) -> tuple[list[HeldLocation], list[HeldResource]] | None:
        locations, resources = await asyncio.gather(
            self._read_or_absent(read_locations_call(user_id), held_locations),
            self._read_or_absent(read_resources_call(user_id), held_resources),
        )
        if locations or resources:
            return locations or [], resources or []
        # A list below a user that is gone may be absent or merely empty: only the user itself tells.
        there = await self._read_or_absent(read_user_call(user_id), lambda body: [held_user(body)])
        return None if there is None else ([], [])

    async def _read_or_absent(
        self, request: tuple[Call, Expectation], shape: Callable[[bytes], list[T]]
    ) -> list[T] | None:
        verdict, answer = await self.ask(*request)
        if verdict.ruling is Ruling.GONE:
            return None
        if verdict.ruling is Ruling.ANSWERED and isinstance(answer, Answer):
            try:
                return shape(answer.body)
            except MalformedAnswer:
                pass
        raise ApiUnavailable("What a user has could not be read.", cure="Start again later.")

    async def _read(self, request: tuple[Call, Expectation], shape: Callable[[bytes], T]) -> T | None:
        verdict, answer = await self.ask(*request)
        if verdict.ruling is not Ruling.ANSWERED or not isinstance(answer, Answer):
            return None
        try:
            return shape(answer.body)
        except MalformedAnswer:
            return None

    # ------------------------------------------------------------ frames
    def _page(self, kind: Kind, records: pl.DataFrame) -> pl.DataFrame:
        keys = pl.lit([], pl.List(pl.UInt64))
        if kind is Kind.LOCATION and records.height:
            points = records.select("user_id", "id", pl.col("meter_points").alias("point")).explode("point")
            keyed = points.drop_nulls("point").with_columns(
                self.identity.meter_point_key(pl.col("point")).alias("key")
            )
            grouped = keyed.group_by(*KEY).agg(pl.col("key").alias("meter_point_keys"))
            records = records.join(grouped, on=KEY, how="left", maintain_order="left")
            keys = pl.col("meter_point_keys").fill_null([])
        page = records.with_columns(
            record_digest(self.identity, kind),
            keys.alias("meter_point_keys"),
            bucket(user_key(pl.col("user_id"))).alias("bucket"),
            pl.lit(0, pl.UInt64).alias("row"),
            pl.lit(self.scope).alias("scope"),
        )
        return page.select(pl.col(name).cast(MANIFEST_SCHEMA[name]) for name in HOLDING_COLUMNS).sort(KEY)


def location_digest(identity: Identity, body: Mapping[str, Any]) -> str:
    """The digest of a location that says what a body says: the same as when it is read back."""
    place = body.get("coordinates") or {}
    row = {
        "user_id": body["userId"],
        "id": body["locationId"],
        "location_id": body["locationId"],
        "location_type": body.get("locationType"),
        "latitude": place.get("latitude"),
        "longitude": place.get("longitude"),
        "meter_points": sorted(set(body.get("meterPointIds") or ())),
    }
    made = with_location_body(_location_rows([row]))
    return str(made.select(record_digest(identity, Kind.LOCATION)).item())


def held_digest(identity: Identity, user_id: str, held: HeldLocation | HeldResource) -> str:
    """The digest of what a user holds, as `adopt` would write it down."""
    if isinstance(held, HeldLocation):
        kind, made = Kind.LOCATION, with_location_body(_location_rows([_location_row(user_id, held)]))
    else:
        is_vehicle = held.resource_type == VEHICLE
        kind = Kind.VEHICLE if is_vehicle else Kind.RESOURCE
        made = with_resource_body(_resources([(user_id, held)], vehicles=is_vehicle))
    return str(made.select(record_digest(identity, kind)).item())


def _location_row(user_id: str, held: HeldLocation) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "id": held.location_id,
        "location_id": held.location_id,
        "location_type": _known(held.location_type),
        "latitude": _degrees(held, "latitude"),
        "longitude": _degrees(held, "longitude"),
        "meter_points": sorted(set(held_meter_points(held))),
    }


def _location_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    schema = dict.fromkeys(("user_id", "id", "location_id", "location_type"), pl.String())
    degrees = dict.fromkeys(("latitude", "longitude"), pl.Float64())
    lists = {"meter_points": pl.List(pl.String())}
    return pl.DataFrame(rows, schema={**schema, **degrees, **lists}).with_columns(
        pl.col("latitude", "longitude").round(COORDINATE_DECIMALS) + 0.0
    )


def _users(user_ids: Sequence[str]) -> pl.DataFrame:
    users = pl.DataFrame({"id": list(user_ids)}, schema={"id": pl.String})
    return users.with_columns(pl.col("id").alias("user_id"), pl.lit(None, pl.String).alias("location_id"))


def _resources(held: Sequence[tuple[str, HeldResource]], *, vehicles: bool) -> pl.DataFrame:
    rows = [
        {
            "user_id": user_id,
            "id": one.resource_id,
            "location_id": None if vehicles else _known(one.location_id),
            "resource_type": one.resource_type,
            "meter_point": None if vehicles else _known(one.meter_point_id),
        }
        for user_id, one in held
        if (one.resource_type == VEHICLE) == vehicles
    ]
    names = ("user_id", "id", "location_id", "resource_type", "meter_point")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))


def _known(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _degrees(held: HeldLocation, half: str) -> float | None:
    if not has_coordinates(held) or held.coordinates is UNSET:
        return None
    return float(getattr(held.coordinates, half))


@dataclass(frozen=True, slots=True)
class Drift:
    """How what is held differs from what the ledger believes, for one kind.

    `doubled` is held more than once under one id: an API without unique ids applied a lost request late.
    """

    missing: pl.DataFrame
    different: pl.DataFrame
    unexpected: pl.DataFrame
    doubled: pl.DataFrame

    @property
    def count(self) -> int:
        """Records that differ in any way."""
        return sum(one.height for one in (self.missing, self.different, self.unexpected, self.doubled))


def drift(believed: pl.DataFrame | None, found: pl.DataFrame) -> Drift:
    """Compare pages of one kind for the same users."""
    doubled = found.filter(pl.struct(KEY).is_duplicated()).unique(KEY, maintain_order=True)
    found = found.unique(KEY, keep="first", maintain_order=True)
    if believed is None:
        return Drift(found.clear(), found.clear(), found, doubled)
    both = believed.join(found.select(*KEY, pl.col("digest").alias("found_digest")), on=KEY, how="inner")
    said = pl.col("digest").str.strip_prefix(PROTECTED)
    differs = both.filter(said != pl.col("found_digest")).drop("found_digest")
    return Drift(
        missing=believed.join(found, on=KEY, how="anti"),
        different=_without_let_go(differs, found),
        unexpected=found.join(believed, on=KEY, how="anti"),
        doubled=doubled,
    )


def _without_let_go(differs: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Without those of which the ledger knows the meter points alone.

    A location that kept some holds all of them. One that gave one up, and whatever a change was begun of and came to
    nothing, may hold fewer, and no other.
    """
    said = pl.col("digest").str.strip_prefix(PROTECTED)
    is_joined, is_loose = said.str.starts_with(JOINED), said.is_in([RELEASED, UNTOLD])
    if not differs.select((is_joined | is_loose).any()).item():
        return differs
    there = found.select(*KEY, pl.col("meter_point_keys").alias("there"))
    no_other = pl.col("there").list.set_difference("meter_point_keys").list.len() == 0
    no_fewer = pl.col("meter_point_keys").list.set_difference("there").list.len() == 0
    as_told = no_other & (is_loose | (is_joined & no_fewer))
    return differs.join(there, on=KEY, how="left", maintain_order="left").filter(~as_told).drop("there")
