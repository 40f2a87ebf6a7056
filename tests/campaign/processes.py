"""Real processes, a real disk, real signals: the reference delivery is killed, starved, frozen and doubled.

strace does it, without root: SIGKILL on entering the n-th write, flush, send or receive; ENOSPC and EIO as results.
It counts the calls of each thread apart: so it joins the one thread whose call is meant, before that thread makes
any. A delivery is a fork of a process that has loaded everything: a kill point costs half a second, not five. Every
case ends with the same judgement as a schedule, by the same checker.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sandbox.server import Sandbox
from tests.campaign.checker import Evidence, Life, Sent, states_in, violations
from tests.campaign.postgres import copied, end_sessions
from tests.campaign.reference import (
    LEDGER,
    MAIN,
    SCHEDULE,
    SETTLE_SECONDS,
    Order,
    child,
    main,
    thread_file,
    work,
)
from tests.campaign.schedules import WIRE, axes_of
from tests.campaign.simulator import canaries_of, seed_world

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["tests.campaign.reference"])
ROOT = Path(__file__).resolve().parents[2]
CALLS = ("pwrite64", "fdatasync", "sendto", "recvfrom")
LONGEST = 200.0
KILLED = -signal.SIGKILL


_ONE_AT_A_TIME = threading.Lock()
"""multiprocessing asks after all its children whenever it starts one; asked twice at once, it says 255."""


class Wrong(AssertionError):
    """An invariant does not hold after a case."""


def has_strace() -> bool:
    return shutil.which("strace") is not None


# ------------------------------------------------------------------ one point
POINT = re.compile(rf"({MAIN}|{LEDGER}) ({'|'.join(CALLS)}) (\d+)(?: ([A-Z]+) beside (\d+))?")


@dataclass(frozen=True)
class Point:
    """A system call of a delivery at which the process dies, or from which on its disk fails."""

    thread: str
    """The thread that makes it: MAIN or LEDGER."""
    call: str
    n: int
    """Which one it is of this call in this thread, from 1."""
    error: str | None = None
    beside: int = 0
    """How many such calls the other thread has made by then: its next one fails as well."""

    def __str__(self) -> str:
        name = f"{self.thread} {self.call} {self.n}"
        return name if self.error is None else f"{name} {self.error} beside {self.beside}"

    @classmethod
    def named(cls, name: str) -> Point:
        """The point of that name.

        Raises:
            ValueError: no point is called so.
        """
        found = POINT.fullmatch(name)
        if found is None:
            raise ValueError(f"there is no point {name!r}")
        thread, call, n, error, beside = found.groups()
        return cls(thread, call, int(n), error, int(beside or 0))

    @property
    def injections(self) -> dict[str, str]:
        """What strace is to do, by the thread it is to join; it counts the calls of that thread alone."""
        if self.error is None:
            return {self.thread: f"{self.call}:signal=SIGKILL:when={self.n}"}
        other = LEDGER if self.thread == MAIN else MAIN
        fails = f"{self.call}:error={self.error}:when="
        return {self.thread: f"{fails}{self.n}+", other: f"{fails}{self.beside + 1}+"}


# ------------------------------------------------------------------ one process
@dataclass
class Process:
    """A delivery under way."""

    process: Any
    at: Point | None = None
    tracers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    trace: Path | None = None
    """What strace saw the thread of the point do."""

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def end(self, within: float = LONGEST) -> int:
        """Its exit code, negative for the signal that ended it."""
        end = time.monotonic() + within
        while self.code is None:
            if time.monotonic() > end:
                self.process.kill()
                raise Wrong(f"I20: still running after {within:.0f} s")
            time.sleep(0.005)
        for tracer in self.tracers:
            tracer.wait(LONGEST)
        return int(self.code)

    @property
    def code(self) -> int | None:
        """The exit code, or None while it runs."""
        with _ONE_AT_A_TIME:
            return None if self.process.exitcode is None else int(self.process.exitcode)

    @property
    def met(self) -> bool:
        """Whether its point came: it died at that call of that thread, or the call failed."""
        if self.at is None or self.trace is None or not self.trace.exists():
            return False
        seen = self.trace.read_text(encoding="utf-8", errors="replace")
        if self.at.error is not None:
            return "(INJECTED)" in seen
        return self.code == KILLED and len(re.findall(rf"^{self.at.call}\(", seen, re.MULTILINE)) == self.at.n

    def signal(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)


def status_of(pid: int, name: str) -> str:
    """A line of what the system says of a process or thread; nothing once that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    for line in lines:
        if line.startswith(name + ":"):
            return line.split(":")[1].strip()
    return ""


