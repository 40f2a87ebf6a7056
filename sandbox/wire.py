"""Faults of the wire: what can be wrong with the bytes of an answer, or with the connection under it.

Pure: a fault is a function from the honest answer and a seed to the steps a server takes. `sandbox.connection`
plays them on a socket or, for a simulator, in memory. In fault plans their names begin with `wire-`.

A fault of stage `request` is played before the API sees the request: nothing is applied. One of
the `answer` stage is played after. `sound` ones are legal HTTP, if unusual: a client should take the answer.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from typing import Literal

from sandbox.mangle import MANGLERS, mangle

Stage = Literal["request", "answer"]


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection with FIN, after what was written."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with RST, at once."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Say nothing more until the client leaves."""


Step = Send | Pause | Close | Reset | Silence
Steps = Iterator[Step]


@dataclass(frozen=True, slots=True)
class Honest:
    """The answer as it should be.

    Attributes:
        status: its code.
        headers: its headers, without any about length or encoding.
        body: its body.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status_line(self) -> bytes:
        """`HTTP/1.1 201 Created` without the line end."""
        return f"HTTP/1.1 {self.status} {reason(self.status)}".encode()

    def lines(self, *more: bytes, length: bool = True) -> list[bytes]:
        """The header lines, with further ones and, if asked, Content-Length."""
        own = [f"{name}: {value}".encode("latin-1") for name, value in self.headers]
        framed = [b"content-length: %d" % len(self.body)] if length else []
        return [*own, *framed, *more]

    def head(self, *more: bytes, length: bool = True) -> bytes:
        """Everything before the body."""
        return b"\r\n".join([self.status_line, *self.lines(*more, length=length), b"", b""])

    def whole(self) -> bytes:
        """The answer as it goes out when nothing is wrong."""
        return self.head() + self.body

    def encoded(self, coding: bytes, body: bytes) -> bytes:
        """The answer with a content coding and this body."""
        return replace(self, body=body).head(b"content-encoding: " + coding) + body


def reason(status: int) -> str:
    """The reason phrase of a status, or nothing."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


Play = Callable[[Honest, random.Random], Steps]


@dataclass(frozen=True, slots=True)
class WireFault:
    """One fault of the wire.

    Attributes:
        name: without the prefix `wire-`.
        stage: before or after the request is applied.
        sound: the answer is legal HTTP and right.
        about: one sentence.
        play: the steps; for the request stage the honest answer given is an empty 503.
    """

    name: str
    stage: Stage
    sound: bool
    about: str
    play: Play


WIRE_FAULTS: dict[str, WireFault] = {}
"""The closed list."""

FLOOD = 10_000
"""How many of a thing make a flood."""

BIG = 64 * 1024 * 1024
"""Bytes after which a body that should overwhelm has gone on long enough."""

PIECE = 64 * 1024
SLOW = 0.05
"""Seconds between two pieces of a slow answer."""


def _wire(name: str, about: str, *, stage: Stage = "answer", sound: bool = False) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        WIRE_FAULTS[name] = WireFault(name, stage, sound, about, play)
        return play

    return register


def _bytes(name: str, about: str, make: Callable[[Honest], bytes], *then: Step, sound: bool = False) -> None:
    """A fault that writes something and then does something, or keeps the connection."""

    def play(honest: Honest, _: random.Random) -> Steps:
        yield Send(make(honest))
        yield from then

    _wire(name, about, sound=sound)(play)


def _before(name: str, about: str, *steps: Step) -> None:
    """A fault played before the request is read to its end."""

    def play(_: Honest, __: random.Random) -> Steps:
        yield from steps

    _wire(name, about, stage="request")(play)


# -- before the request is applied -----------------------------------------------------------------------

_SORRY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_before("close-unread", "The connection is closed before the body of the request is read.", Close())
_before("reset-unread", "The connection is reset before the body of the request is read.", Reset())
_before("silence-unread", "The body of the request is never read and nothing is said.", Silence())
_before("early-503", "503 comes before the body of the request is read, then FIN.", Send(_SORRY), Close())
_before(
    "early-503-reset", "503 comes before the body of the request is read, then RST.", Send(_SORRY), Reset()
)
_before(
    "early-half-answer",
    "Half a status line comes before the body is read, then FIN.",
    Send(_SORRY[:12]),
    Close(),
)
_before(
    "early-garbage",
    "Random bytes come before the body is read, then FIN.",
    Send(b"\x00\xff\x13\x37" * 8),
    Close(),
)

