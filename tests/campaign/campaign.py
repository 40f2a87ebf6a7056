"""Many schedules, on all cores, for as long as asked; or one of them again, in full."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


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
    except Exception:  # noqa: BLE001
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
                print(f"SEED={result.seed} CASE={result.case}", *result.violations[:3], sep="\n    ", flush=True)
            if time.monotonic() - began > minutes * 60:
                pool.terminate()
                break
    return score


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1))
    parser.add_argument("--case", type=int, default=int(os.environ["CASE"]) if os.environ.get("CASE") else None)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 60))
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.case is not None:
        from tests.campaign.schedules import schedule

        print(json.dumps(schedule(given.seed, given.case).expanded(), indent=2))
        result = run_case(given.seed, given.case)
        print(*(result.violations or ["every invariant holds"]), sep="\n")
        return 1 if result.violations else 0
    began = time.monotonic()
    score = campaign(given.seed, minutes=given.minutes, cases=given.cases, workers=given.workers)
    minutes = (time.monotonic() - began) / 60
    print(f"{score.schedules} schedules in {minutes:.1f} min, {len(score.cells)} cells, {score.kills} kills, "
          f"{score.requests} requests, {len(score.failed)} schedules with violations, doubles {score.doubles}")
    return 1 if score.failed else 0




