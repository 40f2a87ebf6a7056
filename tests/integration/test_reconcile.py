"""Reading back: every kind of drift is found and listed, nothing is changed, and a killed one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.remote import Throttle
from sandbox.semantics import Semantics
from sandbox.server import Sandbox
from tests.integration.conftest import ROOT, settings_for
from tests.integration.test_cli_settle import gsrn, location_of, mutating, portfolio, row, write  # noqa: F401
from tests.integration.test_vanished import by_hand


def test_every_kind_of_drift_is_found_and_nothing_is_changed(meterfeed: Any, write: Any) -> None:  # noqa: F811
    """RE20, RE22, CO2: missing, different, unexpected and doubled, of users and of locations."""
    with Sandbox(semantics=Semantics(b="duplicate")) as api:
        meterfeed("sync", *write("a.csv", portfolio(30)), "--json", **settings_for(api))
        gone, other, twice = (location_of(api, number) for number in (3, 4, 5))
        by_hand(api, "DELETE", f"/users/{gone['userId']}")
        path = f"/users/{other['userId']}/locations/{other['locationId']}"
        by_hand(api, "PATCH", path, {"locationType": "Commercial"})
        by_hand(api, "POST", "/users", {"userId": "stranger"})
        by_hand(api, "POST", "/users", {"userId": twice["userId"]})
        doubled = {name: value for name, value in twice.items() if name != "userId"}
        by_hand(api, "POST", f"/users/{twice['userId']}/locations", doubled)
        before, effects = mutating(api), len(api.effects())
        told = meterfeed("reconcile", "--users", "all", "--json").document
        assert (10, "Done; what the API holds is not what the ledger believes.") == (
            told["exit_code"],
            told["verdict"],
        )
        assert {"missing": 1, "different": 0, "unexpected": 1, "doubled": 1} == told["drift"]["user"]
        assert {"missing": 1, "different": 1, "unexpected": 0, "doubled": 1} == told["drift"]["location"]
        assert (before, effects) == (mutating(api), len(api.effects()))
    found = pl.read_parquet(told["files"]["drift"])
    assert {("user", "unexpected", "stranger"), ("user", "missing", gone["userId"])} <= set(
        found.select("kind", "drift", "id").cast(pl.String).rows()
    )
    assert found.height + 1 == len(Path(told["files"]["drift_csv"]).read_text("utf-8-sig").splitlines())
    assert 0 == Path(told["files"]["drift"]).stat().st_mode & 0o077


def test_a_clean_tenant_has_no_drift_also_after_a_handover_and_a_move(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
) -> None:
    """What the ledger believes after a release and a move is what reading back finds."""
    meterfeed("sync", *write("a.csv", portfolio(20)), "--json", **settings_for(api))
    meterfeed("sync", *write("b.csv", [*portfolio(19), row(900, 900, 19)]), "--json")
    meterfeed("move", location_of(api, 3)["locationId"], "--to", "60.5,10.5", "--json")
    told = meterfeed("reconcile", "--users", "all", "--json").document
    assert (0, 21) == (told["exit_code"], told["users_read"])


def test_a_killed_one_goes_on_where_it_was(meterfeed: Any, api: Sandbox, write: Any) -> None:  # noqa: F811
    """KI4: what was read before is not read again, and what was found before is not lost."""
    many = 420
    meterfeed("sync", *write("a.csv", portfolio(many)), "--json", **settings_for(api))
    by_hand(api, "DELETE", f"/users/{min(one['userId'] for one in api.state()['users'])}")
    command = [sys.executable, "-c", "from flows.cli import main; main()", "reconcile", "--users", "all"]
    # More than the 400 requests of the first 200 users are answered, and the rest takes for ever.
    late = [{"kind": "slow-answer", "on": "read", "at": list(range(600, 2000)), "seconds": 60}]
    api.set_faults({"fault": late})
    seen = len(api.requests())
    process = subprocess.Popen(
        [*command, "--rate", "10000", "--quiet"], cwd=ROOT, env=dict(os.environ), stdout=subprocess.DEVNULL
    )
    while len(api.requests()) - seen < 601:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    api.set_faults(None)
    seen = len(api.requests())
    told = meterfeed("reconcile", "--users", "all", "--rate", "10000", "--json").document
    again = len(api.requests()) - seen
    assert (10, 2, many) == (told["exit_code"], told["starts"], told["users_read"])
    assert {"missing": 1} == told["drift_by_kind"] or 2 == told["drift_by_kind"]["missing"]
    assert again < 2 * (many - 200) + 20
    clean = meterfeed("reconcile", "--users", "touched", "--rate", "10000", "--json").document
    assert 1 == clean["starts"]


def test_an_api_that_goes_away_is_told_and_the_rest_is_read_later(meterfeed: Any, write: Any) -> None:  # noqa: F811
    """RE16: exit 15, not "clean"."""
    with Sandbox() as api:
        settings, port = settings_for(api), api.port
        meterfeed("sync", *write("a.csv", portfolio(10)), "--json", **settings)
        api.set_faults({"fault": [{"kind": "unavailable-503", "on": "GET /users/{userId}/locations"}]})
        assert 15 == meterfeed("reconcile", "--users", "all", "--json").code
        api.set_faults(None)
        assert 0 == meterfeed("reconcile", "--users", "all", "--json").code
    assert port


def test_a_sample_says_what_it_proves(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.reconciling.SAMPLE", 20)
    meterfeed("sync", *write("a.csv", portfolio(60)), "--json", **settings_for(api))
    told = meterfeed("reconcile", "--users", "sample", "--json").document
    assert (0, 20, 60) == (told["exit_code"], told["users_read"], told["sample"]["users"])
    assert "20 of 60 users, drawn at random without replacement" in told["sample"]["statement"]
    assert "with 95% confidence at most 13.91% of all users do (9)" in told["sample"]["statement"]


def test_the_rate_is_capped_by_the_commands_own_limit(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every request waits for its turn, at the rate of the command line."""
    turns: list[float] = []
    made = Throttle.__init__

    def counted(self: Throttle, world: Any, rate: float) -> None:
        made(self, world, rate)
        turns.append(rate)

    async def turn(_self: Throttle) -> None:
        turns.append(1.0)

    meterfeed("sync", *write("a.csv", portfolio(30)), "--json", **settings_for(api))
    monkeypatch.setattr("pipeline.reconciling.Throttle.__init__", counted)
    monkeypatch.setattr("pipeline.reconciling.Throttle.turn", turn)
    seen = len(api.requests())
    meterfeed("reconcile", "--users", "all", "--rate", "5", "--json")
    reads = [line for line in api.requests()[seen:] if line["method"] == "GET" and "/users" in line["path"]]
    assert [5.0] + [1.0] * len(reads) == turns


