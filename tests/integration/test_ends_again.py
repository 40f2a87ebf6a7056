"""How a run ends when it is told of again, when it is asked to end too late, and when it is one of several."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.ledger.store import read_ledger
from pipeline.delivery.sender import Sender
from pipeline.ending import MAY_GO
from pipeline.session import Session
from pipeline.sharing import send_plan
from sandbox.server import Sandbox
from schemas.errors import ApiUnavailable
from tests.campaign.retailer import WAITING, states_of
from tests.integration.test_cli_left_behind import NO_LOCATIONS, Retailer, retailer
from tests.integration.test_cli_settle import location_of, mutating, portfolio, row
from tests.integration.test_vanished import by_hand

__all__ = ["retailer"]

BAD = row(500, 500, 500).replace("61,51234", "nord")
"""A row that is quarantined: its run ends with 10."""


@pytest.fixture
def told_late() -> Iterator[pytest.MonkeyPatch]:
    """SIGTERM comes once all is sent, while that is remembered; `undo()` ends that."""

    async def remember(self: Session) -> None:
        await honest(self)
        if any(run.state == "sending" for run in self.ledger.runs(brief=True)):
            signal.raise_signal(signal.SIGTERM)

    honest = Session.remember
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "remember", remember)
        yield patched


def states(retailer: Retailer) -> list[tuple[str, int | None]]:
    ledger = read_ledger(f"sqlite:///{retailer.runs}/ledger.sqlite")
    assert ledger is not None
    try:
        return [(run.state, run.exit_code) for run in ledger.runs(brief=True)]
    finally:
        ledger.close()


# ------------------------------------------------------------------ an interruption
def test_a_signal_after_the_last_answer_interrupts_nothing(retailer: Retailer, told_late: Any) -> None:
    done = retailer.run("sync", *retailer.export("a.csv", portfolio(5)))
    assert (0, "Everything is accounted for.") == (done["exit_code"], done["verdict"])
    assert [("settled", 0)] == states(retailer)


def test_a_backfill_that_is_told_to_end_says_so_and_goes_on_the_next_time(
    retailer: Retailer, told_late: pytest.MonkeyPatch
) -> None:
    for day in range(1, 4):
        _, flag, profile = retailer.export(f"kunder-{day}.csv", portfolio(5 + day), "delta")
    arguments = ("backfill", str(retailer.runs.parent / "kunder-*.csv"), flag, profile)
    ended = retailer.run(*arguments)
    assert (143, {"given": 3, "done": 1}) == (ended["exit_code"], ended["exports"])
    assert [0] == [run["exit_code"] for run in ended["runs"]]
    told_late.undo()
    done = retailer.run(*arguments)
    assert (0, [True, False, False]) == (done["exit_code"], [run["skipped"] for run in done["runs"]])


def test_a_backfill_that_was_through_when_it_was_told_to_end_is_done(
    retailer: Retailer, told_late: Any
) -> None:
    done = retailer.run("backfill", *retailer.export("a.csv", portfolio(5)))
    assert (0, {"given": 1, "done": 1}) == (done["exit_code"], done["exports"])


# ------------------------------------------------------------------ an error at the very end
@pytest.fixture
def settled_with_15(retailer: Retailer, api: Sandbox, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run stopped with its last record in place, and a quarantined row; the arguments that load its export."""

    async def send(*given: Any) -> Any:
        await send_plan(*given)
        return ApiUnavailable("It asks for patience.", cure="Run `meterfeed resume`.")

    arguments = retailer.export("a.csv", [*portfolio(80), BAD], "delta")
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.run.send_plan", send)
        assert 15 == retailer.run("sync", *arguments)["exit_code"]
    assert [("settled", 15)] == states(retailer)
    return arguments


@pytest.mark.parametrize("command", ["resume", "sync", "backfill", "apply"])
def test_a_settled_run_is_told_again_by_what_became_of_its_rows(
    retailer: Retailer, api: Sandbox, settled_with_15: list[str], command: str
) -> None:
    before = mutating(api)
    [run] = retailer.run("runs")["runs"]
    arguments = {"resume": [], "apply": [run["run_id"]]}.get(command, settled_with_15)
    again = retailer.run(command, *arguments)
    assert (10, None) == (again["exit_code"], again["error"])
    assert "Done; some rows were quarantined or records rejected." == again["verdict"]
    assert before == mutating(api)


def test_a_backfill_gets_past_an_export_whose_run_was_stopped_at_its_very_end(
    retailer: Retailer, settled_with_15: list[str]
) -> None:
    retailer.export("b.csv", portfolio(90), "delta")
    done = retailer.run("backfill", str(retailer.runs.parent / "[ab].csv"), *settled_with_15[1:])
    assert (10, {"given": 2, "done": 2}) == (done["exit_code"], done["exports"])


