"""`adopt`: what the ledger believes is built anew from what the API holds, in one go or after interruptions."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectors.ledger.store import read_ledger
from pipeline.partition import bucket_of
from pipeline.remote import Remote
from schemas.errors import ApiUnavailable
from tests.integration.conftest import ROOT, settings_for
from tests.integration.test_cli_settle import portfolio, write
from tests.integration.test_vanished import by_hand

__all__ = ["write"]

DIES_WHILE_STORING = """
import os
from connectors.ledger.store import Ledger
from flows.cli import main
honest, left = Ledger.store_holdings, [300]

def dying(self, *arguments):
    left[0] -= 1
    if not left[0]:
        os._exit(137)
    honest(self, *arguments)

Ledger.store_holdings = dying
main()
"""
"""Dies when the 256 pages of users are stored, and some of the locations'."""


def held_in(folder: Path) -> dict[str, int]:
    """What the ledger believes to be held, by kind."""
    ledger = read_ledger(f"sqlite:///{folder}/runs/ledger.sqlite")
    try:
        return {kind: n for kind, n in ledger.holding_counts().items() if n}
    finally:
        ledger.close()


def test_an_adopt_that_was_killed_changes_nothing_and_goes_on(meterfeed, api, write, tmp_path):
    """What it read of users and not of their locations would be taken for customers without a home."""
    arguments = write("a.csv", portfolio(20))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    before = held_in(tmp_path)
    gone = api.state()["locations"][0]
    by_hand(api, "DELETE", f"/users/{gone['userId']}")
    killed = subprocess.run(
        [sys.executable, "-c", DIES_WHILE_STORING, "adopt", *arguments[1:]],
        cwd=ROOT,
        check=False,
        timeout=600,
    )
    assert 137 == killed.returncode
    aside = {"adopting_user": 19, "adopting_location": 19}
    assert before | aside == held_in(tmp_path) == {"user": 20, "location": 20} | aside
    done = meterfeed("adopt", *arguments[1:], "--json").document
    assert ({"user": 19, "location": 19, "resource": 0, "vehicle": 0}, 2, 0) == (
        done["adopted"],
        done["starts"],
        done["users_read"],
    )
    assert {"user": 19, "location": 19} == held_in(tmp_path)


@pytest.fixture
def half_adopted(meterfeed, api, write, monkeypatch):
    """Twenty customers, of whom ten were read when the API went away; the arguments that adopt, and who was read."""
    arguments = write("a.csv", portfolio(20))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    monkeypatch.setattr("pipeline.adopting.READ_AT_ONCE", 5)
    read: list[str] = []

    async def while_it_answers(self, user_ids):
        if len(read) >= 10:
            raise ApiUnavailable("What a user has could not be read.")
        read.extend(user_ids)
        return await honest(self, user_ids)

    honest = Remote.held_of
    with monkeypatch.context() as broken:
        broken.setattr(Remote, "held_of", while_it_answers)
        assert 15 == meterfeed("adopt", *arguments[1:], "--json").code
    return arguments[1:], read


def test_an_adopt_that_goes_on_reads_the_rest_and_whom_the_list_tells_otherwise_of(
    meterfeed, api, half_adopted, tmp_path
):
    """One who was read is gone since, another came who sorts before where it stood."""
    arguments, read = half_adopted
    by_hand(api, "DELETE", f"/users/{read[3]}")
    new = next(user for user in map("new-{}".format, range(10_000)) if bucket_of(user) == bucket_of(read[0]))
    by_hand(api, "POST", "/users", {"userId": new})
    done = meterfeed("adopt", *arguments, "--json").document
    assert ({"user": 20, "location": 19, "resource": 0, "vehicle": 0}, 2, 12) == (
        done["adopted"],
        done["starts"],
        done["users_read"],
    )
    assert {"user": 20, "location": 19} == held_in(tmp_path)
    held = read_ledger(f"sqlite:///{tmp_path}/runs/ledger.sqlite")
    users = held.holdings("user", range(256))["id"].to_list()
    held.close()
    assert sorted(user["userId"] for user in api.state()["users"]) == sorted(users)


@pytest.mark.parametrize("because", ["asked", "another profile", "a run sent something", "a week ago"])
def test_an_adopt_begins_anew_when_what_it_read_may_not_hold(
    meterfeed, api, write, half_adopted, tmp_path, monkeypatch, because
):
    arguments, _ = half_adopted
    users = 20
    if because == "asked":
        arguments = [*arguments, "--afresh"]
    elif because == "another profile":
        arguments = write("b.csv", [], profile="other")[1:]
    elif because == "a run sent something":
        users = 21
        assert 0 == meterfeed("sync", *write("b.csv", portfolio(21)), "--json").code
    else:
        later = SimpleNamespace(time=lambda: time.time() + 8 * 86_400, monotonic=time.monotonic)
        monkeypatch.setattr("flows.wiring.time", later)
    done = meterfeed("adopt", *arguments, "--json").document
    assert (0, 1, users) == (done["exit_code"], done["starts"], done["users_read"])
    assert {"user": users, "location": users} == held_in(tmp_path)


def test_who_is_erased_is_not_kept_by_an_adopt_that_is_under_way(meterfeed, half_adopted, tmp_path):
    arguments, read = half_adopted
    assert 0 == meterfeed("erase", read[0], "--yes", "--json").code
    assert 9 == held_in(tmp_path)["adopting_user"]
    assert 19 == meterfeed("adopt", *arguments, "--json").document["adopted"]["user"]
