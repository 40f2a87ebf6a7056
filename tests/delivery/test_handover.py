"""A meter point passes on: whoever is to get it waits until whoever has it has let go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.delivery.awaiting import still_waits
from pipeline.phases import Phase
from sandbox.core import Core
from sandbox.effects import Cause
from sandbox.records import Coordinates, Location, User
from schemas.ledger import MANIFEST_SCHEMA
from tests.delivery import harness
from tests.delivery.virtual import VirtualBench

FIRST, SECOND, OTHER = "707057599990000001", "707057599990000002", "707057599990000003"
PLACE = '"coordinates":{"latitude":60.1,"longitude":10.5}'
HOLDING = [name for name in MANIFEST_SCHEMA.names() if name not in ("partition", "position")]


def record(user: str, own: str, points: list[str], *, releases: bool = False) -> pl.DataFrame:
    """A location as it is planned; with `releases`, the points are what remains."""
    named = ",".join(f'"{one}"' for one in points)
    body = f'{{"userId":"{user}","locationId":"{own}",{PLACE},"meterPointIds":[{named}]}}'
    made = harness.locations(1).with_columns(
        pl.lit(user).alias("user_id"),
        pl.lit(own).alias("id"),
        pl.lit("released" if releases else f"d-{own}").alias("digest"),
        pl.lit(None if releases else body, pl.String).alias("body"),
    )
    return made.with_columns(
        pl.Series("meter_point_keys", [[int(one) for one in points]], pl.List(pl.UInt64))
    )


FORMER = {"former": [FIRST], "keeps": [SECOND, OTHER]}


def holding_both(core: Core) -> None:
    """Two customers, each with a home; the second one has two meter points."""
    cause = Cause(core.now(), 0, None, "POST", "before")
    for user, points in FORMER.items():
        core.world.create_user(cause, User(user_id=user))
        core.world.create_location(
            cause,
            Location(
                user_id=user,
                location_id=f"home-of-{user}",
                coordinates=Coordinates(latitude=59.0, longitude=10.0),
                meter_point_ids=tuple(points),
            ),
        )


def held() -> pl.DataFrame:
    return pl.concat(
        record(user, f"home-of-{user}", points).select(HOLDING) for user, points in FORMER.items()
    )


NEW = pl.concat(
    [record("new", "home-of-new", [FIRST]), record("new", "cabin-of-new", ["707057599990000009"])]
)
PLAN = {
    Phase.CREATE_USERS: harness.users(1).with_columns(
        pl.lit("new").alias("id"), pl.lit("new").alias("user_id"), pl.lit('{"userId":"new"}').alias("body")
    ),
    Phase.RELEASE_LOCATIONS: record("former", "home-of-former", [], releases=True),
    Phase.CREATE_LOCATIONS: NEW,
}
PATCH = "PATCH /users/{userId}/locations/{locationId}"
CHANGE = {"on": [PATCH, PATCH.replace("PATCH", "PUT")]}
RELEASE_IS_LOST = {"kind": "dropped", "on": PATCH}


def bench_of(folder: Path, plan: dict[Phase, Any], *faults: dict[str, Any]) -> VirtualBench:
    bench = VirtualBench(folder, plan, {"fault": list(faults)}, held=held())
    holding_both(bench.core)
    return bench


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[Any]:
    made: list[VirtualBench] = []

    def make(plan: dict[Phase, Any], *faults: dict[str, Any]) -> VirtualBench:
        made.append(bench_of(tmp_path, plan, *faults))
        return made[-1]

    yield make
    for one in made:
        one.close()


def holders(bench: VirtualBench) -> dict[str, list[str]]:
    """Which locations hold a meter point, at the API."""
    found: dict[str, list[str]] = {}
    for place in bench.core.state()["locations"]:
        for point in place.get("meterPointIds") or ():
            found.setdefault(point, []).append(place["locationId"])
    return found


def test_nobody_waits_when_the_meter_point_was_let_go(benches: Any) -> None:
    bench = benches(PLAN)
    assert {
        ("create_users", "acknowledged", None): 1,
        ("release_locations", "acknowledged", None): 1,
        ("create_locations", "acknowledged", None): 2,
    } == bench.start().account
    assert ["home-of-new"] == holders(bench)[FIRST]


def test_who_gets_a_meter_point_waits_while_its_release_is_in_doubt_and_others_do_not(benches: Any) -> None:
    bench = benches(PLAN, RELEASE_IS_LOST)
    first = bench.start()
    assert 1 == first.account["create_locations", "blocked", "release_in_doubt"]
    assert 1 == first.account["create_locations", "acknowledged", None]
    assert not [key for key in first.account if key[1] == "rejected"]
    bench.core.set_faults({})
    assert 2 == bench.start().account["create_locations", "acknowledged", None]
    assert ["home-of-new"] == holders(bench)[FIRST]


def test_who_gets_a_meter_point_waits_while_its_release_cannot_be_sent(benches: Any) -> None:
    bench = benches(PLAN, {"kind": "unavailable-503", "on": PATCH})
    first = bench.start()
    [(reason, count)] = [
        (key[2], n) for key, n in first.account.items() if key[:2] == ("create_locations", "blocked")
    ]
    assert (True, 1) == (still_waits(reason), count)
    bench.core.set_faults({})
    assert 2 == bench.start().account["create_locations", "acknowledged", None]


def test_who_gets_a_meter_point_is_not_sent_when_its_release_was_refused(benches: Any) -> None:
    bench = benches(PLAN, {"kind": "bad-request", "on": PATCH})
    for _ in range(2):
        ended = bench.start()
        assert 1 == ended.account["release_locations", "rejected", "bad_request"]
        assert 1 == ended.account["create_locations", "blocked", "release_rejected"]
        assert not still_waits("release_rejected")
    assert ["home-of-former"] == holders(bench)[FIRST]


def test_the_reason_is_told_anew_when_the_release_was_refused_in_the_end(benches: Any) -> None:
    bench = benches(PLAN, RELEASE_IS_LOST)
    assert 1 == bench.start().account["create_locations", "blocked", "release_in_doubt"]
    bench.core.set_faults({"fault": [{"kind": "bad-request", "on": PATCH}]})
    assert 1 == bench.start().account["create_locations", "blocked", "release_rejected"]


def test_what_an_update_gives_up_is_waited_for(benches: Any) -> None:
    """`keeps` is given a new meter point for one of its two, and the new home gets that one."""
    plan = PLAN | {
        Phase.UPDATE_LOCATIONS: record("keeps", "home-of-keeps", [SECOND]),
        Phase.CREATE_LOCATIONS: record("new", "home-of-new", [OTHER]),
    }
    del plan[Phase.RELEASE_LOCATIONS]
    bench = benches(plan, {"kind": "bad-request"} | CHANGE)
    assert 1 == bench.start().account["create_locations", "blocked", "release_rejected"]
    assert ["home-of-keeps"] == holders(bench)[OTHER]


def test_an_update_waits_for_the_meter_point_it_is_given(benches: Any) -> None:
    plan = PLAN | {Phase.UPDATE_LOCATIONS: record("keeps", "home-of-keeps", [SECOND, OTHER, FIRST])}
    del plan[Phase.CREATE_LOCATIONS]
    bench = benches(plan, RELEASE_IS_LOST)
    assert 1 == bench.start().account["update_locations", "blocked", "release_in_doubt"]
    bench.core.set_faults({})
    assert 1 == bench.start().account["update_locations", "acknowledged", None]
    assert ["home-of-keeps"] == holders(bench)[FIRST]


def test_what_is_kept_is_waited_for_by_nobody(benches: Any) -> None:
    """A release that fails holds back who gets what it gives up, not who gets something else."""
    plan = PLAN | {
        Phase.RELEASE_LOCATIONS: record("keeps", "home-of-keeps", [SECOND], releases=True),
        Phase.CREATE_LOCATIONS: record("new", "home-of-new", [SECOND]),
    }
    bench = benches(plan, {"kind": "bad-request"} | CHANGE)
    assert 1 == bench.start().account["create_locations", "rejected", "exists"]
