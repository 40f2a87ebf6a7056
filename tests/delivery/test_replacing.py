"""A resource is removed and made again, where requests come late and reads later still, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.phases import Phase
from sandbox.effects import Cause
from sandbox.records import Location, Resource, User
from tests.delivery import harness
from tests.delivery.virtual import Ended, VirtualBench

MAKING = "POST /users/{userId}/locations/{locationId}/resources"
REMOVING = "DELETE /resources/{resourceId}"
LAG = {"d": "reads-lag", "lag_seconds": 29.0}
COMES_LATE = {"kind": "applied-late", "on": MAKING, "at": [1], "seconds": 25.0}


class Replacing:
    """One tenant that holds an HVAC, which is to be a hot water tank."""

    def __init__(self, folder: Path) -> None:
        self.bench = VirtualBench(folder, {Phase.REPLACE_RESOURCES: harness.resources(1)})
        core = self.bench.core
        cause = Cause(core.now(), 0, None, "POST", "before")
        core.world.create_user(cause, User(user_id="user-00000"))
        core.world.create_location(
            cause,
            Location(user_id="user-00000", location_id="loc-00000", meter_point_ids=("707057599990000000",)),
        )
        core.world.create_resource(
            cause,
            Resource(
                resource_id="res-00000", user_id="user-00000", location_id="loc-00000", resource_type="HVAC"
            ),
        )

    def start(self, *faults: dict[str, Any]) -> Ended:
        self.bench.core.set_faults({"fault": list(faults), "semantics": LAG})
        return self.bench.start()

    def held(self) -> list[str]:
        """What the API holds, once everything has come."""
        self.bench.loop.run_until_complete(asyncio.sleep(3600))
        return [one["resourceType"] for one in self.bench.core.state()["resources"]]


@pytest.fixture
def replacing(tmp_path: Path) -> Iterator[Replacing]:
    it = Replacing(tmp_path)
    yield it
    it.bench.close()


def test_one_that_a_late_removal_took_is_not_believed_though_it_is_still_seen(replacing: Replacing) -> None:
    """The making came late, and the removal of the next attempt later: reads showed it for 29 s after that."""
    late_removal = {"kind": "applied-late", "on": REMOVING, "at": [2], "seconds": 19.0}
    ended = replacing.start(COMES_LATE, late_removal)
    assert {("replace_resources", "acknowledged", None): 1} == ended.account
    assert ["HotWaterTank"] == replacing.held()


def test_one_that_is_seen_late_is_not_made_again(replacing: Replacing) -> None:
    """It is seen 54 s after the attempt: within twice the settle time, so it is removed once."""
    ended = replacing.start(COMES_LATE)
    assert ["DELETE", "POST"] == [line["method"] for line in ended.changing]
    assert ["HotWaterTank"] == replacing.held()


def test_one_whose_making_is_refused_is_not_believed_by_what_was_there_before(replacing: Replacing) -> None:
    """Right after the removal, reads show the old one. It holds neither, and is told so."""
    ended = replacing.start({"kind": "bad-request", "on": MAKING, "at": [1]})
    assert {("replace_resources", "rejected", "removed_not_remade"): 1} == ended.account
    assert [] == replacing.held()


def test_one_that_an_earlier_attempt_made_is_not_believed_when_the_next_is_refused(
    replacing: Replacing,
) -> None:
    """The earlier one was seen late, so it was removed and made again, and that was refused."""
    comes_later = COMES_LATE | {"seconds": 58.0}
    ended = replacing.start(comes_later, {"kind": "bad-request", "on": MAKING, "at": [2]})
    assert {("replace_resources", "rejected", "removed_not_remade"): 1} == ended.account
    assert [] == replacing.held()
