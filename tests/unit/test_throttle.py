"""So many turns a second, and no more than a second's worth at once."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.ports import World
from pipeline.remote import Throttle


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def world(self) -> World:
        return World(lambda: 0.0, lambda: self.now, self.sleep, lambda: 0.5)


def seconds_for(turns: int, rate: float) -> float:
    """How long so many turns take, one after the other."""
    time = Time()
    throttle = Throttle(time.world(), rate)

    async def take() -> None:
        for _ in range(turns):
            await throttle.turn()

    asyncio.run(take())
    return time.now - 100.0


@pytest.mark.parametrize(
    ("turns", "rate", "expected"), [(10, 10.0, 0.0), (11, 10.0, 0.1), (110, 10.0, 10.0), (3, 0.5, 5.0)]
)
def test_after_the_first_second_s_worth_the_rate_holds(turns: int, rate: float, expected: float) -> None:
    assert pytest.approx(expected, abs=1e-6) == seconds_for(turns, rate)


def test_a_rest_is_made_up_for_by_one_second_s_worth_at_most() -> None:
    time = Time()
    throttle = Throttle(time.world(), 10.0)

    async def take(turns: int) -> float:
        began = time.now
        for _ in range(turns):
            await throttle.turn()
        return time.now - began

    async def all_of_it() -> list[float]:
        first = await take(20)
        time.now += 3600.0
        return [first, await take(20)]

    assert [pytest.approx(1.0), pytest.approx(1.0)] == asyncio.run(all_of_it())
