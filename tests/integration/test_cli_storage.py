"""DI2, DI3, KI6: file systems that do not bear writing, a log nobody reads, a bug or a killed thread in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from polars.exceptions import PanicException

from pipeline.delivery.books import Books
from pipeline.delivery.sender import Sender
from sandbox.server import Sandbox
from tests.campaign.processes import can_mount
from tests.integration.conftest import ROOT, settings_for
from tests.integration.test_cli_ledger import created
from tests.integration.test_cli_settle import mutating, portfolio, write

__all__ = ["write"]

SYNC = [sys.executable, "-c", "from flows.cli import main; main()", "sync"]
AT_A_TERMINAL = """
import fcntl, signal, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from flows.cli import main
main()
"""
"""The command as its terminal starts it: one that is closed tells whom it belongs to."""
NO_MOUNT = pytest.mark.skipif(not can_mount(), reason="nothing can be mounted here: no such disk was tried")


def environ(api: Sandbox, **settings: str) -> dict[str, str]:
    given = {**settings_for(api), **settings}
    return {**os.environ, **{f"METERFEED_{name.upper()}": value for name, value in given.items()}}


# ------------------------------------------------------------------ DI2
@NO_MOUNT
@pytest.mark.parametrize("options", ["ro,size=64m", "size=64m,nr_inodes=4"], ids=["read-only", "no inodes"])
def test_a_disk_that_takes_no_file_ends_with_16_and_nothing_is_sent(api, write, tmp_path, options):
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = [str(one) for one in write("a.csv", portfolio(20))]
    script = f'mount -t tmpfs -o {options} none {disk} && shift 0 && exec "$@"'
    ended = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", *SYNC, *arguments, "--json"],
        cwd=ROOT,
        env=environ(api, data_dir=str(disk / "runs")),
        capture_output=True,
        timeout=240,
        check=False,
    )
    document = json.loads(ended.stdout)
    assert (16, 16, 0) == (ended.returncode, document["exit_code"], mutating(api))
    assert document["error"]["message"]


@pytest.mark.parametrize("place", ["file", "file/runs", "x" * 300, "link"])
def test_a_data_directory_that_cannot_be_one_ends_with_16_and_nothing_is_sent(
    meterfeed, api, write, tmp_path, place
):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    ended = meterfeed(
        "sync", *write("a.csv", portfolio(5)), "--json", **settings_for(api), data_dir=str(tmp_path / place)
    )
    assert (16, 0) == (ended.code, mutating(api))
    assert ended.document["error"]["cure"]


# ------------------------------------------------------------------ DI3
def test_a_log_that_nobody_reads_does_not_hold_up_the_work(api, write, tmp_path):
    """The log is a pipe without a reader: opening it, or writing to it, could wait for ever."""
    runs = tmp_path / "runs"
    runs.mkdir()
    os.mkfifo(runs / "meterfeed.jsonl")
    ended = subprocess.run(
        [*SYNC, *map(str, write("a.csv", portfolio(20))), "--json"],
        cwd=ROOT,
        env=environ(api),
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert (0, 20) == (ended.returncode, json.loads(ended.stdout)["records"]["user"]["created"])


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_work(api, write):
    """stderr is a device that is always full."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*SYNC, *map(str, write("a.csv", portfolio(20))), "--json"],
            cwd=ROOT,
            env=environ(api),
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=240,
            check=False,
        )
    assert (0, 20) == (ended.returncode, json.loads(ended.stdout)["records"]["user"]["created"])


# ------------------------------------------------------------------ KI6
@pytest.mark.parametrize(
    ("part", "method", "bug"),
    [
        (Sender, "_after_batch", ZeroDivisionError),
        (Books, "settle", ZeroDivisionError),
        (Books, "settle", PanicException),  # of Polars, and no Exception
    ],
)
def test_a_bug_in_the_middle_is_exit_1_and_the_next_run_finishes(
    meterfeed, api, write, monkeypatch, part, method, bug
):
    """An error that is not ours to foresee, in one of many jobs side by side, must not be passed over."""
    done, lock, calls = getattr(part, method), threading.Lock(), []

    async def sometimes(self, *args, **kwargs):
        with lock:
            calls.append(method)
            broken = len(calls) == 2
        if broken:
            raise bug("canary")
        return await done(self, *args, **kwargs)

    settings = {**settings_for(api), "chunk_size": "5"}
    with monkeypatch.context() as patched:
        patched.setattr(part, method, sometimes)
        ended = meterfeed("sync", *write("a.csv", portfolio(40)), "--json", **settings)
    assert (1, True) == (ended.code, len(calls) >= 2)
    assert "canary" not in ended.out
    assert 0 == meterfeed("resume", "--json").code
    assert {1} == set(created(api).values())
    assert 40 == len(api.state()["users"])


def test_too_little_memory_ends_the_run_and_never_hangs(api, write):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20)); "
    command = [
        sys.executable,
        "-c",
        limit + SYNC[2],
        "sync",
        *map(str, write("a.csv", portfolio(200))),
        "--json",
    ]
    ended = subprocess.run(command, cwd=ROOT, env=environ(api), capture_output=True, timeout=140, check=False)
    assert 0 != ended.returncode
    assert 0 == mutating(api)
    again = subprocess.run(
        [*SYNC, *command[4:]], cwd=ROOT, env=environ(api), capture_output=True, timeout=140, check=False
    )
    assert (0, {1}) == (again.returncode, set(created(api).values()))


# ------------------------------------------------------------------ KI7
def test_a_terminal_that_is_closed_ends_the_run_cleanly_and_the_next_one_finishes(api, write):
    """SIGHUP, and from then on every write to the terminal fails."""
    api.set_faults(
        {"fault": [{"kind": "slow-answer", "on": "batch", "at": list(range(5, 100)), "seconds": 2.0}]}
    )
    ours, theirs = os.openpty()
    arguments = [str(one) for one in write("a.csv", portfolio(100))]
    process = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, "sync", *arguments],
        cwd=ROOT,
        env=environ(api, chunk_size="10", concurrency="1"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    for _ in range(3000):
        with contextlib.suppress(BlockingIOError, OSError):
            os.read(ours, 1 << 16)
        if mutating(api) >= 5 or process.poll() is not None:
            break
        threading.Event().wait(0.05)
    os.close(ours)
    assert 143 == process.wait(120)
    assert 0 < len(created(api)) < 200
    api.set_faults("none")
    done = subprocess.run(
        [*SYNC, *arguments, "--json"], cwd=ROOT, env=environ(api), capture_output=True, check=False
    )
    assert (0, 200, {1}) == (done.returncode, len(created(api)), set(created(api).values()))
