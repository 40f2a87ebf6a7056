"""Everything there is to try, on all cores, for as long as asked; or one case of it again, in full."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign.postgres import SETTING, served_in_memory

SCHEDULES_AN_HOUR = 100_000
"""As many are wanted; they take what real processes, which are fewer and wait much, leave of the cores."""

POLITE = 10
"""How far schedules step back behind real processes, whose clocks do not wait (nice)."""

ENOUGH_DISKS, ENOUGH_WIRE_FAULTS, CELLS_EACH = 150, 80, 3
"""So many cases come before the schedules are complete; the others after, if there is time."""

ON_POSTGRES = 100
"""One schedule in so many keeps its ledger in PostgreSQL: a server is ten times the cost of a file."""


@dataclass
class Result:
    """What a case came to."""

    seed: int
    case: int
    cell: int
    violations: list[str]
    kinds: list[str]
    kills: int = 0
    requests: int = 0
    doubles: int = 0
    seconds: float = 0.0
    on_postgres: bool = False


def folder() -> Path:
    """Where ledgers live for a moment: in memory where there is such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="campaign-", dir=memory if os.access(memory, os.W_OK) else None))


def run_case(seed: int, case: int) -> Result:
    """Live through one schedule and judge it."""
    from tests.campaign.checker import doubles, violations
    from tests.campaign.postgres import empty_database
    from tests.campaign.schedules import schedule
    from tests.campaign.simulator import simulate

    one = schedule(seed, case)
    place, began = folder(), time.perf_counter()
    result = Result(seed, case, one.cell, [], [fault["kind"] for fault in one.faults])
    try:
        database = empty_database() if case % ON_POSTGRES == ON_POSTGRES // 2 else None
        result.on_postgres = database is not None
        evidence = simulate(one, place, database)
        result.violations = violations(evidence)
        result.kills = sum(life.killed for life in evidence.lives)
        result.requests = len(evidence.sent)
        result.doubles = doubles(evidence)
    except Exception:
        result.violations = ["crash: " + traceback.format_exc()[-1500:]]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    result.seconds = time.perf_counter() - began
    return result


def _run_case(arguments: tuple[int, int]) -> Result:
    from tests.campaign.quick import tidy

    result = run_case(*arguments)
    tidy()
    return result


@dataclass
class Score:
    """Sums of a campaign."""

    schedules: int = 0
    on_postgres: int = 0
    kills: int = 0
    requests: int = 0
    doubles: int = 0
    cells: set[int] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.schedules += 1
        self.on_postgres += result.on_postgres
        self.kills += result.kills
        self.requests += result.requests
        self.doubles += result.doubles
        self.cells.add(result.cell)
        self.kinds.update(set(result.kinds))
        if result.violations:
            self.failed.append(result)


def _warm_up() -> None:
    """What a worker does once: Ctrl-C is for its parent, and what is loaded by now stays."""
    from tests.campaign.quick import settle_down

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run_case(0, 0)
    settle_down()


def campaign(seed: int, *, minutes: float, cases: int, workers: int, show: int = 20) -> Score:
    """Seeded schedules, one after the other on every worker."""
    score, began, told = Score(), time.monotonic(), 0
    with multiprocessing.get_context("forkserver").Pool(workers, _warm_up, maxtasksperchild=500) as pool:
        wanted = ((seed, case) for case in range(cases))
        for result in pool.imap_unordered(_run_case, wanted, chunksize=10):
            score.add(result)
            if result.violations and told < show:
                told += 1
                print(
                    f"SEED={result.seed} CASE={result.case}", *result.violations[:3], sep="\n    ", flush=True
                )
            if time.monotonic() - began > minutes * 60:
                pool.terminate()
                break
    return score


class Beside:
    """A campaign of schedules in a process of its own, while this one looks after real processes."""

    def __init__(self, process: subprocess.Popen[bytes], told: Path) -> None:
        self._process = process
        self._told = told

    def score(self) -> Score:
        """Wait for its end; what it came to."""
        if self._process.wait() != 0:
            raise RuntimeError(f"the schedules ended with {self._process.returncode}")
        found = pickle.loads(self._told.read_bytes())
        assert isinstance(found, Score)
        return found


