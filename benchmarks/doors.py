"""What commands and flows are started with in benchmarks: an export, a profile, settings that reach an echo server."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.customers import PROFILE, write_export

METERFEED = "from flows.cli import main; main()"


def write_job(folder: Path, rows: int) -> tuple[str, str]:
    """Write an export of so many rows and its profile; their paths."""
    export, profile = folder / f"customers-{rows}.csv", folder / "benchmark.toml"
    write_export(export, rows)
    profile.write_text(PROFILE.replace('ids = "as-is"', 'ids = "hmac"'), encoding="utf-8")
    return str(export), str(profile)


def environ(port: int, **settings: object) -> dict[str, str]:
    """The environment of a process; settings by their names in lower case, `prefect_…` as they are."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("METERFEED_", "PREFECT_"))
    }
    ours = {
        "base_url": f"http://127.0.0.1:{port}/energy-coordination/v1",
        "token_url": f"http://127.0.0.1:{port}/token",
        "client_id": "benchmark",
        "client_secret": "benchmark",
        "id_key": "an id key for benchmarks, long enough",
        "settle": "0.2",
    }
    given = {
        name if name.startswith("prefect_") else f"meterfeed_{name}": str(value)
        for name, value in {**ours, **settings}.items()
    }
    return kept | {name.upper(): value for name, value in given.items()}
