"""Around the main job: what is left open is settled, what changed is moved, what is held is read back."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
from pathlib import Path

import pytest

from sandbox.server import Sandbox
from sandbox.tokens import TOKEN_PATH
from tests.faults import held_up
from tests.integration.conftest import settings_for

HEADER = "Kundenr;Anlegg;Kundetype;MålepunktID;Breddegrad;Lengdegrad;Status\n"
PROFILE = """
name = "{name}"
country = "NO"
[export]
kind = "{kind}"
[file]
separator = ";"
decimal = ","
[columns]
user = "Kundenr"
location = "Anlegg"
location_type = "Kundetype"
meter_point = "MålepunktID"
latitude = "Breddegrad"
longitude = "Lengdegrad"
status = "Status"
[values.location_type]
"Husholdning" = "Residential"
"""


def gsrn(number: int) -> str:
    """A synthetic Norwegian meter point id with a valid check digit, outside the assigned range."""
    body = f"70705759999{number:06d}"
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(body))
    return body + str(-total % 10)


def row(customer: int, place: int, meter: int, latitude: str = "61,51234") -> str:
    return f"K{customer:04d};A{place:04d};Husholdning;{gsrn(meter)};{latitude};9,61234;Aktiv\n"


@pytest.fixture
def write(tmp_path: Path):
    """Write an export and its profile; returns the arguments that load it."""

    def written(name: str, rows: list[str], kind: str = "full", profile: str = "p") -> list[str]:
        path = tmp_path / name
        path.write_text(HEADER + "".join(rows), encoding="utf-8")
        toml = tmp_path / f"{profile}-{kind}.toml"
        toml.write_text(PROFILE.format(name=profile, kind=kind), encoding="utf-8")
        return [str(path), "--profile", str(toml)]

    return written


def mutating(api: Sandbox) -> int:
    return sum(line["method"] != "GET" and line["path"] != TOKEN_PATH for line in api.requests())


def portfolio(count: int, start: int = 0) -> list[str]:
    return [row(number, number, number) for number in range(start, start + count)]


def location_of(api: Sandbox, meter: int) -> dict:
    [found] = [one for one in api.state()["locations"] if gsrn(meter) in (one.get("meterPointIds") or [])]
    return found


def test_a_delta_that_names_one_meter_point_of_two_says_what_it_takes_away(meterfeed, api, write):
    both = [row(1, 1, 1), row(1, 1, 2), *portfolio(3, start=5)]
    meterfeed("sync", *write("a.csv", both, kind="delta"), "--json", **settings_for(api))
    second = write("b.csv", [row(1, 1, 2)], kind="delta")
    plan = meterfeed("plan", *second, "--json").document
    assert [note for note in plan["notes"] if note.startswith("1 meter point would leave a location")]
    assert (0, False) == (plan["exit_code"], any(one["tripped"] for one in guards_of(plan)))
    profile = Path(second[-1])
    profile.write_text(
        profile.read_text(encoding="utf-8") + "[guards]\nmeter_points_lost = 0\n", encoding="utf-8"
    )
    stopped = meterfeed("sync", *second, "--json").document
    assert (11, "A guard stopped the run: meter_points_lost.") == (stopped["exit_code"], stopped["verdict"])
    assert 2 == len(location_of(api, 1)["meterPointIds"])


def test_a_meter_point_that_a_delta_moves_is_not_lost(meterfeed, api, write):
    both = [row(1, 1, 1), row(1, 1, 2), row(2, 2, 3)]
    meterfeed("sync", *write("a.csv", both, kind="delta"), "--json", **settings_for(api))
    moved = [row(1, 1, 1), row(2, 2, 3), row(2, 2, 2)]
    done = meterfeed("sync", *write("b.csv", moved, kind="delta"), "--json").document
    assert (0, []) == (done["exit_code"], [note for note in done["notes"] if "would leave" in note])
    assert {gsrn(2), gsrn(3)} == set(location_of(api, 2)["meterPointIds"])


def guards_of(summary: dict) -> list[dict]:
    """The guards of a run, from its folder."""
    folder = Path(summary["artifacts"]["report"]).parent
    return json.loads((folder / "summary.json").read_bytes())["details"]["guards"]


def test_a_changed_coordinate_is_an_update_of_one_location(meterfeed, api, write):
    meterfeed("sync", *write("a.csv", portfolio(40)), "--json", **settings_for(api))
    changed = [*portfolio(39), row(39, 39, 39, "62,00001")]
    done = meterfeed("sync", *write("b.csv", changed), "--json").document
    assert (0, 1, 39) == (
        done["exit_code"],
        done["records"]["location"]["updated"],
        done["records"]["location"]["unchanged"],
    )
    assert 62.00001 == location_of(api, 39)["coordinates"]["latitude"]


def test_a_meter_point_is_handed_over_before_it_is_given_on(meterfeed, api, write):
    meterfeed("sync", *write("a.csv", portfolio(40)), "--json", **settings_for(api))
    moved_in = [*portfolio(39), row(900, 900, 39)]
    done = meterfeed("sync", *write("b.csv", moved_in), "--json").document
    assert (0, {"moved": 1, "reported": 0}) == (done["exit_code"], done["handovers"])
    assert 0 == done["records"]["location"]["rejected"]
    locations = api.state()["locations"]
    assert [1] * 40 == [
        sum(gsrn(n) in (one.get("meterPointIds") or []) for one in locations) for n in range(40)
    ]
    assert 41 == len(api.state()["users"])


def test_a_delta_leaves_the_former_holder_alone_and_says_so(meterfeed, api, write):
    meterfeed("sync", *write("a.csv", portfolio(40), "delta"), "--json", **settings_for(api))
    done = meterfeed("sync", *write("b.csv", [row(900, 900, 39)], "delta"), "--json").document
    assert (10, 1, 1) == (
        done["exit_code"],
        done["handovers"]["reported"],
        done["records"]["location"]["rejected"],
    )


def test_a_guarded_plan_is_let_through_by_its_digest_alone(meterfeed, api, write):
    meterfeed("sync", *write("a.csv", portfolio(400)), "--json", **settings_for(api))
    shrunk = write("b.csv", portfolio(200))
    stopped = meterfeed("sync", *shrunk, "--json").document
    before = mutating(api)
    assert (11, "A guard stopped the run: shrank.") == (stopped["exit_code"], stopped["verdict"])
    assert stopped["plan_digest"] in stopped["error"]["cure"]
    assert 11 == meterfeed("sync", *shrunk, "--approve", "0" * 32, "--json").code
    assert 0 == meterfeed("sync", *shrunk, "--approve", stopped["plan_digest"], "--json").code
    assert before == mutating(api)


def test_apply_does_exactly_the_plan_that_was_shown(meterfeed, api, write):
    arguments = write("a.csv", portfolio(30))
    plan = meterfeed("plan", *arguments, "--json", **settings_for(api)).document
    assert (0, 0) == (plan["exit_code"], mutating(api))
    done = meterfeed("apply", plan["plan_digest"], "--json").document
    assert (0, 30) == (done["exit_code"], done["records"]["user"]["created"])
    before = mutating(api)
    again = meterfeed("apply", plan["plan_digest"], "--json").document
    assert (0, 30, before) == (again["exit_code"], again["records"]["user"]["unchanged"], mutating(api))


def test_the_command_that_the_page_of_a_plan_says_does_that_plan(meterfeed, api, write):
    plan = meterfeed("plan", *write("a.csv", portfolio(30)), "--json", **settings_for(api)).document
    page = (Path(plan["artifacts"]["report"]).parent / "report.txt").read_text(encoding="utf-8")
    [command] = re.findall("`meterfeed (apply [^`]*)`", page)
    done = meterfeed(*command.split(), "--json").document
    assert (0, 30) == (done["exit_code"], done["records"]["user"]["created"])


def test_a_guarded_plan_is_let_through_by_the_digits_that_runs_shows_but_not_by_its_run(
    meterfeed, api, write
):
    meterfeed("sync", *write("a.csv", portfolio(400)), "--json", **settings_for(api))
    stopped = meterfeed("sync", *write("b.csv", portfolio(200)), "--json").document
    listed = meterfeed("runs", "--json").document["runs"]
    assert stopped["plan_digest"] == listed[0]["plan"]
    digits = stopped["plan_digest"][:8]
    assert digits in meterfeed("runs").out.splitlines()[1]
    assert 11 == meterfeed("apply", stopped["run_id"], "--json").code
    assert 11 == meterfeed("apply", digits[:7], "--json").code
    assert 0 == meterfeed("apply", digits, "--json").code


def test_the_beginning_of_two_plans_names_neither(meterfeed, api, write, tmp_path):
    plans = [
        meterfeed("plan", *write(name, rows), "--json", **settings_for(api)).document["plan_digest"]
        for name, rows in (("a.csv", portfolio(3)), ("b.csv", portfolio(4)))
    ]
    alike = ["0123456789" + digest[10:] for digest in plans]
    with sqlite3.connect(tmp_path / "runs" / "ledger.sqlite") as ledger:
        for digest, before in zip(alike, plans, strict=True):
            ledger.execute("UPDATE run SET plan_digest = ? WHERE plan_digest = ?", (digest, before))
    ledger.close()
    told = meterfeed("apply", "0123456789", "--json").document
    assert (11, 0) == (told["exit_code"], mutating(api))
    assert f"2 plans begin with '0123456789', the newest is {alike[1]}." == told["error"]["message"]


def test_a_plan_that_was_overtaken_is_stale(meterfeed, api, write):
    plan = meterfeed("plan", *write("a.csv", portfolio(30)), "--json", **settings_for(api)).document
    meterfeed("sync", *write("b.csv", portfolio(31)), "--json")
    stale = meterfeed("apply", plan["plan_digest"], "--json")
    assert 11 == stale.code
    assert "stale" in stale.document["error"]["message"]


def test_resume_finishes_what_an_outage_left(meterfeed, write, kept_port):
    arguments = write("a.csv", portfolio(50))
    with Sandbox(kept_port) as api:
        settings = settings_for(api)
    assert 15 == meterfeed("sync", *arguments, "--json", **settings).code
    with Sandbox(kept_port) as api:
        done = meterfeed("resume", "--json").document
        assert (0, 50) == (done["exit_code"], done["records"]["user"]["created"])
        assert 50 == len(api.state()["users"])
        again = meterfeed("resume", "--json").document
        assert (done["records"], done["exit_code"]) == (again["records"], again["exit_code"])


def test_a_newer_delta_waits_for_the_older_one(meterfeed, write, api):
    api.set_faults({"fault": [held_up("mutating")]})
    older = write("a.csv", portfolio(20), "delta")
    assert 15 == meterfeed("sync", *older, "--json", **settings_for(api)).code
    api.set_faults("none")
    done = meterfeed("sync", *write("b.csv", portfolio(5, start=100), "delta"), "--json").document
    assert (0, 5) == (done["exit_code"], done["records"]["user"]["planned"])
    assert 25 == len(api.state()["users"])  # the older delta was sent first


def test_where_nothing_was_ever_sent_nothing_is_unfinished(meterfeed, api):
    told = meterfeed("resume", "--json", **settings_for(api))
    assert (0, "Nothing is unfinished.") == (told.code, told.document["verdict"])
    assert 11 == meterfeed("resume", "20260101-0003", "--json").code


@pytest.fixture
def refusals(meterfeed, api, write):
    """A delta stopped at its refusals: the API gives no meter point away. The arguments of a later one."""
    meterfeed("sync", *write("a.csv", portfolio(60), "delta"), "--json", **settings_for(api), chunk_size="5")
    taken = [row(900 + number, 900 + number, number if number % 2 else 900 + number) for number in range(60)]
    arguments = write("b.csv", taken, "delta")
    profile = Path(arguments[-1])
    text = profile.read_text(encoding="utf-8")
    profile.write_text(f"{text}[guards]\nminimum_sent = 10\n", encoding="utf-8")
    first = meterfeed("sync", *arguments, "--json").document
    assert (11, "A guard stopped the run: rejected.") == (first["exit_code"], first["verdict"])
    return write("c.csv", portfolio(5, start=100), "delta"), profile, f"{text}[guards]\nrejected = 0.9\n"


def test_a_newer_delta_ends_as_the_older_one_that_a_guard_stops(meterfeed, refusals):
    later, _, _ = refusals
    stopped = meterfeed("sync", *later, "--json").document
    assert (11, "A guard stopped the run: rejected.") == (stopped["exit_code"], stopped["verdict"])
    assert stopped["error"]["message"].startswith("The earlier run ")
    assert "resume --profile P`. A newer delta is sent only after the older one." in stopped["error"]["cure"]


def test_a_run_is_resumed_under_the_guards_its_profile_has_by_now(meterfeed, refusals):
    later, profile, raised = refusals
    profile.write_text(raised, encoding="utf-8")
    assert 11 == meterfeed("resume", "--json").code  # it was planned under the older ones
    done = meterfeed("resume", "--profile", profile, "--json").document
    assert (10, 30) == (done["exit_code"], done["records"]["location"]["rejected"])
    assert 0 == meterfeed("sync", *later, "--json").code


def test_a_backfill_loads_in_order_and_skips_what_is_done(meterfeed, api, write, tmp_path):
    _, flag, profile = write("kunder-1.csv", portfolio(10), "delta")
    write("kunder-2.csv", portfolio(12), "delta")
    with gzip.open(tmp_path / "kunder-3.csv.gz", "wt", encoding="utf-8") as file:
        file.write(HEADER + "".join(portfolio(15)))
    write("kunder-4.csv", portfolio(10), "delta")  # what the first one said, once more
    arguments = [str(tmp_path / "kunder-*.csv*"), flag, profile]
    done = meterfeed("backfill", *arguments, "--json", **settings_for(api)).document
    assert (0, {"given": 4, "done": 4}) == (done["exit_code"], done["exports"])
    assert (15, 32) == (done["records"]["user"]["created"], done["records"]["user"]["unchanged"])
    assert [False] * 4 == [run["skipped"] for run in done["runs"]]
    before = mutating(api)
    again = meterfeed("backfill", *arguments, "--json").document
    assert [True] * 4 == [run["skipped"] for run in again["runs"]]
    assert before == mutating(api)


def test_a_backfill_that_a_guard_stopped_goes_on_after_what_its_cure_says(meterfeed, api, write, tmp_path):
    write("kunder-1.csv", portfolio(400))
    write("kunder-2.csv", portfolio(200))
    _, flag, profile = write("kunder-3.csv", portfolio(201))
    arguments = ["backfill", str(tmp_path / "kunder-*.csv"), flag, profile, "--json"]
    stopped = meterfeed(*arguments, **settings_for(api)).document
    assert (11, 2) == (stopped["exit_code"], stopped["exports"]["done"])
    [command] = re.findall("`meterfeed ([^`]*)`", stopped["error"]["cure"])
    assert 0 == meterfeed(*command.split(), "--json").code
    done = meterfeed(*arguments).document
    assert (0, [True, True, False]) == (done["exit_code"], [run["skipped"] for run in done["runs"]])


@pytest.mark.parametrize(("named", "missing"), [(False, {}), (True, {"user": 1, "location": 1})])
def test_what_is_adopted_for_no_profile_is_known_and_nobody_misses_it(
    meterfeed, api, write, tmp_path, named, missing
):
    arguments = write("a.csv", portfolio(40))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    for path in (tmp_path / "runs").glob("ledger*"):
        path.unlink()
    adopted = meterfeed("adopt", *(arguments[1:] if named else ()), "--json").document
    assert (0, 40) == (adopted["exit_code"], adopted["adopted"]["location"])
    plan = meterfeed("plan", *write("b.csv", portfolio(39)), "--json").document
    assert (0, 39) == (plan["exit_code"], plan["records"]["location"]["unchanged"])
    assert missing == {kind: one["missing"] for kind, one in plan["vanished"]["kinds"].items()}


def test_adopt_takes_one_profile_at_most(meterfeed, write):
    both = [*write("a.csv", [])[1:], *write("b.csv", [], profile="q")[1:]]
    told = meterfeed("adopt", *both, "--json")
    assert (2, True) == (told.code, "give one, or none" in told.document["error"]["message"])


def test_a_lost_ledger_is_rebuilt_from_what_the_api_holds(meterfeed, api, write, tmp_path):
    arguments = write("a.csv", portfolio(40))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    for path in (tmp_path / "runs").glob("ledger*"):
        path.unlink()
    adopted = meterfeed("adopt", *arguments[1:], "--json").document
    assert {"user": 40, "location": 40, "resource": 0, "vehicle": 0} == adopted["adopted"]
    before = mutating(api)
    done = meterfeed("sync", *arguments, "--json").document
    assert (0, 40, 40) == (
        done["exit_code"],
        done["records"]["user"]["unchanged"],
        done["records"]["location"]["unchanged"],
    )
    assert before == mutating(api)


def test_reconcile_finds_what_somebody_else_changed(meterfeed, api, write):
    arguments = write("a.csv", portfolio(30))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    clean = meterfeed("reconcile", "--users", "all", "--json").document
    assert (0, 30) == (clean["exit_code"], clean["users_read"])
    place = location_of(api, 3)
    import httpx

    token = httpx.post(
        api.token_url,
        data={
            "grant_type": "client_credentials",
            "client_id": api.client_id,
            "client_secret": api.client_secret,
        },
        timeout=60.0,
    ).json()["access_token"]
    answer = httpx.delete(
        f"{api.base_url}/users/{place['userId']}/locations/{place['locationId']}",
        headers={"authorization": f"Bearer {token}"},
        timeout=60.0,
    )
    assert 204 == answer.status_code
    drift = meterfeed("reconcile", "--users", "all", "--json").document
    assert (10, 1) == (drift["exit_code"], drift["drift"]["location"]["missing"])
    assert 1 == len(drift["drift_listed"])


def test_a_location_is_moved_into_a_test_area(meterfeed, api, write):
    meterfeed("sync", *write("a.csv", portfolio(10)), "--json", **settings_for(api))
    place = location_of(api, 3)
    done = meterfeed("move", place["locationId"], "--to-test-area", "1", "--json").document
    assert (0, 1) == (done["exit_code"], done["records"]["location"]["updated"])
    assert pytest.approx(79.519, abs=0.001) == location_of(api, 3)["coordinates"]["latitude"]


def test_production_has_no_test_areas(meterfeed, api):
    ended = meterfeed(
        "move", "x", "--to-test-area", "1", "--json", environment="production", **settings_for(api)
    )
    assert 13 == ended.code


def test_explain_tells_the_story_of_a_location_and_masks_its_id(meterfeed, api, write):
    meterfeed("sync", *write("a.csv", portfolio(10)), "--json", **settings_for(api))
    place = location_of(api, 3)["locationId"]
    ended = meterfeed("explain", place, "--json")
    [event] = ended.document["story"]["events"]
    assert ("create_locations", "acknowledged", "a.csv", 5) == (
        event["phase"],
        event["state"],
        event["file"],
        event["line"],
    )
    assert place not in ended.out


def test_an_erased_user_is_gone_everywhere(meterfeed, api, write, tmp_path):
    meterfeed("sync", *write("a.csv", portfolio(10)), "--json", **settings_for(api))
    user = location_of(api, 3)["userId"]
    assert 0 == meterfeed("erase", user, "--yes", "--json").code
    assert user not in {one["userId"] for one in api.state()["users"]}
    left = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert user.encode() not in left


def test_purge_removes_values_and_keeps_reports(meterfeed, api, write, tmp_path):
    rows = [*portfolio(10), "K1;A1;Husholdning;123;61,5;9,6;Aktiv\n"]
    done = meterfeed("sync", *write("a.csv", rows), "--json", **settings_for(api)).document
    assert 10 == done["exit_code"]
    assert Path(done["artifacts"]["quarantine"]).is_file()
    purged = meterfeed("purge", "--days", "0", "--json").document
    assert 2 <= purged["purged"]["files"]
    assert not Path(done["artifacts"]["quarantine"]).exists()
    assert Path(done["artifacts"]["report"]).is_file()


def test_the_spool_goes_when_everything_is_settled(meterfeed, api, write, tmp_path):
    done = meterfeed("sync", *write("a.csv", portfolio(10)), "--json", **settings_for(api)).document
    assert not (tmp_path / "runs" / done["run_id"] / "spool").exists()


def test_a_correction_adds_its_rows_and_speaks_for_no_other(meterfeed, api, write, tmp_path):
    arguments = write(
        "kunder.csv", [*portfolio(310), f"K0900;A0900;Husholdning;{gsrn(900)};961,5;9,6;Aktiv\n"]
    )
    done = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    assert (10, 1) == (done["exit_code"], done["rows"]["quarantined"])
    correction = Path(done["artifacts"]["correction"])
    mended = tmp_path / "correction-kunder.csv"
    mended.write_bytes(correction.read_bytes().replace(b"961,5", b"61,5"))
    fixed = meterfeed("sync", mended, *arguments[1:], "--json").document
    assert (0, 1, 0) == (
        fixed["exit_code"],
        fixed["records"]["location"]["created"],
        fixed["plan"]["location"]["vanished"],
    )
    assert [(done["sources"][0]["sha256"][:32], 1)] == [
        (one["sha256"], one["rows"]) for one in fixed["corrects"]
    ]
    assert 311 == len(api.state()["users"])
    # The next full export is measured by the last full one, not by the correction of one row.
    assert 0 == meterfeed("sync", *write("kunder-2.csv", portfolio(311)), "--json").code


def test_a_correction_with_nothing_mended_is_judged_row_by_row(meterfeed, write):
    """Bad rows are all it ever had, so their share says nothing about its columns."""
    bad = [f"K{n:04};A{n:04};Husholdning;97080{n:03};61,5;9,6;Aktiv\n" for n in range(500, 820)]
    arguments = write("kunder.csv", [*portfolio(330), *bad])
    correction = meterfeed("quality", *arguments, "--json").document["artifacts"]["correction"]
    again = meterfeed("quality", correction, *arguments[1:], "--json").document
    assert (320, 320) == (again["rows"]["read"], again["rows"]["quarantined"])
