"""The client against real sockets: every way an answer can be malformed, late, cut, or someone else's."""

import asyncio
import contextlib
import datetime as dt
import gzip
import os
import socket
import ssl
import struct

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.api import ApiClient
from connectors.api.wire import Wire
from schemas.errors import ApiUnavailable
from schemas.exchange import Answer, Call, Lost, NoAnswer
from tests.ports import port_kept

CREATE = Call("POST", ("users", "batch"), b'{"users":[{"userId":"u"}]}')
READ = Call("GET", ("users", "u"))
BODY = b'{"users":[{"userId":"u"}]}'
TOKEN = b'{"access_token":"t-1","token_type":"Bearer","expires_in":3600}'


class Secret:
    def get_secret_value(self):
        return "not-so-secret"


def answer(status=201, body=BODY, *headers):
    lines = [b"HTTP/1.1 %d X" % status, b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, *headers, b"", body])


class Server:
    """Gives out tokens, and lets `say` misbehave on every other request.

    Args:
        say: an async function of (reader, writer), called when the head of a request was read; or bytes.
    """

    def __init__(self, say, *, tls=None, reads_body=True):
        self.say = say
        self.tls = tls
        self.reads_body = reads_body
        self.connections = 0
        self.requests = []

    async def __aenter__(self):
        self.tasks = set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, limit=1 << 20)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _talk(self, reader, writer):
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            is_token = head.startswith(b"POST /token ")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if length and (self.reads_body or is_token):
                head += await reader.readexactly(int(length[0].split(b":")[1]))
            self.requests.append(head)
            if is_token:
                writer.write(answer(200, TOKEN))
            elif isinstance(self.say, bytes):
                writer.write(self.say)
            else:
                await self.say(reader, writer)
            await writer.drain()

    @property
    def calls(self):
        """Requests that were not for a token."""
        return [request for request in self.requests if not request.startswith(b"POST /token ")]


def client(server, **options):
    options = {"sleep": lambda _: asyncio.sleep(0), **options}
    return ApiClient(f"{server.url}/v1", f"{server.url}/token", "id", Secret(), **options)


def ask(say, *calls, options=None, deadline=None, **server_options):
    """What the client makes of a server that says that; of several calls the last answer, and the server.

    A deadline holds for the calls alone: the token is there and the connection open, so that what is sent is sent.
    """

    async def run():
        async with Server(say, **server_options) as server, client(server, **(options or {})) as api:
            if deadline is not None:
                await api.sign_in()
                api._deadline = deadline
            for call in calls or [CREATE]:
                last = await api.call(call)
            return last, server

    return asyncio.run(run())


def closing(said):
    async def say(_, writer):
        writer.write(said)
        await writer.drain()
        writer.close()

    return say


def reset(said=b""):
    async def say(_, writer):
        writer.write(said)
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return say


def dripping(said, pause=0.02):
    async def say(_, writer):
        for n in range(len(said)):
            writer.write(said[n : n + 1])
            await writer.drain()
            await asyncio.sleep(pause)

    return say


def endless(head, part):
    async def say(_, writer):
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()

    return say


async def silent(_, writer):
    await asyncio.sleep(60)


# ------------------------------------------------------------------ answers that are answers
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(answer(), id="with a length"),
        pytest.param(CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), id="in one chunk"),
        pytest.param(
            CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n", id="in many chunks"
        ),
        pytest.param(CHUNKED + b"1a;x=y\r\n" + BODY + b"\r\n0\r\nTrailer: x\r\n\r\n", id="with a trailer"),
        pytest.param(closing(b"HTTP/1.0 201 Created\r\n\r\n" + BODY), id="of HTTP/1.0, ended by closing"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(), id="after an interim answer"),
        pytest.param(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 9 + answer(), id="after nine of them"),
        pytest.param(answer(201, BODY, b"Content-Encoding: identity"), id="of identity encoding"),
        pytest.param(answer(201, BODY, b"Connection: close"), id="that says it closes"),
        pytest.param(dripping(answer(), pause=0.0005), id="byte by byte"),
    ],
)
def test_an_answer_arrives_whole_however_it_is_sent(said):
    came, _ = ask(said)
    assert isinstance(came, Answer)
    assert (came.status, came.body) == (201, BODY)