@contextmanager
def schedules_beside(seed: int, *, minutes: float, cases: int, workers: int) -> Iterator[Beside]:
    """Let schedules run beside what happens in the block."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as place:
        told = Path(place) / "score"
        asked = {"seed": seed, "minutes": minutes, "cases": cases, "workers": workers, "told": told}
        command = [sys.executable, "-m", "tests.campaign", *(f"--{name}={asked[name]}" for name in asked)]
        with subprocess.Popen(command, cwd=SCORECARD.parents[1]) as process:
            try:
                yield Beside(process, told)
            finally:
                process.terminate()


# ------------------------------------------------------------------ real processes and sockets
@dataclass
class Tally:
    """Cases of one kind: tried, of how many there are, and those that showed something wrong."""

    tried: int = 0
    there_are: int = 0
    failed: int = 0

    def __add__(self, other: Tally) -> Tally:
        there_are = self.there_are + other.there_are
        return Tally(self.tried + other.tried, there_are, self.failed + other.failed)

    def __str__(self) -> str:
        return f"{self.tried:,}" if self.tried == self.there_are else f"{self.tried:,} of {self.there_are:,}"


Case = tuple[str, Callable[[Path], object]]
"""A name, under which it can be run again, and what runs it in a folder."""


def try_all(cases: list[Case], *, minutes: float, workers: int) -> Tally:
    """Run cases side by side, in order, until the time is up; what is wrong is printed with the name of its case."""
    tally, end = Tally(there_are=len(cases)), time.monotonic() + minutes * 60

    def one(case: Case) -> str | None:
        if time.monotonic() > end:
            return None
        place = folder()
        try:
            case[1](place / "case")
        except Exception:
            return traceback.format_exc()[-1200:]
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return ""

    with ThreadPoolExecutor(workers) as pool:
        for (name, _), wrong in zip(cases, pool.map(one, cases), strict=True):
            tally.tried += wrong is not None
            if wrong:
                tally.failed += 1
                print(name, wrong, sep="\n    ", flush=True)
    return tally


def all_kills(seed: int) -> tuple[list[Case], list[Case]]:
    """Every call of the reference delivery at which it can be killed, and every one at which its disk can fail."""
    from tests.campaign.processes import Point, counted, dies_or_fails_at, points

    place = folder()
    every = points(counted(place / "count"))
    shutil.rmtree(place, ignore_errors=True)
    random.Random(f"points/{seed}").shuffle(every)

    def case(point: Point, place: Path) -> object:
        return dies_or_fails_at(place, point)

    def named(points_of: list[Point]) -> list[Case]:
        return [(f"{one.call} {one.n} {one.error or 'kill'}", partial(case, one)) for one in points_of]

    return named([one for one in every if one.error is None]), named([one for one in every if one.error])


def all_disks() -> list[Case]:
    """Disks and files of several sizes."""
    from tests.campaign.processes import can_mount, disk_is_as_large_as, file_cannot_grow_beyond

    def small_disk(size: int, place: Path) -> object:
        return disk_is_as_large_as(place, size)

    def small_file(size: int, place: Path) -> object:
        return file_cannot_grow_beyond(place, size)

    files = [4096 * 2**k for k in range(9)] + [50_000 * k for k in range(1, 12)]
    found: list[Case] = [(f"file {size}", partial(small_file, size)) for size in files]
    if can_mount():
        found += [
            (f"disk {size}", partial(small_disk, size)) for size in (16, 32, 64, 100, 140, 180, 250, 400)
        ]
    else:
        print("no tmpfs can be mounted here: NO SMALL DISK WAS TRIED", flush=True)
    return found


def all_drills(seed: int, *, triples: int) -> list[Case]:
    """Frozen, doubled, restored, killed three times in a row, and killed with the ledger in PostgreSQL."""
    from tests.campaign import processes as real

    chance = random.Random(f"drills/{seed}")

    def drawn() -> real.Point:
        return real.Point(
            *chance.choice([("pwrite64", 200), ("fdatasync", 15), ("sendto", 25), ("recvfrom", 60)])
        )

    def somewhere() -> real.Point:
        most = drawn()
        return real.Point(most.call, chance.randint(1, most.n))

    found: list[Case] = []
    for after in (1, 3, 6, 9):
        for lock in ("held", "stolen"):
            found.append((f"frozen {after} {lock}", partial(real.is_frozen, after=after, lock=lock)))
    found += [("together", real.start_together), ("two machines", real.two_machines)]
    for _ in range(12):
        at = somewhere()
        found.append((f"restored {at.call} {at.n}", partial(real.is_restored, at=at)))
    for _ in range(triples):
        at = [somewhere() for _ in range(3)]
        name = " then ".join(f"{one.call} {one.n}" for one in at)
        found.append((f"nested {name}", partial(nested, at)))
    if os.environ.get(SETTING):
        for n in range(1, 121, 5):
            for call in ("sendto", "recvfrom"):
                found.append((f"postgres {call} {n}", partial(on_postgres, real.Point(call, n))))
    chance.shuffle(found)
    return found


def nested(at: list[Any], place: Path) -> object:
    from tests.campaign.processes import dies_or_fails_at

    return dies_or_fails_at(place, *at)


def on_postgres(point: Any, place: Path) -> object:
    from tests.campaign.postgres import own_database
    from tests.campaign.processes import dies_or_fails_at

    with own_database() as url:
        return dies_or_fails_at(place, point, ledger=url)


def all_wire_faults(seed: int, *, cells: int) -> list[Case]:
    """Every fault of the wire on real sockets, each in so many cells, one fault after the other."""
    from sandbox.wire import WIRE_FAULTS
    from tests.campaign.processes import hears_wrongly

    def case(kind: str, cell: int, place: Path) -> object:
        if not hears_wrongly(place, kind, cell, seed=seed):
            raise AssertionError(f"{kind} was never played in cell {cell}")
        return None

    chance = random.Random(f"wire/{seed}")
    kinds = sorted(WIRE_FAULTS)
    chance.shuffle(kinds)
    return [
        (f"wire {kind} {cell}", partial(case, kind, cell))
        for kind in kinds
        for cell in chance.sample(range(1350), cells)
    ]


# ------------------------------------------------------------------ the scorecard
SCORECARD = Path(__file__).resolve().parents[2] / "docs" / "scorecard.md"
COLUMNS = (
    *("date (UTC)", "commit", "seed", "minutes", "schedules", "cells of 1,350", "on PostgreSQL", "kills"),
    *("requests", "kill points", "disk points", "drills", "wire cases", "violations"),
)
HEAD = f"""# Scorecard of the fault campaign

