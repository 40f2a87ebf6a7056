"""`meterfeed serve` where PREFECT_API_URL names a server that is not up, or something else."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows import serving
from sandbox.server import Sandbox
from schemas.errors import SettingsError
from tests.integration.conftest import ROOT, settings_for

pytestmark = pytest.mark.xdist_group("prefect")

SERVE = ["serve", "--schedules", str(ROOT / "data" / "schedules.example.toml"), "--json"]
SAVE = ["serve", "--save-account", "nordkraft", "--json"]


@contextmanager
def answering(status: int, content: bytes, *, health: int | None = None) -> Iterator[int]:
    """A server that says the same to everybody, but for who asks after its `health`; its port."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(health if health and self.path.endswith("/health") else status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_arguments: object) -> None:
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def prefect_at(url: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


@pytest.mark.parametrize("arguments", [SERVE, SAVE], ids=["serve", "save"])
def test_a_server_that_is_not_up_is_asked_after(meterfeed, arguments, api: Sandbox, kept_port: int):
    with prefect_at(f"http://127.0.0.1:{kept_port}/api"):
        ended = meterfeed(*arguments, **settings_for(api))
    error = ended.document["error"]
    assert (13, "SettingsError") == (ended.code, error["kind"])
    assert "cannot be reached" in error["message"]
    assert "Is it running?" in error["cure"]
    assert "PREFECT_API_URL" in error["cure"]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("arguments", [SERVE, SAVE], ids=["serve", "save"])
@pytest.mark.parametrize(
    ("status", "content"),
    [(404, b"{}"), (401, b"{}"), (500, b"{}"), (200, b"<html>"), (302, b"")],
    ids=["404", "401", "500", "html", "302"],
)
def test_what_is_no_prefect_server_is_told_from_one_that_is_down(meterfeed, arguments, status, content, api):
    with answering(status, content) as port, prefect_at(f"http://127.0.0.1:{port}"):
        ended = meterfeed(*arguments, **settings_for(api))
    error = ended.document["error"]
    assert (13, "SettingsError") == (ended.code, error["kind"])
    assert "does not answer as a Prefect server does" in error["message"]
    assert "/api?" in error["cure"]


def test_a_server_with_a_password_says_so():
    """Its /health is for everybody."""

    async def refused() -> None:
        async with serving.reaching_server(), serving.get_client() as client:
            await client.read_deployments()

    with (
        answering(401, b"{}", health=200) as port,
        prefect_at(f"http://127.0.0.1:{port}"),
        pytest.raises(SettingsError, match="A server with a password needs PREFECT_API_AUTH_STRING"),
    ):
        asyncio.run(refused())


def test_a_fault_of_our_own_is_not_blamed_on_a_server_that_is_well():
    async def fails() -> None:
        async with serving.reaching_server():
            raise ValueError("ours")

    with (
        answering(200, b"true") as port,
        prefect_at(f"http://127.0.0.1:{port}"),
        pytest.raises(ValueError, match="ours"),
    ):
        asyncio.run(fails())
