"""What the exports do not name any more: remembered, shown, and removed only when a person and two exports agree.

Rows DE1 to DE7 of the fault catalogue, over real HTTP, by the sandbox's effect log.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from pipeline.planning import make_plan
from pipeline.records import FOLD_ROWS
from sandbox.server import Sandbox
from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import HEADER, PROFILE, location_of, mutating, portfolio, row

HOUR = 3600.0
RESOURCES = """
name = "things"
country = "NO"
[export]
kind = "full"
of = "resources"
[file]
match = "things-*"
separator = ";"
[columns]
user = "Kundenr"
location = "Anlegg"
resource = "EnhetID"
resource_type = "Type"
[values.resource_type]
"Varmepumpe" = "HVAC"
"Bereder" = "HotWaterTank"
"Elbil" = "Vehicle"
"""


class Clock:
    """The wall clock of the commands, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def go_on(self, hours: float) -> None:
        self.ahead += hours * HOUR


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    now = Clock()
    monkeypatch.setattr("flows.wiring.time", SimpleNamespace(time=now, monotonic=time.monotonic))
    return now


class Company:
    """One company: exports it writes, commands it runs."""

    def __init__(self, meterfeed: Any, api: Sandbox, folder: Path) -> None:
        self._meterfeed, self._api, self._folder = meterfeed, api, folder
        self.count = 0

    def export(
        self, rows: list[str], *, kind: str = "full", profile: str = "p", guards: str = ""
    ) -> list[str]:
        """Write an export and its profile; returns the arguments that load it."""
        self.count += 1
        path = self._folder / f"{profile}-{self.count}.csv"
        path.write_text(HEADER + "".join(rows), encoding="utf-8")
        toml = self._folder / f"{profile}-{kind}.toml"
        toml.write_text(PROFILE.format(name=profile, kind=kind) + f"[guards]\n{guards}\n", encoding="utf-8")
        return [str(path), "--profile", str(toml)]

    def things(self, rows: list[str]) -> list[str]:
        """Write an export of resources."""
        self.count += 1
        path = self._folder / f"things-{self.count}.csv"
        path.write_text("Kundenr;Anlegg;EnhetID;Type\n" + "".join(rows), encoding="utf-8")
        toml = self._folder / "things.toml"
        toml.write_text(RESOURCES, encoding="utf-8")
        return [str(path), "--profile", str(toml)]

    def run(self, *arguments: object) -> dict[str, Any]:
        """Run a command; its summary."""
        document: dict[str, Any] = self._meterfeed(*arguments, "--json", **settings_for(self._api)).document
        return document

    def deletes(self) -> list[str]:
        """Kinds of what was removed, in order, from the effect log."""
        return [effect["kind"] for effect in self._api.effects() if effect["effect"] == "delete"]

    def users(self) -> int:
        """Users the API holds."""
        return len(self._api.state()["users"])


@pytest.fixture
def company(meterfeed: Any, api: Sandbox, tmp_path: Path) -> Company:
    return Company(meterfeed, api, tmp_path)


def gone_for_a_day(company: Company, clock: Clock, **how: Any) -> list[str]:
    """Forty customers, of whom the last is missing from two exports a day apart; returns the second's arguments."""
    assert 0 == company.run("sync", *company.export(portfolio(40), **how))["exit_code"]
    clock.go_on(24)
    assert 0 == company.run("sync", *company.export(portfolio(39), **how))["exit_code"]
    clock.go_on(24)
    return company.export([*portfolio(39), row(100, 100, 100)], **how)


def test_nothing_is_removed_unless_asked(company: Company, clock: Clock) -> None:
    """DE1, DE6: two exports a day apart are not enough; somebody must ask."""
    third = gone_for_a_day(company, clock)
    done = company.run("sync", *third)
    assert (0, []) == (done["exit_code"], company.deletes())
    assert {"missing": 1, "due": 1, "waiting": {}} == done["vanished"]["kinds"]["user"]


