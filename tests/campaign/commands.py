"""The whole command, `meterfeed sync`, is killed or starved at every call that makes something durable.

`processes.py` does it to the delivery, which has a ledger and nothing else. Here is everything beside the ledger: the
spool, the tables and pages of a run, the quarantine, the mark, the index. strace counts calls per path, so that a point
is a call, a file and a number: "the second fsync of the run folder". A command is a fork of a process that has loaded
everything (`python -m tests.campaign.commands`), which strace joins before the first call.

What is left is judged from the files and from what the sandbox did; nothing here asks the loader.
"""

from __future__ import annotations

import atexit
import csv
import ctypes
import gc
import hashlib
import hmac
import importlib
import io
import json
import os
import pkgutil
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq

from sandbox.server import Sandbox
from tests.campaign.nights import HEAD, ID_KEY, PROFILE
from tests.campaign.processes import KILLED, LONGEST, ROOT, Wrong, status_of, until

CALLS = (
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("fsync", "fdatasync", "ftruncate", "truncate", "openat", "write", "pwritev", "copy_file_range"),
)
BY_DESCRIPTOR = {"fsync", "fdatasync", "ftruncate", "write", "pwritev", "copy_file_range"}
BY_LAST_NAME = {"renameat", "renameat2", "linkat"}
"""Of two names strace looks at both; of those of a plain `rename` at the first."""
ERRORS = ("ENOSPC", "EIO")
NEEDS_NO_ROOM = {"unlink", "unlinkat", "rmdir", "fdatasync"}
"""Calls that a full disk does not refuse."""
DONE = (0, 10)
OPEN = {"in_doubt", "not_sent", "blocked"}
NO_DISK = 16

# ------------------------------------------------------------------ what is loaded
GOOD = {  # line of the export: what it says
    2: ("kunde-1", "anlegg-1", "H", "707057590000000001"),
    3: ("kunde-1", "anlegg-2", "N", "707057590000000002"),
    4: ("kunde-1", "anlegg-2", "N", "707057590000000002"),  # once more
    6: ("kunde-2", "anlegg-4", "H", "707057590000000004"),
    9: ("kunde-3", "anlegg-7", "H", "707057590000000007"),  # the API refuses it
}
BAD = {
    5: ("kunde-2", "anlegg-3", "X", "707057590000000003"),  # no such type
    7: ("kunde-4", "anlegg-5", "H", "707057590000000005"),  # two customers claim it
    8: ("kunde-5", "anlegg-6", "H", "707057590000000005"),
}
REFUSED = "anlegg-7"
TYPES = {"H": "Residential", "N": "Commercial"}
PLACES = {(user, place): (TYPES[kind], point) for user, place, kind, point in GOOD.values()}
RECORDS = {("user", user) for user, _ in PLACES} | {("location", place) for _, place in PLACES}
CLASSES = {
    "read": len(GOOD) + len(BAD),
    "unreadable": 0,
    "filtered": 0,
    "quarantined": len(BAD),
    "duplicate": 1,
    "mapped": len(GOOD) - 1,
}


# ------------------------------------------------------------------ a process that has loaded everything
LOADED = ("connectors", "pipeline", "schemas", "flows.commands")


def serve() -> None:
    """Fork a command for every order on stdin; say its process id, and then how it ended and what it cost."""
    for package in map(importlib.import_module, LOADED):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("_ray"):
                importlib.import_module(found.name)
    import pandera.polars  # noqa: F401  # loaded later by the rules

    from flows.cli import main as command

    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            _obey(order, command)
        print(child, flush=True)
        _, status, used = os.wait4(child, 0)
        print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)


