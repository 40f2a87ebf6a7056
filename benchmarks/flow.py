"""What Prefect adds to a run: the command and the flow, on the same export, against the same servers, in turn.

    python -m benchmarks.flow --rows 1000000 --rounds 3 --json benchmarks/flow.json

Both sides start cold, with an empty ledger, as a scheduled run does; imports count. The Prefect server runs before and
after. Bar: the flow takes at most 5 % and 10 s more than the command.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.doors import environ, write_job
from benchmarks.processes import Cost, alternating, as_json, echo_server, machine, medians, said

SHARE, SECONDS = 0.05, 10.0


def command(export: str, profile: str) -> dict[str, Any]:
    """`meterfeed sync` as a process runs it."""
    import contextlib
    import io

    from flows.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(["sync", export, "--profile", profile, "--json"])
    document = json.loads(said.getvalue())
    return {"exit_code": document["exit_code"], "records": document["records"]["location"]["created"]}


def flow(export: str, profile: str) -> dict[str, Any]:
    """The sync flow as a work pool's process runs it."""
    import asyncio

    from flows.sync_flow import sync

    state = asyncio.run(sync(exports=[export], profiles=[profile], return_state=True))  # type: ignore[call-overload]
    return {"state": state.name}


SIDES = {"command": command, "flow": flow}


def prefect_server(home: Path) -> Any:
    """A running Prefect server on this machine, as tests use it."""
    from tests.integration.prefect_server import running_server

    home.mkdir()
    return running_server(home)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--export")
    parser.add_argument("--profile")
    asked = parser.parse_args()
    if asked.side:
        with tempfile.TemporaryDirectory() as data:
            os.environ["METERFEED_DATA_DIR"] = data
            out = os.dup(1)
            os.dup2(2, 1)  # what Prefect prints is not the answer
            found = SIDES[asked.side](asked.export, asked.profile)
            os.write(out, json.dumps(found).encode())
        return
    with (
        tempfile.TemporaryDirectory() as name,
        echo_server() as port,
        prefect_server(Path(name) / "prefect") as server,
    ):
        export, profile = write_job(Path(name), asked.rows)
        os.environ.update(environ(port), PREFECT_API_URL=server.url, PREFECT_HOME=str(server.home))
        costs = alternating(
            "benchmarks.flow", list(SIDES), {"export": export, "profile": profile}, asked.rounds
        )
    report(costs, asked)


def report(costs: dict[str, list[Cost]], asked: argparse.Namespace) -> None:
    plain, shell = medians(costs["command"]), medians(costs["flow"])
    added = shell.wall - plain.wall
    allowed = SHARE * plain.wall + SECONDS
    print(f"command {plain.wall:8.2f} s   cpu {plain.cpu:8.2f} s")
    print(f"flow    {shell.wall:8.2f} s   cpu {shell.cpu:8.2f} s")
    print(f"added   {added:8.2f} s   allowed {allowed:.2f} s: {said(added <= allowed)}")
    if asked.json:
        document = {"machine": machine(), "rows": asked.rows, "sides": as_json(costs), "added": added}
        asked.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