def test_a_large_answer_arrives_whole():
    large = b'"' + b"x" * 5_000_000 + b'"'
    came, server = ask(answer(200, large), READ, READ)
    assert came.body == large
    assert server.connections == 1


@pytest.mark.parametrize("status", [200, 301, 307, 400, 403, 404, 409, 413, 429, 500, 503])
def test_every_status_is_an_answer(status):
    came, _ = ask(answer(status, b'"no"'))
    assert (came.status, came.body) == (status, b'"no"')


def test_answers_without_a_body_are_answers():
    came, server = ask(b"HTTP/1.1 204 No Content\r\n\r\n", Call("DELETE", ("users", "u")), READ)
    assert (came.status, came.body) == (204, b"")
    assert server.connections == 1


def test_a_header_on_two_lines_is_joined():
    came, _ = ask(answer(429, b"", b"Retry-After: 5", b"retry-after: 7"))
    assert came.headers["retry-after"] == "5, 7"


def test_a_close_delimited_answer_cut_short_looks_whole_here():
    """HTTP cannot tell; the strict JSON of the classifier does."""
    came, _ = ask(closing(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\r\n" + BODY[:9]))
    assert (came.status, came.body) == (201, BODY[:9])


# ------------------------------------------------------------------ answers that are none
BOMB = gzip.compress(b"0" * 50_000_000)
LOST = [
    ("closed at once", closing(b""), "protocol"),
    ("reset at once", reset(), "connection lost"),
    ("closed in the status line", closing(b"HTTP/1.1 2"), "protocol"),
    ("closed in the headers", closing(b"HTTP/1.1 201 Created\r\nContent-"), "protocol"),
    ("closed in the body", closing(answer()[:-5]), "protocol"),
    ("closed in a chunk", closing(CHUNKED + b"1a\r\n{"), "protocol"),
    ("closed before the last chunk", closing(CHUNKED + b"1a\r\n" + BODY + b"\r\n"), "protocol"),
    ("reset in the body", reset(answer()[:-5]), None),
    ("status line of letters", b"HTTP/1.1 abc Created\r\n\r\n", "protocol"),
    ("status of four digits", b"HTTP/1.1 2010 Created\r\n\r\n", "protocol"),
    ("no status line", b"hello there\r\n\r\n", "protocol"),
    ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "protocol"),
    ("TLS alert", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", "protocol"),
    ("only a body", closing(BODY), "protocol"),
    ("two lengths", answer(201, BODY, b"Content-Length: 3"), "protocol"),
    ("a length of letters", b"HTTP/1.1 201 C\r\nContent-Length: ten\r\n\r\n", "protocol"),
    ("a negative length", b"HTTP/1.1 201 C\r\nContent-Length: -1\r\n\r\n", "protocol"),
    (
        "a length and chunks",
        answer(201, b"1a\r\n" + BODY + b"\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        "protocol",
    ),
    ("an unknown transfer encoding", CHUNKED.replace(b"chunked", b"gzip, chunked"), "protocol"),
    ("a chunk length of letters", CHUNKED + b"zz\r\n", "protocol"),
    ("a header of 200 kB", answer(201, BODY, b"X: " + b"x" * 200_000), "protocol"),
    ("ten thousand headers", answer(201, BODY, *[b"X-%d: y" % n for n in range(10_000)]), "protocol"),
    ("a header without a name", answer(201, BODY, b": x"), "protocol"),
    ("a header with a null", answer(201, BODY, b"X: a\x00b"), "protocol"),
    ("a header with a blank in its name", answer(201, BODY, b"X Y: a"), "protocol"),
    ("a bare line feed and a header", answer(201, BODY, b"X: a\r\r\nY: b"), "protocol"),
    ("a thousand interim answers", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "protocol"),
    ("interim answers without end", endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), "protocol"),
    (
        "another protocol agreed",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "protocol",
    ),
    ("two answers at once", answer() + answer(), "protocol"),
    ("an answer and garbage", answer() + b"x", "protocol"),
    ("chunks and an answer", CHUNKED + b"0\r\n\r\n" + CHUNKED + b"0\r\n\r\n", "protocol"),
    ("a gzip bomb", answer(201, BOMB, b"Content-Encoding: gzip"), "content encoding"),
    ("half a gzip", answer(201, BOMB[:99], b"Content-Encoding: gzip"), "content encoding"),
    ("deflate", answer(201, BODY, b"Content-Encoding: deflate"), "content encoding"),
    ("brotli", answer(201, BODY, b"Content-Encoding: br"), "content encoding"),
    ("an unknown encoding", answer(201, BODY, b"Content-Encoding: rot13"), "content encoding"),
    ("two encodings", answer(201, BODY, b"Content-Encoding: gzip, identity"), "content encoding"),
    ("chunks without end", endless(CHUNKED, b"400\r\n" + b"x" * 1024 + b"\r\n"), "answer too large"),
    ("a body without end", endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1024), "answer too large"),
    (
        "gigabytes",
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", b"x" * 65536),
        "answer too large",
    ),
]


@pytest.mark.parametrize(("said", "cause"), [pytest.param(say, cause, id=name) for name, say, cause in LOST])
def test_a_malformed_answer_leaves_the_request_in_doubt(said, cause):
    lost, _ = ask(said, options={"max_answer_bytes": 1 << 20})
    assert isinstance(lost, NoAnswer)
    assert lost.lost is Lost.IN_DOUBT
    assert lost.cause == cause or cause is None


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(silent, id="silent"),
        pytest.param(dripping(b"HTTP/1.1 201 Created\r\nX: " + b"x" * 999), id="drip in the headers"),
        pytest.param(dripping(answer(201, b'"' + b"x" * 999)), id="drip in the body"),
        pytest.param(dripping(CHUNKED + b"1\r\nx\r\n" * 999), id="drip in the chunks"),
        pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n" + BODY, id="less than the length"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="an interim answer only"),
    ],
)
def test_a_slow_answer_is_in_doubt_at_the_deadline(said):
    """httpx's own timeouts are per read: a drip would go on for ever."""
    lost, _ = ask(said, deadline=0.2)
    assert (lost.lost, lost.cause) == (Lost.IN_DOUBT, "deadline")


