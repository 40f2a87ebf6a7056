"""SIGKILL at every step of a delivery, then again: nothing lost, nothing created twice, by the effect log."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pipeline.phases import Phase
from sandbox.server import Sandbox
from schemas.profile import GuardsSection
from tests.delivery.harness import creates, locations, resources, users
from tests.delivery.killing import Job, deliver, has_run

N = 24
JOB = Job(
    {
        Phase.CREATE_USERS: users(N),
        Phase.CREATE_LOCATIONS: locations(N),
        Phase.CREATE_RESOURCES: resources(N),
    },
    {"chunk": 8, "guards": GuardsSection(rejected=1.0, rejected_alike=10**6, canary=2)},
)
FAULTS = {
    "fault": [
        {"kind": "applied-then-503", "on": "batch", "at": [2]},
        {"kind": "bad-request", "on": "batch", "at": [5]},
    ]
}


def assert_everything_is_there_once(sandbox: Sandbox) -> None:
    counts = creates(sandbox)
    assert 3 * N == len(counts)
    assert {1} == set(counts.values())


@pytest.fixture(scope="module")
def steps_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> int:
    with Sandbox(faults=FAULTS) as sandbox:
        code, steps = deliver(JOB, sandbox, tmp_path_factory.mktemp("reference"))
        assert 0 == code
        assert_everything_is_there_once(sandbox)
    return steps


@pytest.mark.parametrize("share", [number / 24 for number in range(24)])
def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path, steps_of_a_run: int, share: float) -> None:
    kill_at = 1 + int(share * steps_of_a_run)
    with Sandbox(faults=FAULTS) as sandbox:
        assert -signal.SIGKILL == deliver(JOB, sandbox, tmp_path, kill_at=kill_at)[0]
        # Killed again while it recovers, then left alone.
        deliver(JOB, sandbox, tmp_path, kill_at=7, resume=has_run(tmp_path))
        assert 0 == deliver(JOB, sandbox, tmp_path, resume=has_run(tmp_path))[0]
        assert_everything_is_there_once(sandbox)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_every_kill_point(tmp_path: Path, steps_of_a_run: int) -> None:
    for kill_at in range(1, steps_of_a_run + 1):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        with Sandbox(faults=FAULTS) as sandbox:
            deliver(JOB, sandbox, folder, kill_at=kill_at)
            assert 0 == deliver(JOB, sandbox, folder, resume=has_run(folder))[0]
            assert_everything_is_there_once(sandbox)
