"""What an older run has not sent stays its own until a newer one begins to send in its place."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.ledger.store import Ledger, read_ledger
from flows.inbox import look_into
from flows.settings import Needs, load_settings
from sandbox.server import Sandbox
from schemas.errors import StorageError
from tests.integration.test_cli_left_behind import NO_LOCATIONS, NOTHING_MORE, Retailer
from tests.integration.test_cli_settle import location_of, portfolio, row

NAMELESS = row(99, 99, 99).replace("K0099", "")
"""A row that is quarantined."""
CAUTIOUS = "[guards]\nquarantined = 0.0\nminimum_rows = 1\n"
"""A profile under which a quarantined row is for a person to look at."""


@pytest.fixture
def retailer(meterfeed: Any, api: Sandbox, tmp_path: Path) -> Retailer:
    return Retailer(meterfeed, api, tmp_path)


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def new_in_inbox(retailer: Retailer, *exports: str) -> list[str]:
    """Which of these exports a schedule would find new, lying in an inbox for an hour."""
    inbox = retailer.runs.parent / "inbox"
    shutil.rmtree(inbox, ignore_errors=True)
    inbox.mkdir()
    for export in exports:
        then = time.time() - 3600
        os.utime(shutil.copy(export, inbox), (then, then))
    settings = load_settings({"METERFEED_DATA_DIR": str(retailer.runs)}, needs=Needs.NOTHING)
    return [url.rsplit("/", 1)[-1] for url in look_into(str(inbox), settings).new]


@pytest.fixture
def half_sent(retailer: Retailer, api: Sandbox) -> list[str]:
    """A full export of which the locations were not sent; the API is well again."""
    arguments = retailer.export("a.csv", [*portfolio(12), NAMELESS])
    api.set_faults(NO_LOCATIONS)
    assert 15 == retailer.run("sync", *arguments)["exit_code"]
    api.set_faults("none")
    return arguments


# ------------------------------------------------------------------ the same file again
def test_a_file_is_new_until_the_run_that_took_it_up_again_is_finished(retailer, api, half_sent):
    api.set_faults(NO_LOCATIONS)
    for _ in range(2):
        assert 15 == retailer.run("sync", *half_sent)["exit_code"]
        assert ["a.csv"] == new_in_inbox(retailer, half_sent[0])
    api.set_faults("none")
    assert 10 == retailer.run("sync", *half_sent)["exit_code"]
    assert [] == new_in_inbox(retailer, half_sent[0])
    assert 12 == len(api.state()["locations"])


def test_a_newer_start_that_dies_while_it_plans_gives_nothing_up(retailer, api, half_sent, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr("pipeline.run.make_plan", killed)
        assert 130 == retailer.run("sync", *half_sent)["exit_code"]
    assert ["a.csv"] == new_in_inbox(retailer, half_sent[0])
    assert 10 == retailer.run("resume")["exit_code"]
    assert 12 == len(api.state()["locations"])


@pytest.mark.parametrize("finished_by", ["resume", "apply"])
def test_a_newer_start_that_a_guard_stops_gives_nothing_up(retailer, api, half_sent, finished_by):
    stopped = retailer.run("sync", *retailer.export("a.csv", [*portfolio(12), NAMELESS], more=CAUTIOUS))
    assert (11, "A guard stopped the run: quarantined.") == (stopped["exit_code"], stopped["verdict"])
    assert ["a.csv"] == new_in_inbox(retailer, half_sent[0])
    if finished_by == "resume":
        assert 10 == retailer.run("resume")["exit_code"]
        late = retailer.run("apply", stopped["plan_digest"])
        assert (11, "A guard stopped the run: stale.") == (late["exit_code"], late["verdict"])
    else:
        assert 10 == retailer.run("apply", stopped["plan_digest"])["exit_code"]
        assert [] == retailer.spools()
    assert [] == new_in_inbox(retailer, half_sent[0])
    assert 12 == len(api.state()["locations"]) == len(api.state()["users"])


# ------------------------------------------------------------------ another full export
def test_a_full_export_that_is_stopped_gives_nothing_up(retailer, api, half_sent):
    """It is taken out of the inbox, as the runbook says: what the older one said is sent all the same."""
    nobody = '[keep]\nstatus = ["Ingen"]\n'
    stopped = retailer.run("sync", *retailer.export("b.csv", portfolio(12), more=nobody))
    assert (11, "A guard stopped the run: empty.") == (stopped["exit_code"], stopped["verdict"])
    assert ["a.csv"] == new_in_inbox(retailer, half_sent[0])
    assert 10 == retailer.run("resume")["exit_code"]
    assert 12 == len(api.state()["locations"])
    assert [] == new_in_inbox(retailer, half_sent[0])


def test_a_full_export_that_began_to_send_is_the_one_to_finish(retailer, api, half_sent):
    api.set_faults(NOTHING_MORE)
    newer = retailer.export("b.csv", [*portfolio(11), row(11, 11, 11, "61,90000")])
    assert 15 == retailer.run("sync", *newer)["exit_code"]
    api.set_faults("none")
    assert ["b.csv"] == new_in_inbox(retailer, half_sent[0], newer[0])
    assert 1 == len(retailer.spools())
    assert 0 == retailer.run("resume")["exit_code"]
    assert [] == new_in_inbox(retailer, half_sent[0], newer[0])
    assert 61.9 == location_of(api, 11)["coordinates"]["latitude"]


def test_a_plan_of_a_full_export_takes_the_place_of_what_is_left_when_it_is_applied(retailer, api, half_sent):
    plan = retailer.run("plan", *retailer.export("b.csv", [*portfolio(11), row(11, 11, 11, "61,90000")]))
    assert 2 == len(retailer.spools())
    assert 0 == retailer.run("apply", plan["plan_digest"])["exit_code"]
    assert [] == retailer.spools()
    assert 61.9 == location_of(api, 11)["coordinates"]["latitude"]


def test_what_is_given_up_and_what_takes_its_place_are_one_commit(retailer, api, half_sent, monkeypatch):
    """Stopped between the two, nobody would send what is left."""
    honest = Ledger.change_run

    def full_before_it_sends(self: Ledger, run_seq: int, **values: Any) -> None:
        if values.get("state") == "sending":
            raise StorageError("The disk is full.")
        honest(self, run_seq, **values)

    with monkeypatch.context() as full:
        full.setattr(Ledger, "change_run", full_before_it_sends)
        assert 16 == retailer.run("sync", *half_sent)["exit_code"]
    ledger = read_ledger(f"sqlite:///{retailer.runs}/ledger.sqlite")
    assert ["planned", "sending"] == [run.state for run in ledger.runs(brief=True)]
    ledger.close()
    assert 10 == retailer.run("sync", *half_sent)["exit_code"]
    assert 12 == len(api.state()["locations"])


# ------------------------------------------------------------------ deltas
def left_without_spool(retailer: Retailer, api: Sandbox) -> None:
    retailer.lose_spools()


def overtaken(retailer: Retailer, api: Sandbox) -> None:
    """Another profile loads two of its locations: what the older run has yet to create is held."""
    assert 0 == retailer.run("sync", *retailer.export("h.csv", portfolio(2), "delta", name="q"))["exit_code"]


@pytest.mark.parametrize("left", [left_without_spool, overtaken])
@pytest.mark.parametrize("again", ["killed", "unavailable"])
def test_a_delta_that_says_it_all_again_gives_nothing_up_before_it_sends(
    retailer, api, monkeypatch, left, again
):
    arguments = retailer.export("a.csv", portfolio(12), "delta")
    later = retailer.export("b.csv", portfolio(3, start=100), "delta")
    api.set_faults(NO_LOCATIONS)
    assert 15 == retailer.run("sync", *arguments)["exit_code"]
    api.set_faults("none")
    left(retailer, api)
    if again == "killed":
        with monkeypatch.context() as dying:
            dying.setattr("pipeline.run.make_plan", killed)
            assert 130 == retailer.run("sync", *arguments)["exit_code"]
        # Nobody else says what it has not sent: a newer delta waits for it.
        assert retailer.run("sync", *later)["exit_code"] in (11, 16)
    else:
        api.set_faults(NO_LOCATIONS)
        assert 15 == retailer.run("sync", *arguments)["exit_code"]
        api.set_faults("none")
    assert ["a.csv"] == new_in_inbox(retailer, arguments[0])
    assert 0 == retailer.run("sync", *arguments)["exit_code"]
    assert [] == new_in_inbox(retailer, arguments[0])
    assert 0 == retailer.run("sync", *later)["exit_code"]
    assert 15 == len(api.state()["locations"])
