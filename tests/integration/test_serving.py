"""Schedules that really fire, on `meterfeed serve` and on a worker, and what a person is told when a run fails."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import Sandbox
from tests.integration.conftest import ROOT, settings_for
from tests.integration.prefect_server import Server
from tests.integration.test_sync_flow import METERFEED, PROFILE, export_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("prefect")]

SCHEDULES = """
environment = "sandbox"
[schedule.every-minute]
flow = "sync"
cron = "* * * * *"
profiles = ["{profile}"]
inbox = "{inbox}"
[schedule.nothing-there]
flow = "quality"
cron = "0 4 1 1 *"
profiles = ["{profile}"]
exports = ["{inbox}/no-such-file.csv"]
"""


@dataclass
class Served:
    """What `meterfeed serve` works on, what it said, and what its webhook was told."""

    api: Sandbox
    data_dir: Path
    process: subprocess.Popen[str]
    told: list[dict[str, str]]


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A webhook on this machine."""
    told: list[dict[str, str]] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?token=canary-of-the-webhook", told
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def served(
    prefect: Server,
    receiver: tuple[str, list[dict[str, str]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """`meterfeed serve` with two schedules: every minute one that loads an inbox, and one that must fail."""
    folder = tmp_path_factory.mktemp("served")
    export_of(folder / "inbox" / "kunder-1.csv", rows=300, damage={"cut_point": 0.01})
    file = folder / "schedules.toml"
    file.write_text(SCHEDULES.format(profile=PROFILE, inbox=folder / "inbox"))
    url, told = receiver
    with Sandbox() as api:
        settings = {**settings_for(api), "data_dir": str(folder / "runs"), "webhook_url": url}
        with (folder / "serve.log").open("w") as log:
            process = subprocess.Popen(
                [*METERFEED, "serve", "--schedules", str(file), "--json"],
                cwd=ROOT,
                env=prefect.environ(settings),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            assert process.stdout is not None
            announced = json.loads(process.stdout.readline())
            assert announced["verdict"].startswith("Serving 2 schedules"), announced
            assert len(announced["automations"]) == 3
            yield Served(api, folder / "runs", process, told)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=240)


def test_a_worker_runs_a_deployment_of_prefect_yaml(prefect: Server, served: Served, tmp_path: Path):
    api = served.api
    settings = {**settings_for(api), "data_dir": str(tmp_path / "runs")}

    def prefect_says(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=ROOT,
            env=prefect.environ(settings),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    prefect_says("work-pool", "create", "meterfeed", "--type", "process")
    prefect_says("--no-prompt", "deploy", "--all")
    deployment = prefect.ask("/deployments/name/meterfeed-quality/nordkraft-quality", method="GET")
    assert deployment["entrypoint"] == "flows.quality_flow.quality"
    assert deployment["schedules"][0]["schedule"]["timezone"] == "Europe/Oslo"
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    nightly = prefect.ask("/deployments/name/meterfeed-sync/nordkraft-nightly", method="GET")
    prefect.ask(f"/deployments/{nightly['id']}/pause_deployment")  # it may be half past three at this moment
    export_of(tmp_path / "inbox" / "kunder-7.csv", seed=7)
    run = prefect.ask(
        f"/deployments/{nightly['id']}/create_flow_run",
        {"parameters": {"inbox": str(tmp_path / "inbox"), "profiles": [PROFILE], "environment": "sandbox"}},
    )
    prefect_says("worker", "start", "--pool", "meterfeed", "--run-once")
    ended = prefect.wait_until(lambda: ended_run(prefect, run["id"]))
    assert (ended["state"]["type"], ended["state"]["name"]) == ("COMPLETED", "Completed")
    assert "| read | 60 |" in prefect.artifact("meterfeed-sync", run["id"])


def ended_run(prefect: Server, run_id: str) -> dict[str, Any] | None:
    run: dict[str, Any] = prefect.ask(f"/flow_runs/{run_id}", method="GET")
    return run if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None


def test_a_served_cron_schedule_fires_and_its_artifact_shows_the_figures_of_the_summary(
    prefect: Server, served: Served
):
    def first() -> dict[str, Any] | None:
        body = {"deployments": {"name": {"any_": ["every-minute"]}}}
        body["flow_runs"] = {"state": {"name": {"any_": ["Completed", "Done with rejects", "Failed"]}}}
        return next(iter(prefect.runs("sync", **body)), None)

    run = prefect.wait_until(first, seconds=400)
    assert run["state"]["name"] == "Done with rejects"
    assert run["auto_scheduled"]
    assert {"meterfeed", "sync"} <= set(run["tags"])
    [summary] = [json.loads(path.read_text()) for path in served.data_dir.glob("2*/summary.json")]
    shown = prefect.artifact("meterfeed-sync", run["id"])
    for name, count in summary["rows"].items():
        assert f"| {name} | {count:,} |" in shown
    users, locations = summary["records"]["user"], summary["records"]["location"]
    assert f"| created | {users['created']:,} | {locations['created']:,} |" in shown
    assert summary["artifacts"]["report"] in shown


def deployed(prefect: Server, name: str) -> dict[str, Any] | None:
    """A deployment, once `serve` has registered it."""
    try:
        found: dict[str, Any] = prefect.ask(f"/deployments/name/{name}", method="GET")
    except urllib.error.HTTPError as refused:
        if refused.code != 404:
            raise
        return None
    return found


def test_the_webhook_is_told_of_a_run_that_failed(prefect: Server, served: Served):
    deployment = prefect.wait_until(lambda: deployed(prefect, "meterfeed-quality/nothing-there"))
    prefect.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": deployment["parameters"]})
    [text] = {
        one["text"]
        for one in prefect.wait_until(lambda: [one for one in served.told if "quality" in one["text"]])
    }
    assert "is Guard. A guard stopped the run. no-such-file.csv does not exist." in text
    assert b"canary-of-the-webhook" not in prefect.database()


def test_the_webhook_is_told_of_what_reconcile_found(prefect: Server, served: Served, tmp_path: Path):
    with Sandbox() as api:
        settings = {**settings_for(api), "data_dir": str(tmp_path / "runs")}
        export = export_of(tmp_path / "kunder-8.csv", seed=8)
        prefect.run("sync", settings, exports=[export], profiles=[PROFILE])
        api.core.reset()
        assert prefect.run("reconcile", settings, users="all", profiles=[PROFILE])["name"] == "Drift"
    found = prefect.wait_until(lambda: [one["text"] for one in served.told if "is Drift" in one["text"]])
    assert "what the API holds is not what the ledger believes" in found[0]


def test_nobody_else_answers_a_signal_while_the_runner_starts(monkeypatch: pytest.MonkeyPatch):
    from prefect.runner import Runner

    from flows.serving import serve

    seen = []

    async def starting(self: Runner) -> Runner:
        seen.append(signal.getsignal(signal.SIGTERM))
        raise ConnectionError

    monkeypatch.setattr(Runner, "__aenter__", starting)
    before = signal.signal(signal.SIGTERM, ours := lambda *_: None)
    try:
        with pytest.raises(ConnectionError):
            asyncio.run(serve([], asyncio.Event(), limit=1))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [ours] == seen


def test_serve_ends_at_once_when_told_to_and_leaves_its_schedules_active(prefect: Server, served: Served):
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=240) == 0
    deployment = prefect.ask("/deployments/name/meterfeed-sync/every-minute", method="GET")
    assert not deployment["paused"]
    assert [one["active"] for one in deployment["schedules"]] == [True]
    with pytest.raises(ProcessLookupError):
        os.kill(served.process.pid, 0)
