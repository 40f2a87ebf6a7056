"""Deliveries in processes of their own that are killed by a real SIGKILL at the step they were told.

A step is a commit of the ledger (killed just before or just after it) or a request (killed before it is sent, or
after the API has answered and before the answer is read).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from connectors.api import ApiClient
from connectors.ledger.store import Ledger, read_ledger
from pipeline.phases import Phase
from sandbox.server import Sandbox
from tests.delivery.harness import Bench

# Threads of Polars do not survive a fork: the server that forks has loaded everything and computed nothing.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.delivery.killing"])


@dataclass(frozen=True)
class Job:
    """What a child delivers, and with which settings of the bench."""

    plan: dict[Phase, pl.DataFrame]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Address:
    """What a child needs to know of the sandbox."""

    base_url: str
    token_url: str
    client_id: str
    client_secret: str


class Steps:
    """Counts steps, and dies at the one it was told."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at, self.count = kill_at, 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def be_counted(steps: Steps) -> None:
    """Make every commit and every request of this process a step."""
    transaction, call = Ledger._transaction, ApiClient.call

    @contextmanager
    def dying_transaction(self):
        if self._open is not None:
            with transaction(self) as connection:
                yield connection
            return
        with transaction(self) as connection:
            yield connection
            steps.step()  # everything is done but the commit
        steps.step()  # committed, and nobody knows yet

    async def dying_call(self, request):
        steps.step()
        answer = await call(self, request)
        steps.step()
        return answer

    Ledger._transaction, ApiClient.call = dying_transaction, dying_call


def child(job: Job, address: Address, folder: str, kill_at: int, resume: bool, seen) -> None:
    """Deliver in a process of its own that may die on the way."""
    steps = Steps(kill_at)
    be_counted(steps)
    Bench(address, Path(folder), settle=0.05, concurrency=2, **job.settings).deliver(job.plan, resume=resume)
    seen.value = steps.count


def deliver(
    job: Job, sandbox: Sandbox, folder: Path, *, kill_at: int = 0, resume: bool = False
) -> tuple[int, int]:
    """Exit code of the child and the steps it counted."""
    address = Address(sandbox.base_url, sandbox.token_url, sandbox.client_id, sandbox.client_secret)
    seen = FORKS.Value("i", 0)
    process = FORKS.Process(target=child, args=(job, address, str(folder), kill_at, resume, seen))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode, seen.value


def has_run(folder: Path) -> bool:
    """Did the last process live long enough to begin a run?"""
    ledger = read_ledger(f"sqlite:///{folder}/ledger.sqlite")
    if ledger is None:
        return False
    runs = ledger.runs()
    ledger.engine.dispose()
    return bool(runs)
