"""Run sides in processes of their own and say what each cost.

Linux carries the peak memory of a process over to the program it becomes, so a side that is started from a large
process counts that one, too. So nothing here imports more than the standard library, and what sides share is made in
a process of its own, like a side.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

Found = dict[str, Any]
"""What a side prints: `sent`, `seconds` from the file on disk to the last answer, and what it likes to add."""
Side = Callable[[Path, int, Path], Found]
"""`(records, port, work)`: sends the records of a file to a server, with a folder to write to."""

_WRITE: Final = "write"
"""The side that makes the file of records."""


@dataclass(frozen=True)
class Cost:
    """Of one side, in one round: wall and CPU seconds (user and system), peak memory in MB, what it found."""

    wall: float
    cpu: float
    peak_mb: float
    found: Mapping[str, Any]


def in_own_process(module: str, side: str, arguments: Mapping[str, object]) -> Cost:
    """`python -m module --side side …`; the side prints one JSON object.

    Imports count: a side's process starts cold, as a scheduled run does.
    """
    words = [f"--{name}={value}" for name, value in arguments.items()]
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", module, f"--side={side}", *words],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)],
        )
        _, status, usage = os.wait4(child, 0)
        wall = time.perf_counter() - began
        out.seek(0)
        text = out.read().decode()
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"side {side} failed")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(text or "{}"))


def alternating(
    module: str, sides: Sequence[str], arguments: Mapping[str, object], rounds: int
) -> dict[str, list[Cost]]:
    """Every side once per round, in turn, so that a slow minute of the machine meets them all."""
    costs: dict[str, list[Cost]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            cost = in_own_process(module, side, arguments)
            costs[side].append(cost)
            print(
                f"round {number + 1}: {side:<14} {cost.wall:7.2f} s  cpu {cost.cpu:7.2f} s  {cost.peak_mb:6.0f} MB",
                file=sys.stderr,
            )
    return costs


def medians(costs: Sequence[Cost]) -> Cost:
    """The median of each figure; what was found is that of the first round."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        statistics.median(cost.peak_mb for cost in costs),
        costs[0].found,
    )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor()
    if (information := Path("/proc/cpuinfo")).exists():
        lines = information.read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}


def as_json(costs: Mapping[str, Sequence[Cost]]) -> dict[str, Any]:
    """Medians and rounds of every side."""
    return {
        side: {"median": asdict(medians(rounds)), "rounds": [asdict(cost) for cost in rounds]}
        for side, rounds in costs.items()
    }


def said(met: bool) -> str:
    """A bar that is missed is said to be."""
    return "met" if met else "MISSED"


@contextmanager
def echo_server(latency: float = 0.0) -> Iterator[int]:
    """The bare server in a process of its own; yields its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo_server", str(latency)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


# ------------------------------------------------------------------ sides that send
@dataclass(frozen=True)
class Sending:
    """A benchmark whose sides send the same records to the same server.

    Attributes:
        module: where it is, so that sides can be started: `benchmarks.…`.
        unit: what is sent, as the option that says how many is called.
        count: how many, if nobody says.
        write: `(path, count)` makes the file of records.
    """

    module: str
    text: str
    unit: str
    count: int
    write: Callable[[Path, int], None]
    sides: Mapping[str, Side]

    def run(self, report: Callable[[Mapping[str, float], int], Mapping[str, Any]]) -> None:
        """The program: all sides in turn, or the one that was asked for.

        Args:
            report: given median seconds of every side and the count, prints bars and returns what goes into the file.
        """
        asked = self._asked()
        if asked.side == _WRITE:
            self.write(asked.records, asked.count)
        elif asked.side:
            with tempfile.TemporaryDirectory() as work:
                print(json.dumps(self.sides[asked.side](asked.records, asked.port, Path(work))))
        else:
            self._compare(asked, report)

    def _asked(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            description=self.text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument(f"--{self.unit}", dest="count", type=int, default=self.count)
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--json", type=Path)
        parser.add_argument("--side", choices=[*self.sides, _WRITE], help=argparse.SUPPRESS)
        parser.add_argument("--records", type=Path, help=argparse.SUPPRESS)
        parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
        return parser.parse_args()

    def _compare(
        self,
        asked: argparse.Namespace,
        report: Callable[[Mapping[str, float], int], Mapping[str, Any]],
    ) -> None:
        with tempfile.TemporaryDirectory() as folder, echo_server() as port:
            records = Path(folder) / "records.parquet"
            in_own_process(self.module, _WRITE, {"records": records, self.unit: asked.count})
            arguments = {"records": records, "port": port}
            costs = alternating(self.module, list(self.sides), arguments, asked.rounds)
        seconds = {
            side: statistics.median(cost.found["seconds"] for cost in rounds)
            for side, rounds in costs.items()
        }
        for side, rounds in costs.items():
            [sent] = {cost.found["sent"] for cost in rounds}
            middle = medians(rounds)
            print(
                f"{side:<10} {seconds[side]:8.2f} s  {sent / seconds[side]:10,.0f} {self.unit}/s  "
                f"cpu {middle.cpu:6.2f} s  {middle.peak_mb:6.0f} MB"
            )
        found = {self.unit: asked.count, "seconds": seconds, **report(seconds, asked.count)}
        if asked.json:
            document = {**found, "machine": machine(), "sides": as_json(costs)}
            asked.json.write_text(json.dumps(document, indent=2) + "\n")
