"""The id key changes: nobody is created twice, nothing looks changed, and a change nobody announced is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.server import Sandbox
from tests.faults import held_up
from tests.integration.conftest import ID_KEY, settings_for
from tests.integration.test_cli_ledger import assert_all_there_once, created
from tests.integration.test_cli_settle import location_of, mutating, portfolio, row, write

__all__ = ["write"]

NEW = {"id_key": "the second id key, also long enough to be taken", "id_key_previous": ID_KEY}
THIRD = {"id_key": "7" * 64, "id_key_previous": f"{ID_KEY}\n{NEW['id_key']}"}

RESOURCES = """
name = "r"
country = "NO"
[export]
kind = "delta"
of = "resources"
[file]
separator = ";"
[columns]
user = "Kundenr"
location = "Anlegg"
meter_point = "MålepunktID"
resource = "Enhet"
resource_type = "Type"
"""


@pytest.fixture
def loaded(meterfeed, api, write) -> Sandbox:
    """Forty customers under the first key."""
    done = meterfeed("sync", *write("a.csv", portfolio(40)), "--json", **settings_for(api)).document
    assert 0 == done["exit_code"]
    return api


def test_the_same_export_after_a_change_of_key_sends_nothing(meterfeed, loaded, write):
    before = mutating(loaded)
    done = meterfeed("sync", *write("a.csv", portfolio(40)), "--json", **NEW).document
    assert (0, 40, 40, 40, before) == (
        done["exit_code"],
        done["records"]["user"]["unchanged"],
        done["records"]["location"]["unchanged"],
        done["former_key_customers"],
        mutating(loaded),
    )
    again = meterfeed("sync", *write("b.csv", portfolio(40)), "--json", **THIRD).document
    assert (0, 40, before) == (
        again["exit_code"],
        again["records"]["location"]["unchanged"],
        mutating(loaded),
    )


def test_new_customers_get_the_new_key_and_old_ones_keep_theirs(meterfeed, loaded, write):
    """An old customer's new location hangs on the customer as it is held; a changed one is changed, not made again."""
    rows = [
        *portfolio(39),
        row(39, 39, 39, "62,00001"),
        row(3, 500, 500),
        *portfolio(5, start=100),
    ]
    old_user = location_of(loaded, 3)["userId"]
    done = meterfeed("sync", *write("b.csv", rows), "--json", **NEW).document
    records = done["records"]
    assert (0, 5, 40, 6, 1, 39) == (
        done["exit_code"],
        records["user"]["created"],
        records["user"]["unchanged"],
        records["location"]["created"],
        records["location"]["updated"],
        records["location"]["unchanged"],
    )
    assert old_user == location_of(loaded, 500)["userId"]
    counts = created(loaded)
    assert (45 + 46, {1}) == (len(counts), set(counts.values()))
    before = mutating(loaded)
    again = meterfeed("sync", *write("c.csv", rows), "--json", **THIRD).document
    assert (0, 45, 46, before) == (
        again["exit_code"],
        again["records"]["user"]["unchanged"],
        again["records"]["location"]["unchanged"],
        mutating(loaded),
    )


def test_a_meter_point_passes_from_an_old_customer_to_a_new_one(meterfeed, loaded, write):
    rows = [*portfolio(39), row(900, 900, 39)]
    done = meterfeed("sync", *write("b.csv", rows), "--json", **NEW).document
    assert (0, {"moved": 1, "reported": 0}) == (done["exit_code"], done["handovers"])
    assert "K0900" not in str(done)