@pytest.mark.parametrize("latitude", ["61,51234", "61,90000"], ids=["named", "changed"])
def test_who_was_named_since_is_not_removed_by_a_plan_that_waited(
    company: Company, clock: Clock, latitude: str
) -> None:
    """DE6: a person approves what was missing; meanwhile another profile's delta says that the customer is there."""
    plan = company.run("plan", *gone_for_a_day(company, clock), "--delete-vanished")
    assert (11, 1) == (plan["exit_code"], plan["plan"]["user"]["delete"])
    here = company.export([row(39, 39, 39, latitude)], kind="delta", profile="q")
    assert 0 == company.run("sync", *here)["exit_code"]
    late = company.run("apply", plan["plan_digest"])
    assert (11, "A guard stopped the run: stale.", []) == (
        late["exit_code"],
        late["verdict"],
        company.deletes(),
    )


def test_what_vanished_is_removed_once_a_person_approved_that_very_plan(
    company: Company, clock: Clock
) -> None:
    """DE4, DE6: asked for, missing twice, approved by digest; what hangs on the user goes first."""
    third = gone_for_a_day(company, clock)
    plan = company.run("plan", *third, "--delete-vanished")
    assert (11, 1, 1) == (
        plan["exit_code"],
        plan["plan"]["user"]["delete"],
        plan["plan"]["location"]["delete"],
    )
    assert "loses this month's compensation" in plan["error"]["message"]
    stopped = company.run("sync", *third, "--delete-vanished")
    assert (11, "A guard stopped the run: removal.", []) == (
        stopped["exit_code"],
        stopped["verdict"],
        company.deletes(),
    )
    assert 11 == company.run("sync", *third, "--delete-vanished", "--approve", "0" * 32)["exit_code"]
    done = company.run("sync", *third, "--delete-vanished", "--approve", stopped["plan_digest"])
    assert (0, ["location", "user"], 40) == (done["exit_code"], company.deletes(), company.users())
    assert 1 == done["vanished"]["removals"]["user"]["removed"]
    page = Path(done["artifacts"]["report"]).read_text(encoding="utf-8")
    assert ["Removed", "Missing from the export"] == [
        word for word in ("Removed", "Missing from the export", "Back after removal") if word in page
    ]
    assert 1 == done["records"]["user"]["created"]
    lines = pl.read_parquet(done["artifacts"]["outcomes"]).filter(pl.col("operation") == "delete")
    assert [("location", "removed", None, None), ("user", "removed", None, None)] == lines.select(
        "kind", "outcome", "reason", "source_line"
    ).rows()
    assert all(one.startswith("…") for one in lines["masked_id"])


