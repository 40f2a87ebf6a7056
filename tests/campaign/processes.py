"""Real processes, a real disk, real signals: the reference delivery is killed, starved, frozen and doubled.

strace does it, without root: SIGKILL on entering the n-th write, flush, send or receive; ENOSPC and EIO as results.
A delivery is a fork of a process that has loaded everything, which strace joins before the first call: a kill point
costs half a second, not five. Every case ends with the same judgement as a schedule, by the same checker.
"""

from __future__ import annotations

import json
import multiprocessing
import os
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
from tests.campaign.reference import SCHEDULE, SETTLE_SECONDS, Order, child, main, work
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


# ------------------------------------------------------------------ one process
@dataclass
class Process:
    """A delivery under way."""

    process: Any
    tracer: subprocess.Popen[bytes] | None

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
        if self.tracer is not None:
            self.tracer.wait(LONGEST)
        return int(self.code)

    @property
    def code(self) -> int | None:
        """The exit code, or None while it runs."""
        with _ONE_AT_A_TIME:
            return None if self.process.exitcode is None else int(self.process.exitcode)

    def signal(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)


def _status(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":")[1].strip()
    return ""


def _until(what: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.002)


def start(order: Order, *inject: str, log: Path | None = None) -> Process:
    """Begin a delivery, with what strace is to do to it: `CALL:signal=SIGKILL:when=N` and the like."""
    watched = bool(inject) or log is not None
    process = SPAWN.Process(target=child, args=(order, watched))
    with _ONE_AT_A_TIME:
        process.start()
    if not watched:
        return Process(process, None)
    _until(lambda: _status(process.pid, "State").startswith("T"))
    calls = ",".join(dict.fromkeys(one.partition(":")[0] for one in inject)) or ",".join(CALLS)
    command = ["strace", "-f", "-qq", "-o", str(log or "/dev/null"), "-e", f"trace={calls}"]
    for one in inject:
        command += ["-e", f"inject={one}"]
    tracer = subprocess.Popen([*command, "-p", str(process.pid)], stderr=subprocess.DEVNULL)
    _until(lambda: _status(process.pid, "TracerPid") != "0" or tracer.poll() is not None)
    if tracer.poll() is not None:
        process.kill()
        raise RuntimeError("strace may not join a process of ours: is ptrace forbidden here?")
    os.kill(process.pid, signal.SIGCONT)
    return Process(process, tracer)


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

    def live(self, *inject: str, order: Order | None = None) -> int:
        """One process from its start to its end."""
        if self.here:
            return self._ended(main(order or self.order))
        return self.note(start(order or self.order, *inject))

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
        return code

    def finish(self) -> None:
        """Without faults, to the end and once more; then judge everything."""
        self.sandbox.set_faults({"rules": RULES, "semantics": self.semantics})
        for _ in range(4):
            self.live()
            self.lives[-1].faulty = False
            if self.lives[-1].settled:
                break
        seen = len(self.sandbox.requests())
        self.live()
        self.lives[-1].faulty = False
        wrong = violations(self.evidence(self.sandbox.requests()[seen:]))
        if wrong:
            raise Wrong("\n".join(wrong))

    def evidence(self, last: list[dict[str, Any]]) -> Evidence:
        """What is left, for the checker; of requests, only what the last process sent."""
        self.lives[-1].sent = len(last)
        return Evidence(
            ledger=self.order.ledger,
            plan=work().records,
            poison=work().poison,
            before=self.before,
            after=self.sandbox.state(),
            effects=self.sandbox.core.effects(content=True),
            requests=self.sandbox.requests(),
            sent=[Sent(-1, 0.0, one["method"], one["path"], one["trace"], b"", intent=True) for one in last],
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
@dataclass(frozen=True)
class Point:
    """A system call of the reference delivery at which the process dies or its disk fails, counted in its thread."""

    call: str
    n: int
    error: str | None = None

    @property
    def inject(self) -> str:
        if self.error is None:
            return f"{self.call}:signal=SIGKILL:when={self.n}"
        return f"{self.call}:error={self.error}:when={self.n}+"


def counted(folder: Path, ledger: str | None = None) -> dict[str, int]:
    """How often the reference delivery makes each call, at most in one thread."""
    log = folder / "calls"
    with stage(folder, ledger=ledger) as on:
        code = on.note(start(on.order, log=log))
        if code not in (0, 10):
            raise Wrong(f"the reference delivery ended with {code}")
    found: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        call = rest.strip().partition("(")[0]
        if call in CALLS:
            found[thread, call] += 1
    return {call: max((n for (_, name), n in found.items() if name == call), default=0) for call in CALLS}


def points(counts: dict[str, int]) -> list[Point]:
    """Every kill point, and every place at which the disk can fail."""
    kills = [Point(call, n) for call in CALLS for n in range(1, counts[call] + 1)]
    fails = [
        Point(call, n, error)
        for call, error in (("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync", "EIO"))
        for n in range(1, counts[call] + 1)
    ]
    return kills + fails


def dies_or_fails_at(folder: Path, *at: Point, ledger: str | None = None) -> bool:
    """Die or fail there, and the next process at the next point; then finish. Whether the first point was met."""
    with stage(folder, ledger=ledger) as on:
        codes = [on.live(point.inject) for point in at]
        for point, code in zip(at, codes, strict=True):
            allowed = {0, 10, 12, 15} | ({KILLED} if point.error is None else {16})
            if code not in allowed:
                raise Wrong(f"I13: at {point} it ended with {code}")
        on.finish()
    return codes[0] == KILLED if at[0].error is None else codes[0] == 16


def file_cannot_grow_beyond(folder: Path, size: int) -> bool:
    """No file of the process may be larger (RLIMIT_FSIZE). Whether that was felt."""
    with stage(folder) as on:
        code = on.live(order=replace(on.order, largest_file=size))
        if code not in (0, 10, 16):
            raise Wrong(f"I13: with files of at most {size} bytes it ended with {code}")
        on.finish()
    return code == 16


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
            ["unshare", "-Urm", "sh", "-c", script], cwd=ROOT, check=False, capture_output=True, timeout=280
        )
        first, second = (int((folder / name).read_text()) for name in ("first", "second"))
        if first not in (0, 10, 16) or second not in (0, 10):
            raise Wrong(f"I13: on {kilobytes} kB it ended with {first}, with more room with {second}")
        on.order = replace(on.order, ledger=f"sqlite:///{folder}/ledger.sqlite")
        on.finish()
    return first == 16


