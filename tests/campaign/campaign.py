"""Everything there is to try, on all cores, for as long as asked; or one case of it again, in full."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign.postgres import SETTING, served_in_memory

SCHEDULES_AN_HOUR = 100_000
"""As many are wanted; they take what real processes, which are fewer and wait much, leave of the cores."""

SCHEDULES_TELL_SECONDS = 600.0
"""How often schedules say how far they are."""

POLITE = 10
"""How far schedules step back behind real processes, whose clocks do not wait (nice)."""

ENOUGH_COMMANDS, ENOUGH_DISKS, ENOUGH_WIRE_FAULTS, CELLS_EACH = 100, 150, 80, 3
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
    """Faults that were played, each once: what the request log says, not what was planned."""
    kills: int = 0
    requests: int = 0
    doubles: int = 0
    seconds: float = 0.0
    on_postgres: bool = False


def command(
    seed: int, *, minutes: float | None = None, case: object = None, schedules_only: bool = False
) -> str:
    """What to type to have a campaign, or one case of it, again."""
    if case is None:
        return f"make campaign SEED={seed} MINUTES={minutes:g}" + " ONLY=schedules" * schedules_only
    return f"make campaign SEED={seed} CASE={shlex.quote(str(case))}"


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
    result = Result(seed, case, one.cell, [], [])
    try:
        database = empty_database() if case % ON_POSTGRES == ON_POSTGRES // 2 else None
        result.on_postgres = database is not None
        evidence = simulate(one, place, database)
        result.violations = violations(evidence)
        result.kills = sum(life.killed for life in evidence.lives)
        result.kinds = sorted({line["fault"] for line in evidence.requests if line["fault"]})
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
    kinds: dict[str, set[int]] = field(default_factory=dict)
    """Faults that were played, each with the cells in which it was."""
    failed: list[Result] = field(default_factory=list)
    is_known: bool = True
    """False where the process of the schedules ended without saying what it came to: then nothing above is true."""

    def add(self, result: Result) -> None:
        self.schedules += 1
        self.on_postgres += result.on_postgres
        self.kills += result.kills
        self.requests += result.requests
        self.doubles += result.doubles
        self.cells.add(result.cell)
        for kind in result.kinds:
            self.kinds.setdefault(kind, set()).add(result.cell)
        if result.violations:
            self.failed.append(result)

    def told(self) -> str:
        """How far it is."""
        return f"{self.schedules:,}, {len(self.cells):,} cells, {len(self.failed)} violations"


def _warm_up() -> None:
    """What a worker does once: Ctrl-C is for its parent, and what is loaded by now stays."""
    from tests.campaign.quick import settle_down

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run_case(0, 0)
    settle_down()


def campaign(
    seed: int, *, minutes: float, cases: int, workers: int, stop: threading.Event, show: int = 20
) -> Score:
    """Seeded schedules, one after the other on every worker, until they are done, time is up or `stop` is set."""
    score, began, told = Score(), time.monotonic(), 0
    next_word = began + SCHEDULES_TELL_SECONDS
    with multiprocessing.get_context("forkserver").Pool(workers, _warm_up, maxtasksperchild=500) as pool:
        wanted = ((seed, case) for case in range(cases))
        for result in pool.imap_unordered(_run_case, wanted, chunksize=10):
            score.add(result)
            if result.violations and told < show:
                told += 1
                print(command(seed, case=result.case), *result.violations[:3], sep="\n    ", flush=True)
            now = time.monotonic()
            if now > next_word:
                next_word = now + SCHEDULES_TELL_SECONDS
                print(f"schedules: {score.told()} after {(now - began) / 60:.0f} minutes", flush=True)
            if stop.is_set() or now - began > minutes * 60:
                pool.terminate()
                break
    return score


class Beside:
    """A campaign of schedules in a process of its own, while this one looks after real processes."""

    def __init__(self, process: subprocess.Popen[bytes], told: Path) -> None:
        self._process = process
        self._told = told

    def score(self, *, at_once: bool = False) -> Score:
        """Wait for its end, or have it end at once; what it came to."""
        if at_once:
            self._process.terminate()
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
        started = [sys.executable, "-m", "tests.campaign", *(f"--{name}={asked[name]}" for name in asked)]
        with subprocess.Popen(started, cwd=SCORECARD.parents[1]) as process:
            try:
                yield Beside(process, told)
            finally:
                process.terminate()


# ------------------------------------------------------------------ real processes and sockets
@dataclass
class Tally:
    """Cases of one kind: how many there are and were tried, and in how many of them what they are about happened."""

    there_are: int = 0
    tried: int = 0
    met: int = 0
    failed: int = 0

    def __str__(self) -> str:
        if self.met == self.there_are:
            return f"{self.met:,}"
        if self.met == self.tried:
            return f"{self.met:,} of {self.there_are:,}"
        tried = "" if self.tried == self.there_are else f"{self.tried:,} tried of "
        return f"{self.met:,} met of {tried}{self.there_are:,}"


Case = tuple[str, Callable[[Path], bool]]
"""A name, under which it can be run again, and what runs it in a folder and says whether it came to its point."""

CHANCES = 4
"""No two runs are alike to the last call: a case that did not come to its point is tried again, so often in all."""


def try_all(cases: list[Case], tally: Tally, *, seed: int, minutes: float, workers: int) -> None:
    """Run cases side by side, in order, until the time is up; what is wrong is printed, with how to repeat it."""
    end, one_at_a_time = time.monotonic() + minutes * 60, threading.Lock()

    def one(case: Case) -> None:
        if time.monotonic() > end:
            return
        met, wrong = _tried(case)
        with one_at_a_time:
            tally.tried += 1
            tally.met += met or bool(wrong)
            tally.failed += bool(wrong)
            if wrong:
                print(command(seed, case=case[0]), wrong, sep="\n    ", flush=True)
            elif not met:
                print(f"{case[0]}: never came to its point", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(one, cases):
                pass
        except BaseException:  # Ctrl-C: what is under way ends by itself
            pool.shutdown(cancel_futures=True)
            raise


def _tried(case: Case) -> tuple[bool, str]:
    """Whether a case came to its point, and what was wrong."""
    for _ in range(CHANCES):
        place = folder()
        try:
            if case[1](place / "case"):
                return True, ""
        except Exception:
            return False, traceback.format_exc()[-1200:]
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return False, ""


SHORT = re.compile(r"frozen \d+ (held|stolen)|together|machines|(file|disk) \d+")
WIRE = re.compile(r"\S+ \d+")


def case_named(name: str, seed: int) -> Case:
    """The case with real processes of that name.

    Raises:
        ValueError: no case is called so.
    """
    from tests.campaign.processes import Point

    kind, _, rest = name.partition(" ")
    if kind == "wire" and WIRE.fullmatch(rest):
        fault, cell = rest.split()
        return name, partial(_hears_wrongly, fault, int(cell), seed)
    if kind == "command":
        return name, partial(_commanded, name, seed)
    lived = rest if kind == "postgres" else name
    if not SHORT.fullmatch(lived):
        for one in lived.removeprefix("restored ").removeprefix("nested ").split(" then "):
            Point.named(one)
    return (
        (name, partial(_on_postgres, lived)) if kind == "postgres" else (name, partial(_lived, lived, None))
    )


def _lived(name: str, ledger: str | None, place: Path) -> bool:
    from tests.campaign import processes as real

    kind, _, rest = name.partition(" ")
    match kind:
        case "frozen":
            after, lock = rest.split()
            other, frozen = real.is_frozen(place, after=int(after), lock=lock, ledger=ledger)
            # Overtaken, the frozen run must have noticed: otherwise it was through before it froze.
            return other == 14 if lock == "held" else frozen not in (0, 10)
        case "together":
            return 14 in real.start_together(place, ledger=ledger)
        case "machines":
            return real.two_machines(place)
        case "restored":
            return real.is_restored(place, at=real.Point.named(rest), ledger=ledger)
        case "file":
            return real.file_cannot_grow_beyond(place, int(rest))
        case "disk":
            return real.disk_is_as_large_as(place, int(rest))
    at = [real.Point.named(one) for one in name.removeprefix("nested ").split(" then ")]
    return None not in real.dies_or_fails_at(place, *at, ledger=ledger)


def _on_postgres(name: str, place: Path) -> bool:
    from tests.campaign.postgres import own_database

    with own_database() as url:
        return _lived(name, url, place)


def _hears_wrongly(kind: str, cell: int, seed: int, place: Path) -> bool:
    from tests.campaign.processes import hears_wrongly

    return hears_wrongly(place, kind, cell, seed=seed) > 0


def _commanded(name: str, seed: int, place: Path) -> bool:
    from tests.campaign.commands import all_commands

    return dict(all_commands(seed))[name](place)


@dataclass
class Reference:
    """What the reference delivery does: its calls, in order, and those of any delivery that recovers from a kill."""

    calls: list[Any]
    recovering: list[Any]

    @classmethod
    def counted(cls, ledger: Callable[[], AbstractContextManager[str | None]]) -> Reference:
        """Run it and write down its calls: three times, as two commits are sometimes one, and the longest counts.

        Of deliveries that recover, those count that both make: one after an early kill, and one after a late one.
        """
        from dataclasses import replace

        from tests.campaign.processes import calls_of

        place = folder()
        try:
            runs = []
            for n in range(3):
                with ledger() as url:
                    runs.append(calls_of(place / str(n), url))
            calls = max(runs, key=len)
            then = []
            for share in (4, 2):
                with ledger() as url:
                    died = replace(calls[len(calls) // share], beside=0)
                    then.append(
                        [replace(one, beside=0) for one in calls_of(place / f"then{share}", url, after=died)]
                    )
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return cls(calls, [one for one in then[0] if one in set(then[1])])

    def threads(self) -> str:
        """How many calls of each kind each thread makes."""
        found = Counter(f"{one.thread} {one.call}" for one in self.calls)
        return ", ".join(f"{name} {n}" for name, n in sorted(found.items()))


def all_kills(seed: int, reference: Reference) -> tuple[list[str], list[str]]:
    """Every call of the reference delivery at which it can be killed, and every one at which its disk can fail."""
    from tests.campaign.processes import points

    every = points(reference.calls)
    random.Random(f"points/{seed}").shuffle(every)
    return [str(one) for one in every if one.error is None], [str(one) for one in every if one.error]


FILES, DISKS = 20, 8


def all_disks() -> list[str]:
    """Disks and files of several sizes, all of them too small."""
    from tests.campaign.processes import can_mount, largest_sizes

    place = folder()
    try:
        file, every = largest_sizes(place / "sizes")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    found = [f"file {file * n // (FILES + 1)}" for n in range(1, FILES + 1)]
    if can_mount():
        return found + [f"disk {every * n // (DISKS + 1) // 1024}" for n in range(1, DISKS + 1)]
    print("no tmpfs can be mounted here: NO SMALL DISK WAS TRIED", flush=True)
    return found


def all_drills(seed: int, reference: Reference, *, triples: int) -> list[str]:
    """Frozen, doubled, restored and killed three times in a row."""
    chance = random.Random(f"drills/{seed}")
    found = [f"frozen {after} {lock}" for after in (1, 3, 6, 9) for lock in ("held", "stolen")]
    found += ["together", "machines"]
    found += [f"restored {_kill(chance, reference.calls)}" for _ in range(12)]
    found += [_triple(chance, reference) for _ in range(triples)]
    chance.shuffle(found)
    return found


def all_drills_on_postgres(seed: int, reference: Reference) -> list[str]:
    """The same, fewer, with the ledger in PostgreSQL; and kills at every kind of call there, from first to last."""
    chance = random.Random(f"drills on postgres/{seed}")
    found = [f"frozen {after} {lock}" for after in (3, 6) for lock in ("held", "stolen")] + ["together"]
    found += [f"restored {_kill(chance, reference.calls)}" for _ in range(4)]
    found += [_triple(chance, reference) for _ in range(8)]
    for kind in sorted({(one.thread, one.call) for one in reference.calls}):
        alike = [one for one in reference.calls if (one.thread, one.call) == kind]
        found += [_kill(chance, [one]) for one in spread(alike, 16)]
    chance.shuffle(found)
    return [f"postgres {name}" for name in found]


def spread(alike: list[Any], most: int) -> list[Any]:
    """So many of them at most, evenly, the first and the last among them."""
    few = min(most, len(alike))
    return [alike[round(n * (len(alike) - 1) / max(1, few - 1))] for n in range(few)]


def _kill(chance: random.Random, calls: list[Any]) -> str:
    """A kill at one of these calls, every kind of call as likely as another."""
    kinds = sorted({(one.thread, one.call) for one in calls})
    thread, call = chance.choice(kinds)
    return f"{thread} {call} {chance.choice([one.n for one in calls if (one.thread, one.call) == (thread, call)])}"


def _triple(chance: random.Random, reference: Reference) -> str:
    """Three kills: in the first half of a delivery, and in the first halves of the two that recover from it."""
    halves = [
        calls[: len(calls) // 2] for calls in (reference.calls, reference.recovering, reference.recovering)
    ]
    return "nested " + " then ".join(_kill(chance, half) for half in halves)


def all_wire_faults(seed: int, *, cells: int) -> list[str]:
    """Every fault of the wire on real sockets, each in so many cells, one fault after the other."""
    from sandbox.wire import WIRE_FAULTS

    chance = random.Random(f"wire/{seed}")
    kinds = sorted(WIRE_FAULTS)
    chance.shuffle(kinds)
    return [f"wire {kind} {cell}" for kind in kinds for cell in chance.sample(range(1350), cells)]


# ------------------------------------------------------------------ the scorecard
SCORECARD = Path(__file__).resolve().parents[2] / "docs" / "scorecard.md"
REAL = ("kill points", "command points", "disk points", "drills", "wire cases")
COLUMNS = (
    *("date (UTC)", "commit", "seed", "minutes", "schedules", "cells of 1,350", "on PostgreSQL", "kills"),
    *("requests", *REAL, "made twice where the cell allows it", "violations", "command"),
)
HEAD = f"""# Scorecard of the fault campaign