def until(what: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for what must come; raises `TimeoutError` when it does not."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.002)


def _join(process: Process, thread: int, *options: str) -> None:
    """Let strace join a thread that waits for it."""
    tracer = subprocess.Popen(
        ["strace", "-qq", *options, "-p", str(thread)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the campaign
    )
    process.tracers.append(tracer)
    until(lambda: tracer.poll() is not None or status_of(thread, "TracerPid") != "0")
    if tracer.poll() not in (None, 0):  # 0: it joined, and the first call it saw was the last
        process.process.kill()
        raise RuntimeError("strace may not join a process of ours: is ptrace forbidden here?")


def _thread_of_the_ledger(process: Process, order: Order) -> int | None:
    """Its number, once it is there; None when the process ended without one."""
    told = thread_file(order.folder)
    until(lambda: told.exists() or process.code is not None)
    return int(told.read_text()) if process.code is None else None


def start(order: Order, at: Point | None = None, *, log: Path | None = None) -> Process:
    """Begin a delivery, with the point at which it dies or its disk fails; or with a log of all its calls."""
    injections = at.injections if at is not None else {}
    watched = frozenset([MAIN] if log is not None else injections)
    thread_file(order.folder).unlink(missing_ok=True)
    process = Process(SPAWN.Process(target=child, args=(order, watched or None)), at)
    with _ONE_AT_A_TIME:
        process.process.start()
    if log is not None:
        until(lambda: status_of(process.pid, "State").startswith("T"))
        _join(process, process.pid, "-f", "-o", str(log), "-e", f"trace={','.join(CALLS)}")
        os.kill(process.pid, signal.SIGCONT)
    for thread in sorted(injections, reverse=True):  # the main thread comes first
        trace = Path(order.folder) / f"trace.{thread}"
        trace.unlink(missing_ok=True)
        if at is not None and thread == at.thread:
            process.trace = trace
        call = injections[thread].partition(":")[0]
        options = ("-o", str(trace), "-e", f"trace={call}", "-e", f"inject={injections[thread]}")
        if thread == MAIN:
            until(lambda: status_of(process.pid, "State").startswith("T"))
            _join(process, process.pid, *options)
            os.kill(process.pid, signal.SIGCONT)
        elif (number := _thread_of_the_ledger(process, order)) is not None:
            _join(process, number, *options)
    return process


# ------------------------------------------------------------------ one case
@dataclass
class Stage:
    """A sandbox, a place for the ledger, and what has been lived through on it."""

    folder: Path
    sandbox: Sandbox
    before: dict[str, Any]
    order: Order
    semantics: dict[str, Any]
    lies: bool
    """Whether something good is refused: then a refusal of it is no fault of the loader."""
    may_double: bool = False
    here: bool = False
    """Live in this process, where nothing is to be killed or starved."""
    lives: list[Life] = field(default_factory=list)
    restored: bool = False
    heard: dict[int, int] = field(default_factory=dict)
    """Requests the sandbox had had when each life was over, by the number of the life."""

    def live(self, at: Point | None = None, *, order: Order | None = None) -> int:
        """One process from its start to its end, or to where it dies."""
        if self.here:
            return self._ended(main(order or self.order))
        return self.note(start(order or self.order, at))

    def note(self, process: Process) -> int:
        """Wait for the end of a process and write down what it said."""
        return self._ended(process.end())

    def _ended(self, code: int) -> int:
        killed = code < 0
        told = self.folder / "ending.json"
        said = json.loads(told.read_text()) if told.exists() and not killed else {}
        told.unlink(missing_ok=True)
        life = Life(len(self.lives), faulty=True, started=0.0, first_sent=0, killed=killed, exit_code=code)
        life.states = states_in(self.order.ledger)
        life.error, life.settled = said.get("error"), bool(said.get("settled"))
        if not self.here:  # this process serves the sandbox as well
            life.left_open, life.peak_megabytes = said.get("left_open", 0), said.get("peak_megabytes", 0.0)
        self.lives.append(life)
        self.heard[life.number] = len(self.sandbox.requests())
        return code

    def finish(self) -> None:
        """Without faults, to the end and once more; then judge everything."""
        self.sandbox.set_faults({"rules": RULES, "semantics": self.semantics})
        for _ in range(4):
            self.live()
            self.lives[-1].faulty = False
            if self.lives[-1].settled:
                break
        self.live()
        self.lives[-1].faulty = False
        wrong = violations(self.evidence())
        if wrong:
            raise Wrong("\n".join(wrong))

    def evidence(self) -> Evidence:
        """What is left, for the checker. A request counts for the life that was over first after it came."""
        before, requests = 0, self.sandbox.requests()
        for life in self.lives:
            life.first_sent, life.sent = before, self.heard[life.number] - before
            before = self.heard[life.number]
        return Evidence(
            ledger=self.order.ledger,
            plan=work().records,
            poison=work().poison,
            before=self.before,
            after=self.sandbox.state(),
            effects=self.sandbox.core.effects(content=True),
            requests=requests,
            sent=[
                Sent(-1, 0.0, one["method"], one["path"], one["trace"], b"", intent=True) for one in requests
            ],
            lives=self.lives,
            may_double=self.may_double,
            lies=self.lies,
            settle_seconds=SETTLE_SECONDS,
            canaries=canaries_of(work().records),
            restored=self.restored,
        )


RULES = {"reject_ids": sorted(work().poison)}


@contextmanager
def stage(
    folder: Path,
    *,
    ledger: str | None = None,
    faults: list[dict[str, Any]] | None = None,
    semantics: dict[str, Any] = SCHEDULE.semantics,
    lies: bool = True,  # one good batch is refused for no reason, and so may be one good record in it
    **sandbox: Any,
) -> Iterator[Stage]:
    """A fresh sandbox and an empty ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {
        "fault": SCHEDULE.faults if faults is None else faults,
        "rules": RULES,
        "semantics": semantics,
    }
    with Sandbox(**sandbox) as api:
        seed_world(api.core, SCHEDULE)
        before = api.state()
        api.set_faults(plan)
        order = Order(api.base_url, api.token_url, str(folder), ledger or f"sqlite:///{folder}/ledger.sqlite")
        yield Stage(folder, api, before, order, semantics, lies)


# ------------------------------------------------------------------ cases
def calls_of(folder: Path, ledger: str | None = None, *, after: Point | None = None) -> list[Point]:
    """Every call of the reference delivery, in order; or of the one that comes after it has died somewhere."""
    log = folder / "calls"
    with stage(folder, ledger=ledger) as on:
        if after is not None:
            on.live(after)
        process = start(on.order, log=log)
        if on.note(process) not in (0, 10):
            raise Wrong(f"the reference delivery ended with {process.code}")
        threads = {str(process.pid): MAIN, thread_file(on.order.folder).read_text(): LEDGER}
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        number, _, rest = line.partition(" ")
        call = rest.strip().partition("(")[0]
        if call not in CALLS:
            continue
        if number not in threads:
            raise Wrong(f"a third thread makes a {call}: nobody would die there")
        thread = threads[number]
        seen[thread, call] += 1
        other = LEDGER if thread == MAIN else MAIN
        found.append(Point(thread, call, seen[thread, call], beside=seen[other, call]))
    return found


FAILS = (("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync", "EIO"))


def points(calls: list[Point]) -> list[Point]:
    """Every kill point, and every place at which the disk can fail."""
    kills = [replace(one, beside=0) for one in calls]
    return kills + [replace(one, error=error) for call, error in FAILS for one in calls if one.call == call]


def dies_or_fails_at(folder: Path, *at: Point, ledger: str | None = None) -> list[int | None]:
    """Die or fail there, and the next process at the next point; then finish.

    Returns:
        The exit code of each, None for one that never came to its point.
    """
    with stage(folder, ledger=ledger) as on:
        codes: list[int | None] = []
        for point in at:
            process = start(on.order, point)
            code = on.note(process)
            if code not in {0, 10, 12, 15} | ({KILLED} if point.error is None else {16}):
                raise Wrong(f"I13: at {point} it ended with {code}")
            codes.append(code if process.met else None)
        on.finish()
    return codes


def file_cannot_grow_beyond(folder: Path, size: int) -> bool:
    """No file of the process may be larger (RLIMIT_FSIZE). Whether that was felt."""
    with stage(folder) as on:
        code = on.live(order=replace(on.order, largest_file=size))
        if code not in (0, 10, 16):
            raise Wrong(f"I13: with files of at most {size} bytes it ended with {code}")
        on.finish()
    return code == 16


def largest_sizes(folder: Path) -> tuple[int, int]:
    """Bytes of the largest file of a ledger, and of all of them, when the delivery is about to close it."""
    last = [one for one in calls_of(folder / "calls") if (one.thread, one.call) == (LEDGER, "fdatasync")][-1]
    with stage(folder / "sizes") as on:
        on.live(replace(last, beside=0))
        sizes = [file.stat().st_size for file in on.folder.glob("ledger.sqlite*")]
    return max(sizes), sum(sizes)


def can_mount() -> bool:
    """Whether this user may mount a file system of its own."""
    made = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    return made.returncode == 0


def disk_is_as_large_as(folder: Path, kilobytes: int) -> bool:
    """The ledger on a disk of that size, which then grows. Whether it was too small."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    with stage(folder, ledger=f"sqlite:///{disk}/ledger.sqlite") as on:
        run = f"{sys.executable} -m tests.campaign.reference '{json.dumps(asdict(on.order))}'"
        script = (
            f"mount -t tmpfs -o size={kilobytes}k none {disk} && "
            f"{{ {run}; echo $? > {folder}/first; mount -o remount,size=64m {disk} && {run}; "
            f"echo $? > {folder}/second; cp {disk}/ledger.sqlite* {folder}/; }}"
        )
        subprocess.run(
            ["unshare", "-Urm", "sh", "-c", script],
            cwd=ROOT,
            check=False,
            capture_output=True,
            timeout=280,
            start_new_session=True,
        )
        first, second = (int((folder / name).read_text()) for name in ("first", "second"))
        if first not in (0, 10, 16) or second not in (0, 10):
            raise Wrong(f"I13: on {kilobytes} kB it ended with {first}, with more room with {second}")
        on.order = replace(on.order, ledger=f"sqlite:///{folder}/ledger.sqlite")
        on.finish()
    return first == 16


SLOW = {"kind": "slow-answer", "on": "mutating", "every": 1, "seconds": 0.3}


def is_frozen(folder: Path, *, after: int, lock: str = "held", ledger: str | None = None) -> tuple[int, int]:
    """Freeze a run after so many requests until its token has expired; another starts meanwhile; then it wakes up.

    Args:
        folder: where everything lies.
        after: requests after which it freezes.
        lock: "held": the other must go away. "stolen": somebody removed the lock file, or ended the sessions of the
            frozen run with the database: the other takes over.
        ledger: where it lies, if not in a file.

    Returns:
        The exit codes of the other and of the frozen run.
    """
    slowly = [*SCHEDULE.faults, SLOW | {"seconds": 1.0}]
    with stage(folder, ledger=ledger, faults=slowly, token_lifetime=1.0) as on:
        frozen = start(on.order)
        until(lambda: len(on.sandbox.requests()) >= after or frozen.code is not None)
        frozen.signal(signal.SIGSTOP)
        if lock == "stolen" and ledger is None:
            (folder / "ledger.sqlite.lock").unlink(missing_ok=True)
        elif lock == "stolen":
            end_sessions(on.order.ledger)
        time.sleep(1.1)
        on.sandbox.core.tokens.lifetime = (
            3600.0  # its own has expired; the next ones are not to, on a slow machine
        )
        on.sandbox.set_faults({"rules": RULES, "semantics": on.semantics})
        ended = frozen.code is not None
        second = on.live()
        frozen.signal(signal.SIGCONT)
        first = on.note(frozen)
        if second not in ((0, 10) if lock == "stolen" or ended else (14,)):
            raise Wrong(f"I13: beside a frozen run ({lock}) the other ended with {second}")
        if first not in (0, 10, 12, 14, 15, 16):
            raise Wrong(f"I13: the frozen run ended with {first}")
        on.finish()
    return second, first


def start_together(folder: Path, *, runs: int = 4, ledger: str | None = None) -> list[int]:
    """Several at once on one ledger: those that find the lock taken send nothing. Their exit codes."""
    with stage(folder, ledger=ledger, faults=[SLOW]) as on:
        going = [start(on.order) for _ in range(runs)]
        codes = [on.note(one) for one in going]
        if not set(codes) <= {0, 10, 14} or 14 not in codes:
            raise Wrong(f"I13: started together they ended with {codes}")
        on.lives = [life for life in on.lives if life.exit_code != 14]  # they tell of no ledger
        on.finish()
    return codes


def two_machines(folder: Path) -> bool:
    """Two ledgers, one tenant, at once: nobody can forbid it; nothing may be lost or made twice.

    Returns:
        Whether both were still there when some requests had been made.
    """
    with stage(folder, faults=[SLOW]) as on:
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        other = start(replace(on.order, folder=str(elsewhere), ledger=f"sqlite:///{elsewhere}/ledger.sqlite"))
        mine = start(on.order)
        until(lambda: len(on.sandbox.requests()) >= 4 or {other.code, mine.code} != {None})
        both = other.code is None and mine.code is None
        on.note(mine)
        if other.end() not in (0, 10, 12, 15):
            raise Wrong("I13: the other machine could not cope")
        on.restored = True  # the other ledger knows the other attempts
        on.finish()
    return both


def is_restored(folder: Path, *, at: Point, ledger: str | None = None) -> bool:
    """Die somewhere, keep a copy of the ledger, finish; put the copy back, and run again. Whether it died there."""
    with stage(folder, ledger=ledger) as on:
        process = start(on.order, at)
        on.note(process)
        put_back = _copied(folder) if ledger is None else copied(ledger)
        on.live()
        put_back()
        on.restored = True
        on.finish()
    return process.met


def _copied(folder: Path) -> Callable[[], None]:
    """Copy a ledger in a file; what is returned puts the copy in its place."""
    kept = folder / "kept"
    kept.mkdir()
    for file in folder.glob("ledger.sqlite*"):
        if not file.name.endswith((".lock", "-shm")):
            shutil.copyfile(file, kept / file.name)

    def put_back() -> None:
        for file in folder.glob("ledger.sqlite*"):
            file.unlink()
        for file in kept.iterdir():
            shutil.copyfile(file, folder / file.name)

    return put_back


def hears_wrongly(folder: Path, kind: str, cell: int, *, seed: int = 0) -> int:
    """A fault of the wire on real sockets, in a cell; how often it was played."""
    axes = axes_of(cell)
    semantics = axes | {"lag_seconds": 0.03, "late_seconds": 0.03, "limit_items": 3, "limit_bytes": 900}
    faults = [
        {"kind": WIRE + kind, "on": "mutating", "at": [2, 3]},
        {"kind": WIRE + kind, "on": ["by-id", "list"], "at": [2]},
    ]
    with stage(folder, faults=faults, semantics=semantics, lies=False, wire=True, seed=seed) as on:
        on.here, on.order = True, replace(on.order, deadline_seconds=0.6, chunk=3)
        on.may_double = axes["b"] == "duplicate" and axes["e"] == "late"
        code = on.live()
        if code not in (0, 10, 11, 12, 13, 15):
            raise Wrong(f"I13: after {kind} it ended with {code}")
        played = sum(one["fault"] == WIRE + kind for one in on.sandbox.requests())
        on.order = replace(
            on.order, deadline_seconds=30.0
        )  # nothing is lost any more: who is slow is waited for
        on.finish()
    return played
