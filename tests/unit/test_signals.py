import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.endings import Interrupted
from flows.signals import run

ROOT = Path(__file__).resolve().parents[2]


def never(code: int) -> None:
    raise AssertionError(code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_lets_the_work_end_by_itself(number):
    async def work(stop):
        os.kill(os.getpid(), number)
        await stop.event.wait()
        return stop.signal

    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert run(work, at_once=never) == number
    finally:
        signal.signal(number, before)


def test_work_that_computes_sees_the_flag_without_waiting():
    async def work(stop):
        before = stop.requested
        signal.raise_signal(signal.SIGINT)
        return before, stop.requested

    assert run(work, at_once=never) == (False, True)


def test_work_cancelled_after_a_signal_tells_which():
    async def work(stop):
        signal.raise_signal(signal.SIGTERM)
        await stop.event.wait()
        raise asyncio.CancelledError

    with pytest.raises(Interrupted) as caught:
        run(work, at_once=never)
    assert caught.value.signal == signal.SIGTERM


def test_a_cancellation_of_another_cause_is_not_renamed():
    async def work(stop):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(work, at_once=never)


def test_a_run_under_nohup_outlives_its_terminal():
    async def work(stop):
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
        return stop.signal

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(work, at_once=never) is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back():
    async def work(stop):
        return None

    before = signal.getsignal(signal.SIGTERM)
    run(work, at_once=never)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("second", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_second_signal_ends_the_process_at_once(second, code):
    script = f"""
import signal, sys
from flows.signals import run

async def work(stop):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.{second})
    print("never reached")

run(work, at_once=lambda code: print("at once", code, flush=True))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stdout) == (code, f"at once {code}\n")
