"""Many schedules, on all cores, for as long as asked; or one of them again, in full."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SIMULATED = 0.6
"""Share of the time for schedules; the rest is for real processes."""


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


def folder() -> Path:
    """Where ledgers live for a moment: in memory where there is such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="campaign-", dir=memory if os.access(memory, os.W_OK) else None))


def run_case(seed: int, case: int) -> Result:
    """Live through one schedule and judge it."""
    from tests.campaign.checker import doubles, violations
    from tests.campaign.schedules import schedule
    from tests.campaign.simulator import simulate

    one = schedule(seed, case)
    place, began = folder(), time.perf_counter()
    result = Result(seed, case, one.cell, [], [fault["kind"] for fault in one.faults])
    try:
        evidence = simulate(one, place)
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
    kills: int = 0
    requests: int = 0
    doubles: int = 0
    cells: set[int] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.schedules += 1
        self.kills += result.kills
        self.requests += result.requests
        self.doubles += result.doubles
        self.cells.add(result.cell)
        self.kinds.update(set(result.kinds))
        if result.violations:
            self.failed.append(result)


def campaign(seed: int, *, minutes: float, cases: int, workers: int, show: int = 20) -> Score:
    score, began, told = Score(), time.monotonic(), 0
    with multiprocessing.get_context("forkserver").Pool(workers, maxtasksperchild=2000) as pool:
        wanted = ((seed, case) for case in range(cases))
        for result in pool.imap_unordered(_run_case, wanted, chunksize=4):
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


# ------------------------------------------------------------------ real processes
@dataclass(frozen=True)
class KillPoint:
    """A system call of the reference delivery at which the process dies or its disk fails."""

    call: str
    n: int
    error: str | None


def all_kill_points(seed: int) -> list[KillPoint]:
    """Every one of them, in an order drawn from the seed."""
    from tests.campaign.test_syscalls import counted

    place = Path(tempfile.mkdtemp(prefix="campaign-"))
    calls = counted(place / "count")
    shutil.rmtree(place, ignore_errors=True)
    points = [KillPoint(call, n, None) for call, times in calls.items() for n in range(1, times + 1)]
    for call, error in (("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync", "EIO")):
        points += [KillPoint(call, n, error) for n in range(1, calls.get(call, 0) + 1)]
    random.Random(f"points/{seed}").shuffle(points)
    return points


def run_kill_point(point: KillPoint) -> tuple[KillPoint, str]:
    """Die or fail there, then start again; what was wrong, or nothing."""
    from tests.campaign.test_syscalls import fails_and_recovers, is_killed_and_recovers

    place = Path(tempfile.mkdtemp(prefix="campaign-"))
    try:
        if point.error is None:
            is_killed_and_recovers(place, point.call, point.n)
        else:
            fails_and_recovers(place, point.call, point.error, point.n)
    except Exception:
        return point, traceback.format_exc()[-800:]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return point, ""


def kill_points(seed: int, *, minutes: float, workers: int) -> tuple[int, int, int]:
    """Kill points tried, all there are, and those after which something was lost or doubled."""
    if shutil.which("strace") is None:
        print("strace is missing: NO KILL POINT WAS TRIED", flush=True)
        return 0, 0, 0
    points, began, tried, failed = all_kill_points(seed), time.monotonic(), 0, 0
    with multiprocessing.get_context("forkserver").Pool(workers) as pool:
        for point, wrong in pool.imap_unordered(run_kill_point, points):
            tried += 1
            if wrong:
                failed += 1
                print(point, wrong, sep="\n    ", flush=True)
            if time.monotonic() - began > minutes * 60:
                pool.terminate()
                break
    return tried, len(points), failed


# ------------------------------------------------------------------ the scorecard
SCORECARD = Path(__file__).resolve().parents[2] / "docs" / "scorecard.md"
HEAD = """# Scorecard of the fault campaign

Every line is the output of one campaign, appended by it. How it works, and how to repeat it:
[campaign.md](campaign.md).
Kills are those inside schedules; kill points are system calls of a real process. A violation is a schedule or kill
point after which at least one invariant did not hold.

| date (UTC) | commit | seed | minutes | schedules | cells of 1,350 | kills | requests | kill points | violations |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
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


def append_line(score: Score, seed: int, minutes: float, points: tuple[int, int, int], *, at: str) -> None:
    """Append one campaign to the scorecard."""
    if not SCORECARD.exists():
        SCORECARD.write_text(HEAD, encoding="utf-8")
    tried, there_are, failed = points
    cells = (
        time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        at,
        seed,
        f"{minutes:.0f}",
        f"{score.schedules:,}",
        f"{len(score.cells):,}",
        f"{score.kills:,}",
        f"{score.requests:,}",
        f"{tried:,} of {there_are:,}",
        len(score.failed) + failed,
    )
    with SCORECARD.open("a", encoding="utf-8") as file:
        file.write("| " + " | ".join(map(str, cells)) + " |\n")


def main() -> int:
    # One thread each: the cores are shared out by us.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or time.time()))
    parser.add_argument(
        "--case", type=int, default=int(os.environ["CASE"]) if os.environ.get("CASE") else None
    )
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 60))
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.case is not None:
        return replay(given.seed, given.case)
    at, began = commit(), time.monotonic()
    score = campaign(given.seed, minutes=given.minutes * SIMULATED, cases=given.cases, workers=given.workers)
    points = kill_points(given.seed, minutes=given.minutes * (1 - SIMULATED), workers=given.workers)
    minutes = (time.monotonic() - began) / 60
    append_line(score, given.seed, minutes, points, at=at)
    print(
        f"{score.schedules:,} schedules, {len(score.cells):,} cells, {score.kills:,} kills, "
        f"{score.requests:,} requests, {points[0]:,} of {points[1]:,} kill points in {minutes:.1f} min; "
        f"{len(score.failed) + points[2]} violations"
    )
    return 1 if score.failed or points[2] else 0


def replay(seed: int, case: int) -> int:
    """Live through one case again, and print its schedule."""
    from tests.campaign.schedules import schedule

    print(json.dumps(schedule(seed, case).expanded(), indent=2))
    result = run_case(seed, case)
    print(*(result.violations or ["every invariant holds"]), sep="\n")
    return 1 if result.violations else 0
