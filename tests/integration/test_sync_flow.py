"""The Prefect flow against a real server: the same verdict as the command, an artifact, no customer in between."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sandbox.portfolio import write_portfolio
from sandbox.server import Sandbox
from tests.integration.conftest import ROOT, settings_for

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("prefect")]

PROFILE = str(ROOT / "data/profiles/nordkraft.toml")
RUN = """
import asyncio, json, sys
from flows.sync_flow import sync
state = asyncio.run(sync(**json.loads(sys.argv[1]), return_state=True))
print(json.dumps({"type": state.type.value, "name": state.name, "message": state.message}))
"""


@dataclass(frozen=True)
class Server:
    """A Prefect server of our own."""

    url: str
    home: Path

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def run(self, settings: dict[str, str], **parameters: object) -> dict[str, str]:
        """Run the flow in a process of its own, as a worker does; its final state."""
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(parameters)],
            cwd=ROOT,
            env={
                **_environment(self.home),
                "PREFECT_API_URL": self.url,
                **{f"METERFEED_{name.upper()}": value for name, value in settings.items()},
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        state: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return state


def _environment(home: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("METERFEED_", "PREFECT_"))
    }
    return {
        **kept,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}/api", home)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=_environment(home), stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(server, process)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, (server.home / "server.log").read_text()
        try:
            urllib.request.urlopen(f"{server.url}/health", timeout=1)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the Prefect server did not come up")


def test_a_flow_ends_as_the_command_does_and_stores_no_customer(
    prefect: Server, api: Sandbox, tmp_path: Path
):
    export = tmp_path / "kunder-1.csv"
    write_portfolio(export, rows=600, damage={"cut_point": 0.01})
    settings = {**settings_for(api), "data_dir": str(tmp_path / "runs")}

    state = prefect.run(settings, exports=[str(export)], profiles=[PROFILE], environment="sandbox")

    assert (state["type"], state["name"]) == ("COMPLETED", "Done with rejects")
    (artifact,) = prefect.ask("/artifacts/filter", {"artifacts": {"key": {"any_": ["meterfeed-sync"]}}})
    assert "| read | 600 |" in artifact["data"]
    assert f"| created | {len(api.state()['users']):,} |" in artifact["data"]
    stored = b"".join(path.read_bytes() for path in prefect.home.glob("prefect.db*"))
    columns = pl.read_csv(export, separator=";", infer_schema=False, truncate_ragged_lines=True)
    for name in ("Kundenr", "Anlegg", "MålepunktID"):
        values = [value.encode() for value in columns[name].drop_nulls() if len(value) >= 6]
        assert values
        assert not [value for value in values if value in stored]


def test_what_stops_the_command_fails_the_flow(prefect: Server, tmp_path: Path):
    state = prefect.run(
        {"data_dir": str(tmp_path)}, exports=["kunder-1.csv"], profiles=[PROFILE], environment="production"
    )
    assert (state["type"], state["name"]) == ("FAILED", "Settings")
    assert state["message"].endswith("(exit 13)")
