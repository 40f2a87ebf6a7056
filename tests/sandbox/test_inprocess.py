"""The in-process transport: the same core, in virtual time."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from sandbox.core import CLIENT_ID, CLIENT_SECRET, Core
from sandbox.inprocess import EPOCH, InProcessTransport, MemoryNetwork, run_in_virtual_time, virtual_now

FORM = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
BASE = "http://sandbox/energy-coordination/v1"
BATCH = {"users": [{"userId": "a"}, {"userId": "b"}]}


def play(core, story, timeout=5.0, **settings):
    """Run a story with an authorised client in virtual time; its result and the seconds it took."""

    async def main():
        transport = InProcessTransport(core, **settings)
        async with httpx.AsyncClient(transport=transport, timeout=timeout) as client:
            token = (await client.post("http://sandbox/connect/token", data=FORM)).json()["access_token"]
            client.headers["authorization"] = f"Bearer {token}"
            begun = virtual_now()
            try:
                result = await story(client)
            except httpx.HTTPError as error:
                result = error
            return result, virtual_now() - begun

    return run_in_virtual_time(main)


async def push(client):
    return await client.post(f"{BASE}/users/batch", json=BATCH)


def core_with(kind, **options):
    return Core({"fault": [{"kind": kind, "on": "batch", **options}]}, now=virtual_now)


def test_an_honest_answer_is_the_server_s(sandbox, client):
    core = Core(now=virtual_now)
    answer, _ = play(core, push)
    other = client.post("/users/batch", json=BATCH)
    assert (answer.status_code, answer.json()) == (other.status_code, other.json())
    ours, theirs = dict(answer.headers), dict(other.headers)
    assert ours.pop("date") != theirs.pop("date")
    assert ours == theirs
    strip = {"time", "request", "ended"}
    here, there = (
        [{k: v for k, v in e.items() if k not in strip} for e in x.effects()] for x in (core, sandbox)
    )
    assert here == there


@pytest.mark.parametrize(
    ("kind", "options", "error", "seconds"),
    [
        ("applied-then-dropped", {}, httpx.RemoteProtocolError, 0),
        ("applied-then-reset", {}, httpx.ReadError, 0),
        ("applied-then-cut", {}, httpx.RemoteProtocolError, 0),
        ("applied-then-silence", {}, httpx.ReadTimeout, 5),
        ("slow-answer", {"seconds": 20}, httpx.ReadTimeout, 5),
        ("slow-drip", {"tick": 20.0}, httpx.ReadTimeout, 5),
    ],
)
def test_a_lost_answer_raises_what_httpx_raises_after_the_time_it_takes(kind, options, error, seconds):
    core = core_with(kind, **options)
    got, took = play(core, push)
    assert type(got) is error
    assert took == pytest.approx(seconds, abs=0.01)
    assert len(core.effects()) == 2


@pytest.mark.parametrize("kind", ["applied-then-dropped", "applied-then-reset", "applied-then-cut"])
def test_the_errors_are_those_of_a_real_socket(sandbox, client, kind):
    got, _ = play(core_with(kind), push)
    sandbox.set_faults({"fault": [{"kind": kind, "on": "batch"}]})
    with pytest.raises(httpx.HTTPError) as real:
        client.post("/users/batch", json=BATCH)
    assert type(got) is type(real.value)


def test_slow_answers_take_virtual_seconds_only():
    answer, took = play(core_with("slow-answer", seconds=3000), push, timeout=None)
    assert answer.status_code == 201
    assert took == pytest.approx(3000)
    answer, took = play(core_with("slow-drip", piece=1, tick=0.3), push)
    assert answer.json() == BATCH
    assert took == pytest.approx(0.3 * len(answer.content))


def test_late_requests_arrive_while_the_client_sleeps():
    core = core_with("applied-late", seconds=30.0)

    async def story(client):
        seen = []
        with pytest.raises(httpx.RemoteProtocolError):
            await push(client)
        for _ in range(4):
            seen.append((await client.get(f"{BASE}/users/a")).status_code)
            await asyncio.sleep(10)
        return seen

    assert play(core, story)[0] == [404, 404, 404, 200]


def test_latency_interleaves_requests_the_same_way_for_the_same_seed():
    def order(seed):
        core = Core(now=virtual_now)

        async def story(client):
            await asyncio.gather(*(client.post(f"{BASE}/users", json={"userId": f"u{n}"}) for n in range(12)))

        play(core, story, latency=(0.01, 0.2), seed=seed)
        return [each["id"] for each in core.effects()]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))


def test_a_cancelled_request_that_arrived_is_applied_and_not_delivered():
    core = core_with("slow-answer", seconds=60)

    async def story(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await push(client)

    play(core, story, timeout=None)
    assert len(core.effects()) == 2
    assert core.requests()[-1]["delivered"] is False


def test_virtual_time_begins_in_2026_and_belongs_to_its_loop():
    assert virtual_now() == EPOCH

    async def main():
        await asyncio.sleep(3600)
        return virtual_now()

    assert run_in_virtual_time(main) == EPOCH + 3600
    assert run_in_virtual_time(main) == EPOCH + 3600


def test_work_in_a_thread_is_waited_for():
    async def main():
        return await asyncio.to_thread(lambda: 7)

    assert run_in_virtual_time(main) == 7


# ------------------------------------------------------------------ connections in memory
class Ear(asyncio.Protocol):
    """A client that notes what it is told."""

    def __init__(self):
        self.heard = []
        self.over = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.heard.append(data)

    def eof_received(self):
        self.heard.append("FIN")

    def connection_lost(self, exc):
        self.heard.append(exc)
        self.over.set_result(None)


def hear(core, request, **settings):
    """What a client hears over a connection in memory, and the virtual seconds until it is over."""

    async def main():
        network = MemoryNetwork(core, **settings)
        begun = virtual_now()
        transport, ear = network.connect(Ear)
        transport.write(request)
        await ear.over
        return ear.heard, virtual_now() - begun, len(network.open)

    return run_in_virtual_time(main)


CLOSING = b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def test_a_connection_in_memory_brings_the_answer_and_its_end():
    heard, seconds, left = hear(Core(now=virtual_now), CLOSING)
    assert heard[0].startswith(b"HTTP/1.1 404")
    assert (["FIN", None], 0.0, 0) == (heard[-2:], seconds, left)


def test_bytes_in_memory_take_their_time():
    _, seconds, _ = hear(Core(now=virtual_now), CLOSING, latency=(2.0, 2.0))
    assert 4.0 == seconds


def test_a_reset_in_memory_is_a_reset():
    core = Core(now=virtual_now)
    core.wire_ready = True
    core.set_faults({"fault": [{"kind": "wire-reset-unread", "on": "any"}]})
    heard, _, _ = hear(core, b"GET /energy-coordination/v1/users HTTP/1.1\r\nhost: x\r\n\r\n")
    assert [ConnectionResetError] == [type(one) for one in heard]