# ------------------------------------------------------------------ one answer, one request
def test_an_answer_nobody_asked_for_is_not_the_next_ones():
    stray = answer(201, b'{"users":[{"userId":"someone else"}]}')

    async def run():
        said = iter([answer() + stray, answer(200, b'"mine"')])

        async def say(_, writer):
            writer.write(next(said))

        async with Server(say) as server, client(server) as api:
            return await api.call(CREATE), await api.call(READ), server.connections

    first, second, connections = asyncio.run(run())
    assert (first.lost, first.cause) == (Lost.IN_DOUBT, "protocol")
    assert second.body == b'"mine"'
    assert connections == 2


def test_an_answer_that_comes_late_and_unasked_ends_the_connection():
    async def run():
        numbers, taken, strayed = iter(range(9)), asyncio.Event(), asyncio.Event()

        async def say(_, writer):
            number = next(numbers)
            writer.write(answer(200, b'"%d"' % number))
            await writer.drain()
            if number == 0:
                await taken.wait()
                writer.write(answer(200, b'"stray"'))
                strayed.set()

        async with Server(say) as server, client(server) as api:
            first = await api.call(READ)
            taken.set()
            await strayed.wait()
            await asyncio.sleep(0.1)  # what has arrived by then was looked at: sockets come before timers
            return first.body, (await api.call(READ)).body, server.connections

    assert asyncio.run(run()) == (b'"0"', b'"1"', 2)