Every line is the output of one campaign, appended by it. How it works, and how to repeat it:
[campaign.md](campaign.md).

| {" | ".join(COLUMNS)} |
|{" --- |" * len(COLUMNS)}
"""


NOT_KNOWN = "not known"
"""What a line says of schedules whose figures were lost: never 0."""


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


def append_line(
    score: Score, tallies: dict[str, Tally], *, typed: str, seed: int, minutes: float, at: str, stopped: str
) -> int:
    """Append one campaign to the scorecard, also one that was stopped, and by what; its violations."""
    if not SCORECARD.exists():
        SCORECARD.write_text(HEAD, encoding="utf-8")
    wrong = len(score.failed) + sum(tally.failed for tally in tallies.values())

    def counted(number: int) -> str:
        return f"{number:,}" if score.is_known else NOT_KNOWN

    cells = (
        time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        at,
        seed,
        f"{minutes:.0f}" + (f" ({stopped})" if stopped else ""),
        counted(score.schedules),
        counted(len(score.cells)),
        counted(score.on_postgres),
        counted(score.kills),
        counted(score.requests),
        *(tallies.get(name, "-") for name in REAL),
        counted(score.doubles),
        wrong if score.is_known else f"{wrong}, those of schedules {NOT_KNOWN}",
        f"`{typed}`",
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
    parser.add_argument(
        "--only",
        choices=["schedules"],
        default=os.environ.get("ONLY") or None,
        help="leave out real processes and sockets, which take the cores from the schedules",
    )
    given = parser.parse_args()
    cases = given.cases or max(1, round(SCHEDULES_AN_HOUR * max(1.0, given.minutes / 60)))
    if given.told is not None:
        os.nice(POLITE)
        score = campaign(
            given.seed, minutes=given.minutes, cases=cases, workers=given.workers, stop=told_to_stop()
        )
        given.told.write_bytes(pickle.dumps(score))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended like that, it has its line as well
    with served_in_memory():
        if given.case is not None:
            return replay(given.seed, given.case)
        return whole(
            given.seed,
            minutes=given.minutes,
            cases=cases,
            workers=given.workers,
            schedules_only=given.only == "schedules",
        )


def told_to_stop() -> threading.Event:
    """Set once this process is interrupted or told to end: what it found so far is not to be lost."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    return told