Every line is the output of one campaign, appended by it. How it works, and how to repeat it:
[campaign.md](campaign.md).

| {" | ".join(COLUMNS)} |
|{" --- |" * len(COLUMNS)}
"""


def commit() -> str:
    """The commit this is, with a plus when the tree differs from it."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    found = subprocess.run(
        [git, "describe", "--always", "--dirty=+"],
        cwd=SCORECARD.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def append_line(score: Score, tallies: dict[str, Tally], *, seed: int, minutes: float, at: str) -> int:
    """Append one campaign to the scorecard; its violations."""
    if not SCORECARD.exists():
        SCORECARD.write_text(HEAD, encoding="utf-8")
    wrong = len(score.failed) + sum(tally.failed for tally in tallies.values())
    cells = (
        time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        at,
        seed,
        f"{minutes:.0f}",
        f"{score.schedules:,}",
        f"{len(score.cells):,}",
        f"{score.on_postgres:,}",
        f"{score.kills:,}",
        f"{score.requests:,}",
        *(tallies[name] for name in ("kill points", "disk points", "drills", "wire cases")),
        wrong,
    )
    with SCORECARD.open("a", encoding="utf-8") as file:
        file.write("| " + " | ".join(map(str, cells)) + " |\n")
    return wrong


def main() -> int:
    # One thread each: the cores are shared out by us.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or time.time()))
    parser.add_argument("--case", default=os.environ.get("CASE") or None)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 60))
    parser.add_argument("--cases", type=int, help="schedules; without, 100,000 an hour")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--told", type=Path, help="schedules only, and their score into this file")
    given = parser.parse_args()
    cases = given.cases or max(1, round(SCHEDULES_AN_HOUR * max(1.0, given.minutes / 60)))
    if given.told is not None:
        os.nice(POLITE)
        score = campaign(given.seed, minutes=given.minutes, cases=cases, workers=given.workers)
        given.told.write_bytes(pickle.dumps(score))
        return 0
    with served_in_memory():
        if given.case is not None:
            return replay(given.seed, given.case)
        return whole(given.seed, minutes=given.minutes, cases=cases, workers=given.workers)