def test_httpx_alone_would_hand_a_stray_answer_to_the_next_request():
    """Why `Wire` exists. If this fails httpx has mended it, and `Wire` may go."""

    async def run():
        async def say(_, writer):
            writer.write(answer(200, b'"first"') + answer(200, b'"stray"'))

        async with Server(say) as server, httpx.AsyncClient(trust_env=False) as usual:
            return (await usual.get(server.url)).text, (await usual.get(server.url)).text

    assert asyncio.run(run()) == ('"first"', '"stray"')


HUGE = Call("POST", ("users", "batch"), b"x" * 20_000_000)


def test_a_success_before_the_request_was_sent_is_in_doubt():
    async def say(reader, writer):
        writer.write(answer())
        await writer.drain()
        await asyncio.sleep(60)

    lost, _ = ask(say, HUGE, reads_body=False)
    assert (lost.lost, lost.cause) == (Lost.IN_DOUBT, "protocol")


@pytest.mark.parametrize("status", [401, 413, 429, 503])
def test_a_refusal_before_the_request_was_sent_is_an_answer(status):
    async def say(reader, writer):
        writer.write(answer(status, b""))
        await writer.drain()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(-1), 0.2)
        writer.close()

    came, _server = ask(say, HUGE, reads_body=False)
    assert came.status == status


def test_connections_are_used_again_one_request_at_a_time():
    came, server = ask(answer(200, b'"x"'), READ, READ, READ)
    assert (came.body, server.connections) == (b'"x"', 1)
    assert len(server.calls) == 3


def test_a_connection_the_server_closed_meanwhile_is_not_used():
    """The keep-alive race: a stale connection would leave a request in doubt for nothing."""

    async def run():
        async def say(_, writer):
            writer.write(answer(200, b'"x"'))
            await writer.drain()
            writer.close()

        async with Server(say) as server, client(server) as api:
            return [(await api.call(READ)).status for _ in range(20)], server.connections

    statuses, connections = asyncio.run(run())
    assert statuses == [200] * 20
    assert connections >= 20


def test_a_connection_that_rested_too_long_is_not_used():
    async def run():
        wire = Wire(ssl.create_default_context(), max_connections=4, connect_seconds=5, idle_seconds=0)
        async with Server(answer(200, b'"x"')) as server, client(server, transport=wire) as api:
            await api.call(READ)
            await api.call(READ)
            return server.connections

    assert asyncio.run(run()) == 3


def test_an_answer_nobody_reads_yet_waits_at_the_server():
    large = b"x" * 20_000_000

    async def run():
        limits = {"max_connections": 1, "connect_seconds": 5, "idle_seconds": 5}
        async with Server(answer(200, large)) as server, Wire(ssl.create_default_context(), **limits) as wire:
            response = await wire.handle_async_request(httpx.Request("GET", server.url))
            await asyncio.sleep(0.1)
            (connection,) = wire._open
            held = len(connection._arrived)
            return held, await response.aread() == large

    held, is_whole = asyncio.run(run())
    assert held < 1_000_000
    assert is_whole


def test_no_more_connections_are_open_than_allowed():
    async def run():
        open_now, most, full = 0, 0, asyncio.Event()

        async def say(_, writer):
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            if most == 3:
                full.set()
            await full.wait()
            await asyncio.sleep(0.01)  # one more would come by then
            open_now -= 1
            writer.write(answer(200, b'"x"'))

        async with Server(say) as server, client(server, max_connections=3) as api:
            answers = await asyncio.gather(*(api.call(READ) for _ in range(20)))
            return most, server.connections, {each.status for each in answers}

    assert asyncio.run(run()) == (3, 3, {200})


def test_a_slot_is_given_back_after_every_kind_of_loss():
    async def run():
        said = [say for _, say, _ in LOST]

        async def say(reader, writer):
            now = said.pop()
            await now(reader, writer) if callable(now) else writer.write(now)

        async with Server(say) as server, client(server, max_connections=1, max_answer_bytes=1 << 20) as api:
            lost = [await api.call(READ) for _ in range(len(said))]
            said.append(answer(200, b'"x"'))
            return {each.lost for each in lost}, (await api.call(READ)).status

    assert asyncio.run(run()) == ({Lost.IN_DOUBT}, 200)


