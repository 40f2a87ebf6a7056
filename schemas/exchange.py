"""One exchange with the API as plain values: the pipeline makes and judges them, a connector carries them.

Ids and bodies are kept out of `repr`, so that a value that slips into a log says nothing about a customer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to the API, before it is turned into a URL.

    Attributes:
        segments: path segments under the base URL, not yet escaped. Each becomes exactly one segment.
        body: JSON bytes, ready to send; None for none.
        query: query parameters.
        trace: goes out as a trace header when the wiring asks for one.
    """

    method: str
    segments: tuple[str, ...] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer. `headers` has lower-case names; a header sent twice is joined with ', '."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seconds: float


class Lost(StrEnum):
    """Why there is no answer, by what it says about the server."""

    NOT_SENT = "not_sent"
    """Nothing left this machine: name look-up, connect, TLS or pool failed."""
    IN_DOUBT = "in_doubt"
    """Bytes left; whether the server acted on them is not known."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No complete answer arrived. `cause` is a short word for reports and never holds a URL or a body."""

    lost: Lost
    cause: str
    seconds: float