def whole(seed: int, *, minutes: float, cases: int, workers: int) -> int:
    """A campaign, from its first schedule to its line in the scorecard."""
    at, began = commit(), time.monotonic()

    def left() -> float:
        return minutes - (time.monotonic() - began) / 60

    with schedules_beside(seed, minutes=minutes, cases=cases, workers=workers) as schedules:
        first, later = real_cases(seed)
        tallies = {name: Tally() for name in first}
        for name, few in first.items():
            tallies[name] += try_all(few, minutes=left(), workers=workers + 1)
            print(f"{name}: {tallies[name]} after {minutes - left():.0f} minutes", flush=True)
        score = schedules.score()
    for name, more in later.items():
        tallies[name] += try_all(more, minutes=left(), workers=workers + 1)
    wrong = append_line(score, tallies, seed=seed, minutes=minutes - left(), at=at)
    print(SCORECARD.read_text(encoding="utf-8").splitlines()[-1])
    print(f"{wrong} violations; faults in schedules: {len(score.kinds)} kinds")
    return 1 if wrong else 0


def real_cases(seed: int) -> tuple[dict[str, list[Case]], dict[str, list[Case]]]:
    """Cases with real processes and sockets, by the column they are counted in: what must be, and what may be."""
    from tests.campaign.processes import has_strace

    wire = all_wire_faults(seed, cells=CELLS_EACH)
    enough = ENOUGH_WIRE_FAULTS * CELLS_EACH
    if not has_strace():
        print("strace is missing: NO KILL POINT AND NO DRILL WAS TRIED", flush=True)
        nothing: dict[str, list[Case]] = {"drills": [], "kill points": [], "disk points": []}
        return nothing | {"wire cases": wire[:enough]}, {"wire cases": wire[enough:]}
    kills, disks = all_kills(seed)
    disks = all_disks() + disks
    first = {
        "drills": all_drills(seed, triples=40),
        "kill points": kills,
        "disk points": disks[:ENOUGH_DISKS],
        "wire cases": wire[:enough],
    }
    return first, {"disk points": disks[ENOUGH_DISKS:], "wire cases": wire[enough:]}


def replay(seed: int, case: str) -> int:
    """Live through one case again: a number is a schedule, which is printed; a name is what the campaign printed."""
    from tests.campaign.schedules import schedule

    if case.isdecimal():
        print(json.dumps(schedule(seed, int(case)).expanded(), indent=2))
        wrong = run_case(seed, int(case)).violations
        print(*(wrong or ["every invariant holds"]), sep="\n")
        return 1 if wrong else 0
    kills, disks = all_kills(seed)
    every = dict(
        all_wire_faults(seed, cells=CELLS_EACH) + all_drills(seed, triples=40) + all_disks() + disks + kills
    )
    if case not in every:
        print(f"there is no case {case!r} with seed {seed}")
        return 2
    tally = try_all([(case, every[case])], minutes=10, workers=1)
    print("every invariant holds" if not tally.failed else "see above")
    return 1 if tally.failed else 0