def test_a_cancelled_call_leaves_no_connection_behind():
    async def run():
        async with Server(silent) as server, client(server, max_connections=1) as api:
            await api.sign_in()
            call = asyncio.create_task(api.call(READ))
            while not server.calls:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            server.say = answer(200, b'"x"')
            return (await api.call(READ)).status, server.connections

    assert asyncio.run(run()) == (200, 2)


def open_sockets():
    """Sockets of this process, by their names in the kernel."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in found if name.startswith("socket:")}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_call_that_is_given_up_while_it_connects_leaves_no_connection_behind(host):
    """At whichever step of the loop, also about when the connection opens."""

    async def waiting(reader, _):
        await reader.read()

    async def run(steps):
        async with Server(waiting) as server:
            before = open_sockets()
            limits = {"max_connections": 1, "connect_seconds": 60, "idle_seconds": 60}
            async with Wire(ssl.create_default_context(), **limits) as wire:
                asking = wire.handle_async_request(httpx.Request("GET", f"http://{host}:{server.port}/"))
                call = asyncio.create_task(asking)
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            for _ in range(1000):  # until the server has noticed
                if open_sockets() == before:
                    return
                await asyncio.sleep(0.01)
            pytest.fail(f"cancelled after {steps} steps of the loop, it left a connection open")

    for steps in range(40):
        asyncio.run(run(steps))


def test_a_host_is_tried_at_all_its_addresses(monkeypatch):
    """The first refuses, the second answers nothing, the third is it."""

    async def run(server, refusing, deaf):
        there = [("127.0.0.1", refusing), ("127.0.0.1", deaf), ("127.0.0.1", server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in there]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        return await _exchange("http://somewhere.invalid/")

    async def main():
        with port_kept() as refusing, full_house() as deaf:
            async with Server(answer(200, b'"x"')) as server:
                return await run(server, refusing, deaf)

    assert asyncio.run(main()) == 200


@contextlib.contextmanager
def full_house():
    """A port that neither takes nor refuses a caller."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# ------------------------------------------------------------------ nothing was sent
def test_a_refused_connection_sent_nothing():
    async def run():
        async with Server(answer()) as server, client(server) as api:
            await api.sign_in()
            server.server.close()
            await server.__aexit__()
            return await api.call(CREATE)

    lost = asyncio.run(run())
    assert (lost.lost, lost.cause) == (Lost.NOT_SENT, "connect")


def test_a_request_that_is_none_sent_nothing():
    lost, server = ask(
        answer(), Call("GET", ("users",), trace="a\r\nX: y"), options={"trace_header": "X-Trace"}
    )
    assert (lost.lost, lost.cause) == (Lost.NOT_SENT, "protocol")
    assert server.calls == []


