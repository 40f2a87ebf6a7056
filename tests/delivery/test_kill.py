"""SIGKILL at every step of a delivery, then again: nothing lost, nothing created twice, by the effect log.

A step is a commit of the ledger (killed just before or just after it) or a request (killed before it is sent, or
after the API has answered and before the answer is read). The processes are real, and so is the signal.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.api import ApiClient
from connectors.ledger.store import Ledger
from pipeline.phases import Phase
from sandbox.server import Sandbox
from schemas.profile import GuardsSection
from tests.delivery.harness import Bench, creates, locations, resources, users

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["tests.delivery.test_kill"])

N = 24
PLAN = {
    Phase.CREATE_USERS: users(N),
    Phase.CREATE_LOCATIONS: locations(N),
    Phase.CREATE_RESOURCES: resources(N),
}
GUARDS = GuardsSection(rejected=1.0, rejected_alike=10**6, canary=2)
FAULTS = {
    "fault": [
        {"kind": "applied-then-503", "on": "batch", "at": [2]},
        {"kind": "bad-request", "on": "batch", "at": [5]},
    ]
}


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


def child(address: Address, folder: str, kill_at: int, resume: bool, seen) -> None:
    """Deliver in a process of its own that may die on the way."""
    steps = Steps(kill_at)
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
    bench = Bench(address, Path(folder), settle=0.05, chunk=8, concurrency=2, guards=GUARDS)
    bench.deliver(PLAN, resume=resume)
    seen.value = steps.count


def deliver(sandbox: Sandbox, folder: Path, *, kill_at: int = 0, resume: bool = False) -> tuple[int, int]:
    """Exit code of the child and the steps it counted."""
    address = Address(sandbox.base_url, sandbox.token_url, sandbox.client_id, sandbox.client_secret)
    seen = SPAWN.Value("i", 0)
    process = SPAWN.Process(target=child, args=(address, str(folder), kill_at, resume, seen))
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode, seen.value


def has_run(folder: Path) -> bool:
    from connectors.ledger.store import read_ledger

    ledger = read_ledger(f"sqlite:///{folder}/ledger.sqlite")
    if ledger is None:
        return False
    runs = ledger.runs()
    ledger.engine.dispose()
    return bool(runs)


def assert_everything_is_there_once(sandbox: Sandbox) -> None:
    counts = creates(sandbox)
    assert 3 * N == len(counts)
    assert {1} == set(counts.values())


@pytest.fixture(scope="module")
def steps_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> int:
    with Sandbox(faults=FAULTS) as sandbox:
        code, steps = deliver(sandbox, tmp_path_factory.mktemp("reference"))
        assert 0 == code
        assert_everything_is_there_once(sandbox)
    return steps


@pytest.mark.parametrize("share", [number / 24 for number in range(24)])
def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path, steps_of_a_run: int, share: float) -> None:
    kill_at = 1 + int(share * steps_of_a_run)
    with Sandbox(faults=FAULTS) as sandbox:
        assert -signal.SIGKILL == deliver(sandbox, tmp_path, kill_at=kill_at)[0]
        # Killed again while it recovers, then left alone.
        deliver(sandbox, tmp_path, kill_at=7, resume=has_run(tmp_path))
        assert 0 == deliver(sandbox, tmp_path, resume=has_run(tmp_path))[0]
        assert_everything_is_there_once(sandbox)


@pytest.mark.campaign
def test_every_kill_point(tmp_path: Path, steps_of_a_run: int) -> None:
    for kill_at in range(1, steps_of_a_run + 1):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        with Sandbox(faults=FAULTS) as sandbox:
            deliver(sandbox, folder, kill_at=kill_at)
            assert 0 == deliver(sandbox, folder, resume=has_run(folder))[0]
            assert_everything_is_there_once(sandbox)
