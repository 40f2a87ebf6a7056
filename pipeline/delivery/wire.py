"""One request at a time: at the pace the API bears, with its answer judged before anyone else sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pipeline.delivery.calls import read_users_page_call
from pipeline.delivery.classifier import Expectation, Reason, Ruling, Verdict, classify
from pipeline.delivery.traffic import Traffic
from pipeline.ports import Api, World
from schemas.errors import ApiUnavailable, MeterfeedError
from schemas.exchange import Answer, Call, Lost, NoAnswer

READ_PATIENCE = 4
"""How often a read is tried before what it asks for stays unknown."""

GRACE_SECONDS = 10.0
"""How long requests under way may still be answered after somebody asked the run to end."""
LOOK_SECONDS = 0.5
"""How often a request under way looks whether somebody did."""
PAGES_UNTIL_STOP = 2
"""Web pages in a row, where answers of the API are due, that end the run: something stands in between."""

Exchange = tuple[Verdict, Answer | NoAnswer]


def _raise(error: MeterfeedError) -> None:
    raise error


@dataclass(slots=True)
class Wire:
    """The API behind the traffic rules.

    Attributes:
        over: whether the run is coming to an end; nobody is patient then, and nothing more is sent.
        stopping: whether somebody asked for that; answers are not waited for much longer then.
        fail: told what must end the run although this request itself came to an end.
    """

    api: Api
    traffic: Traffic
    world: World
    over: Callable[[], bool]
    stopping: Callable[[], bool] = lambda: False
    fail: Callable[[MeterfeedError], None] = _raise
    _pages: int = field(default=0, init=False)
    _give_up_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.traffic.probe = partial(self.send, *read_users_page_call(1))

    async def send(self, call: Call, expectation: Expectation) -> Exchange:
        """One request, once, or none when the run is over; the verdict feeds pace, breaker and budget."""
        async with self.traffic.slot(is_read=call.method == "GET", over=self.over) as slot:
            if self.over():
                slot.give_back()
                return Verdict(Ruling.NOT_APPLIED, Reason.NOT_SENT), NoAnswer(Lost.NOT_SENT, "run over", 0.0)
            answer = await self._answer(call)
            verdict = classify(expectation, answer, self.world.now())
            self.traffic.learn(verdict, slot, byte_count=len(call.body or b""))
        self._look_for_pages(verdict)
        return verdict, answer

    async def _answer(self, call: Call) -> Answer | NoAnswer:
        """The answer, waited for no longer than the grace once somebody asked the run to end."""
        started = self.world.monotonic()
        asking = asyncio.ensure_future(self.api.call(call))
        try:
            while not asking.done():
                await asyncio.wait([asking], timeout=LOOK_SECONDS)
                if not asking.done() and self._patience_is_over():
                    return NoAnswer(Lost.IN_DOUBT, "interrupted", self.world.monotonic() - started)
            return asking.result()
        finally:
            if not asking.done():
                asking.cancel()

    def _patience_is_over(self) -> bool:
        if not self.stopping():
            return False
        now = self.world.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + GRACE_SECONDS
        return now >= self._give_up_at

    def _look_for_pages(self, verdict: Verdict) -> None:
        self._pages = self._pages + 1 if verdict.reason is Reason.HTML_PAGE else 0
        if self._pages >= PAGES_UNTIL_STOP:
            self.fail(
                ApiUnavailable(
                    f"{self._pages} answers in a row were web pages: a sign-in page or a proxy stands in between.",
                    cure="Sign in to the network or mend the proxy, then run `meterfeed resume`.",
                )
            )

    async def ask(self, call: Call, expectation: Expectation) -> Exchange:
        """One read, tried again while it brings neither an answer nor an absence."""
        for attempt in range(1, READ_PATIENCE + 1):
            verdict, answer = await self.send(call, expectation)
            if verdict.ruling in (Ruling.ANSWERED, Ruling.GONE) or attempt == READ_PATIENCE or self.over():
                break
            await self.traffic.wait(verdict, attempt, self.over)
        return verdict, answer

    async def is_everything_forbidden(self) -> bool:
        """After a 403: whether a harmless read is forbidden too, so that it is us and not the content."""
        verdict, _ = await self.send(*read_users_page_call(1))
        return verdict.ruling is not Ruling.ANSWERED
