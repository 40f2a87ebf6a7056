"""What an earlier start left behind: its spool, its table of outcomes, the guard that stopped it."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.delivery import readback
from pipeline.sharing import send_plan
from sandbox.server import Sandbox
from schemas.errors import StorageError
from tests.faults import held_up
from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import HEADER, PROFILE, location_of, mutating, portfolio, row

UNSETTLED = {
    "fault": [
        {"kind": "applied-then-dropped", "on": "POST /users/locations/batch"},
        held_up("GET /users/{userId}/locations/{locationId}"),
    ]
}
NO_LOCATIONS = {"fault": [held_up("POST /users/locations/batch")]}
NOTHING_MORE = {"fault": [held_up("mutating")]}


class Retailer:
    """Exports it writes, commands it runs, folders of its runs."""

    def __init__(self, meterfeed: Any, api: Sandbox, folder: Path) -> None:
        self._meterfeed, self._settings, self._folder = meterfeed, settings_for(api), folder
        self.runs = folder / "runs"

    def export(
        self, file: str, rows: list[str], kind: str = "full", more: str = "", name: str = "p"
    ) -> list[str]:
        """Write an export and its profile of that name; the arguments that load it."""
        path, toml = self._folder / file, self._folder / f"{name}-{kind}.toml"
        path.write_text(HEADER + "".join(rows), encoding="utf-8")
        toml.write_text(PROFILE.format(name=name, kind=kind) + more, encoding="utf-8")
        return [str(path), "--profile", str(toml)]

    def run(self, *arguments: object) -> dict[str, Any]:
        """Run a command; its summary."""
        document: dict[str, Any] = self._meterfeed(*arguments, "--json", **self._settings).document
        return document

    def spools(self) -> list[str]:
        """Runs whose spool is still there."""
        return sorted(folder.parent.name for folder in self.runs.glob("*/spool"))

    def lose_spools(self) -> None:
        """Remove every spool, as somebody who wants room does."""
        for folder in self.runs.glob("*/spool"):
            shutil.rmtree(folder)


@pytest.fixture
def retailer(meterfeed: Any, api: Sandbox, tmp_path: Path) -> Retailer:
    return Retailer(meterfeed, api, tmp_path)


# ------------------------------------------------------------------ a spool that is lost
@pytest.fixture
def lost(retailer: Retailer, api: Sandbox) -> list[str]:
    """A delta of twenty with five locations in doubt, whose spool was lost; the arguments that load it."""
    arguments = retailer.export("a.csv", portfolio(20), "delta")
    api.set_faults(UNSETTLED)
    stopped = retailer.run("sync", *arguments)
    assert (5, 15) == tuple(stopped["records"]["location"][name] for name in ("in_doubt", "not_sent"))
    assert Path(stopped["artifacts"]["outcomes"]).is_file()
    api.set_faults("none")
    retailer.lose_spools()
    return arguments


def test_a_run_whose_spool_is_lost_keeps_its_account_and_no_older_table(retailer, lost):
    told = retailer.run("resume")
    assert (16, 5, 15) == (
        told["exit_code"],
        told["records"]["location"]["created"],
        told["records"]["location"]["not_sent"],
    )
    assert told["artifacts"]["outcomes"] is None
    assert [] == list(retailer.runs.glob("2*/outcomes.*"))


def test_the_very_export_that_a_lost_spool_was_of_takes_its_place(retailer, api, lost):
    assert 16 == retailer.run("resume")["exit_code"]
    later = retailer.export("b.csv", portfolio(3, start=100), "delta")
    waiting = retailer.run("sync", *later)
    assert 16 == waiting["exit_code"]
    assert waiting["error"]["message"].startswith("The earlier run ")
    assert "Run the export again." in waiting["error"]["cure"]
    done = retailer.run("sync", *lost)
    assert (0, 15, 5) == (
        done["exit_code"],
        done["records"]["location"]["created"],
        done["records"]["location"]["unchanged"],
    )
    assert 0 == retailer.run("sync", *later)["exit_code"]
    state = api.state()
    assert (23, 23) == (len(state["users"]), len(state["locations"]))


def test_a_plan_whose_spool_is_gone_holds_up_nobody(retailer, api):
    plan = retailer.run("plan", *retailer.export("a.csv", portfolio(4), "delta"))
    retailer.lose_spools()  # as `purge` does
    for _ in range(2):
        told = retailer.run("apply", plan["plan_digest"])
        assert (16, 4) == (told["exit_code"], told["records"]["user"]["not_sent"])
        assert "Run the export again." in told["error"]["cure"]
        assert "no run waits for it" in told["error"]["cure"]
    assert 0 == mutating(api)
    assert 0 == retailer.run("sync", *retailer.export("b.csv", portfolio(3, start=100), "delta"))["exit_code"]
    assert 3 == len(api.state()["locations"])


def test_of_several_runs_that_are_resumed_the_worst_end_is_told(retailer, api):
    """The older one has lost its spool, the newer one comes to its end: that does not make all of it well."""
    api.set_faults(NO_LOCATIONS)
    older = retailer.run("sync", *retailer.export("a.csv", portfolio(4), "delta"))
    retailer.lose_spools()
    newer = retailer.run("sync", *retailer.export("b.csv", portfolio(4, start=100), "delta", name="q"))
    assert (15, 15) == (older["exit_code"], newer["exit_code"])
    api.set_faults("none")
    told = retailer.run("resume")
    assert (16, older["run_id"]) == (told["exit_code"], told["run_id"])
    assert 4 == len(api.state()["locations"])


# ------------------------------------------------------------------ customers
def test_a_former_holder_is_no_customer_of_the_exports(retailer, api):
    retailer.run("sync", *retailer.export("a.csv", portfolio(4)))
    api.set_faults(NOTHING_MORE)
    stopped = retailer.run("sync", *retailer.export("b.csv", [row(900, 900, meter) for meter in range(4)]))
    assert (15, {"complete": 0, "incomplete": 1}) == (stopped["exit_code"], stopped["customers"])


# ------------------------------------------------------------------ a guard while sending
@pytest.fixture
def canary(retailer: Retailer) -> pytest.MonkeyPatch:
    """A delta of sixty stopped at its first five locations: the API holds other content. `undo()` mends it."""
    with_other_content = pytest.MonkeyPatch()
    with_other_content.setattr(readback, "same_location", lambda *_: False)
    stopped = retailer.run("sync", *retailer.export("a.csv", portfolio(60), "delta"))
    assert (11, "A guard stopped the run: canary.") == (stopped["exit_code"], stopped["verdict"])
    return with_other_content


def test_a_schedule_that_comes_by_does_not_lift_a_canary(retailer, api, canary):
    try:
        before = mutating(api)
        later = retailer.export("b.csv", portfolio(30, start=100), "delta")
        for arguments in (later, retailer.export("a.csv", portfolio(60), "delta")):
            stopped = retailer.run("sync", *arguments)
            assert (11, "A guard stopped the run: canary.") == (stopped["exit_code"], stopped["verdict"])
            assert stopped["error"]["message"].startswith("The earlier run ")
            assert "`meterfeed resume`" in stopped["error"]["cure"]
        assert before == mutating(api)
    finally:
        canary.undo()
    assert 0 == retailer.run("resume")["exit_code"]  # mended at the API, and a person says so
    assert 0 == retailer.run("sync", *later)["exit_code"]
    assert 90 == len(api.state()["locations"])


def test_an_empty_plan_is_let_through_by_nobody(retailer, api):
    nobody = '[keep]\nstatus = ["Ingen"]\n'
    stopped = retailer.run("sync", *retailer.export("a.csv", portfolio(5), more=nobody))
    assert (11, "A guard stopped the run: empty.") == (stopped["exit_code"], stopped["verdict"])
    again = retailer.run("apply", stopped["plan_digest"])
    assert (11, "A guard stopped the run: empty.") == (again["exit_code"], again["verdict"])


# ------------------------------------------------------------------ spools nobody can use
def test_the_spool_of_a_run_that_is_given_up_goes(retailer, api):
    api.set_faults(NO_LOCATIONS)
    assert 15 == retailer.run("sync", *retailer.export("a.csv", portfolio(30)))["exit_code"]
    api.set_faults("none")
    assert 1 == len(retailer.spools())
    assert 0 == retailer.run("sync", *retailer.export("b.csv", portfolio(31)))["exit_code"]
    assert [] == retailer.spools()


@pytest.mark.parametrize("place", ["make_plan", "put_aside"])
@pytest.mark.parametrize("command", ["quality", "plan", "sync"])
def test_half_a_spool_goes_with_the_error_that_ended_it(retailer, monkeypatch, command, place):
    def full(*_: object, **__: object) -> None:
        raise StorageError("The disk is full.")

    for module in ("pipeline.run", "pipeline.ending"):
        monkeypatch.setattr(f"{module}.{place}", full, raising=False)
    ended = retailer.run(command, *retailer.export("a.csv", portfolio(30)))
    assert (16 if (command, place) != ("quality", "put_aside") else 0) == ended["exit_code"]
    assert [] == retailer.spools()


# ------------------------------------------------------------------ what is told to end
def test_who_ends_a_delta_that_finishes_an_earlier_one_is_told_so(retailer, api, monkeypatch):
    api.set_faults(NO_LOCATIONS)
    assert 15 == retailer.run("sync", *retailer.export("a.csv", portfolio(30), "delta"))["exit_code"]

    async def interrupted(*given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return await send_plan(*given)

    monkeypatch.setattr("pipeline.run.send_plan", interrupted)
    later = retailer.export("b.csv", portfolio(3, start=100), "delta")
    assert 130 == retailer.run("sync", *later)["exit_code"]


# ------------------------------------------------------------------ what is finished on the way
@pytest.fixture
def with_a_bad_row(retailer: Retailer, api: Sandbox) -> str:
    """A delta with a row in quarantine that could not be sent, so that nobody was told of the row; its run."""
    nameless = row(99, 99, 99).replace("K0099", "")
    api.set_faults(NO_LOCATIONS)
    stopped = retailer.run("sync", *retailer.export("a.csv", [*portfolio(12), nameless], "delta"))
    assert 15 == stopped["exit_code"]
    api.set_faults("none")
    return str(stopped["run_id"])


@pytest.mark.parametrize("command", ["sync", "backfill"])
def test_how_a_run_ended_that_was_finished_on_the_way_is_told(retailer, with_a_bad_row, command):
    """The newer run is a clean one, and stays so in the ledger; the command is not."""
    later = retailer.export("b.csv", portfolio(3, start=100), "delta")
    done = retailer.run(command, *later)
    assert (10, "Done; some rows were quarantined or records rejected.") == (
        done["exit_code"],
        done["verdict"],
    )
    [note] = done["notes"]
    assert f"The earlier run {with_a_bad_row} was finished first (exit 10): 1 rows" in note
    earlier, own = done["runs"]
    assert (with_a_bad_row, 10, 0) == (earlier["run_id"], earlier["exit_code"], own["exit_code"])
    assert "1 row" in Path(earlier["report"]).read_text(encoding="utf-8")
    ends = {run["run_id"]: run["exit_code"] for run in retailer.run("runs")["runs"]}
    assert {with_a_bad_row: 10, own["run_id"]: 0} == ends
    assert 0 == retailer.run("sync", *later)["exit_code"]


def test_an_error_that_comes_after_says_how_the_earlier_run_ended(retailer, with_a_bad_row, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr("pipeline.run.put_aside", full)
    ended = retailer.run("sync", *retailer.export("b.csv", portfolio(3, start=100), "delta"))
    assert 16 == ended["exit_code"]
    assert (
        f"The disk is full. The earlier run {with_a_bad_row} was finished first (exit 10)"
        in (ended["error"]["message"])
    )


# ------------------------------------------------------------------ a person who is forgotten
def test_a_location_that_was_moved_is_forgotten_with_its_person(retailer, api):
    retailer.run("sync", *retailer.export("a.csv", portfolio(8)))
    held = location_of(api, 3)
    assert 0 == retailer.run("move", held["locationId"], "--to", "60.5,10.5")["exit_code"]
    assert 0 == retailer.run("erase", held["userId"], "--yes")["exit_code"]
    left = b"".join(path.read_bytes() for path in retailer.runs.rglob("*") if path.is_file())
    assert [] == [name for name in ("locationId", "userId") if held[name].encode() in left]
