"""The circuit breaker: stops asking a server that only fails, and finds out carefully when it is back.

    closed ──5 failures in a row, or half of the last 20──> open ──15, 30, 60 s──> a read is tried
       ^                                                     ^                        │
       │                                                     ├── it fails ────────────┤ it works
       └──────── it works ── one request more is tried <─────┼────────────────────────┘
                                      └── it fails ──────────┘   (the third time: spent)

Refusals are answers, not failures; throttling has its own wait.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

IN_A_ROW = 5
WINDOW = 20
SHARE = 0.5
COOL_DOWN_SECONDS = (15.0, 30.0, 60.0)
REOPENS_UNTIL_SPENT = 3


class Gate(StrEnum):
    """What may be sent now."""

    OPEN_ROAD = "open_road"
    """Anything."""
    TRY_A_READ = "try_a_read"
    """One GET of one record, by whoever asked; report it with `probe=True`."""
    TRY_ONE_REQUEST = "try_one_request"
    """One request of any kind, by whoever asked; report it with `probe=True`."""
    WAIT = "wait"
    """Nothing, for `seconds_to_wait`."""
    SPENT = "spent"
    """Nothing more in this run: it stops, resumably."""


class Breaker:
    """State of one run's breaker. Times are monotonic seconds, given by the caller."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._reopened = 0
        self._probing: Gate | None = None
        self._next_probe = Gate.TRY_A_READ

    @property
    def is_closed(self) -> bool:
        """All is well: anything may be sent."""
        return self._opened_at is None

    @property
    def is_spent(self) -> bool:
        """It opened again too often."""
        return self._reopened >= REOPENS_UNTIL_SPENT

    def gate(self, now: float) -> Gate:
        """What the caller may send now. A probe is handed out once; until it is reported others wait."""
        if self.is_spent:
            return Gate.SPENT
        if self.is_closed:
            return Gate.OPEN_ROAD
        if self._probing is not None or self.seconds_to_wait(now) > 0:
            return Gate.WAIT
        self._probing = self._next_probe
        return self._probing

    def seconds_to_wait(self, now: float) -> float:
        """Seconds until a probe may be tried; 0 when closed or due."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + COOL_DOWN_SECONDS[min(self._reopened, 2)] - now)

    def report(self, now: float, *, failed: bool, probe: bool = False) -> None:
        """An attempt ended. Late ends of requests sent before it opened change nothing while it is open."""
        if probe:
            self._probed(now, failed)
        elif self.is_closed:
            self._counted(now, failed)

    def give_back(self) -> None:
        """A probe was handed out but not sent, or its end is unknown to the caller: hand it out again."""
        self._probing = None

    def _counted(self, now: float, failed: bool) -> None:
        self._recent.append(failed)
        self._in_a_row = self._in_a_row + 1 if failed else 0
        full = len(self._recent) == WINDOW
        if self._in_a_row >= IN_A_ROW or (full and sum(self._recent) >= SHARE * WINDOW):
            self._opened_at = now
            self._next_probe = Gate.TRY_A_READ

    def _probed(self, now: float, failed: bool) -> None:
        probe, self._probing = self._probing, None
        if failed:
            self._reopened += 1
            self._opened_at = now
            self._next_probe = Gate.TRY_A_READ
        elif probe is Gate.TRY_A_READ:
            self._next_probe = Gate.TRY_ONE_REQUEST
        else:
            self._opened_at = None
            self._reopened = 0
            self._in_a_row = 0
            self._recent.clear()
