"""Bad nights of the flows: what dies, what is finished by the next run, and what Prefect says of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import Sandbox
from tests.integration.conftest import ROOT, prefect, settings_for
from tests.integration.prefect_server import Server
from tests.integration.test_sync_flow import METERFEED, PROFILE, export_of

__all__ = ["prefect"]
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(580), pytest.mark.xdist_group("prefect")]

SLOW = {"fault": [{"kind": "slow-answer", "on": "batch", "every": 1, "seconds": 0.5}]}
REGISTER = (
    "import asyncio; from flows import serving; from flows.settings import load_settings, Needs; "
    "print(asyncio.run(serving.register_automations(load_settings(needs=Needs.NOTHING))))"
)


def settings_of(api: Sandbox, tmp_path: Path) -> dict[str, str]:
    data_dir = str(tmp_path / "runs")
    return {**settings_for(api), "data_dir": data_dir, "chunk_size": "20", "concurrency": "2"}


def newest(server: Server) -> dict[str, Any]:
    return server.runs("sync")[0]


def assert_next_run_finishes(server: Server, api: Sandbox, settings: dict[str, str], export: str) -> None:
    """Nothing lost, nothing twice, by the effect log."""
    api.set_faults(None)
    api.settle()
    state = server.run("sync", settings, exports=[export], profiles=[PROFILE])
    assert state["type"] == "COMPLETED", state
    held = api.state()
    created = [one for one in api.effects() if one["effect"] == "create"]
    assert len(created) == len(held["users"]) + len(held["locations"])
    shown = server.artifact("meterfeed-sync", state["flow_run"])
    assert f"| planned | {len(held['users'])} | {len(held['locations'])} |" in shown


def test_sigterm_mid_push_is_crashed_in_prefect_and_finished_by_the_next_run(prefect: Server, tmp_path: Path):
    export = export_of(tmp_path / "kunder-1.csv", rows=400)
    with Sandbox(0, SLOW) as api, prefect.host() as host:
        settings = settings_of(api, tmp_path)
        prefect.begin(host, "sync", settings, exports=[export], profiles=[PROFILE])
        prefect.wait_until(lambda: len(api.effects()) > 20)
        host.send_signal(signal.SIGTERM)
        host.wait(timeout=60)
        assert newest(prefect)["state"]["type"] == "CRASHED"
        [summary] = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("2*/summary.json")]
        assert summary["exit_code"] == 143  # the work came to a clean end all the same
        assert_next_run_finishes(prefect, api, settings, export)


def test_a_server_that_dies_and_comes_back_loses_nothing(prefect: Server, tmp_path: Path):
    export = export_of(tmp_path / "kunder-1.csv", rows=400)
    with Sandbox(0, SLOW) as api:
        settings = settings_of(api, tmp_path)
        with prefect.host() as host:
            prefect.begin(host, "sync", settings, exports=[export], profiles=[PROFILE])
            prefect.wait_until(lambda: len(api.effects()) > 20)
            prefect.stop(signal.SIGKILL)
            prefect.start()
            assert prefect.end(host)["type"] == "COMPLETED"
        assert newest(prefect)["state"]["type"] == "COMPLETED"
        assert_next_run_finishes(prefect, api, settings, export)


def test_a_server_away_for_good_changes_nothing_about_the_data(prefect: Server, tmp_path: Path):
    export = export_of(tmp_path / "kunder-1.csv", rows=400)
    with Sandbox(0, SLOW) as api:
        settings = settings_of(api, tmp_path)
        with prefect.host() as host:
            prefect.begin(host, "sync", settings, exports=[export], profiles=[PROFILE])
            prefect.wait_until(lambda: len(api.effects()) > 20)
            prefect.stop(signal.SIGKILL)
            host.wait(timeout=500)  # Prefect's own client gives up; there is nobody to tell
        [summary] = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("2*/summary.json")]
        assert summary["exit_code"] == 0
        api.settle()
        effects = len(api.effects())
        prefect.start()
        again = prefect.run("sync", settings, exports=[export], profiles=[PROFILE])
        assert (again["type"], again["name"], len(api.effects())) == ("COMPLETED", "No new file", effects)
        held = api.state()
        assert effects == len(held["users"]) + len(held["locations"])


RETRIED = """
import asyncio, sys
from flows import sync_flow
calls = []
load = sync_flow.load.fn
async def fails_after_sending(*arguments):
    calls.append(await load(*arguments))
    if len(calls) == 1:
        raise RuntimeError("after all was sent")
    return calls[-1]