# -- answers that end too early --------------------------------------------------------------------------

_bytes("close-without-answer", "FIN instead of an answer.", lambda _: b"", Close())
_bytes("reset-without-answer", "RST instead of an answer.", lambda _: b"", Reset())
_bytes("silence", "No answer, and the connection stays.", lambda _: b"", Silence())


def _places(honest: Honest) -> dict[str, int]:
    head = honest.head()
    return {
        "in-status-line": 7,
        "in-reason": len(honest.status_line) - 2,
        "after-status-line": len(honest.status_line) + 2,
        "in-headers": (len(honest.status_line) + len(head)) // 2,
        "before-blank-line": len(head) - 2,
        "after-head": len(head),
        "after-first-byte": len(head) + min(1, len(honest.body)),
        "in-body": len(head) + len(honest.body) // 2,
        "before-last-byte": len(head) + max(0, len(honest.body) - 1),
    }


def _cut(place: str) -> None:
    def until(honest: Honest) -> bytes:
        return honest.whole()[: _places(honest)[place]]

    words = place.replace("-", " ")
    _bytes(f"cut-{place}", f"FIN {words}.", until, Close())
    _bytes(f"reset-{place}", f"RST {words}.", until, Pause(SLOW), Reset())
    _bytes(f"silence-{place}", f"The answer stops {words}; the connection stays.", until, Silence())


for _place in _places(Honest(200, (), b"")):
    _cut(_place)


@_wire("cut-anywhere", "FIN at a drawn byte.")
def _cut_anywhere(honest: Honest, chance: random.Random) -> Steps:
    whole = honest.whole()
    yield Send(whole[: chance.randrange(len(whole))])
    yield Close()


@_wire("reset-anywhere", "RST at a drawn byte.")
def _reset_anywhere(honest: Honest, chance: random.Random) -> Steps:
    whole = honest.whole()
    yield Send(whole[: chance.randrange(len(whole))])
    yield Reset()


