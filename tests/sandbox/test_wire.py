"""Faults of the wire: all of them in memory under httpx's own parser, and over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import zlib

import httpx
import pytest

from sandbox.core import CLIENT_ID, CLIENT_SECRET, Core
from sandbox.inprocess import EPOCH, run_in_virtual_time, virtual_now, wire_transport
from sandbox.server import Sandbox
from sandbox.wire import WIRE_FAULTS, Close, Honest, Reset, Send, Silence

BATCH = {"users": [{"userId": "a"}, {"userId": "b"}]}
FORM = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
BASE = "http://sandbox/energy-coordination/v1"
DEADLINE = 30.0


def attempt(name):
    """One batch that suffers the fault: what the client got, what the core did, virtual seconds."""
    core = Core({"seed": 1, "fault": [{"kind": f"wire-{name}", "on": "batch"}]}, now=virtual_now)

    async def main():
        async with httpx.AsyncClient(transport=wire_transport(core), timeout=5.0) as client:
            token = (await client.post("http://sandbox/connect/token", data=FORM)).json()["access_token"]
            headers = {"authorization": f"Bearer {token}"}
            try:
                async with asyncio.timeout(DEADLINE):
                    return await client.post(f"{BASE}/users/batch", json=BATCH, headers=headers)
            except (httpx.HTTPError, TimeoutError, zlib.error) as error:
                return error

    got = run_in_virtual_time(main)
    return got, core


def test_there_are_at_least_eighty_kinds_of_bytes_besides_damaged_bodies():
    assert len([name for name in WIRE_FAULTS if not name.startswith("body-")]) >= 80
    assert {fault.stage for fault in WIRE_FAULTS.values()} == {"request", "answer"}
    assert all(fault.about.endswith(".") for fault in WIRE_FAULTS.values())


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_the_log_tells_what_the_answer_hides(name):
    fault = WIRE_FAULTS[name]
    got, core = attempt(name)
    applied = [each["id"] for each in core.effects()]
    assert applied == (["a", "b"] if fault.stage == "answer" else [])
    line = core.requests()[-1]
    assert line["fault"] == f"wire-{name}"
    assert line["path"] == "/users/batch"
    assert line["delivered"] is fault.sound
    if fault.sound:
        assert isinstance(got, httpx.Response)
        assert (got.status_code, got.json()) == (201, BATCH)


def test_an_honest_wire_is_as_good_as_the_server(connect):
    with Sandbox(wire=True) as sandbox, connect(sandbox) as client:
        assert client.post("/users/batch", json=BATCH).json() == BATCH
        assert (
            client.post(
                "/users/batch",
                content=iter([b'{"users":[', b'{"userId":"c"}]}']),
                headers={"content-type": "application/json"},
            ).status_code
            == 201
        )
        assert client.get("/users?pageSize=2").json()["pagination"]["totalRecords"] == 3
        assert client.delete("/users/a").status_code == 204
        assert client.get("/users/a").status_code == 404
        assert client.post("/users/batch", json=BATCH, headers={"expect": "100-continue"}).status_code == 400
        assert [each["effect"] for each in sandbox.effects()] == ["create"] * 3 + ["delete"]


SOCKET_KINDS = [
    "close-unread",
    "reset-unread",
    "early-503",
    "close-without-answer",
    "reset-without-answer",
    "reset-in-body",
    "cut-in-headers",
    "cut-in-body",
    "cut-anywhere",
    "unframed-cut",
    "status-garbage",
    "length-too-long",
    "length-twice-differs",
    "chunk-size-garbage",
    "chunked-trailers",
    "header-huge",
    "informational-flood",
    "answer-twice",
    "gzip-bomb",
    "body-deep-lists",
    "silence-after-head",
]
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.fixture(scope="module")
def wired():
    with Sandbox(wire=True, now=lambda: EPOCH) as running:
        yield running


def raw_batch(sandbox, token, expected, ending):
    """Send one batch over a bare socket; the bytes that came, and how it ended."""
    body = b'{"users":[{"userId":"a"},{"userId":"b"}]}'
    head = (
        f"POST /energy-coordination/v1/users/batch HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    came = b""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60.0) as connection:
        try:
            connection.sendall(head + body)
            while True:
                if ending is Silence and len(came) >= expected:
                    connection.settimeout(0.05)
                piece = connection.recv(1 << 20)
                if not piece:
                    return came, Close
                came += piece
        except ConnectionResetError:
            return came, Reset
        except TimeoutError:
            return came, Silence


@pytest.mark.parametrize("name", SOCKET_KINDS)
def test_the_same_bytes_come_over_a_real_socket(wired, name):
    wired.reset()
    wired.set_faults({"seed": 1, "fault": [{"kind": f"wire-{name}", "on": "batch"}]})
    token = httpx.post(wired.token_url, data=FORM, timeout=60.0).json()["access_token"]
    fault = WIRE_FAULTS[name]
    headers = (("content-type", "application/json; charset=utf-8"), ("date", DATE))
    honest = Honest(201, headers, b'{"users":[{"userId":"a"},{"userId":"b"}]}')
    chance = random.Random("fault/1/0/1")
    chance.random()  # whether the rule fires
    steps = list(fault.play(honest, chance))
    ending = type(steps[-1]) if isinstance(steps[-1], Close | Reset) else Silence
    written = b"".join(step.data for step in steps if isinstance(step, Send))
    came, end = raw_batch(wired, token, len(written), ending)
    assert len(wired.effects()) == (2 if fault.stage == "answer" else 0)
    # What a reset overtakes is lost, and an answer that ends open is followed by nothing.
    assert written.startswith(came) if ending is Reset else came == written
    assert end is ending


def test_faults_of_the_menu_are_played_on_the_wire_as_well(wired, connect):
    wired.reset()
    wired.set_faults({"fault": [{"kind": "applied-then-reset", "on": "batch"}]})
    with connect(wired) as client, pytest.raises(httpx.ReadError):
        client.post("/users/batch", json=BATCH)
    assert len(wired.effects()) == 2


def test_a_server_that_cannot_play_the_wire_says_so(sandbox):
    with pytest.raises(ValueError, match="wire=True"):
        sandbox.set_faults({"fault": [{"kind": "wire-gzip-bomb"}]})


def test_a_plan_with_faults_of_the_wire_needs_nothing_more(connect):
    plan = {"fault": [{"kind": "wire-status-garbage", "on": "batch", "times": 1}]}
    with Sandbox(faults=plan) as sandbox, connect(sandbox) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/users/batch", json=BATCH)
        assert client.get("/users").json()["pagination"]["totalRecords"] == 2


def test_a_client_that_does_not_speak_http_is_left_alone(wired):
    wired.reset()
    for nonsense in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000):
        with socket.create_connection(("127.0.0.1", wired.port), timeout=60.0) as connection:
            with contextlib.suppress(OSError):  # it may have gone away before we have said it all
                connection.sendall(nonsense)
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
    assert wired.requests() == []


def test_a_bomb_is_small_on_the_wire():
    honest = Honest(201, (), b"{}")
    sent = b"".join(step.data for step in WIRE_FAULTS["gzip-bomb"].play(honest, random.Random(1)))
    assert len(sent) < 100_000
    assert len(zlib.decompress(sent.partition(b"\r\n\r\n")[2], 31)) == 64 * 1024 * 1024


def test_drawn_bytes_are_the_same_for_the_same_seed():
    honest = Honest(201, (("content-type", "application/json"),), b'{"users":[]}')
    for fault in WIRE_FAULTS.values():
        once, again = (fault.play(honest, random.Random(7)) for _ in range(2))
        for _, step, other in zip(range(50), once, again, strict=False):
            assert step == other
            if isinstance(step, Close | Reset | Silence):
                break


def test_virtual_time_passes_without_waiting():
    got, core = attempt("drip-for-ever")
    assert isinstance(got, TimeoutError)
    assert core.now() == EPOCH
