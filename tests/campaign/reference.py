"""One real delivery in a process of its own: `python -m tests.campaign.reference ORDER`, where ORDER is JSON.

Small, but it has a 400, a lost answer, a new token, a record that deserves refusal and every kind of record in it.
The exit code is the one the loader would end with; what else it says of itself lies in `ending.json`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from functools import cache, partialmethod
from pathlib import Path
from unittest.mock import patch

from connectors.api import ApiClient
from connectors.ledger import open_ledger
from connectors.ledger.journal import Journal
from flows.settings import Secret
from pipeline.ports import World
from sandbox.core import CLIENT_ID, CLIENT_SECRET
from schemas.errors import MeterfeedError
from schemas.ledger import Identity
from tests.campaign.life import Ending, Manner, live
from tests.campaign.schedules import Schedule, axes_of
from tests.campaign.simulator import Work, in_use, work_of

N = 4
SCHEDULE = Schedule(
    seed=0,
    case=0,
    cell=0,
    semantics=axes_of(0) | {"lag_seconds": 0.0, "late_seconds": 0.0, "limit_items": 99, "limit_bytes": 10**6},
    faults=[
        {"kind": "applied-then-503", "on": "batch", "at": [2]},
        {"kind": "bad-request", "on": "batch", "at": [4]},
        {"kind": "unauthorized-401", "on": "mutating", "at": [5], "revoke": True},
    ],
    sizes={
        "create_users": N,
        "release_locations": 1,
        "update_locations": 1,
        "create_locations": N,
        "replace_resources": 0,
        "create_resources": 2,
        "create_vehicles": 1,
    },
    poison=0.1,
    chunk=2,
    concurrency=2,
    canary=1,
    token_lifetime=3600.0,
    latency=0.0,
    faulty_lives=1,
)
SETTLE_SECONDS = 0.05


@cache
def work() -> Work:
    """What the reference delivery sends."""
    return work_of(SCHEDULE)


@dataclass(frozen=True)
class Order:
    """What one process is to do, and under what limits."""

    base_url: str
    token_url: str
    folder: str
    ledger: str
    deadline_seconds: float = 30.0
    largest_file: int | None = None
    """Bytes after which a file cannot grow (RLIMIT_FSIZE)."""
    chunk: int = SCHEDULE.chunk
    concurrency: int = SCHEDULE.concurrency


async def deliver(order: Order) -> Ending:
    world = World(time.time, time.monotonic, asyncio.sleep, random.Random(7).random)
    manner = Manner(order.chunk, order.concurrency, SCHEDULE.canary, SETTLE_SECONDS)
    identity = Identity("t", order.base_url, "k")
    with open_ledger(order.ledger, identity=identity, now=time.time()) as ledger:
        async with (
            ApiClient(
                order.base_url,
                order.token_url,
                CLIENT_ID,
                Secret(CLIENT_SECRET),
                deadline_seconds=order.deadline_seconds,
                trace_header="x-attempt",
            ) as client,
            Journal(ledger) as durable,
        ):
            return await live(work(), ledger, durable, client, world, manner)


def main(order: Order) -> int:
    """Deliver; the exit code."""
    if order.largest_file is not None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.largest_file, hard))
    work()
    held = in_use()
    try:
        ending = asyncio.run(deliver(order))
    except MeterfeedError as error:
        ending = Ending(error.exit_code, settled=False, error=type(error).__name__)
    said = asdict(ending) | {
        "left_open": in_use() - held,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    try:
        (Path(order.folder) / "ending.json").write_text(json.dumps(said))
    except OSError:
        print("no room for ending.json", file=sys.stderr)
    return ending.exit_code


ANYBODY, PTRACER = -1, 0x59616D61
MAIN, LEDGER = "main", "ledger"
"""The two threads of a delivery that touch its disk and its network, by what their names begin with."""

WAITS_AT_MOST = 120.0
"""Seconds after which a thread goes on although nobody watches it: whoever asked for it is gone."""

_RUN = threading.Thread.run


def child(order: Order, watched: frozenset[str] | None) -> None:
    """Deliver in a fork of a warm process; each of the threads `watched` stops first, until strace has joined it."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the campaign: what is under way ends by itself
    if watched is None:
        sys.exit(main(order))
    ctypes.CDLL(None).prctl(PTRACER, ANYBODY, 0, 0, 0)
    if MAIN in watched:
        os.kill(os.getpid(), signal.SIGSTOP)
    introduced = partialmethod(_introduce_itself, order.folder, LEDGER in watched)
    with patch.object(threading.Thread, "run", introduced):
        sys.exit(main(order))


def thread_file(folder: str) -> Path:
    """Where the thread of the ledger says which one it is, before it does anything else."""
    return Path(folder) / "ledger.thread"


def _introduce_itself(thread: threading.Thread, folder: str, waits: bool) -> None:
    if thread.name.startswith(LEDGER):
        told, number = thread_file(folder), threading.get_native_id()
        told.with_suffix(".new").write_text(str(number))
        told.with_suffix(".new").replace(told)
        status, end = Path(f"/proc/self/task/{number}/status"), time.monotonic() + WAITS_AT_MOST
        while waits and "TracerPid:\t0\n" in status.read_text() and time.monotonic() < end:
            time.sleep(0.001)
    _RUN(thread)


if __name__ == "__main__":
    sys.exit(main(Order(**json.loads(sys.argv[1]))))