sync_flow.load = sync_flow.load.with_options(retries=1)
sync_flow.load.fn = fails_after_sending
state = asyncio.run(sync_flow.sync(exports=[sys.argv[1]], profiles=[sys.argv[2]], return_state=True))
print("@@", len(calls), state.name)
"""


def test_a_task_that_prefect_repeats_after_it_had_sent_sends_nothing_more(prefect: Server, tmp_path: Path):
    """Ours are not retried; somebody's automation, or a later version of Prefect, may."""
    export = export_of(tmp_path / "kunder-1.csv", rows=60)
    with Sandbox() as api:
        done = subprocess.run(
            [sys.executable, "-c", RETRIED, export, PROFILE],
            cwd=ROOT,
            env=prefect.environ(settings_of(api, tmp_path)),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "@@ 2 No new file" in done.stdout, done.stdout + done.stderr[-3000:]
        held = api.state()
        assert len(api.effects()) == len(held["users"]) + len(held["locations"]) > 0


def test_a_killed_run_is_marked_crashed_by_the_automation(prefect: Server, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", REGISTER], cwd=ROOT, env=prefect.environ(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    export = export_of(tmp_path / "kunder-1.csv", rows=400)
    with Sandbox(0, SLOW) as api:
        settings = settings_of(api, tmp_path)
        with prefect.host() as host:
            prefect.begin(host, "sync", settings, exports=[export], profiles=[PROFILE])
            prefect.wait_until(lambda: len(api.effects()) > 20)
            host.kill()
            host.wait(timeout=30)
        killed = newest(prefect)
        assert killed["state"]["type"] == "RUNNING"
        assert_next_run_finishes(prefect, api, settings, export)

        def state() -> bool:
            found: dict[str, Any] = prefect.ask(f"/flow_runs/{killed['id']}", method="GET")
            return bool(found["state"]["type"] == "CRASHED")

        prefect.wait_until(state, seconds=420)


def test_a_run_cancelled_in_the_ui_is_cancelled_and_finished_by_the_next(prefect: Server, tmp_path: Path):
    export = export_of(tmp_path / "kunder-1.csv", rows=400)
    file = tmp_path / "schedules.toml"
    file.write_text(
        f'[schedule.cancelled]\nflow = "sync"\ncron = "0 4 1 1 *"\nprofiles = ["{PROFILE}"]\nexports = ["{export}"]\n'
    )
    with Sandbox(0, SLOW) as api, (tmp_path / "serve.log").open("w") as log:
        settings = settings_of(api, tmp_path)
        serving = subprocess.Popen(
            [*METERFEED, "serve", "--schedules", str(file), "--json"],
            cwd=ROOT,
            env=prefect.environ(settings),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert serving.stdout is not None
            assert "Serving 1 schedules" in serving.stdout.readline()

            def deployed() -> dict[str, Any] | None:
                found = prefect.ask("/deployments/filter", {"deployments": {"name": {"any_": ["cancelled"]}}})
                return next(iter(found), None)

            deployment = prefect.wait_until(deployed)
            run = prefect.ask(f"/deployments/{deployment['id']}/create_flow_run", {})
            prefect.wait_until(lambda: len(api.effects()) > 20)
            prefect.ask(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})

            def cancelled() -> bool:
                found: dict[str, Any] = prefect.ask(f"/flow_runs/{run['id']}", method="GET")
                return bool(found["state"]["type"] == "CANCELLED")

            prefect.wait_until(cancelled)
        finally:
            serving.terminate()
            serving.communicate(timeout=60)
        assert_next_run_finishes(prefect, api, settings, export)
