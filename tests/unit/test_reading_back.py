"""Reading back by id: what an answer tells of the record that was asked for, and of no other."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from pipeline.delivery.classifier import Reason, Ruling, Verdict
from pipeline.delivery.readback import LOOKS_FOR_TRUST, Found, Reader
from pipeline.phases import Phase
from schemas.exchange import Answer

RESOURCE = {
    "id": "res-1",
    "user_id": "user-1",
    "location_id": "loc-1",
    "body": '{"resourceId":"res-1","resourceType":"HVAC"}',
}


def reader(*bodies: Any, settled: list[None] | None = None) -> Reader:
    """A reader of an API that gives these answers, one after the other; None is a 404."""
    left = list(bodies)

    async def ask(*_: Any) -> Any:
        body = left.pop(0)
        ruling = Ruling.GONE if body is None else Ruling.ANSWERED
        return Verdict(ruling, Reason.READ), Answer(200, {}, orjson.dumps(body), 0.0)

    async def settle() -> None:
        assert settled is not None
        settled.append(None)

    return Reader(ask, lambda points: [], settle)


@pytest.mark.parametrize(
    ("told", "found"), [("res-1", Found.AS_SENT), ("res-2", Found.UNKNOWN), ("res-", Found.UNKNOWN)]
)
def test_an_answer_about_another_resource_tells_nothing(told: str, found: Found) -> None:
    held = {"resourceId": told, "resourceType": "HVAC", "userId": "user-1", "locationId": "loc-1"}
    assert [found] == asyncio.run(reader(held).find(Phase.CREATE_RESOURCES, [RESOURCE]))


USERS = [{"id": f"user-{n}", "user_id": f"user-{n}"} for n in range(LOOKS_FOR_TRUST)]


@pytest.mark.parametrize(("looks", "waits"), [(LOOKS_FOR_TRUST, 0), (LOOKS_FOR_TRUST - 1, 1)])
def test_absence_is_believed_at_once_only_after_enough_was_read_at_once(looks: int, waits: int) -> None:
    settled: list[None] = []
    answers = [{"userId": user["id"]} for user in USERS[:looks]]

    async def story() -> list[Found]:
        one = reader(*answers, None, None, settled=settled)
        for user in USERS[:looks]:
            await one.learn_freshness(Phase.CREATE_USERS, [user])
        return await one.find_after_refusal(Phase.CREATE_USERS, USERS[:1])

    assert [Found.ABSENT] == asyncio.run(story())
    assert waits == len(settled)