def test_a_run_that_is_not_settled_is_told_as_it_ended(retailer: Retailer, api: Sandbox) -> None:
    api.set_faults(NO_LOCATIONS)
    assert 15 == retailer.run("sync", *retailer.export("a.csv", portfolio(5)))["exit_code"]
    again = retailer.run("resume")
    assert (15, "ApiUnavailable") == (again["exit_code"], again["error"]["kind"])


# ------------------------------------------------------------------ what waits
def test_a_run_that_may_send_what_it_held_back_is_not_done(retailer: Retailer, api: Sandbox) -> None:
    """A meter point passes on; who is to get it waits, and its lane was through when it was let go after all."""

    async def through(*_: Any) -> AsyncIterator[Any]:
        for job in ():
            yield job

    retailer.run("sync", *retailer.export("a.csv", portfolio(12)))
    api.set_faults({"fault": [{"kind": "dropped", "on": "PATCH /users/{userId}/locations/{locationId}"}]})
    moved = [*portfolio(11), row(900, 900, 11)]
    assert 12 == retailer.run("sync", *retailer.export("b.csv", moved))["exit_code"]
    api.set_faults("none")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Sender, "_freed", through)
        waits = retailer.run("resume")
    held_back = waits["records"]["location"]
    assert (1, 0, 0) == (held_back["blocked"], held_back["in_doubt"], held_back["not_sent"])
    assert (15, MAY_GO, None) == (waits["exit_code"], waits["verdict"], waits["error"])
    assert ("sending", 15) == states(retailer)[0]
    assert 1 == states_of(f"sqlite:///{retailer.runs}/ledger.sqlite", waits["run_id"])[WAITING]
    assert 0 == retailer.run("resume")["exit_code"]
    assert ("settled", 0) == states(retailer)[0]
    assert (13, True) == (len(api.state()["locations"]), bool(location_of(api, 11)))


# ------------------------------------------------------------------ what was sent before
FORBIDDEN = {"fault": [{"kind": "forbidden-403", "on": "api", "at": list(range(10, 1000))}]}


def test_who_is_refused_in_the_middle_is_not_told_that_nothing_was_sent(
    retailer: Retailer, api: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERFEED_CHUNK_SIZE", "5")
    api.set_faults(FORBIDDEN)
    stopped = retailer.run("sync", *retailer.export("a.csv", portfolio(60), "delta"))
    sent = (stopped["exit_code"], stopped["records"]["user"]["created"] > 0)
    assert (*sent, "Settings or credentials are wrong; nothing more was sent.") == (
        13,
        True,
        stopped["verdict"],
    )
    api.set_faults({"fault": [{"kind": "forbidden-403", "on": "api", "every": 1}]})
    waits = retailer.run("sync", *retailer.export("b.csv", portfolio(5, start=100), "delta"))
    assert waits["error"]["message"].startswith("The earlier run ")
    assert (13, stopped["verdict"]) == (waits["exit_code"], waits["verdict"])


# ------------------------------------------------------------------ one of several
@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The stages by which the pace of each run is measured, run after run."""

    def remember(session: Session, *_: Any) -> None:
        found.append([stage.name for stage in session.stages])

    found: list[list[str]] = []
    monkeypatch.setattr("pipeline.ending._remember_pace", remember)
    return found


def test_the_stages_and_notes_of_a_run_are_its_own(
    retailer: Retailer, api: Sandbox, measured: list[list[str]], tmp_path: Path
) -> None:
    by_hand(api, "POST", "/users", {"userId": "stranger"})
    for day in range(1, 4):
        _, flag, profile = retailer.export(f"kunder-{day}.csv", portfolio(5 + day), "delta")
    done = retailer.run("backfill", str(tmp_path / "kunder-*.csv"), flag, profile)
    assert 0 == done["exit_code"]
    assert [["judge", "plan", "send", "remember"]] * 3 == measured
    for run in done["runs"]:
        told = json.loads((retailer.runs / run["run_id"] / "summary.json").read_bytes())
        assert 1 == sum("users that the ledger does not know" in note for note in told["notes"])


def test_the_stages_of_a_run_that_is_resumed_are_its_own(
    retailer: Retailer, api: Sandbox, measured: list[list[str]]
) -> None:
    api.set_faults(NO_LOCATIONS)
    for name in ("p", "q"):
        start = 100 * (name == "q")
        arguments = retailer.export(f"{name}.csv", portfolio(4, start=start), "delta", name=name)
        assert 15 == retailer.run("sync", *arguments)["exit_code"]
    api.set_faults("none")
    measured.clear()
    assert 0 == retailer.run("resume")["exit_code"]
    assert [["send", "remember"]] * 2 == measured
