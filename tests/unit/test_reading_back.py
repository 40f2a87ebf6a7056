"""Reading back by id: what an answer tells of the record that was asked for, and of no other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson
import polars as pl
import pytest

from pipeline.delivery.classifier import Reason, Ruling, Verdict
from pipeline.delivery.readback import LOOKS_FOR_TRUST, OUTLASTED, DigestOf, Found, Reader
from pipeline.identity import Identity, record_digest
from pipeline.phases import MANNERS, Phase
from pipeline.remote import held_digest
from schemas.exchange import Answer
from schemas.outcomes import Kind

RESOURCE = {
    "id": "res-1",
    "user_id": "user-1",
    "location_id": "loc-1",
    "body": '{"resourceId":"res-1","resourceType":"HVAC"}',
}


SETTLE_SECONDS = 30.0
EACH_TAKES = 0.25
"""Seconds until a read is answered."""


def reader(
    *bodies: Any,
    waits: list[float] | None = None,
    digest_of: DigestOf | None = None,
    settle: float = SETTLE_SECONDS,
) -> Reader:
    """A reader of an API that gives these answers, one after the other; None is a 404."""
    left, now = list(bodies), [100.0]

    async def ask(*_: Any) -> Any:
        body = left.pop(0)
        now[0] += EACH_TAKES
        ruling = Ruling.GONE if body is None else Ruling.ANSWERED
        return Verdict(ruling, Reason.READ), Answer(200, {}, orjson.dumps(body), 0.0)

    async def pause(seconds: float) -> None:
        assert waits is not None
        waits.append(seconds)

    return Reader(ask, lambda points: [], settle, lambda: now[0], pause, digest_of)


@pytest.mark.parametrize(
    ("told", "found"), [("res-1", Found.AS_SENT), ("res-2", Found.UNKNOWN), ("res-", Found.UNKNOWN)]
)
def test_an_answer_about_another_resource_tells_nothing(told: str, found: Found) -> None:
    held = {"resourceId": told, "resourceType": "HVAC", "userId": "user-1", "locationId": "loc-1"}
    assert [found] == asyncio.run(reader(held).find(Phase.CREATE_RESOURCES, [RESOURCE]))


ENOUGH = [1] * LOOKS_FOR_TRUST


@pytest.mark.parametrize(
    ("looks", "unseen", "since", "waited"),
    [
        ([], (), 100.0, SETTLE_SECONDS),
        (ENOUGH, (), 100.0, OUTLASTED * LOOKS_FOR_TRUST * EACH_TAKES),
        ([5, 5], (), 100.0, OUTLASTED * LOOKS_FOR_TRUST * EACH_TAKES),
        ([5, 99, 99], (), 100.0, OUTLASTED * LOOKS_FOR_TRUST * EACH_TAKES),
        (ENOUGH[1:], (), 100.0, SETTLE_SECONDS),
        (ENOUGH, (LOOKS_FOR_TRUST - 1,), 100.0, SETTLE_SECONDS),
        ([1, *ENOUGH], (0,), 100.0, SETTLE_SECONDS),
        (ENOUGH, (), 97.0, SETTLE_SECONDS),  # ten times as long is longer than lags may ever be
        (ENOUGH, (), 99.9, OUTLASTED * (LOOKS_FOR_TRUST * EACH_TAKES + 0.1)),
    ],
    ids=[
        "none",
        "enough",
        "in two",
        "more",
        "too few",
        "last unseen",
        "first unseen",
        "slow",
        "since it left",
    ],
)
def test_absence_is_believed_after_ten_times_what_ten_reads_took_or_the_settle_time(
    looks: list[int], unseen: tuple[int, ...], since: float, waited: float
) -> None:
    waits: list[float] = []
    users = [{"id": f"user-{n}", "user_id": f"user-{n}"} for n in range(300)]
    answers = [None if n in unseen else {"userId": user["id"]} for n, user in enumerate(users)]
    read = min(sum(looks), LOOKS_FOR_TRUST)
    if 0 in unseen:
        read = 1  # nobody looks any more

    async def story() -> list[Found]:
        one, start = reader(*answers[:read], None, None, waits=waits), 0
        for look in looks:
            await one.learn_lag(Phase.CREATE_USERS, users[start : start + look], since)
            start += look
        return await one.find_after_refusal(Phase.CREATE_USERS, users[-1:])

    assert [Found.ABSENT] == asyncio.run(story())
    assert [pytest.approx(waited)] == waits


def test_a_record_that_comes_late_gives_the_others_the_settle_time() -> None:
    """What was measured is void then, for good: also where ten are seen at once after it."""
    users = [{"id": f"user-{n}", "user_id": f"user-{n}"} for n in range(30)]
    told = [{"userId": user["id"]} for user in users]
    waits: list[float] = []
    one = reader(
        *told[:10], None, None, told[10], None, told[11], *[None] * 2, waits=waits
    )  # measured; two absent; the first comes; the second comes after the settle time; another is absent twice

    async def story() -> tuple[list[Found], list[Found]]:
        await one.learn_lag(Phase.CREATE_USERS, users[:10], 100.0)
        late = await one.find_after_refusal(Phase.CREATE_USERS, users[10:12])
        await one.learn_lag(Phase.CREATE_USERS, users[:10], 100.0)
        return late, await one.find_after_refusal(Phase.CREATE_USERS, users[12:13])

    assert ([Found.AS_SENT] * 2, [Found.ABSENT]) == asyncio.run(story())
    assert [pytest.approx(25.0), SETTLE_SECONDS, SETTLE_SECONDS] == waits


def test_a_removal_that_shows_late_gives_absence_the_settle_time() -> None:
    users = [{"id": f"user-{n}", "user_id": f"user-{n}"} for n in range(11)]
    here = {"resourceId": "res-1", "resourceType": "HVAC", "locationId": "loc-1"}
    waits: list[float] = []
    answers = [{"userId": user["id"]} for user in users[:10]]
    one = reader(*answers, {"resources": [here]}, {"resources": []}, None, None, waits=waits)

    async def story() -> bool | None:
        await one.learn_lag(Phase.CREATE_USERS, users[:10], 100.0)
        hanging = await one.hangs_on_location("user-1", "loc-1")
        await one.find_after_refusal(Phase.CREATE_USERS, users[10:])
        return hanging

    assert asyncio.run(story()) is False
    assert [pytest.approx(25.0), SETTLE_SECONDS] == waits


def test_absence_is_looked_at_twice_where_reads_are_said_not_to_lag() -> None:
    waits: list[float] = []
    user = {"id": "user-1", "user_id": "user-1"}
    one = reader(None, {"userId": "user-1"}, waits=waits, settle=0.0)
    assert [Found.AS_SENT] == asyncio.run(one.find_after_refusal(Phase.CREATE_USERS, [user]))
    assert [0.0] == waits


# ------------------------------------------------------------------ the spool is lost
HELD: dict[Kind, dict[str, Any]] = {
    Kind.LOCATION: {"locationId": "loc-1", "locationType": "Residential", "meterPointIds": ["7070", "7071"]},
    Kind.RESOURCE: {"resourceId": "res-1", "resourceType": "HVAC", "locationId": "loc-1"},
    Kind.VEHICLE: {"resourceId": "res-1", "resourceType": "Vehicle"},
}
BODIES = {
    Kind.LOCATION: '{"userId":"user-1","locationId":"loc-1","locationType":"Residential",'
    '"meterPointIds":["7070","7071"]}',
    Kind.RESOURCE: '{"resourceId":"res-1","resourceType":"HVAC"}',
    Kind.VEHICLE: '{"resourceId":"res-1","resourceType":"Vehicle"}',
}
IDENTITY = Identity("an id key")
CHANGES = [Phase.UPDATE_LOCATIONS, Phase.REPLACE_RESOURCES]
CREATES = [Phase.CREATE_LOCATIONS, Phase.CREATE_RESOURCES, Phase.CREATE_VEHICLES]


def without_body(phase: Phase, before: str = "", **more: Any) -> dict[str, Any]:
    """A record of which nothing but the manifest is left, sent as `BODIES` say."""
    kind = MANNERS[phase].kind
    place = "loc-1" if kind is Kind.RESOURCE else None
    own = {"id": HELD[kind].get("locationId" if kind is Kind.LOCATION else "resourceId")}
    record = pl.DataFrame(
        [{**own, "user_id": "user-1", "location_id": place, "body": BODIES[kind]}],
        schema_overrides={"location_id": pl.String},
    )
    digest = before + record.select(record_digest(IDENTITY, kind)).item()
    return {**record.to_dicts()[0], "digest": digest, "meter_point_keys": [], "body": None, **more}


def found(phase: Phase, held: dict[str, Any], record: dict[str, Any], *, knows_digests: bool = True) -> Found:
    one = reader(held, digest_of=partial(held_digest, IDENTITY) if knows_digests else None)
    [told] = asyncio.run(one.find(phase, [record]))
    return told


@pytest.mark.parametrize("before", ["", "protected:"])
@pytest.mark.parametrize("phase", [*CHANGES, *CREATES])
def test_what_was_sent_is_known_by_its_digest_when_its_body_is_lost(phase: Phase, before: str) -> None:
    held = HELD[MANNERS[phase].kind]
    assert Found.AS_SENT is found(phase, held, without_body(phase, before))


@pytest.mark.parametrize("knows_digests", [True, False])
@pytest.mark.parametrize(
    ("phase", "expected"),
    [*((phase, Found.DIFFERENT) for phase in CHANGES), *((phase, Found.THERE) for phase in CREATES)],
)
def test_a_record_that_is_there_is_no_proof_of_a_change_and_tells_nothing_of_what_was_created(
    phase: Phase, expected: Found, knows_digests: bool
) -> None:
    """An update in doubt was taken for made because its location, as old as ever, was there."""
    held = HELD[MANNERS[phase].kind]
    other = without_body(phase, digest="of something else")
    assert expected is found(phase, held, other, knows_digests=knows_digests)
    if not knows_digests:
        assert expected is found(phase, held, without_body(phase), knows_digests=False)


def test_a_correction_that_joined_what_is_there_is_not_known_by_its_digest() -> None:
    record = without_body(Phase.UPDATE_LOCATIONS, "joined:")
    assert Found.DIFFERENT is found(Phase.UPDATE_LOCATIONS, HELD[Kind.LOCATION], record)


def test_a_resource_of_somebody_else_is_not_what_was_created() -> None:
    held = HELD[Kind.RESOURCE] | {"userId": "user-2"}
    record = without_body(Phase.CREATE_RESOURCES)
    assert Found.DIFFERENT is found(Phase.CREATE_RESOURCES, held, record)
