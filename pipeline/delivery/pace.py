"""How much at once: additive increase, multiplicative decrease, on requests in flight and on chunk size.

Both start small, grow while the server is quick and halve when it strains. What was learned about a tenant's
limits is a value that can be stored and given to the next run.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.delivery.classifier import Strain

START = 2
WINDOW = 10
"""Requests after which latency is looked at."""
SLOWER = 2.0
SLACK_SECONDS = 0.1
"""Differences below this are noise, however large as a ratio."""
DRIFT = 1.1
"""The baseline forgets by this factor a window, so that one lucky window does not set the bar for ever."""


class Concurrency:
    """How many requests may be in flight: +1 per clean window, halved by 429, 5xx, timeouts or latency.

    Args:
        ceiling: never more.
        start: in flight at the beginning, for example what an earlier run learned.
    """

    def __init__(self, ceiling: int, start: int = START) -> None:
        self._ceiling = max(1, ceiling)
        self._limit = min(max(1, start), self._ceiling)
        self._cut_at = -math.inf
        self._baseline = math.inf
        self._window: list[float] = []

    @property
    def limit(self) -> int:
        """Requests that may be in flight now, 1 at least."""
        return self._limit

    def report(self, *, started: float, ended: float, strain: Strain) -> None:
        """A request ended; times are monotonic seconds.

        Requests that began before the last cut say nothing new: eight at once that are all throttled are
        one message, not eight.
        """
        if started < self._cut_at:
            return
        if strain is not Strain.NONE:
            self._cut(ended)
            return
        self._window.append(ended - started)
        if len(self._window) >= max(WINDOW, self._limit):
            self._judge(ended)

    def _judge(self, now: float) -> None:
        slowest = sorted(self._window)[math.ceil(0.95 * len(self._window)) - 1]
        self._window.clear()
        if slowest > SLOWER * self._baseline + SLACK_SECONDS:
            self._cut(now)
        else:
            self._limit = min(self._ceiling, self._limit + 1)
        self._baseline = min(self._baseline * DRIFT, slowest)

    def _cut(self, now: float) -> None:
        self._limit = max(1, self._limit // 2)
        self._cut_at = now
        self._window.clear()


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned about a tenant; None where nothing was. Stored per tenant, given to the next run.

    Attributes:
        refused_bytes: the smallest chunk that was refused as too large.
        chunk_bytes: the chunk size that went well last.
        concurrency: requests in flight that went well last.
    """

    refused_bytes: int | None = None
    chunk_bytes: int | None = None
    concurrency: int | None = None

    def to_json(self) -> dict[str, int | None]:
        """As plain values, for the ledger."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None) -> Learned:
        """From what was stored; anything that is not a positive whole number is as if never learned."""
        known = {name: (stored or {}).get(name) for name in cls.__dataclass_fields__}
        return cls(**{name: n if type(n) is int and n > 0 else None for name, n in known.items()})


GROWTH = 1.1
QUICK_SECONDS = 2.0
"""A chunk answered within this is quick, and may grow."""
FEWEST_BYTES = 256
MARGIN = 0.9
"""We stay this far under a size that was refused."""


class ChunkSize:
    """How large a chunk may be, in bytes and in records: x0.5 when too large or slow, +10 % when quick.

    Args:
        most_records: never more, from the settings.
        most_bytes: never more.
        start_bytes: at the beginning.
        learned: from an earlier run.
    """

    def __init__(
        self,
        *,
        most_records: int,
        most_bytes: int,
        start_bytes: int | None = None,
        learned: Learned | None = None,
    ) -> None:
        self._learned = learned or Learned()
        self._most_records = max(1, most_records)
        self._most_bytes = max(FEWEST_BYTES, most_bytes)
        start = self._learned.chunk_bytes or start_bytes or most_bytes
        self._bytes = self._bounded(start)

    @property
    def max_bytes(self) -> int:
        """Bytes of body a chunk may have now. A single record may always be sent, whatever its size."""
        return self._bytes

    @property
    def max_records(self) -> int:
        """Records a chunk may have now."""
        return self._most_records

    def learned(self, concurrency: int | None = None) -> Learned:
        """What to store for the next run."""
        return replace(self._learned, chunk_bytes=self._bytes, concurrency=concurrency)

    def went_well(self, *, byte_count: int, seconds: float) -> None:
        """A chunk was taken. Only a quick one that filled the limit shows that more may fit."""
        if seconds <= QUICK_SECONDS and byte_count > self._bytes / GROWTH:
            self._bytes = self._bounded(int(self._bytes * GROWTH))

    def was_too_much(self, *, byte_count: int) -> None:
        """A chunk timed out or was lost while sending: half of it next time."""
        self._bytes = self._bounded(min(self._bytes, byte_count) // 2)

    def was_too_large(self, *, byte_count: int) -> None:
        """A chunk was refused for its size (413): half of it, and never as large again."""
        refused = min(byte_count, self._learned.refused_bytes or byte_count)
        self._learned = replace(self._learned, refused_bytes=refused)
        self.was_too_much(byte_count=byte_count)

    def _bounded(self, wanted: int) -> int:
        refused = self._learned.refused_bytes
        ceiling = self._most_bytes if refused is None else min(self._most_bytes, int(refused * MARGIN))
        return max(FEWEST_BYTES, min(wanted, ceiling))
