"""Real processes on a real disk: killed at system calls, and with a disk that is full or failing.

strace does it, without root: SIGKILL on entering the n-th write, flush, send or receive; ENOSPC and EIO as results.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.server import Sandbox
from tests.campaign.reference import N
from tests.delivery.harness import creates

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {
    "fault": [
        {"kind": "applied-then-503", "on": "batch", "at": [2]},
        {"kind": "bad-request", "on": "batch", "at": [4]},
    ]
}
KILLS = [("pwrite64", 40), ("pwrite64", 150), ("fdatasync", 5), ("sendto", 9), ("recvfrom", 30)]
ERRORS = [("pwrite64", "ENOSPC", 120), ("fdatasync", "EIO", 6)]

pytestmark = [
    pytest.mark.skipif(
        shutil.which("strace") is None, reason="strace is missing: no kill at system calls was tried"
    ),
    pytest.mark.xdist_group("strace"),
]


def deliver(sandbox: Sandbox, folder: Path, *inject: str) -> int:
    command = [
        sys.executable,
        "-m",
        "tests.campaign.reference",
        str(folder),
        sandbox.base_url,
        sandbox.token_url,
    ]
    if inject:
        call = inject[0].partition(":")[0]
        command = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={inject[0]}",
            *command,
        ]
    return subprocess.run(command, cwd=ROOT, timeout=120, check=False, capture_output=True).returncode


def counted(folder: Path) -> dict[str, int]:
    """How often the reference delivery makes each call, at most in one thread."""
    folder.mkdir()
    found = {}
    with Sandbox(faults=FAULTS) as sandbox:
        trace = folder / "trace"
        subprocess.run(
            [
                "strace",
                "-f",
                "-qq",
                "-o",
                str(trace),
                "-e",
                "trace=pwrite64,fdatasync,sendto,recvfrom",
                sys.executable,
                "-m",
                "tests.campaign.reference",
                str(folder),
                sandbox.base_url,
                sandbox.token_url,
            ],
            cwd=ROOT,
            timeout=120,
            check=True,
            capture_output=True,
        )
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        call = rest.strip().partition("(")[0]
        if call.isalnum():
            found[thread, call] = found.get((thread, call), 0) + 1
    return {call: max(n for (_, name), n in found.items() if name == call) for _, call in found}


def assert_everything_is_there_once(sandbox: Sandbox) -> None:
    counts = creates(sandbox)
    assert 3 * N == len(counts)
    assert {1} == set(counts.values())


def is_killed_and_recovers(folder: Path, call: str, n: int) -> bool:
    """Whether the kill came before the end of the delivery; nothing is lost or doubled either way."""
    with Sandbox(faults=FAULTS) as sandbox:
        code = deliver(sandbox, folder, f"{call}:signal=SIGKILL:when={n}")
        assert code in (0, -signal.SIGKILL, 128 + signal.SIGKILL), code
        assert 0 == deliver(sandbox, folder)
        assert_everything_is_there_once(sandbox)
    return code != 0


def fails_and_recovers(folder: Path, call: str, error: str, n: int) -> bool:
    with Sandbox(faults=FAULTS) as sandbox:
        code = deliver(sandbox, folder, f"{call}:error={error}:when={n}+")
        assert code in (0, 16), code
        assert 0 == deliver(sandbox, folder)
        assert_everything_is_there_once(sandbox)
    return code != 0


@pytest.mark.parametrize(("call", "n"), KILLS)
def test_a_kill_at_a_system_call_loses_nothing(tmp_path: Path, call: str, n: int) -> None:
    assert is_killed_and_recovers(tmp_path, call, n)


@pytest.mark.parametrize(("call", "error", "n"), ERRORS)
def test_a_disk_that_fails_stops_the_run_with_16_and_loses_nothing(
    tmp_path: Path, call: str, error: str, n: int
) -> None:
    assert fails_and_recovers(tmp_path, call, error, n)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "sendto", "recvfrom"])
def test_a_kill_at_every_system_call(tmp_path: Path, call: str) -> None:
    for n in range(1, counted(tmp_path / "count")[call] + 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        is_killed_and_recovers(folder, call, n)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("call", "error"), [("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync", "EIO")]
)
def test_a_disk_that_fails_from_every_write_on(tmp_path: Path, call: str, error: str) -> None:
    for n in range(1, counted(tmp_path / "count")[call] + 1):
        folder = tmp_path / str(n)
        folder.mkdir()
        fails_and_recovers(folder, call, error, n)
