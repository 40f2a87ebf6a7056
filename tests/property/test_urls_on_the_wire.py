"""Hostile ids against the request line as a server reads it from a socket (T1)."""

import asyncio
import random
import re
import ssl
from functools import partial
from itertools import islice
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.api.urls import UnsafeSegmentError, url_under
from connectors.api.wire import Wire

IDS_IN_A_URL = 50
URLS = 100
IDS = 20_000

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
KEPT = [
    "K-4711", "00017", "Kunde Ødegård", "a.b", "...", ".a", "+47 900 00 000", "a;b", "a=b&c", "@x", "~root", "(x)", " ",
    "\u202e", "\u200b", "e\u0301", "\uff0e\uff0e", "\U0001f600" * 32, "x" * 128, "é" * 64, "batch", "users", "$x",
]  # fmt: skip
REFUSED = [
    "", ".", "..", "a/b", "a\\b", "%2e", "%", "a?b", "a#b", "\x00", "a\n", "\x7f", "\x85", "\ud800", "a\udfff",
    "x" * 129, "é" * 65, "\U0001f600" * 33,
]  # fmt: skip
HOSTILE = st.one_of(
    st.sampled_from(KNOWN),
    st.text("./\\%?#;:@&=+ 2eEfF\x00\n\u2025é", max_size=6),
    st.text(max_size=12),
    st.text(st.characters(categories=["L", "N", "P", "S", "M"]), min_size=1, max_size=40),
)


_HAS_A_MEANING = re.compile(r"[/\\%?#\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def may_not_be_in_a_url(text):
    """The documented rule, in words of our own: no path, no escape, no query, no control, half a character."""
    return (
        text in ("", ".", "..")
        or _HAS_A_MEANING.search(text) is not None
        or len(text.encode("utf-8", "surrogatepass")) > 128
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


def hostile_ids(seed):
    """Ids without end, no two alike: put together from what is known, of what has a meaning, of all of Unicode."""
    draw, seen = random.Random(seed), set(KNOWN + KEPT + REFUSED)
    yield from sorted(seen)
    while True:
        way = draw.randrange(5)
        if way == 0:
            text = "".join(draw.choices([*KNOWN, "K-4711", "anlegg", " "], k=draw.randint(2, 4)))
        elif way == 1:
            text = "".join(draw.choices("./\\%?#;:@&=+ 2eEfF\x00\n\u2025é", k=draw.randint(1, 8)))
        elif way == 2:
            text = "".join(
                draw.choices(";:@&=+$,!*'()~.-_ 2eEfF{}|^`<>\"[]\u2025\uff0eé", k=draw.randint(1, 12))
            )
        elif way == 3:
            planes = [(0, 0x250), (0x250, 0x3000), (0x2000, 0x2070), (0xD700, 0xE000), (0xF900, 0x110000)]
            text = "".join(chr(draw.randrange(*draw.choice(planes))) for _ in range(draw.randint(1, 20)))
        else:
            text = draw.choice("aé\u2025\U0001f600") * draw.randint(20, 130) + str(draw.randrange(1000))
        if text not in seen:
            seen.add(text)
            yield text


def sent(runner, echo, ids):
    """Those of the ids that came over the wire, each as exactly one segment."""
    refused = [text for text in ids if may_not_be_in_a_url(text)]
    assert refused == [text for text in ids if not safe(text)], "refused by its rule, and by nothing else"
    kept = [text for text in ids if safe(text)]
    segments = ["users", *kept, "locations"]
    target = runner.run(echo.target(segments)).split(b"/")
    assert target[:2] == [b"", b"v1"]
    assert [unquote_to_bytes(part) for part in target[2:]] == [text.encode() for text in segments]
    assert not {b".", b"..", b""} & set(target[2:])
    return kept


@pytest.fixture
def echo():
    with asyncio.Runner() as runner:
        answering = runner.run(Echo().__aenter__())
        yield partial(sent, runner, answering)
        runner.run(answering.__aexit__())


def test_what_is_harmless_is_sent_and_what_is_not_never(echo):
    assert KEPT == echo(KEPT)
    assert [] == echo(REFUSED)


def test_each_of_twenty_thousand_ids_arrives_as_exactly_one_segment_or_not_at_all(echo):
    ids = list(islice(hostile_ids(seed=1), IDS))
    assert IDS == len(set(ids))
    arrived = [text for batch in batched(ids) for text in echo(batch)]
    print(f"{IDS:,} ids, {len(arrived):,} of them sent")
    assert len(arrived) == len(set(arrived)) > IDS / 3
    assert IDS - len(arrived) > IDS / 3, "harmless ones prove nothing"


def batched(ids):
    return [ids[start : start + IDS_IN_A_URL] for start in range(0, len(ids), IDS_IN_A_URL)]


@settings(
    max_examples=URLS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(st.lists(HOSTILE, min_size=IDS_IN_A_URL, max_size=IDS_IN_A_URL))
def test_ids_that_somebody_goes_looking_for_arrive_as_one_segment_or_not_at_all(echo, ids):
    echo(ids)
