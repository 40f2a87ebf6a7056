"""Hostile ids against the request line as a server reads it from a socket (T1)."""

import asyncio
import ssl
from urllib.parse import unquote_to_bytes

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.api.urls import UnsafeSegmentError, url_under
from connectors.api.wire import Wire

IDS_IN_A_URL = 50
URLS = 400

KNOWN = [
    ".",
    "..",
    "...",
    "",
    " ",
    "%2e%2e",
    "%252e",
    "..%2f",
    "..;",
    "a/../b",
    "..\\",
    "//evil.example",
    "@evil",
    ":80",
]
KNOWN += [
    "batch",
    "eligible",
    "locations",
    "?page=1",
    "#f",
    "a&b",
    "a=b",
    "+",
    "~",
    "\u2025",
    "\uff0e\uff0e",
    "e\u0301",
]
KNOWN += [
    "\ud800",
    "\x00",
    "\r\nX: y",
    "\u2028",
    "\U0001f600",
    "%",
    "%zz",
    "%00",
    "*",
    "'",
    '"',
    "<",
    "{}",
    "|",
    "^",
    "`",
]
HOSTILE = st.one_of(
    st.sampled_from(KNOWN),
    st.text("./\\%?#;:@&=+ 2eEfF\x00\n\u2025é", max_size=6),
    st.text(max_size=12),
    st.text(st.characters(categories=["L", "N", "P", "S", "M"]), min_size=1, max_size=40),
)


def safe(identifier):
    try:
        url_under(httpx.URL("http://localhost"), (identifier,))
    except UnsafeSegmentError:
        return False
    return True


class Echo:
    """Answers every request with the target of its request line."""

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.base = httpx.URL(f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1")
        self.wire = Wire(ssl.create_default_context(), max_connections=1, connect_seconds=60, idle_seconds=60)
        return self

    async def __aexit__(self, *_):
        await self.wire.aclose()
        await self.done.wait()
        self.server.close()
        await self.server.wait_closed()

    async def _serve(self, reader, writer):
        self.done = asyncio.Event()
        try:
            while True:
                target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            self.done.set()

    async def target(self, segments):
        request = httpx.Request("DELETE", url_under(self.base, segments))
        response = await self.wire.handle_async_request(request)
        return await response.aread()


def test_every_id_arrives_as_exactly_one_segment_or_not_at_all():
    seen = 0
    with asyncio.Runner() as runner:
        echo = runner.run(Echo().__aenter__())

        @settings(max_examples=URLS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(HOSTILE, min_size=IDS_IN_A_URL, max_size=IDS_IN_A_URL))
        def check(ids):
            nonlocal seen
            seen += len(ids)
            kept = [identifier for identifier in ids if safe(identifier)]
            segments = ["users", *kept, "locations"]
            arrived = runner.run(echo.target(segments)).split(b"/")
            assert arrived[:2] == [b"", b"v1"]
            assert [unquote_to_bytes(part) for part in arrived[2:]] == [text.encode() for text in segments]
            assert not {b".", b"..", b""} & set(arrived[2:])

        check()
        runner.run(echo.__aexit__())
    assert seen >= 20_000