def test_resources_find_customers_and_locations_under_their_own_keys(meterfeed, loaded, write, tmp_path):
    meterfeed("sync", *write("b.csv", portfolio(42)), "--json", **NEW)
    profile, export = tmp_path / "r.toml", tmp_path / "units.csv"
    profile.write_text(RESOURCES)
    lines = [line.split(";") for line in (portfolio(1)[0], portfolio(42)[41])]
    export.write_text(
        "Kundenr;Anlegg;MålepunktID;Enhet;Type\n"
        + "".join(f"{line[0]};{line[1]};{line[3]};E{n};HotWaterTank\n" for n, line in enumerate(lines))
    )
    done = meterfeed("sync", export, "--profile", profile, "--json").document
    assert (0, 2) == (done["exit_code"], done["records"]["resource"]["created"])
    assert 1 == done["former_key_customers"]


def test_a_change_nobody_announced_is_refused_and_nothing_is_sent(meterfeed, loaded, write):
    before = len(loaded.requests())
    refused = meterfeed("sync", *write("a.csv", portfolio(40)), "--json", id_key=NEW["id_key"]).document
    assert (13, before) == (refused["exit_code"], len(loaded.requests()))
    assert "METERFEED_ID_KEY_PREVIOUS" in refused["error"]["cure"]
    assert NEW["id_key"] not in str(refused)


def test_a_key_is_not_changed_while_a_delta_waits(meterfeed, write, api):
    arguments = write("a.csv", portfolio(20), "delta")
    api.set_faults({"fault": [held_up("mutating")]})
    assert 15 == meterfeed("sync", *arguments, "--json", **settings_for(api)).code
    api.set_faults("none")
    before = mutating(api)
    refused = meterfeed("resume", "--json", **NEW).document
    assert (13, before) == (refused["exit_code"], mutating(api))
    assert "unfinished" in refused["error"]["message"]
    assert 0 == meterfeed("resume", "--json", id_key=ID_KEY, id_key_previous="").code
    done = meterfeed("sync", *arguments, "--json", **NEW).document
    assert (0, 20) == (done["exit_code"], done["records"]["user"]["unchanged"])
    assert_all_there_once(api, 20)


def test_a_plan_made_with_the_former_key_leaves_no_customers_values_behind(
    meterfeed, loaded, write, tmp_path
):
    """It can never be applied, so nobody needs what it would have sent."""
    plan = meterfeed("plan", *write("b.csv", portfolio(42)), "--json").document
    spool = tmp_path / "runs" / plan["run_id"] / "spool"
    assert spool.is_dir()
    meterfeed("resume", "--json")
    assert spool.is_dir()
    meterfeed("resume", "--json", **NEW)
    assert not spool.exists()
    assert Path(plan["artifacts"]["report"]).is_file()
    assert 11 == meterfeed("apply", plan["plan_digest"], "--json").code


def test_a_ledger_lost_after_a_change_of_key_is_rebuilt_with_all_keys(meterfeed, loaded, write, tmp_path):
    arguments = write("b.csv", portfolio(50))
    meterfeed("sync", *arguments, "--json", **NEW)
    for path in (tmp_path / "runs").glob("ledger*"):
        path.unlink()
    assert 0 == meterfeed("adopt", *arguments[1:], "--json").code
    before = mutating(loaded)
    done = meterfeed("sync", *arguments, "--json").document
    assert (0, 50, 50, 40, before) == (
        done["exit_code"],
        done["records"]["user"]["unchanged"],
        done["records"]["location"]["unchanged"],
        done["former_key_customers"],
        mutating(loaded),
    )


def test_keys_come_from_a_file_one_to_a_line(meterfeed, loaded, write, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{ID_KEY}\n")
    done = meterfeed(
        "sync",
        *write("b.csv", portfolio(40)),
        "--json",
        id_key=NEW["id_key"],
        id_key_previous_file=str(file),
    ).document
    assert (0, 40) == (done["exit_code"], done["records"]["user"]["unchanged"])


def test_a_short_former_key_is_a_wrong_setting(meterfeed, loaded, write):
    ended = meterfeed("resume", "--json", id_key_previous="canary-short")
    assert 13 == ended.code
    assert "METERFEED_ID_KEY_PREVIOUS" in ended.document["error"]["message"]
    assert "canary" not in ended.out