def test_a_plan_made_in_small_pieces_is_the_same_plan(
    company: Company, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New, changed, unchanged, twice, in quarantine, missing: each customer is compared once, in its piece."""
    gone_for_a_day(company, clock)
    rows = [*portfolio(39), row(100, 100, 100), row(8, 8, 8)]
    rows[5] = row(5, 5, 5, latitude="61,61234")
    rows[7] = rows[7].replace("61,51234", "991,5")
    export = company.export(rows)
    whole, *in_pieces = (
        _planned(company, export, monkeypatch, rows_each) for rows_each in (FOLD_ROWS, 1, 7, 30)
    )
    assert [whole] * 3 == in_pieces
    assert {"create": 1, "update": 1, "unchanged": 37, "delete": 1} == {
        name: whole["plan"]["location"][name] for name in ("create", "update", "unchanged", "delete")
    }
    assert 2 == whole["vanished"]["spared"]  # the customer and the home


def _planned(
    company: Company, export: list[str], monkeypatch: pytest.MonkeyPatch, rows_each: int
) -> dict[str, Any]:
    monkeypatch.setitem(make_plan.__kwdefaults__, "rows_each", rows_each)
    summary = company.run("plan", *export, "--delete-vanished")
    return {name: summary[name] for name in ("plan_digest", "plan", "vanished", "rows")}


def test_missing_once_says_since_when(company: Company, clock: Clock) -> None:
    """DE6: one export is no proof, and the plan says so."""
    company.run("sync", *company.export(portfolio(40)))
    plan = company.run("plan", *company.export(portfolio(39)), "--delete-vanished")
    assert (0, 0) == (plan["exit_code"], plan["plan"]["user"]["delete"])
    assert {"missing": 1, "due": 0, "waiting": {"seen_once": 1}} == plan["vanished"]["kinds"]["user"]
    [user] = [one for one in plan["vanished"]["listed"] if one["kind"] == "user"]
    assert ("seen_once", True) == (user["waits"], user["missing_since"].startswith("20"))


@pytest.mark.parametrize(("hours", "due"), [(19.0, 0), (21.0, 1)])
def test_two_exports_must_be_twenty_hours_apart(
    company: Company, clock: Clock, hours: float, due: int
) -> None:
    """DE6."""
    company.run("sync", *company.export(portfolio(40)))
    company.run("sync", *company.export(portfolio(39)))
    clock.go_on(hours)
    plan = company.run("plan", *company.export([*portfolio(39), row(100, 100, 100)]), "--delete-vanished")
    assert due == plan["plan"]["user"]["delete"]


def test_an_export_read_again_a_day_later_is_as_old_as_it_was(company: Company, clock: Clock) -> None:
    """DE6: what counts is when these bytes were first read; two exports of one hour are no day apart."""
    company.run("sync", *company.export(portfolio(40)))
    company.run("sync", *company.export(portfolio(39)))
    clock.go_on(1)
    second = company.export(portfolio(39)[::-1])
    company.run("sync", *second)
    clock.go_on(48)
    plan = company.run("plan", *second, "--delete-vanished")
    assert {"seen_once": 1} == plan["vanished"]["kinds"]["user"]["waiting"]


@pytest.mark.parametrize("kind", ["full", "delta"])
def test_who_is_named_in_between_is_not_missing(company: Company, clock: Clock, kind: str) -> None:
    """DE6: missing once, back the next day, missing again: the count begins anew."""
    company.run("sync", *company.export(portfolio(40)))
    company.run("sync", *company.export(portfolio(39)))
    clock.go_on(24)
    back = portfolio(40) if kind == "full" else [row(39, 39, 39)]
    company.run("sync", *company.export(back, kind=kind))
    clock.go_on(24)
    plan = company.run("plan", *company.export([*portfolio(39), row(101, 101, 101)]), "--delete-vanished")
    assert (1, 0) == (plan["vanished"]["kinds"]["user"]["missing"], plan["plan"]["user"]["delete"])


def test_who_is_named_in_between_by_another_profile_is_not_missing(company: Company, clock: Clock) -> None:
    """Its bytes are those of the day before; they say it all the same."""
    assert 0 == company.run("sync", *company.export(portfolio(40)))["exit_code"]
    other = company.export(portfolio(40)[-1:], kind="delta", profile="q")
    assert 0 == company.run("sync", *other)["exit_code"]
    clock.go_on(24)
    assert 0 == company.run("sync", *company.export(portfolio(39)))["exit_code"]
    assert 0 == company.run("sync", *other)["exit_code"]
    clock.go_on(24)
    plan = company.run("plan", *company.export([*portfolio(39), row(100, 100, 100)]))
    assert {"missing": 1, "due": 0, "waiting": {"seen_once": 1}} == plan["vanished"]["kinds"]["user"]


def test_who_is_named_before_an_older_plan_is_carried_out_is_missing_since_then_at_most(
    company: Company, clock: Clock
) -> None:
    """The plan did not name them, another profile did, and only then the plan was applied."""
    company.run("sync", *company.export(portfolio(40)))
    clock.go_on(hours=24)
    older = company.run("plan", *company.export(portfolio(39)))
    clock.go_on(hours=1)
    company.run("sync", *company.export(portfolio(1, start=39), kind="delta", profile="q"))
    clock.go_on(hours=6)
    assert 0 == company.run("apply", older["run_id"])["exit_code"]
    clock.go_on(hours=17)
    turned = [*portfolio(39)[20:], *portfolio(20)]
    newer = company.run("plan", *company.export(turned), "--delete-vanished")
    assert 0 == newer["vanished"]["kinds"]["user"]["due"]
    clock.go_on(hours=4)
    newer = company.run("plan", *company.export(portfolio(39)[::-1]), "--delete-vanished")
    assert 1 == newer["vanished"]["kinds"]["user"]["due"], "nobody has named them since"


def test_what_was_missing_before_an_adopt_is_missing_since_then(company: Company, clock: Clock) -> None:
    """The ledger may be an old copy, which knows nothing of the export that named the customer again."""
    export = company.export(portfolio(40))
    company.run("sync", *export)
    company.run("sync", *company.export(portfolio(39)))
    clock.go_on(24)
    assert 0 == company.run("adopt", *export[1:])["exit_code"]
    plan = company.run("plan", *company.export([*portfolio(39), row(100, 100, 100)]), "--delete-vanished")
    assert ({"seen_once": 1}, 0) == (
        plan["vanished"]["kinds"]["user"]["waiting"],
        plan["plan"]["user"]["delete"],
    )


def test_a_broken_export_removes_nothing_even_when_approved(company: Company, clock: Clock) -> None:
    """DE1, DE2: more than max(20, 1 %) cannot be approved, nor anything when the export shrank."""
    company.run("sync", *company.export(portfolio(400)))
    clock.go_on(24)
    half = company.export(portfolio(200))
    shrank = company.run("sync", *half)
    company.run("sync", *half, "--approve", shrank["plan_digest"])
    clock.go_on(24)
    again = company.export([*portfolio(199), row(500, 500, 500)])
    stopped = company.run("sync", *again, "--delete-vanished")
    assert (11, "A guard stopped the run: deletes.") == (stopped["exit_code"], stopped["verdict"])
    before = mutating(company._api)
    still = company.run("sync", *again, "--delete-vanished", "--approve", stopped["plan_digest"])
    assert (11, before) == (still["exit_code"], mutating(company._api))
    assert "[guards] deletes" in still["error"]["cure"]


def test_an_export_that_a_guard_stopped_is_no_proof(company: Company, clock: Clock) -> None:
    """DE1: what a truncated export does not name is not missing."""
    company.run("sync", *company.export(portfolio(400)))
    assert 11 == company.run("sync", *company.export(portfolio(200)))["exit_code"]
    clock.go_on(24)
    plan = company.run("plan", *company.export(portfolio(399)), "--delete-vanished")
    assert {"seen_once": 1} == plan["vanished"]["kinds"]["user"]["waiting"]


@pytest.mark.parametrize(
    ("broken", "spared", "waiting"),
    [
        ("K0039;A0039;Husholdning;12345;61,5;9,6;Aktiv\n", 2, {}),
        (";A0039;Husholdning;707;61,5;9,6;Aktiv\n", 0, {"unreadable_rows": 1}),
        ("K0039;A0039\n", 0, {"unreadable_rows": 1}),
    ],
    ids=["quarantined", "nameless", "unreadable"],
)
def test_a_row_that_could_not_be_judged_may_be_the_missing_one(
    company: Company, clock: Clock, broken: str, spared: int, waiting: dict[str, int]
) -> None:
    """DE3: a bad row keeps its customer; one that names nobody keeps everybody."""
    company.run("sync", *company.export(portfolio(40)))
    clock.go_on(24)
    company.run("sync", *company.export([*portfolio(39), broken]))
    clock.go_on(24)
    plan = company.run(
        "plan", *company.export([*portfolio(39), broken, row(100, 100, 100)]), "--delete-vanished"
    )
    told = plan["vanished"]
    assert (0, spared) == (plan["plan"]["user"]["delete"], told["spared"])
    assert waiting == told["kinds"].get("user", {"waiting": {}})["waiting"]


def test_a_user_with_records_of_another_export_stays(company: Company, clock: Clock) -> None:
    """DE5: what hangs on a user is removed first, and what nobody speaks for keeps it."""
    company.run("sync", *company.export(portfolio(40)))
    company.run("sync", *company.things(["K0039;A0039;E1;Varmepumpe\n", "K0038;A0038;E2;Elbil\n"]))
    clock.go_on(24)
    company.run("sync", *company.export(portfolio(37)))
    clock.go_on(24)
    third = company.export([*portfolio(37), row(100, 100, 100)])
    plan = company.run("plan", *third, "--delete-vanished")
    # 37 has nothing else; 38 has a vehicle, 39 a heat pump at its location.
    assert {"has_other_records": 2} == plan["vanished"]["kinds"]["user"]["waiting"]
    assert {"has_other_records": 1} == plan["vanished"]["kinds"]["location"]["waiting"]
    done = company.run("sync", *third, "--delete-vanished", "--approve", plan["plan_digest"])
    assert 0 == done["exit_code"]
    assert ["location", "location", "user"] == company.deletes()


def test_what_vanished_with_its_resources_goes_from_the_leaves_to_the_root(
    company: Company, clock: Clock
) -> None:
    """DE5: the guard counts the cascade, and every record has a request of its own."""
    company.run("sync", *company.export(portfolio(40)))
    both = ["K0039;A0039;E1;Varmepumpe\n", "K0039;A0039;E2;Elbil\n"]
    rest = ["K0001;A0001;E3;Elbil\n"]
    company.run("sync", *company.things([*both, *rest]))
    clock.go_on(24)
    customers, things = company.export(portfolio(39)), company.things(rest)
    company.run("sync", *things[:1], *customers[:1], *things[1:], *customers[1:])
    clock.go_on(24)
    customers = company.export([*portfolio(39), row(100, 100, 100)])
    things = company.things([*rest, "K0002;A0002;E4;Elbil\n"])
    arguments = [*things[:1], *customers[:1], *things[1:], *customers[1:], "--delete-vanished"]
    plan = company.run("plan", *arguments)
    assert dict.fromkeys(("user", "location", "resource", "vehicle"), 1) == {
        kind: changes["delete"] for kind, changes in plan["plan"].items()
    }
    done = company.run("sync", *arguments, "--approve", plan["plan_digest"])
    assert (0, ["resource", "resource", "location", "user"]) == (done["exit_code"], company.deletes())


def test_what_somebody_else_hung_on_a_user_keeps_it(company: Company, clock: Clock) -> None:
    """DE5: the ledger does not know of it; a look before the removal does."""
    third = gone_for_a_day(company, clock)
    user = location_of(company._api, 39)["userId"]
    by_hand(company._api, "POST", f"/users/{user}/vehicles", {"resourceId": "car", "resourceType": "Vehicle"})
    plan = company.run("plan", *third, "--delete-vanished")
    done = company.run("sync", *third, "--delete-vanished", "--approve", plan["plan_digest"])
    assert (10, ["location"]) == (done["exit_code"], company.deletes())
    assert 1 == done["vanished"]["removals"]["user"]["rejected"]
    lines = pl.read_parquet(done["artifacts"]["outcomes"]).filter(pl.col("operation") == "delete")
    assert [("location", "removed", None), ("user", "rejected", "has_other_records")] == lines.select(
        "kind", "outcome", "reason"
    ).rows()
    assert "1 removals refused." in Path(done["artifacts"]["report"]).with_name("report.txt").read_text()


def test_a_customer_who_comes_back_is_created_anew_and_counted_as_such(
    company: Company, clock: Clock
) -> None:
    """DE6: the tombstone says that this is no new customer."""
    third = gone_for_a_day(company, clock)
    plan = company.run("plan", *third, "--delete-vanished")
    company.run("sync", *third, "--delete-vanished", "--approve", plan["plan_digest"])
    back = company.run("sync", *company.export([*portfolio(40), row(100, 100, 100)]))
    assert (0, {"user": 1, "location": 1}) == (back["exit_code"], back["returning"])
    assert (1, 41) == (back["records"]["user"]["created"], company.users())
    later = company.run("sync", *company.export([*portfolio(41), row(100, 100, 100)]))
    assert (0, False) == (later["exit_code"], "returning" in later)


def test_an_approval_is_good_for_one_run(company: Company, clock: Clock) -> None:
    """DE4: a schedule with --approve in its command line must not remove the same customers again."""
    company.run("sync", *company.export(portfolio(40)))
    ended = []
    for turn in (1, 2):
        company.run("sync", *company.export([*portfolio(40)[turn:], *portfolio(turn)]))
        for _ in range(2):
            clock.go_on(24)
            last = company.export([*portfolio(39)[company.count :], *portfolio(company.count)])
            company.run("sync", *last)
        plan = company.run("plan", *last, "--delete-vanished")
        ended.append(company.run("sync", *last, "--delete-vanished", "--approve", plan["plan_digest"]))
    assert [(0, "Everything is accounted for."), (11, "A guard stopped the run: approval.")] == [
        (one["exit_code"], one["verdict"]) for one in ended
    ]
    assert plan["plan_digest"] == ended[0]["plan_digest"]


def test_a_removal_is_not_applied_a_day_after_it_was_planned(company: Company, clock: Clock) -> None:
    """DE4: what vanished may be back by then."""
    third = gone_for_a_day(company, clock)
    digest = company.run("plan", *third, "--delete-vanished")["plan_digest"]
    clock.go_on(25)
    stale = company.run("apply", digest)
    assert (11, []) == (stale["exit_code"], company.deletes())
    assert "older than 24 hours" in stale["error"]["message"]


def test_apply_removes_what_the_plan_showed(company: Company, clock: Clock) -> None:
    """DE4: naming the plan by its digest approves it."""
    third = gone_for_a_day(company, clock)
    digest = company.run("plan", *third, "--delete-vanished")["plan_digest"]
    assert (0, ["location", "user"]) == (company.run("apply", digest)["exit_code"], company.deletes())


def by_hand(api: Sandbox, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    """What somebody else does to the tenant."""
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
    headers = {"authorization": f"Bearer {token}"}
    url = api.base_url + path
    assert httpx.request(method, url, json=body, headers=headers, timeout=60.0).is_success


def with_cars(company: Company, folder: Path, rows: list[str], kind: str = "full") -> list[str]:
    """Write an export with a device in some rows; returns the arguments that load it."""
    company.count += 1
    toml = folder / f"cars-{kind}.toml"
    columns, values = PROFILE.format(name=f"cars-{kind}", kind=kind).split("[values.location_type]")
    resources = 'resource = "Enhet"\nresource_type = "Type"\n[values.resource_type]\n"Elbil" = "Vehicle"\n'
    toml.write_text(f"{columns}{resources}[values.location_type]{values}", encoding="utf-8")
    path = folder / f"cars-{company.count}.csv"
    wide = [line.rstrip("\n") + (";;\n" if line.count(";") == 6 else "\n") for line in rows]
    path.write_text(HEADER.rstrip("\n") + ";Enhet;Type\n" + "".join(wide), encoding="utf-8")
    return [str(path), "--profile", str(toml)]


CAR_ALONE = "K0039;A0039;;;;;Aktiv;E39;Elbil\n"


def test_a_location_that_only_a_vehicle_names_is_neither_sent_nor_removed(
    company: Company, clock: Clock, tmp_path: Path
) -> None:
    """What is sent of a location has a meter point or coordinates; what a row names is not missing."""
    new = "K0900;A0900;;;;;Aktiv;E900;Elbil\n"
    done = company.run("sync", *with_cars(company, tmp_path, [*portfolio(40), new]))
    assert (0, 40, 41, 1) == (
        done["exit_code"],
        *(done["records"][kind]["created"] for kind in ("location", "user", "vehicle")),
    )
    for more in (1, 2):
        clock.go_on(24)
        rows = [*portfolio(39), CAR_ALONE, new, *portfolio(more, start=100)]
        done = company.run("sync", *with_cars(company, tmp_path, rows), "--delete-vanished")
        assert (0, {}) == (done["exit_code"], done["vanished"]["kinds"])
    assert location_of(company._api, 39)


def test_a_location_that_was_missing_is_not_when_a_vehicle_names_it(
    company: Company, clock: Clock, tmp_path: Path
) -> None:
    company.run("sync", *with_cars(company, tmp_path, portfolio(40)))
    clock.go_on(24)
    company.run("sync", *with_cars(company, tmp_path, portfolio(39)))
    assert 0 == company.run("sync", *with_cars(company, tmp_path, [CAR_ALONE], "delta"))["exit_code"]
    clock.go_on(24)
    last = with_cars(company, tmp_path, [*portfolio(39), row(100, 100, 100)])
    told = company.run("plan", *last, "--delete-vanished")["vanished"]["kinds"]["location"]
    assert {"missing": 1, "due": 0, "waiting": {"seen_once": 1}} == told