_bytes(
    "unframed-cut",
    "No length, FIN in mid-body: to a parser this is a whole answer.",
    lambda honest: honest.head(b"connection: close", length=False) + honest.body[: len(honest.body) // 2],
    Close(),
)
_bytes(
    "unframed",
    "No length, FIN after the body.",
    lambda honest: honest.head(b"connection: close", length=False) + honest.body,
    Close(),
    sound=True,
)
_bytes(
    "unframed-open",
    "No length, and the connection stays after the body.",
    lambda honest: honest.head(length=False) + honest.body,
    Silence(),
)

# -- slowness --------------------------------------------------------------------------------------------


def _dripped(data: bytes, pieces: int) -> Steps:
    size = max(1, len(data) // pieces)
    for start in range(0, len(data), size):
        yield Send(data[start : start + size])
        yield Pause(SLOW)


@_wire("drip-head", "The head comes in twenty pieces.", sound=True)
def _drip_head(honest: Honest, _: random.Random) -> Steps:
    yield from _dripped(honest.head(), 20)
    yield Send(honest.body)


@_wire("drip-body", "The body comes in twenty pieces.", sound=True)
def _drip_body(honest: Honest, _: random.Random) -> Steps:
    yield Send(honest.head())
    yield from _dripped(honest.body, 20)


@_wire("drip-for-ever", "A header grows by a byte at a time and never ends.")
def _drip_for_ever(honest: Honest, _: random.Random) -> Steps:
    yield Send(honest.status_line + b"\r\nx-filler: ")
    while True:
        yield Send(b"a")
        yield Pause(SLOW)


@_wire("pause-before-body", "The body comes a while after the head.", sound=True)
def _pause_before_body(honest: Honest, _: random.Random) -> Steps:
    yield Send(honest.head())
    yield Pause(4 * SLOW)
    yield Send(honest.body)


# -- status lines ----------------------------------------------------------------------------------------


def _status_line(name: str, line: bytes, about: str, *, sound: bool = False) -> None:
    def make(honest: Honest) -> bytes:
        made = line.replace(b"CODE", b"%d" % honest.status)
        return b"\r\n".join([made, *honest.lines(), b"", b""]) + honest.body

    _bytes(name, about, make, Close(), sound=sound)


_status_line("status-garbage", b"\x16\x03\x01\x02\x00", "The answer begins with a TLS record.")
_status_line("status-letters", b"HTTP/1.1 ABC Created", "The status code is letters.")
_status_line("status-two-digits", b"HTTP/1.1 20 OK", "The status code has two digits.")
_status_line("status-four-digits", b"HTTP/1.1 2010 Created", "The status code has four digits.")
_status_line("status-negative", b"HTTP/1.1 -201 Created", "The status code is negative.")
_status_line("status-zero", b"HTTP/1.1 000 Nothing", "The status code is 000.")
_status_line("status-999", b"HTTP/1.1 999 Beyond", "The status code is 999.")
_status_line("status-missing", b"HTTP/1.1", "There is no status code.")
_status_line(
    "status-other-digits", "HTTP/1.1 ２０１ Created".encode(), "The status code is in full-width digits."
)
_status_line("status-no-reason", b"HTTP/1.1 CODE ", "There is no reason phrase.", sound=True)
_status_line("status-huge-reason", b"HTTP/1.1 CODE " + b"x" * 200_000, "The reason phrase has 200 kB.")
_status_line("status-nul-reason", b"HTTP/1.1 CODE Cre\x00ated", "The reason phrase holds a NUL.")
_status_line("version-1.0", b"HTTP/1.0 CODE OK", "HTTP/1.0, and FIN after the answer.", sound=True)
_status_line("version-2", b"HTTP/2 CODE", "The status line is of HTTP/2.")
_status_line("version-9.9", b"HTTP/9.9 CODE OK", "The version is 9.9.")
_status_line("version-lower-case", b"http/1.1 CODE OK", "The version is in lower case.")
_status_line("version-icy", b"ICY CODE OK", "The protocol is not HTTP.")
_status_line("banner", b"SSH-2.0-OpenSSH_9.9", "Another service is listening.")
_bytes("version-0.9", "Only a body, no head at all.", lambda honest: honest.body, Close())
_bytes(
    "http-2-frames",
    "Frames of HTTP/2.",
    lambda _: b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    Close(),
)
_bytes(
    "blank-lines-first", "Blank lines before the status line.", lambda honest: b"\r\n\r\n" + honest.whole()
)
_bytes("zeros", "A million zero bytes.", lambda _: b"\x00" * 1_000_000, Close())

# -- Content-Length --------------------------------------------------------------------------------------


def _length(
    name: str, about: str, lengths: Callable[[int], list[str]], *then: Step, sound: bool = False
) -> None:
    def make(honest: Honest) -> bytes:
        lines = [f"content-length: {text}".encode() for text in lengths(len(honest.body))]
        return honest.head(*lines, length=False) + honest.body

    _bytes(name, about, make, *then, sound=sound)


_length("length-too-long", "Content-Length says more than comes, then FIN.", lambda n: [str(n + 10)], Close())
_length("length-too-long-open", "Content-Length says more than comes.", lambda n: [str(n + 10)], Silence())
_length("length-too-short", "Content-Length says less than comes.", lambda n: [str(n // 2)])
_length("length-zero", "Content-Length says 0, a body comes.", lambda _: ["0"])
_length("length-negative", "Content-Length is negative.", lambda n: [str(-n)])
_length("length-text", "Content-Length is a word.", lambda _: ["many"])
_length("length-empty", "Content-Length is empty.", lambda _: [""])
_length("length-hexadecimal", "Content-Length is hexadecimal.", lambda n: [hex(n)])
_length("length-fraction", "Content-Length is a fraction.", lambda n: [f"{n}.0"])
_length("length-plus", "Content-Length has a plus sign.", lambda n: [f"+{n}"])
_length("length-astronomic", "Content-Length has thirty digits.", lambda _: ["9" * 30], Close())
_length("length-endless", "Content-Length has 5,000 digits.", lambda _: ["9" * 5000], Close())
_length("length-list", "Content-Length is a list of the same length.", lambda n: [f"{n}, {n}"])
_length("length-list-differs", "Content-Length is a list of two lengths.", lambda n: [f"{n}, {n // 2}"])
_length("length-twice", "Content-Length stands twice, the same.", lambda n: [str(n), str(n)])
_length("length-twice-differs", "Content-Length stands twice, different.", lambda n: [str(n), str(n // 2)])

# -- chunks ----------------------------------------------------------------------------------------------

_CHUNKED = b"transfer-encoding: chunked"


def _chunks(body: bytes, size: int, extension: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(each), extension, each) for each in pieces)


def _chunked(name: str, about: str, make: Callable[[bytes], bytes], *then: Step, sound: bool = False) -> None:
    _bytes(
        name,
        about,
        lambda honest: honest.head(_CHUNKED, length=False) + make(honest.body),
        *then,
        sound=sound,
    )


_LAST = b"0\r\n\r\n"
_chunked("chunked", "The body comes in chunks.", lambda body: _chunks(body, 512) + _LAST, sound=True)
_chunked("chunked-bytes", "Every chunk holds one byte.", lambda body: _chunks(body, 1) + _LAST, sound=True)
_chunked(
    "chunked-extensions",
    "The chunks have extensions.",
    lambda body: _chunks(body, 64, b';a="b"') + _LAST,
    sound=True,
)
_chunked(
    "chunked-trailers",
    "A trailer follows the last chunk.",
    lambda body: _chunks(body, 64) + b"0\r\nx-checksum: 1\r\n\r\n",
    sound=True,
)
_chunked(
    "chunk-size-garbage", "A chunk size is not a number.", lambda body: b"zz\r\n" + body + b"\r\n" + _LAST
)
_chunked("chunk-size-negative", "A chunk size is negative.", lambda body: b"-1\r\n" + body + b"\r\n" + _LAST)
_chunked("chunk-size-empty", "A chunk size is missing.", lambda body: b"\r\n" + body + b"\r\n" + _LAST)
_chunked(
    "chunk-size-0x",
    "A chunk size begins with 0x.",
    lambda body: b"0x%x\r\n" % len(body) + body + b"\r\n" + _LAST,
)
_chunked(
    "chunk-size-huge", "A chunk size says more than comes.", lambda body: b"7fffffff\r\n" + body, Close()
)
_chunked(
    "chunk-size-overflow", "A chunk size has 40 digits.", lambda body: b"f" * 40 + b"\r\n" + body, Close()
)
_chunked(
    "chunk-too-long",
    "A chunk is longer than it says.",
    lambda body: b"%x\r\n" % max(1, len(body) // 2) + body + b"\r\n" + _LAST,
)
_chunked(
    "chunk-cut", "FIN within a chunk.", lambda body: b"%x\r\n" % len(body) + body[: len(body) // 2], Close()
)
_chunked("chunk-no-last", "FIN instead of the last chunk.", lambda body: _chunks(body, 64), Close())
_chunked("chunk-no-last-open", "The last chunk never comes.", lambda body: _chunks(body, 64), Silence())
_chunked(
    "chunk-early-last",
    "The last chunk comes in mid-body.",
    lambda body: _chunks(body[: len(body) // 2], 64) + _LAST,
)
_chunked(
    "chunk-bare-lf",
    "The chunks end with LF alone.",
    lambda body: (_chunks(body, 64) + _LAST).replace(b"\r\n", b"\n"),
)
_chunked(
    "chunk-extension-flood",
    "A chunk has an extension of a megabyte.",
    lambda body: _chunks(body, len(body) or 1, b";x=" + b"a" * 1_000_000) + _LAST,
)
_chunked(
    "trailer-flood",
    "Ten thousand trailers follow the last chunk.",
    lambda body: _chunks(body, 512) + b"0\r\n" + b"x-t: 1\r\n" * FLOOD + b"\r\n",
)
_bytes(
    "length-and-chunked",
    "Content-Length beside chunks.",
    lambda honest: honest.head(_CHUNKED) + _chunks(honest.body, 512) + _LAST,
)
_bytes(
    "chunked-claimed",
    "The body is said to come in chunks and does not.",
    lambda honest: honest.head(_CHUNKED, length=False) + honest.body,
    Close(),
)
_bytes(
    "chunked-twice",
    "Transfer-Encoding says chunked twice.",
    lambda honest: (
        honest.head(b"transfer-encoding: chunked, chunked", length=False) + _chunks(honest.body, 512) + _LAST
    ),
)
_bytes(
    "transfer-encoding-unknown",
    "A transfer coding nobody knows.",
    lambda honest: honest.head(b"transfer-encoding: rot13", length=False) + honest.body,
    Close(),
)
_bytes(
    "transfer-encoding-hidden",
    "Transfer-Encoding with a tab where none belongs.",
    lambda honest: (
        honest.head(b"transfer-encoding:\tchunked\x0b", length=False) + _chunks(honest.body, 512) + _LAST
    ),
)


@_wire("endless-chunks", "Chunks without end.")
def _endless_chunks(honest: Honest, _: random.Random) -> Steps:
    yield Send(honest.head(_CHUNKED, length=False) + _chunks(honest.body, 512))
    piece = Send(_chunks(b" " * PIECE, PIECE))
    for _sent in range(BIG // PIECE):
        yield piece
    yield Close()


# -- headers ---------------------------------------------------------------------------------------------


def _header(name: str, about: str, *lines: bytes, sound: bool = False) -> None:
    _bytes(name, about, lambda honest: honest.head(*lines) + honest.body, sound=sound)


_header("header-flood", "Ten thousand headers.", *(b"x-%d: y" % number for number in range(FLOOD)))
_header("header-huge", "A header of 200 kB.", b"x-filler: " + b"a" * 200_000)
_header("header-name-huge", "A header name of 200 kB.", b"x" * 200_000 + b": y")
_header("header-no-colon", "A header line without a colon.", b"this is not a header")
_header("header-no-name", "A header without a name.", b": value")
_header("header-blank-name", "A blank before the colon.", b"content-type : text/html")
_header("header-nul", "A NUL in a header.", b"x-filler: a\x00b")
_header("header-bare-cr", "A CR within a header.", b"x-filler: a\rb")
_header("header-controls", "Escape sequences in a header.", b"x-filler: \x1b[31mred\x07")
_header("header-folded", "A header folded over two lines.", b"x-filler: a\r\n  b", sound=True)
_header("header-latin-1", "A header in Latin-1.", "x-filler: blåbær".encode("latin-1"), sound=True)
_header("header-invalid-utf-8", "A header that is not UTF-8.", b"x-filler: \xff\xfe", sound=True)
_header("header-empty-value", "A header without a value.", b"x-filler:", sound=True)
_header("header-two-types", "Content-Type stands twice, different.", b"content-type: text/html")
_header("cookie-flood", "A thousand cookies.", *(b"set-cookie: c%d=v" % number for number in range(1000)))
_bytes(
    "header-injection",
    "A header smuggles a second head and body in.",
    lambda honest: honest.head(b"x-filler: a\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK") + honest.body,
)
_bytes(
    "header-bare-lf",
    "Lines end with LF alone.",
    lambda honest: honest.head().replace(b"\r\n", b"\n") + honest.body,
)
_bytes(
    "header-line-endless",
    "A header line of a megabyte that never ends.",
    lambda honest: honest.status_line + b"\r\nx-filler: " + b"a" * 1_000_000,
    Silence(),
)
_bytes(
    "close-announced",
    "Connection: close, then FIN.",
    lambda h: h.head(b"connection: close") + h.body,
    Close(),
    sound=True,
)
_bytes(
    "close-unannounced",
    "FIN after the answer, unannounced.",
    lambda honest: honest.whole(),
    Close(),
    sound=True,
)
_bytes("reset-after-answer", "RST after the answer.", lambda honest: honest.whole(), Pause(SLOW), Reset())
_bytes(
    "close-not-done",
    "Connection: close, but it stays.",
    lambda h: h.head(b"connection: close") + h.body,
    Silence(),
    sound=True,
)
_bytes(
    "keep-alive-short",
    "The connection is closed a moment after the answer, as an idle one.",
    lambda honest: honest.head(b"keep-alive: timeout=0") + honest.body,
    Pause(SLOW),
    Close(),
    sound=True,
)

# -- informational and double answers --------------------------------------------------------------------

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"
_bytes("continue-unasked", "100 Continue that nobody asked for.", lambda h: _CONTINUE + h.whole(), sound=True)
_bytes("early-hints", "103 before the answer.", lambda h: _HINTS + h.whole(), sound=True)
_bytes("informational-flood", "Ten thousand 103 before the answer.", lambda h: _HINTS * FLOOD + h.whole())
_bytes("informational-only", "102 and nothing more.", lambda _: b"HTTP/1.1 102 Processing\r\n\r\n", Silence())
_bytes(
    "switching-protocols",
    "101 instead of an answer.",
    lambda h: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" + h.whole(),
)


@_wire("informational-endless", "103 without end.")
def _informational_endless(_: Honest, __: random.Random) -> Steps:
    while True:
        yield Send(_HINTS * 10)
        yield Pause(SLOW)


_REFUSED = b'HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n"no"'
_bytes("answer-twice", "The answer comes twice.", lambda h: h.whole() * 2)
_bytes("answer-then-400", "A 400 follows the answer.", lambda h: h.whole() + _REFUSED)
_bytes("400-then-answer", "A 400 comes before the answer.", lambda h: _REFUSED + h.whole())
_bytes("answer-then-garbage", "Bytes follow the answer.", lambda h: h.whole() + b"garbage\r\n\r\n")
_bytes(
    "answer-then-408",
    "The answer, a moment later an unasked 408 and FIN, as idle servers do.",
    lambda h: h.whole(),
    Pause(SLOW),
    Send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    Close(),
    sound=True,
)

# -- content codings -------------------------------------------------------------------------------------


@cache
def _bomb(levels: int) -> bytes:
    """Gzip that unpacks to 64 MB of blanks, `levels` times over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(b" " * PIECE) for _ in range(BIG // PIECE)) + packer.flush()
    for _ in range(levels - 1):
        packed = gzip.compress(packed, 9, mtime=0)
    return packed


def _packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _coding(name: str, about: str, coding: bytes, pack: Callable[[bytes], bytes]) -> None:
    _bytes(name, about, lambda honest: honest.encoded(coding, pack(honest.body)))


_coding("gzip-unasked", "A gzip body nobody asked for.", b"gzip", _packed)
_coding(
    "gzip-cut",
    "Half of a gzip body, with a matching length.",
    b"gzip",
    lambda b: _packed(b)[: len(_packed(b)) // 2],
)
_coding("gzip-no-checksum", "A gzip body without its last eight bytes.", b"gzip", lambda b: _packed(b)[:-8])
_coding(
    "gzip-bad-checksum",
    "A gzip body with a wrong checksum.",
    b"gzip",
    lambda b: _packed(b)[:-8] + b"\x00" * 8,
)
_coding("gzip-twice", "Two gzip members, one after the other.", b"gzip", lambda b: _packed(b) * 2)
_coding("gzip-claimed", "A plain body that is said to be gzip.", b"gzip", bytes)
_coding("gzip-bomb", "64 MB of blanks in 64 kB.", b"gzip", lambda _: _bomb(1))
_coding("gzip-bomb-nested", "64 MB of blanks, packed twice.", b"gzip, gzip", lambda _: _bomb(2))
_coding("deflate-unasked", "A deflate body nobody asked for.", b"deflate", zlib.compress)
_coding("brotli-claimed", "A plain body that is said to be Brotli.", b"br", bytes)
_coding("zstandard-claimed", "A plain body that is said to be Zstandard.", b"zstd", bytes)
_coding("coding-unknown", "A content coding nobody knows.", b"rot13", bytes)

# -- bodies ----------------------------------------------------------------------------------------------


@_wire("body-endless", "The list of the answer goes on for 64 MB.")
def _body_endless(honest: Honest, _: random.Random) -> Steps:
    record = b'{"userId":"nobody-%08d"},' % 0
    piece = Send(record * (PIECE // len(record)))
    yield Send(honest.head(b"connection: close", length=False) + b'{"users":[')
    for _sent in range(BIG // PIECE):
        yield piece
    yield Close()


def _body(name: str) -> None:
    def play(honest: Honest, chance: random.Random) -> Steps:
        yield Send(replace(honest, body=mangle(name, honest.body, chance)).whole())

    _wire(f"body-{name}", f"The body is damaged: {name.replace('-', ' ')}.")(play)


for _name in MANGLERS:
    _body(_name)
