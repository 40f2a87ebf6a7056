"""A ceiling on requests per second, shared by all calls of a run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

_LEASE_SECONDS: Final = 0.2
"""Seconds of turns leased at a time: five questions a second to the database, and at most so much is lost."""

_BURST_SECONDS: Final = 0.1
"""What was not used in the last tenth of a second may be caught up, so that a late wake-up costs no rate."""


class RateLimit:
    """A token bucket: over any span of T seconds at most `rate` * (T + 0.1) + 1 turns are given.

    Args:
        rate: turns per second; None for no limit.
        monotonic: seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        rate: float | None,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._gap = None if rate is None else 1.0 / rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = float("-inf")

    async def turn(self) -> None:
        """Waits for a turn; turns are given in the order asked for."""
        if self._gap is None:
            return
        now = self._monotonic()
        mine = max(self._next, now - _BURST_SECONDS)
        self._next = mine + self._gap
        if mine > now:
            await self._sleep(mine - now)


class LeasedTurns:
    """One rate over several processes: turns are leased, a few at a time, from what all of them share.

    A leased turn has its moment; one that is not taken then is lost, so that no process can save turns up.

    Args:
        lease: reserves the next so many turns of all; returns in how many seconds the first one is.
        rate: turns per second, over all processes.
        monotonic: seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        lease: Callable[[int], Awaitable[float]],
        rate: float,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._lease = lease
        self._gap = 1.0 / rate
        self._count = max(1, round(rate * _LEASE_SECONDS))
        self._monotonic = monotonic
        self._sleep = sleep
        self._turns: deque[float] = deque()
        self._asking = asyncio.Lock()

    async def turn(self) -> None:
        """Waits for a turn."""
        async with self._asking:
            mine = await self._next()
        now = self._monotonic()
        if mine > now:
            await self._sleep(mine - now)

    async def _next(self) -> float:
        while True:
            while not self._turns:
                wait = await self._lease(self._count)
                first = self._monotonic() + max(0.0, wait)
                self._turns.extend(first + number * self._gap for number in range(self._count))
            mine = self._turns.popleft()
            if mine >= self._monotonic() - _BURST_SECONDS:
                return mine