def whole(seed: int, *, minutes: float, cases: int, workers: int, schedules_only: bool = False) -> int:
    """A campaign, from its first schedule to its line in the scorecard, which it gets however it ends."""
    at, began, stopped = commit(), time.monotonic(), ""
    score, tallies = Score(is_known=False), {} if schedules_only else {name: Tally() for name in REAL}
    typed = command(seed, minutes=minutes, schedules_only=schedules_only)
    print(typed, flush=True)

    def left() -> float:
        return minutes - (time.monotonic() - began) / 60

    def try_each(cases_of: dict[str, list[Case]]) -> None:
        for name, some in cases_of.items():
            try_all(some, tallies[name], seed=seed, minutes=left(), workers=workers + 1)
            print(f"{name}: {tallies[name]} after {minutes - left():.0f} minutes", flush=True)

    try:
        with schedules_beside(seed, minutes=minutes, cases=cases, workers=workers) as schedules:
            try:
                first, later = ({}, {}) if schedules_only else real_cases(seed)
                for name in tallies:
                    tallies[name].there_are = len(first.get(name, [])) + len(later.get(name, []))
                try_each(first)
                score = schedules.score()
            except BaseException:
                with suppress(RuntimeError):  # interrupted before it had begun
                    score = schedules.score(at_once=True)
                raise
        try_each(later)
    except KeyboardInterrupt:
        stopped = "interrupted"
    except BaseException as error:
        stopped = f"broken off: {type(error).__name__}"
        raise
    finally:
        spent = minutes - left()
        wrong = append_line(score, tallies, typed=typed, seed=seed, minutes=spent, at=at, stopped=stopped)
        print(SCORECARD.read_text(encoding="utf-8").splitlines()[-1])
    kinds = len(score.kinds) if score.is_known else NOT_KNOWN
    print(f"{wrong} violations; faults in schedules: {kinds} kinds; {typed}")
    return 130 if stopped else 1 if wrong else 0


