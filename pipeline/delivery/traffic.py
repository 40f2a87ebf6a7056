"""How much may be under way, how long to wait, and when to give up: one place for everything that is sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import polars as pl

from pipeline.delivery.backoff import pause
from pipeline.delivery.breaker import Breaker, Gate
from pipeline.delivery.budget import RetryBudget
from pipeline.delivery.classifier import Ruling, Strain, Verdict
from pipeline.delivery.pace import ChunkSize, Concurrency, Learned
from pipeline.ports import World
from schemas.errors import ApiUnavailable

ATTEMPTS = 4
"""Attempts a chunk gets in one run before it is left for the next."""
PAUSE_STEP_SECONDS = 0.5
"""Longest stretch of a wait without looking whether somebody asked the run to end."""
DEFAULT_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Slot:
    """The right to send one request now."""

    started: float
    probe: bool
    breaker: Breaker

    def give_back(self) -> None:
        """The request is not sent after all."""
        if self.probe:
            self.breaker.give_back()


@dataclass(slots=True)
class Traffic:
    """Shared by all requests of a run.

    Args:
        world: clock, sleep and chance.
        chunk_records: records per chunk at most, from the settings.
        concurrency: requests in flight at most, from the settings.
        learned: limits an earlier run found.
    """

    world: World
    chunk_records: int
    concurrency: int
    learned: Learned = Learned()
    attempts: int = ATTEMPTS
    budget: RetryBudget = field(default_factory=RetryBudget)
    breaker: Breaker = field(default_factory=Breaker)
    probe: Callable[[], Awaitable[object]] | None = None
    """A harmless read, by way of `slot`; what uses the traffic gives it."""
    size: ChunkSize = field(init=False)
    pace: Concurrency = field(init=False)
    _in_flight: int = 0
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _not_before: float = 0.0

    def __post_init__(self) -> None:
        self.size = ChunkSize(
            most_records=self.chunk_records, most_bytes=DEFAULT_CHUNK_BYTES, learned=self.learned
        )
        self.pace = Concurrency(self.concurrency, start=self.learned.concurrency or 2)

    @property
    def ceiling(self) -> int:
        """Jobs worth having under way: some more than requests, so that the next body is ready."""
        return self.pace.limit + 1

    def chunk_size(self, records: pl.DataFrame) -> int:
        """How many of the first `records` make a chunk: by count and by bytes of body, one at least."""
        sizes = records["body_bytes"].head(self.size.max_records).to_numpy().cumsum()
        return max(1, int(sizes.searchsorted(self.size.max_bytes, side="right")))

    # ------------------------------------------------------------ sending
    @asynccontextmanager
    async def slot(self, *, is_read: bool, over: Callable[[], bool] = lambda: False) -> AsyncIterator[Slot]:
        """Wait for the turn of one request, but not past the moment the run is over.

        Raises:
            ApiUnavailable: the breaker opened too often.
        """
        probe = await self._pass_gate(is_read=is_read, over=over)
        await self._turn()
        self.budget.requested()
        slot = Slot(self.world.monotonic(), probe, self.breaker)
        try:
            yield slot
        except BaseException:
            if probe:
                self.breaker.give_back()
            raise
        finally:
            self._leave()

    async def _turn(self) -> None:
        """Wait for a place among the requests in flight. One place wakes one who waits, however many do."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was ours already
                self._leave()
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        self._let_in()

    def _let_in(self) -> None:
        """Give free places to those who wait longest; the number of places may have changed."""
        while self._waiting and self._in_flight < self.pace.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    async def _pass_gate(self, *, is_read: bool, over: Callable[[], bool]) -> bool:
        """Wait until the breaker lets this request pass; True when it is the breaker's probe."""
        while not over():
            wait = self._not_before - self.world.monotonic()
            if wait > 0:
                await self.pause(wait, over)
            gate = self.breaker.gate(self.world.monotonic())
            if gate is Gate.OPEN_ROAD:
                return False
            if gate is Gate.SPENT:
                raise ApiUnavailable(
                    "The API keeps failing; the run stops here.", cure="Run `meterfeed resume` later."
                )
            if gate is Gate.WAIT:
                await self.pause(max(0.05, self.breaker.seconds_to_wait(self.world.monotonic())), over)
            elif gate is Gate.TRY_ONE_REQUEST or is_read or self.probe is None:
                return True
            else:  # a harmless read goes first, on behalf of a request that changes something
                self.breaker.give_back()
                await self.probe()
        return False

    def learn(self, verdict: Verdict, slot: Slot, *, byte_count: int) -> None:
        """Feed what an attempt showed to breaker, budget, concurrency and chunk size."""
        now = self.world.monotonic()
        failed = verdict.strain is Strain.FAILED
        if verdict.strain is not Strain.THROTTLED or slot.probe:
            self.breaker.report(now, failed=failed, probe=slot.probe)
        self.pace.report(started=slot.started, ended=now, strain=verdict.strain)
        if verdict.strain is Strain.NONE:
            self.budget.succeeded()
        if verdict.ruling is Ruling.THROTTLED and verdict.retry_after and not verdict.asks_too_long:
            self._not_before = max(self._not_before, now + verdict.retry_after)
        if verdict.ruling is Ruling.TOO_LARGE:
            self.size.was_too_large(byte_count=byte_count)
        elif verdict.shrink:
            self.size.was_too_much(byte_count=byte_count)
        elif verdict.ruling is Ruling.APPLIED:
            self.size.went_well(byte_count=byte_count, seconds=now - slot.started)

    # ------------------------------------------------------------ waiting
    async def wait(self, verdict: Verdict, attempt: int, over: Callable[[], bool] = lambda: False) -> None:
        """Wait before an attempt is repeated, within patience.

        Raises:
            ApiUnavailable: the attempts of this chunk, the run's budget or our patience are spent.
        """
        if over():
            return
        if verdict.asks_too_long:
            raise ApiUnavailable(
                f"The API asks to wait {verdict.retry_after:.0f} s.",
                cure="Run `meterfeed resume` after that.",
            )
        if attempt >= self.attempts:
            raise ApiUnavailable(
                f"The API did not take a request in {attempt} attempts ({verdict.reason}).",
                cure="Run `meterfeed resume` when it is back.",
            )
        if not self.budget.take(verdict.strain):
            raise ApiUnavailable(
                "The run's budget for retries is spent.", cure="Run `meterfeed resume` when the API is well."
            )
        seconds = pause(
            attempt, strain=verdict.strain, random=self.world.random, retry_after=verdict.retry_after
        )
        await self.pause(seconds, over)

    async def pause(self, seconds: float, over: Callable[[], bool]) -> None:
        """Wait, but not past the moment somebody asks the run to end."""
        end = self.world.monotonic() + seconds
        while not over() and (left := end - self.world.monotonic()) > 0:
            await self.world.sleep(min(left, PAUSE_STEP_SECONDS))