@pytest.fixture
def visitor(meterfeed: Any, api: Sandbox, write: Any) -> None:  # noqa: F811
    """Five customers of ours, and a user of somebody else's."""
    meterfeed("sync", *write("a.csv", portfolio(5)), "--json", **settings_for(api))
    by_hand(api, "POST", "/users", {"userId": "visitor"})


@pytest.mark.usefixtures("visitor")
def test_users_that_left_the_ledger_s_sight_are_named_unexpected_only_when_they_are_there(
    meterfeed: Any, api: Sandbox
) -> None:
    told = meterfeed("reconcile", "--users", "all", "--json").document
    assert 1 == told["drift"]["user"]["unexpected"]
    by_hand(api, "DELETE", "/users/visitor")
    assert 0 == meterfeed("reconcile", "--users", "all", "--json").code
    assert gsrn(1)


@pytest.mark.usefixtures("visitor")
def test_a_user_that_only_the_list_shows_and_nobody_could_read_is_not_called_unexpected(
    meterfeed: Any, api: Sandbox
) -> None:
    api.set_faults({"fault": [{"kind": "unavailable-503", "on": "GET /users/{userId}"}]})
    assert 15 == meterfeed("reconcile", "--users", "all", "--json").code
    api.set_faults(None)
    told = meterfeed("reconcile", "--users", "all", "--json").document
    assert (10, {"unexpected": 1}) == (told["exit_code"], told["drift_by_kind"])


def test_somebody_elses_user_whose_id_fits_into_no_address_stops_nobody(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
) -> None:
    meterfeed("sync", *write("a.csv", portfolio(5)), "--json", **settings_for(api))
    for stranger in ("a/b", "..", "50 %"):
        by_hand(api, "POST", "/users", {"userId": stranger})
    told = meterfeed("reconcile", "--users", "all", "--json").document
    assert (10, {"unexpected": 3}) == (told["exit_code"], told["drift_by_kind"])
    told = meterfeed("adopt", "--json").document
    assert (0, 3, 5) == (told["exit_code"], told["users_without_address"], told["adopted"]["user"])
