"""A resource is changed by removing it and making it anew: what if the second half never comes?

The API then has nothing, whatever the next export says; also when that says again what was there before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.server import Sandbox
from tests.faults import held_up
from tests.integration.test_cli_settle import location_of, mutating, portfolio, row
from tests.integration.test_vanished import Company, by_hand

CREATION = "POST /users/{userId}/locations/{locationId}/resources"
REFUSED = {"fault": [{"kind": "bad-request", "on": CREATION}]}
HELD_UP = {"fault": [held_up(CREATION)]}
UNANSWERED = {"fault": [{"kind": "dropped", "on": CREATION}, {"kind": "unavailable-503", "on": "read"}]}


class Household(Company):
    """A company of five customers, with one unit each."""

    def units(self, first: str) -> list[str]:
        """Write an export in which the first unit is of a type, and the others are tanks; its rows turned each time."""
        types = [first, *["Bereder"] * 4]
        rows = [f"K{n:04d};A{n:04d};E{n:04d};{kind}\n" for n, kind in enumerate(types)]
        return self.things(rows[:: 1 if self.count % 2 else -1])

    def types(self) -> list[str]:
        """Types of the units the API holds."""
        return sorted(one["resourceType"] for one in self._api.state()["resources"])


@pytest.fixture
def household(meterfeed: Any, api: Sandbox, tmp_path: Any) -> Household:
    one = Household(meterfeed, api, tmp_path)
    one.run("sync", *one.export(portfolio(5)))
    assert 0 == one.run("sync", *one.units("Bereder"))["exit_code"]
    return one


@pytest.mark.parametrize("faults", [REFUSED, HELD_UP, UNANSWERED], ids=["refused", "held-up", "unanswered"])
@pytest.mark.parametrize("says", ["Bereder", "Varmepumpe"])
def test_what_was_removed_and_not_made_again_is_made_by_the_next_export(household, api, faults, says):
    api.set_faults(faults)
    household.run("sync", *household.units("Varmepumpe"))
    assert 4 == len(household.types())
    api.set_faults("none")
    done = household.run("sync", *household.units(says))
    expected = ["HVAC" if says == "Varmepumpe" else "HotWaterTank", *["HotWaterTank"] * 4]
    assert (0, sorted(expected)) == (done["exit_code"], household.types())
    before = mutating(api)
    again = household.run("sync", *household.units(says))
    assert (5, before) == (again["records"]["resource"]["unchanged"], mutating(api))


def page(told: dict[str, Any]) -> str:
    return Path(told["artifacts"]["report"]).read_text(encoding="utf-8")


def test_that_there_is_neither_the_old_one_nor_the_new_one_is_said(household, api):
    api.set_faults(REFUSED)
    told = household.run("sync", *household.units("Varmepumpe"))
    assert (10, 4) == (told["exit_code"], len(household.types()))
    assert "the API refused the new one: it holds neither" in page(told)


def test_a_removal_that_is_refused_leaves_the_old_one_and_is_not_told_as_gone(household, api):
    api.set_faults({"fault": [{"kind": "bad-request", "on": "DELETE /resources/{resourceId}"}]})
    told = household.run("sync", *household.units("Varmepumpe"))
    assert (10, ["HotWaterTank"] * 5) == (told["exit_code"], household.types())
    assert "it holds neither" not in page(told)


# ------------------------------------------------------------------ meter points that were to be given up
ONE_LOCATION = "/users/{userId}/locations/{locationId}"
GIVEN_UP_UNHEARD = {
    "fault": [
        {"kind": "applied-then-dropped", "on": f"PATCH {ONE_LOCATION}"},
        held_up(f"GET {ONE_LOCATION}", at=list(range(2, 1000))),
    ]
}


def test_a_meter_point_that_was_given_up_half_is_given_back_when_the_export_says_so(household, api):
    before = [*portfolio(5), row(0, 0, 50)]
    assert 0 == household.run("sync", *household.export(before))["exit_code"]
    passed_on = [*portfolio(5), row(4, 4, 50)]
    api.set_faults(GIVEN_UP_UNHEARD)
    assert 15 == household.run("sync", *household.export(passed_on))["exit_code"]
    assert 1 == len(location_of(api, 0)["meterPointIds"]), "it was given up"
    api.set_faults("none")
    assert 0 == household.run("sync", *household.export(before[::-1]))["exit_code"]
    assert 2 == len(location_of(api, 0)["meterPointIds"])


def test_a_location_that_a_change_cannot_put_back_is_made_by_the_next_export(household, api):
    """It is gone from the API, and its creation is refused; then the export says again what was there before."""
    [gone] = [one for one in api.state()["locations"] if one == location_of(api, 0)]
    by_hand(api, "DELETE", f"/users/{gone['userId']}/locations/{gone['locationId']}")
    api.set_faults({"fault": [{"kind": "bad-request", "on": "POST /users/{userId}/locations"}]})
    moved = household.run("sync", *household.export([row(0, 0, 0, "61,60000"), *portfolio(4, start=1)]))
    assert (10, 1) == (moved["exit_code"], moved["records"]["location"]["rejected"])
    api.set_faults("none")
    assert 0 == household.run("sync", *household.export(portfolio(5)[::-1]))["exit_code"]
    assert 5 == len(api.state()["locations"])
