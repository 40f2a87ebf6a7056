"""What `plan` says beforehand, held against what the run then does; circles of meter points; moves and test areas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.ledger.store import read_ledger
from sandbox.server import Sandbox
from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import (  # noqa: F401
    gsrn,
    location_of,
    mutating,
    portfolio,
    row,
    write,
)
from tests.integration.test_vanished import RESOURCES


def changes(api: Sandbox, before: int) -> int:
    return mutating(api) - before


@pytest.mark.parametrize("chunk_size", ["7", "1000"])
def test_a_plan_says_how_many_requests_the_run_makes(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    tmp_path: Path,
    chunk_size: str,
) -> None:
    """The canary, the chunks and the single requests: promised, counted by the run, and seen by the API."""
    settings = {**settings_for(api), "chunk_size": chunk_size}
    (tmp_path / "things.toml").write_text(RESOURCES, encoding="utf-8")
    (tmp_path / "things-1.csv").write_text(
        "Kundenr;Anlegg;EnhetID;Type\n" + "".join(f"K{n:04d};A{n:04d};E{n};Elbil\n" for n in range(12)),
        "utf-8",
    )
    exports = [tmp_path / "things-1.csv", "--profile", tmp_path / "things.toml"]
    for arguments in (
        [*write("a.csv", portfolio(40))],
        [*write("b.csv", [*portfolio(37), row(37, 37, 37, "61,60000"), row(900, 900, 39)])],
        exports,
    ):
        plan = meterfeed("plan", *arguments, "--json", **settings).document
        before = mutating(api)
        done = meterfeed("apply", plan["plan_digest"], "--json").document
        assert 0 == done["exit_code"]
        assert (plan["requests_expected"],) * 2 == (done["requests"]["sent"], changes(api, before))


def test_a_rate_is_part_of_the_time_to_expect(meterfeed: Any, api: Sandbox, write: Any) -> None:  # noqa: F811
    settings = {**settings_for(api), "chunk_size": "5", "rate": "2"}
    plan = meterfeed("plan", *write("a.csv", portfolio(50)), "--json", **settings).document
    assert ("METERFEED_RATE", plan["requests_expected"] / 2) == (
        plan["seconds_expected_by"],
        plan["seconds_expected"],
    )


def test_the_time_to_expect_is_that_of_the_last_run(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = {**settings_for(api), "chunk_size": "5"}
    arguments = write("a.csv", portfolio(100))
    first = meterfeed("plan", *arguments, "--json", **settings).document
    done = meterfeed("apply", first["plan_digest"], "--json").document
    later = meterfeed("plan", *write("b.csv", portfolio(200)), "--json").document
    assert ("a rule of thumb", "the last run") == (first["seconds_expected_by"], later["seconds_expected_by"])
    ledger = read_ledger(f"sqlite:///{tmp_path}/runs/ledger.sqlite")
    assert ledger is not None
    each = float(ledger.recall("pace") or 0)
    ledger.close()
    assert 0 < each * done["requests"]["sent"]
    assert pytest.approx(each * later["requests_expected"], abs=0.06) == later["seconds_expected"]


@pytest.mark.parametrize("n", [2, 3])
def test_a_circle_of_meter_points_is_traded_in_one_run(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    n: int,
) -> None:
    """A has 1 and B has 2; the export says A 2 and B 1: counted as an update each and as handed over."""
    meterfeed("sync", *write("a.csv", portfolio(20)), "--json", **settings_for(api))
    traded = [row(number, number, (number + 1) % n) for number in range(n)]
    arguments = write("b.csv", [*traded, *portfolio(20 - n, start=n)])
    plan = meterfeed("plan", *arguments, "--json").document
    before = mutating(api)
    done = meterfeed("apply", plan["plan_digest"], "--json").document
    assert (0, n, {"moved": n, "reported": 0}) == (
        done["exit_code"],
        done["records"]["location"]["updated"],
        done["handovers"],
    )
    assert 20 == done["records"]["location"]["planned"]
    assert (2 * n, plan["requests_expected"]) == (changes(api, before), plan["requests_expected"])
    assert plan["requests_expected"] == 2 * n
    assert [1] * 20 == [
        sum(gsrn(point) in (one.get("meterPointIds") or []) for one in api.state()["locations"])
        for point in range(20)
    ]
    after = mutating(api)
    again = meterfeed(
        "sync", *write("c.csv", [*traded, *portfolio(20 - n, start=n)][::-1]), "--json"
    ).document
    assert (0, after) == (again["exit_code"], mutating(api))


def test_customers_of_production_in_a_test_area_are_warned_of(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
) -> None:
    """They would get its price curves every day."""
    inside = f"K0001;A0001;Husholdning;{gsrn(1)};79,51913;15,97611;Aktiv\n"
    arguments = write("a.csv", [*portfolio(3, start=5), inside])
    done = meterfeed("sync", *arguments, "--json", environment="production", **settings_for(api)).document
    [note] = [note for note in done["notes"] if "test area" in note]
    assert (0, True) == (done["exit_code"], note.startswith("1 customer of production"))


@pytest.mark.parametrize(
    ("environment", "to", "warned"),
    [
        ("production", "79.51913,15.97611", True),
        ("production", "60.1,10.2", False),
        ("sandbox", "79.51913,15.97611", False),
    ],
)
def test_a_move_into_a_test_area_is_warned_of_in_production(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    tmp_path: Path,
    environment: str,
    to: str,
    warned: bool,
) -> None:
    settings = {**settings_for(api), "environment": environment}
    meterfeed("sync", *write("a.csv", portfolio(5)), "--json", **settings)
    done = meterfeed("move", location_of(api, 3)["locationId"], "--to", to, "--json").document
    assert (0, warned) == (done["exit_code"], any("test area" in note for note in done["notes"]))
    assert not (tmp_path / "runs" / done["run_id"] / "spool").exists()


def test_an_update_whose_first_step_is_in_doubt_is_in_doubt_wherever_it_is_told(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
) -> None:
    """Decision 41: the step is half of the update. Also in a later start that does not come to the update."""
    meterfeed("sync", *write("a.csv", portfolio(20)), "--json", **settings_for(api))
    traded = [row(number, number, 1 - number) for number in range(2)]
    api.set_faults({"fault": [{"kind": "dropped", "on": "update", "every": 1}]})
    done = meterfeed("sync", *write("b.csv", [*traded, *portfolio(18, start=2)]), "--json").document
    for code in (12, 15):
        told = pl.read_parquet(done["artifacts"]["outcomes"]).filter(pl.col("operation") == "update")
        assert (code, 2, 0) == (
            done["exit_code"],
            done["records"]["location"]["in_doubt"],
            done["records"]["location"]["blocked"],
        )
        assert [("in_doubt", "earlier_in_doubt")] * 2 == told.select("outcome", "reason").rows()
        api.set_faults({"fault": [{"kind": "rate-limited", "form": "huge", "on": "update", "every": 1}]})
        done = meterfeed("resume", "--json").document
    api.set_faults({"fault": []})
    done = meterfeed("resume", "--json").document
    assert (0, 2) == (done["exit_code"], done["records"]["location"]["updated"])
    assert {gsrn(0)} == set(location_of(api, 0)["meterPointIds"])


# ------------------------------------------------------------------ erase
def test_an_erasure_whose_answer_was_lost_is_read_back(meterfeed: Any, write: Any) -> None:  # noqa: F811
    """DE7: gone is gone; the ledger forgets only then."""
    faults = {"fault": [{"kind": "applied-then-dropped", "on": "DELETE /users/{userId}", "at": [1]}]}
    with Sandbox(faults=faults) as api:
        meterfeed("sync", *write("a.csv", portfolio(5)), "--json", **settings_for(api))
        user = location_of(api, 3)["userId"]
        assert 0 == meterfeed("erase", user, "--yes", "--json").code
        assert 4 == len(api.state()["users"])


def test_a_refused_erasure_forgets_nothing(meterfeed: Any, write: Any) -> None:  # noqa: F811
    faults = {"fault": [{"kind": "bad-request", "on": "DELETE /users/{userId}", "at": [1]}]}
    with Sandbox(faults=faults) as api:
        meterfeed("sync", *write("a.csv", portfolio(5)), "--json", **settings_for(api))
        user = location_of(api, 3)["userId"]
        assert 11 == meterfeed("erase", user, "--yes", "--json").code
        assert 0 == meterfeed("erase", user, "--yes", "--json").code


def test_an_erasure_leaves_no_plan_that_names_the_person(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """PR3: ledger, spools and what is remembered of missing records; files with rows as received are named."""
    meterfeed("sync", *write("a.csv", portfolio(40)), "--json", **settings_for(api))
    user = location_of(api, 39)["userId"]
    bad = "K1;A1;Husholdning;123;61,5;9,6;Aktiv\n"
    assert 10 == meterfeed("sync", *write("b.csv", [*portfolio(39), bad]), "--json").code
    plan = meterfeed("plan", *write("c.csv", [*portfolio(39), row(39, 39, 39, "62,1")]), "--json").document
    told = meterfeed("erase", user, "--yes", "--json").document
    assert [plan["run_id"]] == told["plans_given_up"]
    assert 1 == len(told["look_in"])
    left = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert user.encode() not in left
