"""A Prefect server of our own, and a process that runs flows against it one after the other.

The flows run in one long-lived process because importing Prefect costs more than most runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.conftest import ROOT
from tests.ports import port_kept

HOST = """
import asyncio, importlib, json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    for name in [name for name in os.environ if name.startswith("METERFEED_")]:
        del os.environ[name]
    os.environ.update(asked["environ"])
    module, _, name = asked["flow"].rpartition(".")
    state = asyncio.run(getattr(importlib.import_module(module), name)(**asked["parameters"], return_state=True))
    told = {"type": state.type.value, "name": state.name, "message": state.message}
    told["flow_run"] = str(state.state_details.flow_run_id)
    print("@@" + json.dumps(told), flush=True)
"""

PATIENCE_SECONDS = 240.0
"""For what comes sooner or later: with every core busy, a server takes its time for each of many steps."""


def clean_environment(home: Path) -> dict[str, str]:
    """Nothing of the machine's own settings; offline, with the recorder batched."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("METERFEED_", "PREFECT_"))
    }
    return {
        **kept,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }


@dataclass
class Server:
    """A server on a port of this machine, and its database."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    hosts: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def environ(self, settings: dict[str, str] | None = None) -> dict[str, str]:
        """Of a process that talks to this server; settings named as for the command line fixture."""
        return {
            **clean_environment(self.home),
            "PREFECT_API_URL": self.url,
            **{f"METERFEED_{name.upper()}": value for name, value in (settings or {}).items()},
        }

    # ------------------------------------------------------------ its life
    def start(self) -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env=clean_environment(self.home),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_until(self._healthy)

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "server.log").read_text()
        try:
            urllib.request.urlopen(f"{self.url}/health", timeout=5)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)
        self.process.wait(timeout=PATIENCE_SECONDS)

    def wait_until(self, done: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS) -> Any:
        """Ask again and again; what it says as soon as it says something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (answer := done()) not in (None, False, [], ()):
                return answer
            time.sleep(0.2)
        raise AssertionError(f"nothing came of it in {seconds} s")

    # ------------------------------------------------------------ asking it
    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}",
            None if method == "GET" else json.dumps(body or {}).encode(),
            {"content-type": "application/json"},
            method=method,
        )

        def answered() -> list[bytes]:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                    return [answer.read()]
            except urllib.error.HTTPError as refused:
                if refused.code != 503:  # its SQLite is busy: Prefect's own client asks again, too
                    raise
                return []

        [content] = self.wait_until(answered)
        return json.loads(content) if content else None

    def runs(self, flow: str, **where: Any) -> list[dict[str, Any]]:
        """Runs of a flow, newest first."""
        body = {"flows": {"name": {"any_": [f"meterfeed-{flow}"]}}, "sort": "EXPECTED_START_TIME_DESC"}
        found: list[dict[str, Any]] = self.ask("/flow_runs/filter", {**body, **where})
        return found

    def resume(self, flow_run: str, **answers: str) -> None:
        """Answer a paused run as the page does. The server shows a run as paused a moment before it
        holds the form, and refuses an answer in between; a person would press the button again."""

        def accepted() -> bool:
            answer = self.ask(f"/flow_runs/{flow_run}/resume", {"run_input": answers})
            assert answer["status"] in ("ACCEPT", "REJECT"), answer
            return answer["status"] == "ACCEPT"

        self.wait_until(accepted)

    def artifact(self, key: str, flow_run: str) -> str:
        """The newest artifact that a run left under a key; other runs may be under way."""
        body = {"artifacts": {"key": {"any_": [key]}, "flow_run_id": {"any_": [flow_run]}}}
        found = self.ask("/artifacts/filter", {**body, "sort": "CREATED_DESC"})
        return str(found[0]["data"])

    def database(self) -> bytes:
        """Every byte the server has written."""
        return b"".join(path.read_bytes() for path in self.home.glob("prefect.db*"))

    # ------------------------------------------------------------ flows
    @contextmanager
    def host(self) -> Iterator[subprocess.Popen[str]]:
        """A process that runs flows, one line each."""
        with (self.home / "host.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", HOST],
                cwd=ROOT,
                env=self.environ(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                yield process
            finally:
                process.kill()
                process.communicate(timeout=30)

    def begin(
        self, host: subprocess.Popen[str], flow: str, settings: dict[str, str], **parameters: Any
    ) -> None:
        """Have a host start a flow."""
        environ = {f"METERFEED_{name.upper()}": value for name, value in settings.items()}
        asked = {"flow": f"flows.{flow}_flow.{flow}", "parameters": parameters, "environ": environ}
        assert host.stdin is not None
        host.stdin.write(json.dumps(asked) + "\n")
        host.stdin.flush()

    def end(self, host: subprocess.Popen[str]) -> dict[str, str]:
        """The final state of what was begun; everything else on stdout is passed over."""
        assert host.stdout is not None
        for line in host.stdout:
            if line.startswith("@@"):
                state: dict[str, str] = json.loads(line[2:])
                return state
        raise AssertionError((self.home / "host.log").read_text()[-3000:])

    def run(self, flow: str, settings: dict[str, str], **parameters: Any) -> dict[str, str]:
        """Run a flow to its end, in the host that is kept for it; its final state."""
        if not self.hosts or self.hosts[0].poll() is not None:
            raise AssertionError("the host of the flows is gone")
        self.begin(self.hosts[0], flow, settings, **parameters)
        return self.end(self.hosts[0])


@contextmanager
def running_server(home: Path) -> Iterator[Server]:
    with port_kept() as port:
        server = Server(home, port)
        try:
            server.start()
            with server.host() as host:
                server.hosts.append(host)
                yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.stop(signal.SIGKILL)  # nobody needs what it would still write down
