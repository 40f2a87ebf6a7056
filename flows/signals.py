"""Ctrl-C, SIGTERM, a terminal that was closed: the first asks the work to end cleanly, the second ends it at once.

Ending at once is safe at any moment: what was sent without an answer stands in the ledger as in flight, and
the next run settles it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

from flows.endings import Interrupted, exit_of_signal
from schemas.outcomes import Exit

CAUGHT: Final = (signal.SIGINT, signal.SIGTERM)

Result = TypeVar("Result")


class Stop:
    """Whether somebody asked the work to end: a flag for code that computes, an event for code that waits."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.event = asyncio.Event()

    @property
    def requested(self) -> bool:
        """True from the first signal on."""
        return self.signal is not None

    def asked(self) -> Exit | None:
        """The exit code of the signal, from the first one on."""
        return None if self.signal is None else exit_of_signal(self.signal)


def run(work: Callable[[Stop], Awaitable[Result]], *, at_once: Callable[[int], None]) -> Result:
    """Run `work` to its end in an event loop of its own. Main thread only, as signals demand.

    Args:
        work: ends early and cleanly once `stop.event` is set.
        at_once: called with the exit code on a second signal, just before the process ends.

    Raises:
        Interrupted: the work was cancelled after a signal, before it had anything to report.
    """

    async def watched() -> Result:
        stop = Stop()
        with _caught(stop, asyncio.get_running_loop(), at_once):
            try:
                return await work(stop)
            except asyncio.CancelledError:
                if stop.signal is None:
                    raise
                raise Interrupted(stop.signal) from None

    return asyncio.run(watched())


@contextmanager
def _caught(stop: Stop, loop: asyncio.AbstractEventLoop, at_once: Callable[[int], None]) -> Iterator[None]:
    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            code = int(exit_of_signal(signal.Signals(number)))
            try:
                at_once(code)
            finally:
                os._exit(code)
        stop.signal = signal.Signals(number)
        loop.call_soon_threadsafe(stop.event.set)

    caught = (
        [*CAUGHT] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*CAUGHT, signal.SIGHUP]
    )  # nohup
    before = {number: signal.signal(number, on_signal) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
