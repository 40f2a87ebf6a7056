"""A ceiling on requests per second, shared by all calls of a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

_BURST_SECONDS = 0.1
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