SLOW = {"kind": "slow-answer", "on": "mutating", "every": 1, "seconds": 0.3}


def is_frozen(folder: Path, *, after: int, lock: str = "held") -> int:
    """Freeze a run after so many requests until its token has expired; another starts meanwhile; then it wakes up.

    Args:
        folder: where everything lies.
        after: requests after which it freezes.
        lock: "held": the other must go away. "stolen": somebody removed the lock file, the other takes over.

    Returns:
        The exit code of the other.
    """
    with stage(folder, faults=[*SCHEDULE.faults, SLOW | {"seconds": 1.0}], token_lifetime=1.0) as on:
        frozen = start(on.order)
        _until(lambda: len(on.sandbox.requests()) >= after or frozen.code is not None)
        frozen.signal(signal.SIGSTOP)
        if lock == "stolen":
            (folder / "ledger.sqlite.lock").unlink(missing_ok=True)
        time.sleep(1.1)
        on.sandbox.core.tokens.lifetime = (
            3600.0  # its own has expired; the next ones are not to, on a slow machine
        )
        on.sandbox.set_faults({"rules": RULES, "semantics": on.semantics})
        second = on.live()
        frozen.signal(signal.SIGCONT)
        first = on.note(frozen)
        if lock == "held" and frozen_was_needed(on) and second not in (14, 0, 10):
            raise Wrong(f"I13: beside a frozen run the other ended with {second}")
        if first not in (0, 10, 12, 14, 15, 16):
            raise Wrong(f"I13: the frozen run ended with {first}")
        on.finish()
    return second


def frozen_was_needed(on: Stage) -> bool:
    """Whether there was anything left to do when the other started."""
    return len(on.lives) > 0


def start_together(folder: Path, *, runs: int = 4) -> list[int]:
    """Several at once on one ledger: those that find the lock taken send nothing. Their exit codes."""
    with stage(folder, faults=[SLOW]) as on:
        going = [start(on.order) for _ in range(runs)]
        codes = [on.note(one) for one in going]
        if not set(codes) <= {0, 10, 14} or 14 not in codes:
            raise Wrong(f"I13: started together they ended with {codes}")
        on.lives = [life for life in on.lives if life.exit_code != 14]  # they tell of no ledger
        on.finish()
    return codes


def two_machines(folder: Path) -> None:
    """Two ledgers, one tenant, at once: nobody can forbid it; nothing may be lost or made twice."""
    with stage(folder, faults=[SLOW]) as on:
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        other = start(replace(on.order, folder=str(elsewhere), ledger=f"sqlite:///{elsewhere}/ledger.sqlite"))
        on.live()
        if other.end() not in (0, 10, 12, 15):
            raise Wrong("I13: the other machine could not cope")
        on.restored = True  # the other ledger knows the other attempts
        on.finish()


def is_restored(folder: Path, *, at: Point) -> None:
    """Die somewhere, keep a copy of the ledger, finish; put the copy back, and run again."""
    with stage(folder) as on:
        on.live(at.inject)
        kept = folder / "kept"
        kept.mkdir()
        for file in folder.glob("ledger.sqlite*"):
            if not file.name.endswith((".lock", "-shm")):
                shutil.copyfile(file, kept / file.name)
        on.live()
        for file in folder.glob("ledger.sqlite*"):
            file.unlink()
        for file in kept.iterdir():
            shutil.copyfile(file, folder / file.name)
        on.restored = True
        on.finish()


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
