"""A request and its answer, as values: what the core takes and gives, whatever carries them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

TRACE_HEADERS = ("x-attempt", "x-request-id", "x-correlation-id", "traceparent")
"""Headers a client may mark its requests with, the first one present is logged."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived.

    Attributes:
        method: HTTP method, upper case.
        target: path and query, still percent-encoded.
        headers: names in lower case; of a repeated header the last.
        body: the whole body.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, still percent-encoded."""
        return urlsplit(self.target).query

    @property
    def segments(self) -> tuple[str, ...]:
        """The path, cut at its slashes, decoded, dot segments removed.

        Many web servers remove `.` and `..` even when they are percent-encoded, so an id made of dots changes
        what a request means. The sandbox keeps that trap open.
        """
        kept: list[str] = []
        for part in self.path.split("/")[1:]:
            segment = unquote(part)
            if segment == "..":
                del kept[-1:]
            elif segment != ".":
                kept.append(segment)
        return tuple(kept)

    @property
    def trace(self) -> str | None:
        """The client's own mark, or None."""
        return next((self.headers[name] for name in TRACE_HEADERS if name in self.headers), None)


class RequestLine(msgspec.Struct, kw_only=True):
    """One line of the request log.

    Attributes:
        request: its number; effects refer to it.
        time: seconds of the sandbox's clock on arrival.
        trace: the client's own mark.
        method: HTTP method.
        path: path template below the base path, or `unknown`.
        status: of the answer that was made, whether or not it arrived; 0 if none was.
        count: records in the request (in the answer, for a list).
        applied: effects it had by the time of the answer.
        fault: the fault that was played, or None.
        delivered: the answer was handed to the network whole, as made; None while it is under way.
        ended: seconds of the sandbox's clock when the answer, or the connection, was over; None until then.
        body_bytes: length of the request body.
        body_digest: SHA-256 of the request body, None without one.
    """

    request: int
    time: float
    trace: str | None
    method: str
    path: str
    status: int = 0
    count: int = 0
    applied: int = 0
    fault: str | None = None
    delivered: bool | None = None
    ended: float | None = None
    body_bytes: int = 0
    body_digest: str | None = None


def digest_of_body(body: bytes) -> str | None:
    """SHA-256 of a body as 64 hex digits, None for no body."""
    return hashlib.sha256(body).hexdigest() if body else None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an answer goes out.

    Attributes:
        how: `whole`; `close` and `reset` end the connection without an answer (FIN, RST); `cut` sends the
            head and part of the body, then closes; `hang` keeps the client waiting until it leaves.
        after: seconds to wait before the first byte.
        cut: bytes of the body that still go out when `how` is `cut`.
        piece: bytes per tick when dripping; 0 sends all at once.
        tick: seconds between two pieces.
    """

    how: Literal["whole", "close", "reset", "cut", "hang"] = "whole"
    after: float = 0.0
    cut: int = 0
    piece: int = 0
    tick: float = 0.0


WHOLE = Delivery()


@dataclass(slots=True)
class Answer:
    """An answer as it is made; `delivery` says what becomes of it."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    count: int = 0
    delivery: Delivery = WHOLE
    line: RequestLine | None = None

    @classmethod
    def json(cls, status: int, content: Any, *, count: int = 0, media: str = "application/json") -> Answer:
        """An answer with a JSON body."""
        kind = f"{media}; charset=utf-8" if media == "application/json" else media
        return cls(status, msgspec.json.encode(content), [("content-type", kind)], count)

    @classmethod
    def text(cls, status: int, text: str, media: str) -> Answer:
        """An answer with a text body."""
        return cls(status, text.encode(), [("content-type", f"{media}; charset=utf-8")])

    @classmethod
    def problem(cls, status: int, title: str, errors: Mapping[str, list[str]] | None = None) -> Answer:
        """An answer in the form of RFC 9457."""
        content: dict[str, Any] = {
            "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
            "title": title,
            "status": status,
        }
        if errors:
            content["errors"] = dict(errors)
        return cls.json(status, content, media="application/problem+json")
