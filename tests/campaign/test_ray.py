"""Partitions as tasks on a Ray cluster, over PostgreSQL and S3, with a worker of it killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sandbox.server import Sandbox
from tests.integration.conftest import ROOT, postgres, prefect
from tests.integration.prefect_server import Server
from tests.integration.test_cli_settle import portfolio, write
from tests.integration.test_exports_s3 import server
from tests.integration.test_sharing import team, until

__all__ = ["postgres", "prefect", "server", "team", "write"]
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(580), pytest.mark.xdist_group("prefect")]
pytest.importorskip("prefect_ray", reason="Ray is an optional extra: pip install 'meterfeed[ray]'")

SLOW = {"fault": [{"kind": "slow-answer", "on": "batch", "every": 1, "seconds": 1.0}]}
FLOW = """
import asyncio, sys
import pipeline.partition
pipeline.partition.SHARED_PARTITION_ROWS = 50  # eight partitions, where an export this small has one
from flows.ray_flow import sync
state = asyncio.run(sync(exports=[sys.argv[1]], profiles=[sys.argv[2]], return_state=True))
print(f"ended as {state.type.value} {state.name}")
"""


def test_a_killed_ray_worker_repeats_only_what_was_under_way(prefect: Server, team, write, tmp_path: Path):
    export, _, profile = write("a.csv", portfolio(400))
    with Sandbox(0, SLOW) as api:
        crew = team(api)
        with (tmp_path / "flow.log").open("w") as log:
            run = subprocess.Popen(
                [sys.executable, "-c", FLOW, export, profile],
                cwd=ROOT,
                env=prefect.environ({**crew.settings, "data_dir": str(tmp_path / "runs")}),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        crew.processes.append(run)

        def of_ray() -> list[int]:
            """Workers that are not the run itself."""
            assert run.poll() is None, (tmp_path / "flow.log").read_text()[-4000:]
            return [pid for owner in crew.held() if (pid := int(owner.rsplit(":", 1)[1])) != run.pid]

        until(lambda: api.effects(), seconds=120)
        [doomed, *_] = until(of_ray, seconds=120)
        os.kill(doomed, signal.SIGKILL)
        said, _ = run.communicate(timeout=300)
        assert "ended as COMPLETED Completed" in said, (tmp_path / "flow.log").read_text()[-4000:]
        api.settle()
        held = api.state()
        assert (400, 400) == (len(held["users"]), len(held["locations"]))
        assert {"create": 800} == Counter(one["effect"] for one in api.effects())
    tasks = prefect.ask("/task_runs/filter", {"task_runs": {"name": {"like_": "send-partition-"}}})
    assert len({task["name"] for task in tasks}) > 1
