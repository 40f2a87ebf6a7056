"""One run, several workers, over a real PostgreSQL and a real S3 server: what dies is finished by the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

from sandbox.server import Sandbox
from sandbox.tokens import TOKEN_PATH
from tests.integration.conftest import ROOT, settings_for
from tests.integration.test_cli_settle import portfolio, write
from tests.integration.test_exports_s3 import server

__all__ = ["server", "write"]
pytestmark = [pytest.mark.xdist_group("postgres"), pytest.mark.timeout(600)]

SLOW = {"fault": [{"kind": "slow-answer", "on": "batch", "every": 1, "seconds": 0.2}]}
CRAWLING = {"fault": [{"kind": "slow-answer", "on": "batch", "every": 1, "seconds": 2.5}]}
"""Until everybody is at work: nobody comes to an end before."""
METERFEED = """
import pipeline.partition
pipeline.partition.SHARED_PARTITION_ROWS = 50  # eight partitions, where an export this small has one
from flows.cli import main
main()
"""


class Team:
    """Processes that share one ledger and one place for plans."""

    def __init__(self, settings: dict[str, str], folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("METERFEED_")}
        number = str(len(self.processes))
        settings = {**self.settings, "data_dir": str(self.folder / number), **more}
        with (self.folder / f"{number}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", METERFEED, *arguments, "--json"],
                cwd=ROOT,
                env={**clean, **{f"METERFEED_{name.upper()}": value for name, value in settings.items()}},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.processes.append(process)
        return process

    @staticmethod
    def end(process: subprocess.Popen[str]) -> dict[str, Any]:
        out, _ = process.communicate(timeout=280)
        document: dict[str, Any] = json.loads(out)
        return document

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate(timeout=30)

    def held(self) -> list[str]:
        """Who holds a partition at this moment."""
        with psycopg.connect(self.settings["ledger"].replace("+psycopg", "")) as connection:
            return [row[0] for row in connection.execute("SELECT owner FROM claim WHERE owner IS NOT NULL")]

    def is_sending(self, process: subprocess.Popen[str]) -> bool:
        """Whether a request of this worker is under way at this moment, as its partition tells."""
        with psycopg.connect(self.settings["ledger"].replace("+psycopg", "")) as connection:
            query = "SELECT 1 FROM claim JOIN chunk USING (run_seq, lane) WHERE state = 'in_flight' AND owner LIKE %s"
            return connection.execute(query, [f"%:{process.pid}"]).fetchone() is not None


@pytest.fixture
def team(
    postgres: str, server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Team]]:
    bucket = f"plans-{abs(hash(request.node.name)) % 10**8}"
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{bucket}"')
    made: list[Team] = []

    def make(api: Sandbox, **more: str) -> Team:
        settings = {
            **settings_for(api),
            "ledger": postgres.replace("/postgres?", f"/{bucket}?"),
            "shared": f"s3://{bucket}/spools",
            "lease": "4",
            "chunk_size": "10",
            "concurrency": "2",
            **more,
        }
        made.append(Team(settings, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    left = client.list_objects_v2(Bucket=bucket).get("KeyCount")
    client.close()
    assert left == 0  # customers' values stay no longer than they are needed


def until(done: Callable[[], Any], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := done():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"nothing came of it in {seconds} s")


def effects_of(api: Sandbox) -> Counter[str]:
    return Counter(one["effect"] for one in api.effects())


def test_a_worker_killed_mid_partition_loses_nothing_and_nothing_is_created_twice(team, write):
    export = write("a.csv", portfolio(400))
    with Sandbox(0, CRAWLING) as api:
        crew = team(api, rate="40")
        run = crew.start("sync", *export)
        until(lambda: run.poll() is not None or api.effects())
        assert run.poll() is None, crew.end(run)
        doomed, other = crew.start("work", "--wait", "20"), crew.start("work", "--wait", "1")
        until(lambda: crew.is_sending(other))
        until(lambda: crew.is_sending(doomed))
        doomed.send_signal(signal.SIGKILL)
        doomed.wait(timeout=30)
        api.set_faults(SLOW)
        done, helped = crew.end(run), crew.end(other)
        api.settle()
        held = api.state()
        assert (0, 400, 400) == (
            done["exit_code"],
            done["records"]["user"]["created"],
            done["records"]["location"]["created"],
        )
        assert (400, 400) == (len(held["users"]), len(held["locations"]))
        assert {"create": 800} == effects_of(api)
        assert helped["exit_code"] == 0
        assert helped["partitions"] > 0
        asked = [one["time"] for one in api.requests() if one["path"] != TOKEN_PATH]
        assert len(asked) <= 40 * (max(asked) - min(asked) + 1)  # one rate for all three


def test_a_run_killed_in_the_middle_is_finished_by_its_worker_and_settled_by_one_process_alone(team, write):
    """Also: what was begun in partitions is finished in partitions by a process that shares nothing."""
    export = write("a.csv", portfolio(200))
    with Sandbox(0, CRAWLING) as api:
        crew = team(api)
        run = crew.start("sync", *export)
        until(lambda: api.effects() or run.poll() is not None)
        helper = crew.start("work", "--wait", "2")
        until(lambda: crew.is_sending(helper))
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=30)
        before = len(api.requests())
        until(lambda: len(api.requests()) > before + 2)  # it goes on: the offer stands
        assert helper.poll() is None
        helper.send_signal(signal.SIGTERM)
        told = crew.end(helper)
        assert (143, 143) == (told["exit_code"], helper.returncode)
        assert [] == [owner for owner in crew.held() if owner.endswith(f":{helper.pid}")]
        api.set_faults(None)
        api.settle()
        done = crew.end(crew.start("resume", shared="", data_dir=str(crew.folder / "0")))
        created = [done["records"][kind]["created"] for kind in ("user", "location")]
        assert (0, [200, 200]) == (done["exit_code"], created), done
        assert {"create": 400} == effects_of(api)
        again = crew.end(crew.start("sync", *export))
        assert (0, 0) == (again["exit_code"], again["requests"]["sent"])
        crew.start("purge", "--days", "0").wait(timeout=240)


def test_a_plan_says_how_many_requests_a_shared_run_makes(team, write):
    """Each partition begins with a canary and ends with a chunk that is not full."""
    export = write("a.csv", portfolio(400))
    with Sandbox(0) as api:
        crew = team(api)
        plan = crew.end(crew.start("plan", *export))
        done = crew.end(crew.start("sync", *export))
        assert 0 == done["exit_code"]
        assert plan["requests_expected"] == done["requests"]["sent"]
        assert plan["requests_expected"] > 2 * (1 + 40)  # as many as one process would need
