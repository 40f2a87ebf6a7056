"""A slice of the points at which the whole command dies or its disk fails, and proof that the judgement can fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sandbox.server import Sandbox
from tests.campaign import commands
from tests.campaign.commands import Point
from tests.campaign.processes import Wrong, has_strace

STRACE = pytest.mark.skipif(not has_strace(), reason="strace is missing: no kill at system calls was tried")
POINTS = [
    Point("rename", "DATA/RUN/spool/manifest.new", 1),
    Point("renameat", "outcomes.parquet", 1),
    Point("renameat", "summary.json", 1),
    Point("write", "DATA/RUN/.outcomes.parquet.PID.part", 1, "EIO"),
    Point("renameat", "quarantine.parquet", 1, "ENOSPC"),
]

pytestmark = pytest.mark.xdist_group("campaign-commands")


@pytest.fixture(scope="module", autouse=True)
def _nobody_stays() -> Iterator[None]:
    yield
    commands.let_go()


@STRACE
@pytest.mark.parametrize("at", POINTS, ids=str)
def test_a_command_that_dies_or_loses_its_disk_is_made_good_by_the_next(tmp_path: Path, at: Point) -> None:
    assert commands.dies_or_fails_at(tmp_path, at)


# ------------------------------------------------------------------ each of these can fail
@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a run that ended well."""
    with commands.stage(tmp_path_factory.mktemp("done")) as on:
        on.sync()
        on.recover()
        yield on.data


def _half(run: Path, name: str) -> None:
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2])


def _one_line_less(run: Path, name: str) -> None:
    rows = pq.read_table(run / name)
    pq.write_table(rows.slice(1), run / name)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "half an account": (lambda run: _half(run, "summary.json"), "half a file"),
    "half a table": (lambda run: _half(run, "outcomes.parquet"), "half a file"),
    "half a page": (lambda run: _half(run, "report.html"), "half a file"),
    "a lost record": (lambda run: _one_line_less(run, "outcomes.parquet"), "I2"),
    "a lost row": (lambda run: _one_line_less(run, "quarantine.parquet"), "I1"),
    "a lost table": (lambda run: (run / "violations.parquet").unlink(), "names violations, which is missing"),
    "a lost account": (lambda run: (run / "summary.json").unlink(), "has no account"),
    "half-written": (lambda run: (run / ".summary.json.7.part").write_text(""), "left behind"),
    "a spool": (lambda run: (run / "spool").mkdir(), "left behind"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_seen(tmp_path: Path, done: Path, damage: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(done, data)
    [run] = [path for path in data.iterdir() if path.is_dir()]
    assert [] == list(commands.judge_files(data, run.name))
    harm, words = DAMAGES[damage]
    harm(run)
    assert words in "\n".join(commands.judge_files(data, run.name))


def test_what_died_may_leave_a_spool_until_it_is_purged(tmp_path: Path, done: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(done, data)
    [run] = [path for path in data.iterdir() if path.is_dir()]
    (run / "spool").mkdir()
    assert [] == list(commands.judge_files(data, run.name, hurt=run.name))
    assert [f"{run.name}/spool"] == commands.left_behind(data)


@pytest.mark.parametrize("at", POINTS, ids=str)
def test_a_point_is_found_again_by_its_name(at: Point) -> None:
    assert at == Point.named(str(at))


def test_calls_of_a_log_are_points_of_a_file_in_a_thread() -> None:
    log = """7 fsync(3</d/r-1/.a.7.part>) = 0
8 fsync(3</d/r-1/.a.7.part> <unfinished ...>
8 <... fsync resumed>) = 0
7 fsync(4</elsewhere>) = 0
7 openat(3</d/r-1>, "a", O_RDONLY) = 5</d/r-1/a>
7 openat(3</d/r-1>, "a", O_WRONLY|O_CREAT, 0600) = 5</d/r-1/a>
7 unlink("/d/r-1/gone") = -1 ENOENT (No such file or directory)
7 renameat(3</d/r-1>, ".a.7.part", 3</d/r-1>, "a") = 0
7 fsync(3</d/r-1/.a.7.part>) = 0
"""
    names = {"DATA": "/d", "RUN": "r-1", "PID": "7"}
    assert [
        ("fsync", "DATA/RUN/.a.PID.part", 1),
        ("fsync", "DATA/RUN/.a.PID.part", 2),
        ("openat", "a", 2),
        ("renameat", "a", 1),
    ] == commands.met(log, names)


def test_a_log_may_fail_and_an_account_may_not() -> None:
    told = [
        Point("write", "DATA/meterfeed.jsonl", 2, "EIO"),
        Point("unlink", "DATA/ledger.sqlite-wal", 1, "EIO"),
        Point("fdatasync", "DATA/ledger.sqlite-wal", 1, "EIO"),
        Point("renameat", "summary.json", 1, "EIO"),
    ]
    assert [True, True, False, False] == [commands.may_be_ignored(at) for at in told]


def test_an_api_that_lacks_a_customer_is_seen() -> None:
    with Sandbox() as api:
        assert 2 == len(list(commands.judge_api(api)))


@pytest.mark.parametrize(
    ("code", "error"), [(10, None), (1, {"kind": "OSError"}), (16, {"kind": "Unexpected"}), (16, None)]
)
def test_an_exit_that_hides_a_failed_disk_is_seen(code: int, error: dict[str, str] | None) -> None:
    with pytest.raises(Wrong, match="I13"):
        commands.judge_ending(POINTS[-1], code, {"exit_code": code, "error": error}, was_met=True)
