"""Who may send next: places in flight go to those who wait longest, and none is lost."""

from __future__ import annotations

import asyncio

from pipeline.delivery.traffic import Traffic
from pipeline.ports import World


def traffic(places: int) -> Traffic:
    made = Traffic(
        World(lambda: 0.0, lambda: 0.0, asyncio.sleep, lambda: 0.5), chunk_records=10, concurrency=places
    )
    made.pace._limit = places
    return made


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_places_go_to_those_who_wait_longest_and_never_to_more_than_fit():
    async def lived() -> None:
        shared, inside, most = traffic(2), [], 0
        entered: list[int] = []

        async def one(number: int) -> None:
            nonlocal most
            async with shared.slot(is_read=True):
                entered.append(number)
                inside.append(number)
                most = max(most, len(inside))
                await asyncio.sleep(0)
                inside.remove(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        assert list(range(20)) == entered
        assert 2 == most

    asyncio.run(lived())


def test_a_place_that_becomes_free_wakes_one_of_a_thousand_who_wait():
    async def lived() -> None:
        shared, held = traffic(1), asyncio.Event()
        woken = 0

        async def first() -> None:
            async with shared.slot(is_read=True):
                await held.wait()

        async def other() -> None:
            nonlocal woken
            async with shared.slot(is_read=True):
                woken += 1
                await asyncio.Event().wait()

        holder = asyncio.create_task(first())
        await _settled()
        others = [asyncio.create_task(other()) for _ in range(1000)]
        await _settled()
        held.set()
        await holder
        await _settled()
        assert 1 == woken
        # Only the one that was let in has left the queue: nobody else was disturbed.
        assert 999 == len(shared._waiting)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(lived())


def test_who_gives_up_waiting_leaves_no_place_behind_and_takes_none_along():
    async def lived() -> None:
        shared, held = traffic(1), asyncio.Event()
        got: list[str] = []

        async def waiting(name: str) -> None:
            async with shared.slot(is_read=True):
                got.append(name)
                await held.wait()

        tasks = {name: asyncio.create_task(waiting(name)) for name in ("holds", "gives up", "stays")}
        await _settled()
        tasks["gives up"].cancel()
        await _settled()
        tasks["holds"].cancel()
        await _settled()
        assert ["holds", "stays"] == got
        tasks["stays"].cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        async with asyncio.timeout(60), shared.slot(is_read=True):
            pass  # every place came back

    asyncio.run(lived())


def test_who_is_cancelled_in_the_moment_of_being_let_in_hands_the_place_on():
    async def lived() -> None:
        shared = traffic(1)

        async def waiting() -> None:
            async with shared.slot(is_read=True):
                await asyncio.Event().wait()

        holder, unlucky = asyncio.create_task(waiting()), asyncio.create_task(waiting())
        await _settled()
        holder.cancel()
        await asyncio.sleep(0)  # the place is handed to the one who waits …
        unlucky.cancel()  # … who has not run since
        await asyncio.gather(holder, unlucky, return_exceptions=True)
        async with asyncio.timeout(60), shared.slot(is_read=True):
            pass

    asyncio.run(lived())