def _obey(order: dict[str, Any], command: Callable[[list[str]], object]) -> None:
    """Be the command: in a fork, never to come back."""
    for name in [name for name in os.environ if name.startswith("METERFEED_")]:
        del os.environ[name]
    os.environ.update(order["environ"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out.json"), (2, "err.txt")):
        os.dup2(os.open(f"{order['folder']}/{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), number)
    if order["waits"]:
        ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)  # anybody may trace it
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.argv = ["meterfeed", *order["arguments"]]
    command(order["arguments"])
    os._exit(99)


class Warm:
    """A process that forks commands, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.commands"],
            cwd=ROOT,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the campaign
        )

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that forks commands is gone")
        return line

    def start(self, order: dict[str, Any]) -> int:
        """Begin a command; its process id."""
        pipe: IO[str] | None = self._process.stdin
        assert pipe is not None
        pipe.write(json.dumps(order) + "\n")
        pipe.flush()
        return int(self._said())

    def end(self) -> tuple[int, float]:
        """Wait for its end: its exit code, negative for the signal that ended it, and its processor time."""
        code, seconds = self._said().split()
        return int(code), float(seconds)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(LONGEST)
        if self._process.stdout is not None:
            self._process.stdout.close()


_WARM: list[Warm] = []
_LOCK = threading.Lock()


@contextmanager
def warm() -> Iterator[Warm]:
    """One that nobody else uses meanwhile; they are kept for the next, and end with this process."""
    with _LOCK:
        mine = _WARM.pop() if _WARM else Warm()
    try:
        yield mine
    except BaseException:
        mine.close()
        raise
    with _LOCK:
        _WARM.append(mine)


@atexit.register
def let_go() -> None:
    """End those that are kept."""
    with _LOCK:
        while _WARM:
            _WARM.pop().close()


# ------------------------------------------------------------------ points
@dataclass(frozen=True, order=True)
class Point:
    """The n-th call of a kind on a file in one thread, at which the command dies or its disk fails.

    `path` is a whole path, or a name where the call gives it relative to an open folder. In it, `DATA`, `RUN`,
    `PID` and `MARK` stand for the data directory, the names of the run and of its mark, and the process.
    """

    call: str
    path: str
    n: int
    error: str | None = None

    def __str__(self) -> str:
        return f"command {self.call} {self.path} {self.n} {self.error or 'kill'}"

    @classmethod
    def named(cls, name: str) -> Point:
        """The point of that name: one can be met again without counting all of them."""
        _, call, path, n, error = name.split(" ")
        return cls(call, path, int(n), None if error == "kill" else error)

    def options(self, names: dict[str, str]) -> list[str]:
        """What strace is told."""
        path = self.path
        for name, stands_for in names.items():
            path = path.replace(name, stands_for)
        what = "signal=SIGKILL" if self.error is None else f"error={self.error}"
        when = str(self.n) if self.error is None else f"{self.n}+"
        return ["-P", path, "-e", f"trace={self.call}", "-e", f"inject={self.call}:{what}:when={when}"]


ENOUGH = re.compile(r"= -1 (EEXIST|ENOENT)")
"""A folder was there already, a file that was to be removed was not."""
NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')
FOLDER = re.compile(r"^(?:\w+)<([^>]*)>")


def met(log: str, names: dict[str, str]) -> list[tuple[str, str, int]]:
    """Calls in a log of strace, with their files as in a `Point` and their number in the thread."""
    data = names["DATA"]
    counts: Counter[tuple[str, str, str]] = Counter()
    found = set()
    for line in log.splitlines():
        thread, _, rest = line.partition(" ")
        call, opened, arguments = rest.strip().partition("(")
        if call not in CALLS or not opened:
            continue
        folder = FOLDER.match(arguments)
        base = folder.group(1) if folder else ""
        if call in BY_DESCRIPTOR:
            target = place = base
        else:
            given = NAME.findall(arguments)
            target = given[-1 if call in BY_LAST_NAME else 0]
            place = target if target.startswith("/") else f"{base}/{target}"
        if not place.startswith(f"{data}/") and place != data:
            continue
        named = target
        for name, stands_for in names.items():
            named = named.replace(stands_for, name)
        counts[thread, call, named] += 1
        changes_nothing = ENOUGH.search(arguments) or (call == "openat" and "O_CREAT" not in arguments)
        if not changes_nothing:
            found.add((call, named, counts[thread, call, named]))
    return sorted(found)


def points(calls: list[tuple[str, str, int]]) -> list[Point]:
    """Every way in which each of them can go wrong."""
    return [
        Point(call, path, n, error)
        for call, path, n in calls
        for error in (None, *ERRORS)
        if not (error == "ENOSPC" and call in NEEDS_NO_ROOM)
    ]


# ------------------------------------------------------------------ one tenant
@dataclass
class Stage:
    """An export, a sandbox, and a data directory on which commands run."""

    folder: Path
    api: Sandbox
    process: Warm
    seconds: float = 0.0
    """Processor time of the commands."""
    said: list[str] = field(default_factory=list)
    pid: int = 0
    hurt: str = ""
    """The run that died, or whose disk failed: what it leaves behind may lie there until `purge`."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def names(self) -> dict[str, str]:
        """What stands for what in the path of a `Point`, for the first run here and the command under way."""
        tenant = hmac.new(ID_KEY.encode(), self.api.client_id.encode(), "sha256").hexdigest()[:16]
        mark = hashlib.sha256(f"{tenant}\x1f{self.api.base_url}".encode()).hexdigest()[:16]
        run = time.strftime("%Y%m%d-0001", time.gmtime())
        return {"DATA": str(self.data), "RUN": run, "MARK": mark, "PID": str(self.pid)}

    def command(self, *arguments: str, at: Point | None = None, log: Path | None = None) -> int:
        """The real command to its end, with what strace is to do to it; its exit code."""
        order = {
            "folder": str(self.folder),
            "arguments": [*arguments, "--json"],
            "waits": at is not None or log is not None,
            "environ": {
                **self.api.settings,
                "METERFEED_ID_KEY": ID_KEY,
                "METERFEED_DATA_DIR": str(self.data),
                "METERFEED_SETTLE": "0.05",
                "METERFEED_CHUNK_SIZE": "3",
            },
        }
        self.pid = self.process.start(order)
        tracer = None
        if at is not None:
            tracer = self._join("-o", str(self.folder / "strace"), *at.options(self.names()))
        elif log is not None:
            tracer = self._join("-y", "-o", str(log), "-e", "trace=" + ",".join(CALLS))
        watchdog = threading.Timer(LONGEST, os.kill, (self.pid, signal.SIGKILL))
        watchdog.start()
        code, seconds = self.process.end()
        if not watchdog.is_alive():
            raise Wrong(f"I20: {arguments[0]} was still running after {LONGEST:.0f} s")
        watchdog.cancel()
        if tracer is not None:
            tracer.wait(LONGEST)
        self.seconds += seconds
        self.said.append(f"{arguments[0]} ended with {code}")
        return code

    def _join(self, *options: str) -> subprocess.Popen[bytes]:
        """strace joins the command, which waits for it."""
        until(lambda: status_of(self.pid, "State").startswith("T"))
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", *options, "-p", str(self.pid)],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(lambda: status_of(self.pid, "TracerPid") != "0" or tracer.poll() is not None)
        os.kill(self.pid, signal.SIGCONT)
        if tracer.poll() is not None:
            raise RuntimeError("strace may not join a process of ours: is ptrace forbidden here?")
        return tracer

    def sync(self, at: Point | None = None, log: Path | None = None) -> int:
        export, profile = self.folder / "kunder.csv", self.folder / "nights.toml"
        self.hurt = self.hurt if at is None else self.names()["RUN"]
        return self.command("sync", str(export), "--profile", str(profile), at=at, log=log)

    def was_refused(self) -> bool:
        """Whether strace let a call of the last command fail."""
        return "(INJECTED)" in (self.folder / "strace").read_text(errors="replace")

    def document(self) -> dict[str, Any]:
        """What the last command printed: one document, whatever happened."""
        found = json.loads((self.folder / "out.json").read_text())
        assert isinstance(found, dict)
        return found

    def recover(self) -> None:
        """The same command until it is done, twice at most; then judge everything."""
        for _ in range(2):
            code = self.sync()
            if code in DONE:
                break
        if code not in DONE:
            raise Wrong(f"I10: {self.said}: {self._words()}")
        last = self.document()["run_id"]
        wrong = [*judge_api(self.api), *judge_files(self.data, last, hurt=self.hurt)]
        if any(left_behind(self.data)):  # of a run that died, until somebody tidies up
            if self.command("purge", "--days", "0") != 0:
                raise Wrong(f"{self.said}: {self._words()}")
            wrong += [f"left behind for ever: {name}" for name in left_behind(self.data)]
        if wrong:
            raise Wrong("\n".join([*wrong, *self.said]))

    def _words(self) -> str:
        return (self.folder / "err.txt").read_text()[-1500:]


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """An export of a few rows, an API that holds nothing yet, and no data directory."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(GOOD | BAD)[n] for n in sorted(GOOD | BAD)]
    lines = [f"{';'.join(row)};60.{row[1][-1]}1234;10.{row[1][-1]}1234" for row in rows]
    (folder / "kunder.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    (folder / "nights.toml").write_text(PROFILE)
    with Sandbox() as api, warm() as process:
        api.set_faults({"rules": {"reject_ids": [REFUSED]}})
        yield Stage(folder, api, process)


# ------------------------------------------------------------------ judging
def judge_api(api: Sandbox) -> Iterator[str]:
    """The API holds what the export says and it would take, and was told of nothing twice."""
    state = api.state()
    users = sorted(one["userId"] for one in state["users"])
    if users != sorted({user for user, _ in PLACES}):
        yield f"I9: users {users}"
    held = {
        (one["userId"], one["locationId"]): (one["locationType"], *one["meterPointIds"])
        for one in state["locations"]
    }
    wanted = {key: value for key, value in PLACES.items() if key[1] != REFUSED}
    if held != wanted or len(state["locations"]) != len(wanted):
        yield f"I9: locations {held}"
    effects = Counter((one["kind"], one["id"], one["effect"]) for one in api.effects())
    yield from (f"I6: {what} {times} times" for what, times in effects.items() if times > 1)


def judge_files(data: Path, last: str, *, hurt: str = "") -> Iterator[str]:
    """Every file is whole; every account is complete; the last run has one, and has tidied up behind itself."""
    for path in sorted(path for path in data.rglob("*") if path.is_file() and not UNFINISHED(path.name)):
        try:
            _parse(path)
        except Exception as error:
            yield f"half a file: {path.relative_to(data)}: {type(error).__name__}"
    if last != hurt:
        yield from (f"left behind: {name}" for name in left_behind(data) if name.startswith(last))
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        yield from (f"{folder.name}: {wrong}" for wrong in _judge_run(folder))
    if not (data / last / "summary.json").exists():
        yield f"I3: {last} has no account"
    if last not in (data / "index.html").read_text():
        yield f"the index does not know {last}"


UNFINISHED = re.compile(r"\.(part|new|tmp)$|-(journal|wal|shm)$").search


def left_behind(data: Path) -> list[str]:
    """Files that are no result: half-written ones, those of an open ledger, spools."""
    below = [path for path in data.rglob("*") if path.parent != data]
    found = [path for path in below if path.is_dir()] + [
        path for path in data.rglob("*") if UNFINISHED(path.name)
    ]
    return sorted(str(path.relative_to(data)) for path in found)


def _parse(path: Path) -> None:
    """Read a file to its end, as what its name says it is."""
    kind = path.suffix
    if kind == ".parquet":
        pq.read_table(path)
    if kind in (".parquet", ".sqlite", ".arrows"):
        return
    text = path.read_text()
    if kind == ".json":
        json.loads(text)
    elif kind == ".jsonl":
        for line in text.splitlines():
            json.loads(line)
    elif kind == ".xml":
        ET.fromstring(text)
    elif kind in ENDS and not text.endswith(ENDS[kind]):
        raise ValueError("no end")


ENDS = {".html": "</html>", ".txt": "\n", ".csv": "\n"}


def _judge_run(folder: Path) -> Iterator[str]:
    """Each table that is there is complete, and agrees with the account if there is one."""
    outcomes = _read(folder / "outcomes.parquet", _rows)
    kept = _read(folder / "quarantine.parquet", _rows)
    broken = _read(folder / "violations.parquet", _rows)
    summary = _read(folder / "summary.json", json.loads)
    if outcomes is not None:
        yield from _judge_outcomes(outcomes, ended_well=summary is None or summary["exit_code"] in DONE)
    if kept is not None and sorted(one["meterfeed_line"] for one in kept) != sorted(BAD):
        yield "I1: the quarantine holds other rows"
    if broken is not None:
        held_back = {one["source_line"] for one in broken if one["severity"] == "quarantine"}
        if held_back != set(BAD):
            yield f"I1: violations of lines {held_back}"
    copies = {"outcomes.csv": outcomes, "violations.csv": broken, "correction.csv": list(BAD)}
    for name, rows in copies.items():
        lines = _read(folder / name, _count_of_lines)
        if None not in (lines, rows) and lines != len(rows or ()):
            yield f"{name} has {lines} lines of {len(rows or ())}"
    if summary is not None:
        yield from _judge_summary(folder, summary, outcomes)


def _read(path: Path, reader: Callable[[bytes], Any]) -> Any:
    """The content of a file; None when it is missing, or half a file, which has been said."""
    try:
        return reader(path.read_bytes())
    except (OSError, ValueError):
        return None


def _rows(content: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
    return found


def _count_of_lines(content: bytes) -> int:
    return sum(1 for _ in csv.reader(content.decode("utf-8-sig").splitlines())) - 1


def _judge_outcomes(outcomes: list[dict[str, Any]], *, ended_well: bool) -> Iterator[str]:
    """One line for each record, which names the first of its rows, and how it ended."""
    lines = {("user", user): n for n, (user, *_) in reversed(GOOD.items())}
    lines |= {("location", place): n for n, (_, place, *_) in reversed(GOOD.items())}
    told = sorted((one["kind"], one["source_line"]) for one in outcomes)
    if told != sorted((kind, n) for (kind, _), n in lines.items()):
        yield f"I2: outcomes of {told}"
    refused = ("location", lines["location", REFUSED])
    for one in outcomes:
        expected = {"rejected"} if (one["kind"], one["source_line"]) == refused else {"created", "unchanged"}
        if one["outcome"] not in (expected if ended_well else expected | OPEN):
            yield f"I3: {one['kind']} of line {one['source_line']}: {one['outcome']}"


def _judge_summary(
    folder: Path, summary: dict[str, Any], outcomes: list[dict[str, Any]] | None
) -> Iterator[str]:
    """Rows and records add up, and the tables are there that it names. A run that was stopped may know less."""
    stopped = summary["exit_code"] not in DONE
    if summary["rows"] != CLASSES and not (stopped and summary["rows"] is None):
        yield f"I1: rows {summary['rows']}"
    counts = {
        (kind, state): count or 0
        for kind, states in summary["records"].items()
        for state, count in states.items()
    }
    planned = sum(count for (_, state), count in counts.items() if state == "planned")
    told = +Counter({key: count for key, count in counts.items() if key[1] != "planned"})
    if planned != told.total() or planned != len(RECORDS):
        if not (stopped and planned == told.total() == 0):
            yield f"I3: {planned} planned, {told.total()} accounted for"
    elif outcomes is None or told != Counter((one["kind"], one["outcome"]) for one in outcomes):
        yield "I3: the account and outcomes.parquet disagree"
    for what, path in summary["artifacts"].items():
        if path is not None and not (folder / Path(path).name).exists():
            yield f"the account names {what}, which is missing"


# ------------------------------------------------------------------ cases
def counted(folder: Path) -> list[tuple[str, str, int]]:
    """Every durable call of the command."""
    log = folder / "calls"
    with stage(folder) as on:
        if on.sync(log=log) not in DONE:
            raise Wrong(f"{on.said}: {on._words()}")
        calls = met(log.read_text(errors="replace"), on.names())
        on.recover()
    return calls


def dies_or_fails_at(folder: Path, at: Point) -> bool:
    """Die or fail there; then run the same command again. Whether the point was met."""
    with stage(folder) as on:
        code = on.sync(at)
        was_met = code == KILLED if at.error is None else on.was_refused()
        if code != KILLED:
            judge_ending(at, code, on.document(), was_met=was_met)
        on.recover()
    return was_met


def judge_ending(at: Point, code: int, document: dict[str, Any], *, was_met: bool) -> None:
    """I13: a disk that fails is said to have failed, wherever that matters."""
    allowed = DONE if not was_met else (NO_DISK, *DONE) if may_be_ignored(at) else (NO_DISK,)
    if code not in allowed or document["exit_code"] != code:
        raise Wrong(
            f"I13: at {at} it ended with {code}, and says {document['exit_code']}: {document['error']}"
        )
    if code == NO_DISK and (document["error"] or {}).get("kind") != "StorageError":
        raise Wrong(f"I13: at {at} it names another cause: {document['error']}")


IGNORED = {
    r"fdatasync DATA": "SQLite does not mind a folder that cannot be flushed",
    r"(fdatasync|ftruncate) DATA/ledger\.sqlite": "at the end: what is committed lies in the -wal file as well",
    r"ftruncate DATA/ledger\.sqlite\.lock": "the lock holds without the name of its holder",
    r"unlink DATA/ledger\.sqlite-(wal|shm)": "at the end: SQLite takes it up again",
    r"\w+ DATA/mark-MARK\.json\.part": "at the end: the mark of the beginning says less, and no lie",
    r"fsync DATA 3": "the same mark, in its folder: the third time the main thread flushes that",
    r"\w+ DATA/meterfeed\.jsonl": "a log that cannot be written stops nobody",
}
"""Calls that may fail without stopping the run (a pattern of call and path, and of which one), and why."""


def may_be_ignored(at: Point) -> bool:
    """Whether the run is as good as done although this failed."""
    call = f"{at.call} {at.path}"
    return any(re.fullmatch(one, call) or re.fullmatch(one, f"{call} {at.n}") for one in IGNORED)


def all_commands(seed: int) -> list[tuple[str, Callable[[Path], bool]]]:
    """Every point of the command, in the order of the seed: a name, and what tries it in a folder.

    What tries it returns whether the point was met, and raises `Wrong` when something does not hold. To try one
    again by its name: `dies_or_fails_at(folder, Point.named(name))`.
    """
    place = Path(tempfile.mkdtemp(prefix="commands-"))
    try:
        every = points(counted(place / "count"))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    random.Random(f"commands/{seed}").shuffle(every)
    return [(str(point), partial(dies_or_fails_at, at=point)) for point in every]


if __name__ == "__main__":
    serve()
