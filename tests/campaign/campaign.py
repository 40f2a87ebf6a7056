"""Everything there is to try, on all cores, for as long as asked; or one case of it again, in full."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign.postgres import SETTING, served_in_memory

SIMULATED = 0.55
"""Share of the time for schedules; the rest is for real processes and sockets."""

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
    return run_case(*arguments)


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


# ------------------------------------------------------------------ real processes and sockets
@dataclass
class Tally:
    """Cases of one kind: tried, of how many there are, and those that showed something wrong."""

    tried: int = 0
    there_are: int = 0
    failed: int = 0

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
    """Every fault of the wire on real sockets, each in so many cells."""
    from sandbox.wire import WIRE_FAULTS
    from tests.campaign.processes import hears_wrongly

    def case(kind: str, cell: int, place: Path) -> object:
        if not hears_wrongly(place, kind, cell, seed=seed):
            raise AssertionError(f"{kind} was never played in cell {cell}")
        return None

    chance = random.Random(f"wire/{seed}")
    found = [
        (f"wire {kind} {cell}", partial(case, kind, cell))
        for kind in sorted(WIRE_FAULTS)
        for cell in chance.sample(range(1350), cells)
    ]
    chance.shuffle(found)
    return found


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
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    with served_in_memory():
        if given.case is not None:
            return replay(given.seed, given.case)
        return whole(given.seed, minutes=given.minutes, cases=given.cases, workers=given.workers)


def whole(seed: int, *, minutes: float, cases: int, workers: int) -> int:
    """A campaign, from its first schedule to its line in the scorecard."""
    from tests.campaign.processes import has_strace

    at, began = commit(), time.monotonic()

    def left(share: float) -> float:
        return (minutes - (time.monotonic() - began) / 60) * share

    tallies = {"kill points": Tally(), "disk points": Tally(), "drills": Tally()}
    score = campaign(seed, minutes=minutes * SIMULATED, cases=cases, workers=workers)
    tallies["wire cases"] = try_all(all_wire_faults(seed, cells=3), minutes=left(0.25), workers=workers * 2)
    if has_strace():
        kills, disks = all_kills(seed)
        tallies["drills"] = try_all(all_drills(seed, triples=40), minutes=left(0.2), workers=workers + 1)
        disks = all_disks() + disks
        few = try_all(disks[:100], minutes=left(0.2), workers=workers + 1)
        tallies["kill points"] = try_all(kills, minutes=left(1.0), workers=workers + 1)
        more = try_all(disks[100:], minutes=left(1.0), workers=workers + 1)
        tallies["disk points"] = Tally(few.tried + more.tried, len(disks), few.failed + more.failed)
    else:
        print("strace is missing: NO KILL POINT AND NO DRILL WAS TRIED", flush=True)
    wrong = append_line(score, tallies, seed=seed, minutes=(time.monotonic() - began) / 60, at=at)
    print(SCORECARD.read_text(encoding="utf-8").splitlines()[-1])
    print(f"{wrong} violations; faults in schedules: {len(score.kinds)} kinds")
    return 1 if wrong else 0


def replay(seed: int, case: str) -> int:
    """Live through one case again: a number is a schedule, which is printed; a name is what the campaign printed."""
    from tests.campaign.schedules import schedule

    if case.isdecimal():
        print(json.dumps(schedule(seed, int(case)).expanded(), indent=2))
        wrong = run_case(seed, int(case)).violations
        print(*(wrong or ["every invariant holds"]), sep="\n")
        return 1 if wrong else 0
    kills, disks = all_kills(seed)
    every = dict(all_wire_faults(seed, cells=3) + all_drills(seed, triples=40) + all_disks() + disks + kills)
    if case not in every:
        print(f"there is no case {case!r} with seed {seed}")
        return 2
    tally = try_all([(case, every[case])], minutes=10, workers=1)
    print("every invariant holds" if not tally.failed else "see above")
    return 1 if tally.failed else 0
