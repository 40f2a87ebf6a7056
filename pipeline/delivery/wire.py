"""One request at a time: at the pace the API bears, with its answer judged before anyone else sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.delivery.calls import read_users_page_call
from pipeline.delivery.classifier import Expectation, Ruling, Verdict, classify
from pipeline.delivery.traffic import Traffic
from pipeline.ports import Api, World
from schemas.exchange import Answer, Call, NoAnswer

READ_PATIENCE = 4
"""How often a read is tried before what it asks for stays unknown."""

Exchange = tuple[Verdict, Answer | NoAnswer]


@dataclass(slots=True)
class Wire:
    """The API behind the traffic rules.

    Attributes:
        over: whether the run is coming to an end; nobody is patient then.
    """

    api: Api
    traffic: Traffic
    world: World
    over: Callable[[], bool]

    async def send(self, call: Call, expectation: Expectation) -> Exchange:
        """One request, once; the verdict feeds pace, breaker and budget."""
        async with self.traffic.slot(is_read=call.method == "GET") as slot:
            answer = await self.api.call(call)
            verdict = classify(expectation, answer, self.world.now())
            self.traffic.learn(verdict, slot, byte_count=len(call.body or b""))
        return verdict, answer

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
