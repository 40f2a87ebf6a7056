"""KI5: the power goes, and with it what was written but not flushed, in part or torn. A kill never shows that.

After every commit the ledger's files are copied: what is in them then was flushed. A power loss during the next commit
leaves the older copy and any part of what came after it: a shorter log, one torn inside a page, one with rubbish.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from connectors.ledger import open_ledger
from schemas.ledger import State
from tests.ledger.conftest import IDENTITY, begun, draft

STEPS = 6
TORN = 512
"""Bytes a disk writes whole."""


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of a ledger after each commit."""
    folder = tmp_path_factory.mktemp("power")
    copies = [folder / f"after-{step}" for step in range(STEPS)]
    with open_ledger(f"sqlite:///{folder}/live/ledger.sqlite", identity=IDENTITY, now=1.0) as ledger:
        run = begun(ledger)
        for step, copy in enumerate(copies):
            ledger.intend([draft(run, f"r{step}", start=step)], now=2.0)
            shutil.copytree(folder / "live", copy)
    return copies


def held_after(folder: Path) -> list[str]:
    """What the ledger knows, once it was opened as a run opens it."""
    with open_ledger(f"sqlite:///{folder}/ledger.sqlite", identity=IDENTITY, now=3.0) as ledger:
        assert "ok" == _quick_check(ledger)
        chunks = list(ledger.chunks(states=list(State)))
        assert {State.IN_DOUBT} >= {chunk.state for chunk in chunks}
        return [chunk.manifest["id"].item() for chunk in chunks]


def _quick_check(ledger) -> str:
    with ledger.engine.connect() as connection:
        return connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()


def power_goes(before: Path, after: Path, folder: Path, *, kept: int, rubbish: bytes = b"") -> Path:
    """The files before a commit, with the first `kept` bytes of what it added to the log."""
    shutil.copytree(before, folder)
    flushed = (before / "ledger.sqlite-wal").stat().st_size
    log = (after / "ledger.sqlite-wal").read_bytes()
    (folder / "ledger.sqlite-wal").write_bytes(log[: flushed + kept] + rubbish)
    (folder / "ledger.sqlite-shm").unlink(missing_ok=True)  # shared memory does not outlive the machine
    return folder


@pytest.mark.parametrize("step", range(STEPS - 1))
def test_what_was_committed_survives_and_what_was_not_is_not_there_in_part(
    commits: list[Path], tmp_path: Path, step: int
) -> None:
    before, after = commits[step], commits[step + 1]
    added = (after / "ledger.sqlite-wal").stat().st_size - (before / "ledger.sqlite-wal").stat().st_size
    assert 0 < added
    committed = [f"r{number}" for number in range(step + 1)]
    chance = random.Random(step)
    for kept in {0, added, *range(TORN, added, TORN * chance.randint(3, 9))}:
        rubbish = chance.choice([b"", chance.randbytes(TORN), bytes(4096)])
        held = held_after(power_goes(before, after, tmp_path / f"{kept}", kept=kept, rubbish=rubbish))
        assert held == ([*committed, f"r{step + 1}"] if kept == added else committed), kept


def test_a_ledger_whose_log_was_torn_earlier_than_its_last_flush_would_be_noticed(
    commits: list[Path], tmp_path: Path
) -> None:
    """The disk lied about a flush. Nothing can bring the records back, but the mark knows that they were there."""
    from connectors.ledger.mark import place_of
    from schemas.errors import StorageError

    last = commits[-1]
    folder = power_goes(commits[0], last, tmp_path / "lied", kept=TORN)
    with open_ledger(f"sqlite:///{last}/ledger.sqlite", identity=IDENTITY, now=3.0, mark_in=last):
        pass
    mark = place_of(last, IDENTITY)
    shutil.copy(mark, folder)
    with (
        pytest.raises(StorageError, match="older than it was"),
        open_ledger(f"sqlite:///{folder}/ledger.sqlite", identity=IDENTITY, now=3.0, mark_in=folder),
    ):
        pytest.fail("opened")
