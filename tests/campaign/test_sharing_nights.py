"""Bad nights of a shared run: it is told to end, a worker meets a guard, meter points pass between partitions."""

from __future__ import annotations

import signal

import pytest

from sandbox.server import Sandbox
from tests.integration.conftest import postgres
from tests.integration.test_cli_settle import portfolio, row, write
from tests.integration.test_exports_s3 import server
from tests.integration.test_sharing import SLOW, effects_of, team, until

__all__ = ["postgres", "server", "team", "write"]
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(300), pytest.mark.xdist_group("postgres")]


def test_a_run_that_is_told_to_end_lets_its_workers_end_too_and_is_finished_shared(team, write):
    export = write("a.csv", portfolio(400))
    with Sandbox(0, SLOW) as api:
        crew = team(api)
        run = crew.start("sync", *export)
        until(lambda: api.effects())
        helper = crew.start("work", "--wait", "60")
        until(lambda: any(owner.endswith(f":{helper.pid}") for owner in crew.held()))
        run.send_signal(signal.SIGTERM)
        told = crew.end(run)
        assert (143, 143) == (told["exit_code"], run.returncode)
        assert told["records"]["user"]["not_sent"] + told["records"]["location"]["not_sent"] > 0
        assert [] == crew.held()
        assert helper.poll() is None  # it waits for the next run
        done = crew.end(crew.start("resume", data_dir=str(crew.folder / "0")))
        assert (0, 400) == (done["exit_code"], done["records"]["location"]["created"]), done
        assert {"create": 800} == effects_of(api)
        helper.send_signal(signal.SIGTERM)
        assert crew.end(helper)["partitions"] > 0


def test_what_one_worker_meets_ends_the_run_for_all(team, write):
    export = write("a.csv", portfolio(400))
    faults = {"fault": [{"kind": "redirect", "on": "batch", "at": [60]}, *SLOW["fault"]]}
    with Sandbox(0, faults) as api:
        crew = team(api)
        run = crew.start("sync", *export)
        until(lambda: api.effects())
        helper = crew.start("work")
        told, helped = crew.end(run), crew.end(helper)
        assert 11 == told["exit_code"], told
        assert "ContractError" in (told["error"] or {})["kind"]
        assert helped["exit_code"] in (0, 11)
        api.set_faults(None)
        done = crew.end(crew.start("resume", data_dir=str(crew.folder / "0")))
        assert (0, 400) == (done["exit_code"], done["records"]["location"]["created"]), done
        assert {"create": 800} == effects_of(api)


def test_a_meter_point_is_let_go_in_every_partition_before_anybody_gets_it(team, write):
    """A hundred customers hand their meter points on in a circle of new ones; the two are rarely in one partition."""
    first = write("a.csv", portfolio(100))
    handed_on = [row(number + 500, number + 500, number) for number in range(100)]
    kept = [row(number, number, number + 1000) for number in range(100)]
    second = write("b.csv", handed_on + kept)
    with Sandbox(
        0, {"fault": [{"kind": "slow-answer", "on": "mutating", "every": 1, "seconds": 0.1}]}
    ) as api:
        crew = team(api)
        assert 0 == crew.end(crew.start("sync", *first))["exit_code"]
        before = len(api.effects())
        helper = crew.start("work", "--wait", "30")
        run = crew.start("sync", *second)
        planned = crew.end(run)
        if planned["exit_code"] == 11:  # so many changes want a person
            planned = crew.end(crew.start("apply", planned["plan_digest"], data_dir=str(crew.folder / "2")))
        assert 0 == planned["exit_code"], planned["error"]
        helper.send_signal(signal.SIGTERM)
        assert crew.end(helper)["partitions"] > 0
        changes = [one for one in api.effects()[before:] if one["kind"] == "location"]
        got = [one["seq"] for one in changes if one["effect"] == "create"]
        let_go = [one["seq"] for one in changes if one["effect"] != "create"]
        assert (100, True) == (len(got), bool(let_go))
        assert max(let_go) < min(got)
