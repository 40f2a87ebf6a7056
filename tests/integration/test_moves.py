"""Moves that were left unfinished: what was moved again, changed since, or lost is not moved late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.ledger.store import read_ledger
from pipeline.holdings import PROTECTED
from pipeline.partition import bucket_of
from sandbox.server import Sandbox
from tests.faults import held_up
from tests.integration import test_protected
from tests.integration.conftest import settings_for
from tests.integration.test_cli_left_behind import Retailer
from tests.integration.test_cli_settle import gsrn, location_of, mutating, portfolio, row
from tests.integration.test_vanished import by_hand

write = test_protected.write
NO_UPDATES = {"fault": [held_up("update")]}


@pytest.fixture
def retailer(meterfeed: Any, api: Sandbox, tmp_path: Path) -> Retailer:
    one = Retailer(meterfeed, api, tmp_path)
    assert 0 == one.run("sync", *one.export("a.csv", portfolio(5)))["exit_code"]
    return one


def move(retailer: Retailer, api: Sandbox, meter: int, latitude: float) -> dict[str, Any]:
    return retailer.run("move", location_of(api, meter)["locationId"], "--to", f"{latitude},9.5")


def unfinished(retailer: Retailer, api: Sandbox, meter: int = 1, latitude: float = 60.1) -> dict[str, Any]:
    """A move that could not be sent; the API is well again."""
    api.set_faults(NO_UPDATES)
    told = move(retailer, api, meter, latitude)
    assert 15 == told["exit_code"]
    api.set_faults("none")
    return told


def latitude(api: Sandbox, meter: int) -> float:
    return location_of(api, meter)["coordinates"]["latitude"]


def states(retailer: Retailer) -> dict[str, str]:
    ledger = read_ledger(f"sqlite:///{retailer.runs}/ledger.sqlite")
    found = {run.run_id: run.state for run in ledger.runs(brief=True)}
    ledger.close()
    return found


def test_moves_of_two_locations_do_not_overtake_each_other(retailer, api):
    unfinished(retailer, api, 1, 60.1)
    assert 0 == move(retailer, api, 2, 60.2)["exit_code"]
    assert 0 == retailer.run("resume")["exit_code"]
    assert (60.1, 60.2) == (latitude(api, 1), latitude(api, 2))


def test_a_newer_move_takes_the_place_of_an_older_one_of_the_same_location(retailer, api):
    older = unfinished(retailer, api, 1, 60.1)
    assert 0 == move(retailer, api, 1, 60.2)["exit_code"]
    assert ("superseded", []) == (states(retailer)[older["run_id"]], retailer.spools())
    before = mutating(api)
    assert 0 == retailer.run("resume")["exit_code"]
    assert (60.2, before) == (latitude(api, 1), mutating(api))


def test_a_newer_move_that_cannot_be_sent_either_is_the_one_to_finish(retailer, api):
    unfinished(retailer, api, 1, 60.1)
    unfinished(retailer, api, 1, 60.2)
    assert 0 == retailer.run("resume")["exit_code"]
    assert 60.2 == latitude(api, 1)


def test_a_move_whose_spool_is_lost_holds_nobody_up(retailer, api):
    lost = unfinished(retailer, api)
    retailer.lose_spools()
    told = retailer.run("resume")
    assert (11, lost["run_id"]) == (told["exit_code"], told["run_id"])
    assert "its spool is lost" in told["error"]["message"]
    assert "Run `meterfeed move` again." == told["error"]["cure"]
    assert 0 == retailer.run("resume")["exit_code"]
    assert 0 == retailer.run("erase", location_of(api, 2)["userId"], "--yes")["exit_code"]


def has_another_meter_point(retailer: Retailer, api: Sandbox) -> None:
    changed = [row(1, 1, 77), *portfolio(1), *portfolio(3, start=2)]
    assert 0 == retailer.run("sync", *retailer.export("b.csv", changed))["exit_code"]


def gave_its_meter_point_away(retailer: Retailer, api: Sandbox) -> None:
    heir = [row(90, 90, 1), *portfolio(1), *portfolio(3, start=2)]
    assert 0 == retailer.run("sync", *retailer.export("b.csv", heir))["exit_code"]


def is_gone(retailer: Retailer, api: Sandbox) -> None:
    by_hand(api, "DELETE", f"/users/{location_of(api, 1)['userId']}")
    assert 0 == retailer.run("adopt")["exit_code"]


@pytest.mark.parametrize("since", [has_another_meter_point, gave_its_meter_point_away, is_gone])
def test_a_move_is_given_up_when_its_location_was_changed_since(retailer, api, since):
    """It would send what the location held before, or make it anew; whatever else is unfinished goes on."""
    stale = unfinished(retailer, api)
    since(retailer, api)
    api.set_faults({"fault": [held_up("mutating")]})
    other = retailer.export("q.csv", portfolio(2, start=50), "delta", name="q")
    assert 15 == retailer.run("sync", *other)["exit_code"]
    api.set_faults("none")
    before = api.state()["locations"]
    told = retailer.run("resume")
    assert (11, "A guard stopped the run: stale.", stale["run_id"]) == (
        told["exit_code"],
        told["verdict"],
        told["run_id"],
    )
    assert "Run `meterfeed move` again." == told["error"]["cure"]
    assert ("superseded", []) == (states(retailer)[stale["run_id"]], retailer.spools())
    added = [one for one in api.state()["locations"] if one not in before]
    assert [[gsrn(50)], [gsrn(51)]] == sorted(one["meterPointIds"] for one in added)
    assert len(before) + 2 == len(api.state()["locations"])
    assert 0 == retailer.run("resume")["exit_code"]


def test_a_move_that_never_began_is_not_applied_after_a_change(retailer, api, monkeypatch):
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("pipeline.session.Session.send", killed)
        assert 130 == move(retailer, api, 1, 60.1)["exit_code"]
    [planned] = [name for name, state in states(retailer).items() if state == "planned"]
    has_another_meter_point(retailer, api)
    before = mutating(api)
    told = retailer.run("apply", planned)
    assert (11, "A guard stopped the run: stale.") == (told["exit_code"], told["verdict"])
    assert before == mutating(api)


def test_a_move_that_arrived_without_an_answer_is_finished_though_its_spool_is_lost(retailer, api):
    place = "GET /users/{userId}/locations/{locationId}"
    unread = held_up(place, at=list(range(2, 99)))
    api.set_faults({"fault": [{"kind": "applied-then-dropped", "on": "update"}, unread]})
    told = move(retailer, api, 1, 60.1)
    assert 1 == told["records"]["location"]["in_doubt"]
    api.set_faults("none")
    retailer.lose_spools()
    assert 1 == retailer.run("resume")["records"]["location"]["updated"]
    assert (60.1, "settled") == (latitude(api, 1), states(retailer)[told["run_id"]])


def test_a_protected_location_that_is_moved_stays_protected(meterfeed, api, write, tmp_path):
    """A correction that comes without the flagged row finds it in the ledger alone."""
    rows = [test_protected.row(1, 1, 1, flag="Ja"), *test_protected.others()]
    assert 0 == meterfeed("sync", *write("a.csv", rows), "--json", **settings_for(api)).code
    place = location_of(api, 1)
    assert 0 == meterfeed("move", place["locationId"], "--to", "60.5,10.5", "--json").code
    number = bucket_of(place["userId"])
    ledger = read_ledger(f"sqlite:///{tmp_path}/runs/ledger.sqlite")
    page = ledger.holdings("location", range(number, number + 1))
    ledger.close()
    [digest] = page.filter(pl.col("id") == place["locationId"])["digest"]
    assert digest.startswith(PROTECTED)
    assert 0 == meterfeed("reconcile", "--users", "all", "--rate", "10000", "--json").code
