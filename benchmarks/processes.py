"""Run sides in processes of their own and say what each cost."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


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
