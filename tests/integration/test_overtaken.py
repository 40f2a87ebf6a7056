"""What was overtaken since: by `adopt`, by a run of one of several profiles, or by one of another profile."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.ledger import tables as t
from sandbox.semantics import Semantics
from sandbox.server import Sandbox
from tests.faults import held_up
from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import location_of, mutating, portfolio, row, write
from tests.integration.test_vanished import by_hand

__all__ = ["write"]

WAITS = {"fault": [held_up("mutating")]}
NO_LOCATIONS = {"fault": [held_up("POST /users/locations/batch")]}


@pytest.fixture
def twice():
    """An API where a create that comes again makes a second one: nothing hides what was sent twice."""
    with Sandbox(semantics=Semantics(b="duplicate")) as api:
        yield api


def created(api: Sandbox) -> Counter[str]:
    return Counter(effect["kind"] for effect in api.effects() if effect["effect"] == "create")


def latitude(api: Sandbox, meter: int) -> float:
    return location_of(api, meter)["coordinates"]["latitude"]


def for_files(arguments: list[str], pattern: str) -> list[str]:
    """The same, under a profile that is for files of these names: two profiles of one run must tell theirs apart."""
    profile = Path(arguments[-1])
    text = profile.read_text(encoding="utf-8").replace("[file]\n", f'[file]\nmatch = "{pattern}"\n')
    profile.write_text(text, encoding="utf-8")
    return arguments


# ------------------------------------------------------------------ adopt
@pytest.mark.parametrize("command", ["sync", "backfill"])
def test_after_adopt_the_same_export_puts_back_what_is_gone(meterfeed, api, write, command):
    arguments = write("a.csv", portfolio(12))
    meterfeed(command, *arguments, "--json", **settings_for(api))
    by_hand(api, "DELETE", f"/users/{location_of(api, 3)['userId']}")
    assert 11 == meterfeed("adopt", *arguments[1:], "--json").document["adopted"]["user"]
    assert 0 == meterfeed(command, *arguments, "--json").code
    assert 12 == len(api.state()["users"]) == len(api.state()["locations"])
    before = mutating(api)
    assert 0 == meterfeed(command, *arguments, "--json").code
    assert before == mutating(api)


def test_a_plan_does_not_outlive_an_adopt(meterfeed, twice, write, tmp_path):
    """Somebody else filled the tenant meanwhile: the plan would create all of it again."""
    arguments = write("a.csv", portfolio(12))
    meterfeed("sync", *arguments, "--json", data_dir=str(tmp_path / "other"), **settings_for(twice))
    plan = meterfeed("plan", *arguments, "--json", data_dir=str(tmp_path / "runs")).document
    assert 12 == plan["plan"]["user"]["create"]
    assert [plan["run_id"]] == meterfeed("adopt", *arguments[1:], "--json").document["plans_given_up"]
    assert not (tmp_path / "runs" / plan["run_id"] / "spool").exists()
    refused = meterfeed("apply", plan["plan_digest"], "--json").document
    assert (11, "A guard stopped the run: stale.") == (refused["exit_code"], refused["verdict"])
    assert {"user": 12, "location": 12} == created(twice)
    assert 0 == meterfeed("plan", *arguments, "--json").document["plan"]["user"]["create"]


def test_a_run_that_was_interrupted_does_not_create_what_adopt_found(meterfeed, twice, write, tmp_path):
    """The rest of it was loaded from elsewhere; its own export, loaded again, has nothing left to create."""
    arguments = write("a.csv", portfolio(12), kind="delta")
    twice.set_faults(NO_LOCATIONS)
    assert 15 == meterfeed("sync", *arguments, "--json", **settings_for(twice)).code
    twice.set_faults("none")
    meterfeed("adopt", "--json", data_dir=str(tmp_path / "other"))
    meterfeed("sync", *arguments, "--json")
    meterfeed("adopt", "--json", data_dir=str(tmp_path / "runs"))
    refused = meterfeed("resume", "--json").document
    assert (11, "A guard stopped the run: stale.") == (refused["exit_code"], refused["verdict"])
    assert "sync EXPORT" in refused["error"]["cure"]
    assert 0 == meterfeed("sync", *arguments, "--json").code
    assert 0 == meterfeed("resume", "--json").code
    assert {"user": 12, "location": 12} == created(twice)


def test_what_adopt_had_read_before_an_older_run_was_resumed_is_read_again(
    meterfeed, twice, write, monkeypatch
):
    from pipeline.remote import Remote
    from schemas.errors import ApiUnavailable

    async def while_it_answers(self, user_ids):
        asked.append(user_ids)
        if len(asked) > 2:
            raise ApiUnavailable("What a user has could not be read.")
        return await honest(self, user_ids)

    asked: list[object] = []
    honest = Remote.held_of
    arguments = write("a.csv", portfolio(12), kind="delta")
    twice.set_faults(NO_LOCATIONS)
    assert 15 == meterfeed("sync", *arguments, "--json", **settings_for(twice)).code
    twice.set_faults("none")
    monkeypatch.setattr("pipeline.adopting.READ_AT_ONCE", 4)
    with monkeypatch.context() as broken:
        broken.setattr(Remote, "held_of", while_it_answers)
        assert 15 == meterfeed("adopt", *arguments[1:], "--json").code
    assert 0 == meterfeed("resume", "--json").code
    done = meterfeed("adopt", *arguments[1:], "--json").document
    assert (1, 12, 12) == (done["starts"], done["users_read"], done["adopted"]["location"])
    assert 0 == meterfeed("sync", *write("b.csv", portfolio(13), kind="delta"), "--json").code
    assert {"user": 13, "location": 13} == created(twice)


# ------------------------------------------------------------------ profiles
@pytest.fixture
def of_two_profiles(meterfeed, api, write):
    """A delta of the profiles p and q that could not be sent; the arguments that load a newer one of p."""
    meterfeed("sync", *write("a.csv", portfolio(4), kind="delta", profile="p"), "--json", **settings_for(api))
    newer = write("p2.csv", [row(3, 3, 3, "61,90000")], kind="delta", profile="p")
    one = for_files(write("p1.csv", [row(3, 3, 3, "61,10000")], kind="delta", profile="p"), "p*.csv")
    two = for_files(write("q1.csv", portfolio(1, start=500), kind="delta", profile="q"), "q*.csv")
    api.set_faults(WAITS)
    both = [one[0], two[0], *one[1:], *two[1:]]
    assert 15 == meterfeed("sync", *both, "--json").code
    return newer


def test_a_newer_delta_of_one_profile_waits_for_an_older_one_of_two(meterfeed, api, of_two_profiles):
    waits = meterfeed("sync", *of_two_profiles, "--json").document
    assert 15 == waits["exit_code"]
    assert "The earlier run" in waits["error"]["message"]
    api.set_faults("none")
    assert 0 == meterfeed("sync", *of_two_profiles, "--json").code
    assert (61.9, 61.51234) == (latitude(api, 3), latitude(api, 500))
    before = mutating(api)
    assert 0 == meterfeed("resume", "--json").code
    assert before == mutating(api)


def test_a_full_export_of_one_profile_does_not_replace_what_another_one_said(meterfeed, api, of_two_profiles):
    """Customers of q are not in an export of p: giving up the older run would lose them."""
    profile = Path(of_two_profiles[-1])
    profile.write_text(profile.read_text(encoding="utf-8").replace('"delta"', '"full"'), encoding="utf-8")
    api.set_faults("none")
    assert 0 == meterfeed("sync", *of_two_profiles, "--json").code
    assert (61.9, 61.51234) == (latitude(api, 3), latitude(api, 500))


def test_an_export_is_loaded_again_when_its_profile_has_sent_something_else_since(meterfeed, api, write):
    first = write("p1.csv", portfolio(3), kind="delta", profile="p")
    meterfeed("sync", *for_files(first, "p*.csv"), "--json", **settings_for(api))
    one = for_files(write("p2.csv", [row(1, 1, 1, "61,90000")], kind="delta", profile="p"), "p*.csv")
    two = for_files(write("q1.csv", portfolio(1, start=500), kind="delta", profile="q"), "q*.csv")
    assert 0 == meterfeed("sync", one[0], two[0], *one[1:], *two[1:], "--json").code
    assert 0 == meterfeed("sync", *first, "--json").code
    assert 61.51234 == latitude(api, 1)


def test_a_plan_does_not_create_what_another_profile_has_created_since(meterfeed, twice, write):
    night = write("n.csv", portfolio(9), profile="night")
    plan = meterfeed("plan", *night, "--json", **settings_for(twice)).document
    meterfeed("sync", *write("h.csv", portfolio(8), kind="delta", profile="hourly"), "--json")
    refused = meterfeed("apply", plan["plan_digest"], "--json").document
    assert (11, "A guard stopped the run: stale.") == (refused["exit_code"], refused["verdict"])
    assert "16 of the records" in refused["error"]["message"]
    assert 0 == meterfeed("sync", *night, "--json").code
    assert {"user": 9, "location": 9} == created(twice)


@pytest.mark.parametrize("kind", ["delta", "full"])
def test_a_run_that_was_interrupted_does_not_create_what_another_profile_has_created_since(
    meterfeed, twice, write, kind
):
    """Its users are its own, and no reason to refuse it; the locations came from elsewhere."""
    night = write("n.csv", portfolio(9), kind=kind, profile="night")
    twice.set_faults(NO_LOCATIONS)
    assert 15 == meterfeed("sync", *night, "--json", **settings_for(twice)).code
    twice.set_faults("none")
    meterfeed("sync", *write("h.csv", portfolio(8), kind="delta", profile="hourly"), "--json")
    refused = meterfeed("resume", "--json").document
    assert (11, True) == (refused["exit_code"], "8 of the records" in refused["error"]["message"])
    assert 0 == meterfeed("sync", *night, "--json").code
    assert {"user": 9, "location": 9} == created(twice)
    assert 0 == meterfeed("resume", "--json").code


def test_a_run_that_was_interrupted_goes_on_after_another_profile_changed_what_it_created(
    meterfeed, twice, write
):
    night = write("n.csv", [*portfolio(4), row(4, 4, 4)], kind="delta", profile="night")
    twice.set_faults({"fault": [{**NO_LOCATIONS["fault"][0], "at": list(range(2, 99))}]})
    settings = {**settings_for(twice), "chunk_size": "2"}
    assert 15 == meterfeed("sync", *night, "--json", **settings).code
    first = twice.state()["locations"][0]
    twice.set_faults("none")
    moved = meterfeed("move", first["locationId"], "--to", "61.7,9.7", "--json")
    assert 0 == moved.code
    assert 0 == meterfeed("resume", "--json").code
    assert {"user": 5, "location": 5} == created(twice)


def test_a_plan_is_not_carried_out_before_an_earlier_delta_of_its_profile(meterfeed, api, write):
    """What the earlier one says would be said by nobody: after a newer one it may not be sent any more."""
    meterfeed("sync", *write("a.csv", portfolio(4), kind="delta"), "--json", **settings_for(api))
    api.set_faults(WAITS)
    older = write("b.csv", [row(1, 1, 1, "61,10000"), row(2, 2, 2, "61,20000")], kind="delta")
    assert 15 == meterfeed("sync", *older, "--json").code
    plan = meterfeed("plan", *write("c.csv", [row(1, 1, 1, "61,90000")], kind="delta"), "--json").document
    api.set_faults("none")
    refused = meterfeed("apply", plan["plan_digest"], "--json").document
    assert (11, "A guard stopped the run: order.") == (refused["exit_code"], refused["verdict"])
    assert "`meterfeed resume`, then plan again" in refused["error"]["cure"]
    assert 0 == meterfeed("resume", "--json").code
    assert 0 == meterfeed("sync", *write("c.csv", [row(1, 1, 1, "61,90000")], kind="delta"), "--json").code
    assert (61.9, 61.2) == (latitude(api, 1), latitude(api, 2))


@pytest.mark.parametrize("sent_by", ["resume", "apply"])
def test_what_a_plan_found_unchanged_may_not_be_so_once_an_older_run_of_its_profile_has_sent(
    meterfeed, api, write, sent_by
):
    """The plan says nothing of a record that was as it should be, and the older run has changed it since."""
    meterfeed("sync", *write("a.csv", portfolio(4), kind="delta"), "--json", **settings_for(api))
    # The new customer comes first: what keeps it out keeps the change from being begun.
    older = write("b.csv", [row(1, 1, 1, "61,10000"), *portfolio(1, start=500)], kind="delta")
    if sent_by == "resume":
        api.set_faults(WAITS)
        assert 15 == meterfeed("sync", *older, "--json").code
    else:
        waiting = meterfeed("plan", *older, "--json").document["plan_digest"]
    newer = write("c.csv", [row(1, 1, 1), row(2, 2, 2, "61,20000")], kind="delta")
    plan = meterfeed("plan", *newer, "--json").document
    assert 1 == plan["plan"]["location"]["unchanged"]
    api.set_faults("none")
    assert 0 == meterfeed(*(["resume"] if sent_by == "resume" else ["apply", waiting]), "--json").code
    assert 61.1 == latitude(api, 1)
    for _ in range(2):  # it does not become good again by being refused
        stale = meterfeed("apply", plan["plan_digest"], "--json").document
        assert (11, "A guard stopped the run: stale.") == (stale["exit_code"], stale["verdict"])
        assert "has gone on since" in stale["error"]["message"]
        assert "Plan again" in stale["error"]["cure"]
    again = meterfeed("plan", *newer, "--json").document
    assert 0 == meterfeed("apply", again["plan_digest"], "--json").code
    assert (61.51234, 61.2) == (latitude(api, 1), latitude(api, 2))


# ------------------------------------------------------------------ many runs later
def test_what_was_done_a_thousand_runs_ago_is_known(meterfeed, api, write, tmp_path):
    arguments = write("a.csv", portfolio(3), kind="delta")
    meterfeed("backfill", *arguments, "--json", **settings_for(api))
    plan = meterfeed("plan", *write("b.csv", portfolio(4), kind="delta"), "--json").document
    engine = sa.create_engine(f"sqlite:///{tmp_path}/runs/ledger.sqlite")
    with engine.begin() as connection:
        found = dict(connection.execute(sa.select(t.run).where(t.run.c.run_seq == 1)).mappings().one())
        later = {**found, "state": "stopped", "job_digest": "another"}
        connection.execute(
            t.run.insert(),
            [{**later, "run_seq": 2 + n, "run_id": f"20261124-{2 + n:04d}"} for n in range(1, 1_101)],
        )
    engine.dispose()
    assert meterfeed("backfill", *arguments, "--json").document["runs"][0]["skipped"]
    told = meterfeed("explain", location_of(api, 2)["userId"], "--json").document
    assert (0, "created") == (told["exit_code"], told["verdict"].rpartition(": ")[2].rstrip("."))
    assert 0 == meterfeed("apply", plan["plan_digest"][:8], "--json").code
    assert 4 == len(api.state()["users"])