def real_cases(seed: int) -> tuple[dict[str, list[Case]], dict[str, list[Case]]]:
    """Cases with real processes and sockets, by the column they are counted in: what must be, and what may be."""
    from tests.campaign.commands import all_commands
    from tests.campaign.postgres import own_database
    from tests.campaign.processes import has_strace

    wire = all_wire_faults(seed, cells=CELLS_EACH)
    enough = ENOUGH_WIRE_FAULTS * CELLS_EACH
    first, later = {"wire cases": wire[:enough]}, {"wire cases": wire[enough:]}
    whole_commands: list[Case] = []
    if has_strace():
        whole_commands = all_commands(seed)
        reference = Reference.counted(nullcontext)
        print(f"calls of the reference delivery: {reference.threads()}", flush=True)
        kills, disks = all_kills(seed, reference)
        disks = all_disks() + disks
        drills = all_drills(seed, reference, triples=40)
        if os.environ.get(SETTING):
            reference = Reference.counted(own_database)
            print(f"with the ledger in PostgreSQL: {reference.threads()}", flush=True)
            drills += all_drills_on_postgres(seed, reference)
        first = {"drills": drills, "kill points": kills, "disk points": disks[:ENOUGH_DISKS]} | first
        later = {"disk points": disks[ENOUGH_DISKS:]} | later
    else:
        print("strace is missing: NO KILL POINT AND NO DRILL WAS TRIED", flush=True)

    def cases(names: dict[str, list[str]]) -> dict[str, list[Case]]:
        return {column: [case_named(name, seed) for name in some] for column, some in names.items()}

    few, more = whole_commands[:ENOUGH_COMMANDS], whole_commands[ENOUGH_COMMANDS:]
    return cases(first) | {"command points": few}, {"command points": more} | cases(later)


def replay(seed: int, case: str) -> int:
    """Live through one case again: a number is a schedule, which is printed; a name is what the campaign printed."""
    from tests.campaign.schedules import schedule

    if case.isdecimal():
        print(json.dumps(schedule(seed, int(case)).expanded(), indent=2))
        wrong = run_case(seed, int(case)).violations
        print(*(wrong or ["every invariant holds"]), sep="\n")
        return 1 if wrong else 0
    try:
        named = case_named(case, seed)
    except ValueError as error:
        print(error)
        return 2
    tally = Tally(there_are=1)
    try_all([named], tally, seed=seed, minutes=10, workers=1)
    print("every invariant holds" if not tally.failed else "see above")
    return 1 if tally.failed else 0
