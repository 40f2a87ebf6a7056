"""What was in doubt when its spool was lost: what was sent is known by its digest alone, and nothing else is believed.

Another host that takes over a ledger in PostgreSQL is in the same place, as is whoever removed the run's folder.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sandbox.server import Sandbox
from tests.integration.test_cli_left_behind import Retailer
from tests.integration.test_cli_settle import location_of, mutating, portfolio, row

NOBODY_READS = {
    "kind": "rate-limited",
    "form": "huge",
    "on": "GET /users/{userId}/locations/{locationId}",
}
"""Asked to come back in years, the run ends at once."""
CHANGED = [*portfolio(9), row(9, 9, 9, "62,00001")]


@pytest.fixture
def retailer(meterfeed: Any, api: Sandbox, tmp_path: Any) -> Retailer:
    return Retailer(meterfeed, api, tmp_path)


def lost_in_doubt(retailer: Retailer, api: Sandbox, arguments: list[str], kind: str, on: str) -> None:
    """Load, with no answer to what changes something and none to reading it back; then the spool goes."""
    api.set_faults({"fault": [{"kind": kind, "on": on}, NOBODY_READS]})
    stopped = retailer.run("sync", *arguments)
    assert 0 < stopped["records"]["location"]["in_doubt"]
    retailer.lose_spools()
    api.set_faults("none")


def update_in_doubt(retailer: Retailer, api: Sandbox, kind: str) -> list[str]:
    """A change of one coordinate whose request got no answer; the arguments that load it."""
    retailer.run("sync", *retailer.export("a.csv", portfolio(10)))
    arguments = retailer.export("b.csv", CHANGED)
    lost_in_doubt(retailer, api, arguments, kind, "update")
    return arguments


def latitude(api: Sandbox) -> float:
    return location_of(api, 9)["coordinates"]["latitude"]


def test_an_update_that_was_not_made_is_not_believed_because_its_record_is_there(retailer, api):
    arguments = update_in_doubt(retailer, api, "dropped")
    told = retailer.run("resume")
    assert (16, 0, 1) == (
        told["exit_code"],
        told["records"]["location"]["updated"],
        told["records"]["location"]["not_sent"],
    )
    assert 61.51234 == latitude(api)
    done = retailer.run("sync", *arguments)
    assert (0, 1) == (done["exit_code"], done["records"]["location"]["updated"])
    assert 62.00001 == latitude(api)


def test_an_update_that_was_made_is_known_by_its_digest(retailer, api):
    """Else what an export took back would look unchanged to a ledger that never heard of the change."""
    update_in_doubt(retailer, api, "applied-then-dropped")
    told = retailer.run("resume")
    assert (16, 1) == (told["exit_code"], told["records"]["location"]["updated"])
    assert 62.00001 == latitude(api)
    done = retailer.run("sync", *retailer.export("c.csv", portfolio(10)))
    assert (0, 1) == (done["exit_code"], done["records"]["location"]["updated"])
    assert 61.51234 == latitude(api)


def test_what_was_created_with_other_content_there_gets_its_own_by_the_next_export(retailer, api):
    """It is there, and must not be made again; what it says is not known to be what was sent."""
    arguments = retailer.export("a.csv", portfolio(5))
    lost_in_doubt(retailer, api, arguments, "applied-then-dropped", "POST /users/locations/batch")
    somebody_changes(api, location_of(api, 3))
    told = retailer.run("resume")
    assert (16, 5) == (told["exit_code"], told["records"]["location"]["created"])
    before = mutating(api)
    done = retailer.run("sync", *arguments)
    assert (0, 1, 4, 1) == (
        done["exit_code"],
        done["records"]["location"]["updated"],
        done["records"]["location"]["unchanged"],
        mutating(api) - before,
    )
    assert 61.51234 == location_of(api, 3)["coordinates"]["latitude"]


def somebody_changes(api: Sandbox, place: dict[str, Any]) -> None:
    """A change of which the ledger knows nothing."""
    login = {"client_id": api.client_id, "client_secret": api.client_secret}
    token = httpx.post(api.token_url, data={"grant_type": "client_credentials", **login}, timeout=60.0).json()
    answer = httpx.patch(
        f"{api.base_url}/users/{place['userId']}/locations/{place['locationId']}",
        json={"coordinates": {"latitude": 65.0, "longitude": 10.0}},
        headers={"authorization": f"Bearer {token['access_token']}"},
        timeout=60.0,
    )
    assert answer.is_success
