import asyncio
import itertools

import pytest

from connectors.api.rate import RateLimit


class Clock:
    """Time that passes only when somebody sleeps; sleepers wake in order."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        wakes = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, wakes)


def turns(limit, clock, count):
    async def run():
        times = []
        for _ in range(count):
            await limit.turn()
            times.append(clock.now - 1000.0)
        return times

    return asyncio.run(run())


def limited(rate):
    clock = Clock()
    return RateLimit(rate, monotonic=clock.monotonic, sleep=clock.sleep), clock


def test_turns_are_given_at_the_rate():
    limit, clock = limited(10)
    times = turns(limit, clock, 51)
    assert times[-1] == pytest.approx(4.9)
    assert all(later >= earlier for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("rate", [0.5, 5, 10, 200, 3000])
def test_no_span_of_time_holds_more_turns_than_the_bound(rate):
    limit, clock = limited(rate)
    times = []
    for pause in (0.0, 0.01, 3.0, 0.0):
        clock.now += pause
        times += turns(limit, clock, 60)
    for n, begin in enumerate(times):
        for m, end in enumerate(times[n:], start=1):
            assert m <= rate * (end - begin + 0.1) + 1 + 1e-6


def test_a_pause_is_not_caught_up_beyond_a_tenth_of_a_second():
    limit, clock = limited(10)
    turns(limit, clock, 1)
    clock.now += 3600.0
    times = turns(limit, clock, 3)
    assert times[2] - times[0] == pytest.approx(0.1)


def test_many_who_wait_at_once_are_given_turns_in_order():
    limit, _clock = limited(100)

    async def run():
        order = []

        async def one(n):
            await limit.turn()
            order.append(n)

        await asyncio.gather(*(one(n) for n in range(20)))
        return order

    assert asyncio.run(run()) == list(range(20))
    assert limit._next == pytest.approx(1000.0 - 0.1 + 0.2)


def test_without_a_rate_nobody_waits():
    limit, clock = limited(None)
    assert turns(limit, clock, 1000)[-1] == 0.0