def test_an_unknown_host_sent_nothing(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    lost = asyncio.run(_exchange("https://api.invalid/v1/users"))
    assert isinstance(lost, httpx.ConnectError)
    assert "invalid" not in str(lost)


async def _exchange(url, context=None, **options):
    """What the bare transport makes of one GET: a response's status, or its exception."""
    limits = {"max_connections": 1, "connect_seconds": 5, "idle_seconds": 5, **options}
    async with Wire(context or ssl.create_default_context(), **limits) as wire:
        try:
            response = await wire.handle_async_request(httpx.Request("GET", url))
            await response.aread()
        except httpx.HTTPError as lost:
            return lost
        return response.status_code


def test_a_server_that_does_not_shake_hands_was_sent_nothing():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        lost = asyncio.run(_exchange(f"https://127.0.0.1:{deaf.getsockname()[1]}/", connect_seconds=0.1))
    assert isinstance(lost, httpx.ConnectTimeout)


def test_a_deadline_while_waiting_for_a_connection_sent_nothing():
    async def run():
        refused = asyncio.Event()

        async def say(_, writer):
            await refused.wait()
            writer.write(answer(200, b'"x"'))

        async with Server(say) as server, client(server, max_connections=1) as api:
            await api.sign_in()
            first = asyncio.create_task(api.call(READ))
            while not server.calls:
                await asyncio.sleep(0.01)
            api._deadline = 0.05
            second = await api.call(READ)
            refused.set()
            return (await first).status, second.lost, second.cause, len(server.calls)

    assert asyncio.run(run()) == (200, Lost.NOT_SENT, "deadline", 1)


# ------------------------------------------------------------------ TLS
class Authority:
    """A certificate authority made for one test run."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(self.key, "test authority", ca=True)

    def _signed(self, key, name, *, ca=False, days=1):
        now = dt.datetime.now(dt.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if ca else self.certificate.subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=10))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            names = x509.SubjectAlternativeName([_general(name)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, folder, name="127.0.0.1", **options):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(key, name, **options)
        path = folder / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def trust(self):
        return ssl.create_default_context(cadata=self.pem().decode())


def _general(name):
    import ipaddress

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture(scope="module")
def authority():
    return Authority()


def test_a_trusted_server_is_spoken_to_over_tls(authority, tmp_path):
    came, server = ask(
        answer(), CREATE, CREATE, tls=authority.server(tmp_path), options={"ssl_context": authority.trust()}
    )
    assert (came.status, server.connections) == (201, 1)


@pytest.mark.parametrize(
    ("name", "days", "is_trusted"),
    [
        pytest.param("127.0.0.1", 1, False, id="unknown authority"),
        pytest.param("elsewhere.example", 1, True, id="another host"),
        pytest.param("127.0.0.1", -1, True, id="expired"),
    ],
)
def test_a_server_with_a_bad_certificate_is_sent_nothing(
    authority, tmp_path, monkeypatch, name, days, is_trusted
):
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async def run():
        context = authority.trust() if is_trusted else None
        async with Server(answer(), tls=authority.server(tmp_path, name, days=days)) as server:
            async with client(server, ssl_context=context) as api:
                with pytest.raises(ApiUnavailable):
                    await api.call(CREATE)
            return server.requests

    assert asyncio.run(run()) == []


def test_a_server_that_speaks_plainly_where_tls_is_expected_is_sent_nothing():
    async def run():
        async with Server(answer()) as server:
            return await _exchange(server.url.replace("http", "https"), connect_seconds=0.3)

    assert isinstance(asyncio.run(run()), httpx.ConnectTimeout | httpx.ConnectError)


# ------------------------------------------------------------------ what is never done
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status):
    async def run():
        async with Server(answer()) as sink:
            moved = answer(status, b"", b"Location: " + sink.url.encode() + b"/v1/users/batch")
            async with Server(moved) as server, client(server) as api:
                return (await api.call(CREATE)).status, sink.connections

    assert asyncio.run(run()) == (status, 0)


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    async def run():
        async with Server(answer()) as trap:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, trap.url)
            async with Server(answer()) as server, client(server) as api:
                return (await api.call(CREATE)).status, trap.connections

    assert asyncio.run(run()) == (201, 0)


def test_cookies_are_not_kept():
    _, server = ask(answer(200, b'"x"', b"Set-Cookie: a=b; Path=/"), READ, READ)
    assert not any(b"cookie" in request.lower() for request in server.requests)


def test_what_is_sent_is_what_was_asked_for_and_no_more():
    _, server = ask(answer(), CREATE)
    head, body = server.calls[0].split(b"\r\n\r\n", 1)
    line, *headers = head.split(b"\r\n")
    assert line == b"POST /v1/users/batch HTTP/1.1"
    assert body == CREATE.body
    assert sorted(header.lower() for header in headers) == sorted(
        [
            b"host: 127.0.0.1:%d" % server.port,
            b"accept: application/json",
            b"accept-encoding: identity",
            b"connection: keep-alive",
            b"user-agent: meterfeed",
            b"authorization: bearer t-1",
            b"content-type: application/json",
            b"content-length: %d" % len(body),
        ]
    )
