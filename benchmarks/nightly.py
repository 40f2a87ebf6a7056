"""A night in which nothing changed: the second sync of the same rows, against `quality` on the same file.

    python -m benchmarks.nightly --rows 1000000 --rounds 3 --json benchmarks/nightly.json

The portfolio is loaded once. The night's export has the same rows in a file of other bytes, so it is not skipped by
its hash: it is read, judged, folded and compared with the ledger. A file of the same bytes is skipped before
that; it is timed too. Bar: 0 requests that change anything, and at most 1.3 times the time of `quality`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, Final

from benchmarks.doors import METERFEED, environ, write_job
from benchmarks.processes import echo_server, machine, said

BAR: Final = 1.3


def run(*words: str) -> tuple[float, float, dict[str, Any]]:
    """Wall and CPU seconds of a command, and its summary."""
    import sys

    began = time.perf_counter()
    with Popen([sys.executable, "-c", METERFEED, *words, "--json"], stdout=PIPE, stderr=DEVNULL) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, json.loads(said)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, echo_server() as port:
        export, profile = write_job(Path(folder), asked.rows)
        os.environ.update(environ(port, data_dir=Path(folder) / "data"))
        seconds, _, first = run("sync", export, "--profile", profile)
        print(
            f"first sync {seconds:8.2f} s   {first['requests']['sent']} requests, exit {first['exit_code']}"
        )
        costs: dict[str, list[tuple[float, float]]] = {"quality": [], "sync": [], "skipped": []}
        for number in range(asked.rounds):
            _repeat_the_last_row(Path(export), number)
            wall, cpu, _ = run("quality", export, "--profile", profile)
            costs["quality"].append((wall, cpu))
            wall, cpu, second = run("sync", export, "--profile", profile)
            costs["sync"].append((wall, cpu))
            _must_change_nothing(second)
            wall, cpu, third = run("sync", export, "--profile", profile)
            costs["skipped"].append((wall, cpu))
            _must_change_nothing(third)
    medians = {
        side: tuple(statistics.median(figures) for figures in zip(*rounds, strict=True))
        for side, rounds in costs.items()
    }
    for side, (wall, cpu) in medians.items():
        print(f"{side:<10} {wall:8.2f} s   cpu {cpu:8.2f} s")
    ratio = medians["sync"][0] / medians["quality"][0]
    print("requests that change anything: 0 (bar 0: met)")
    print(f"second sync against quality: {ratio:.2f}x (bar {BAR}: {said(ratio <= BAR)})")
    if asked.json:
        document = {"machine": machine(), "rows": asked.rows, "ratio_quality": ratio, "sides": costs}
        asked.json.write_text(json.dumps(document, indent=2) + "\n")


def _repeat_the_last_row(export: Path, number: int) -> None:
    """Other bytes, the same records: the last row once more, a duplicate."""
    with export.open("rb+") as file:
        file.seek(-4096, os.SEEK_END)
        last = file.read().rstrip(b"\r\n").rpartition(b"\n")[2]
        file.seek(0, os.SEEK_END)
        file.write((last + b"\n") * (number + 1))


def _must_change_nothing(summary: dict[str, Any]) -> None:
    if summary["requests"]["sent"] != 0:
        raise SystemExit(f"the second sync sent {summary['requests']['sent']} requests")


if __name__ == "__main__":
    main()
