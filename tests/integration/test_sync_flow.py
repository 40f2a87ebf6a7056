"""The Prefect flows against a real server: the same verdict as the commands, no customer and no secret in between."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox.portfolio import write_portfolio
from sandbox.server import Sandbox
from tests.integration.conftest import ID_KEY, ROOT, settings_for
from tests.integration.prefect_server import Server
from tests.security.scan import spots
from tests.security.test_canaries import FRAME, SECRETS, TALK, WORDS, broken, plant, talkative

__all__ = ["talkative"]
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("prefect")]

METERFEED = [sys.executable, "-c", "from flows.cli import main; main()"]
PROFILE = str(ROOT / "data/profiles/nordkraft.toml")


@pytest.fixture
def settings(api: Sandbox, tmp_path: Path) -> dict[str, str]:
    return {**settings_for(api), "data_dir": str(tmp_path / "runs")}


def export_of(path: Path, rows: int = 60, seed: int = 1, age: float = 3600.0, **more: Any) -> str:
    """A small export that has lain still for an hour, or as long as is said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_portfolio(path, rows=rows, seed=seed, damage=more.pop("damage", {}), **more)
    old = time.time() - age
    os.utime(path, (old, old))
    return str(path)


def test_a_flow_ends_as_the_command_does(
    prefect: Server, api: Sandbox, settings: dict[str, str], tmp_path: Path
):
    export = tmp_path / "kunder-1.csv"
    export_of(export, rows=600, damage={"cut_point": 0.01})

    state = prefect.run("sync", settings, exports=[str(export)], profiles=[PROFILE], environment="sandbox")

    assert (state["type"], state["name"]) == ("COMPLETED", "Done with rejects")
    shown = prefect.artifact("meterfeed-sync", state["flow_run"])
    assert "| read | 600 |" in shown
    assert f"| created | {len(api.state()['users']):,} |" in shown
    # Other tests share the server; this one's run is the only one of the command's own state.
    runs = prefect.runs("sync", flow_runs={"state": {"name": {"any_": ["Done with rejects"]}}})
    assert any(run["name"].startswith("sync-nordkraft-") for run in runs)


def kept_by(server: Server, folder: Path) -> Path:
    """Everything the server and the flows keep: database, logs, results, whatever is in the home they share."""
    for path in server.home.rglob("*"):
        if path.is_file() and not path.name.startswith("prefect.db"):
            copied = folder / path.relative_to(server.home)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
    (folder / "prefect.bytes").write_bytes(b"pages and write-ahead log: " + server.database())
    with (  # a copy of the files would be torn, as the server goes on writing
        closing(sqlite3.connect(server.home / "prefect.db", timeout=60)) as live,
        closing(sqlite3.connect(folder / "prefect.db")) as copy,
    ):
        live.backup(copy)
    return folder


FLOW = """
import asyncio, sys
from flows import sync_flow
state = asyncio.run(sync_flow.sync(exports=[sys.argv[1]], profiles=[sys.argv[2]], return_state=True))
print("@@", state.type.value, state.name)
"""


@pytest.mark.usefixtures("talkative")
def test_prefect_is_told_of_no_customer_no_secret_and_nothing_a_server_said(prefect: Server, tmp_path: Path):
    """One flow whose server refuses in words, one that fails with its rows in a traceback."""
    planted = plant(tmp_path)
    given = {"exports": [str(planted.path)], "profiles": [PROFILE]}
    names = {"client_id": SECRETS["client id"], "client_secret": SECRETS["client secret"]}
    with Sandbox(faults={"fault": TALK}, **names) as api:
        settings = {
            **settings_for(api),
            "id_key": SECRETS["id key"],
            "data_dir": str(tmp_path / "runs"),
        }
        done = prefect.run("sync", settings, **given, environment="sandbox")
        assert ("COMPLETED", "Done with rejects") == (done["type"], done["name"]), done
        assert any(line["fault"] for line in api.requests())
        failed = subprocess.run(
            [
                sys.executable,
                "-c",
                broken(
                    "pipeline.canonical.to_canonical", f"{FRAME}; raise ValueError(str(frame.rows()))", FLOW
                ),
                str(planted.path),
                PROFILE,
            ],
            cwd=ROOT,
            env=prefect.environ({**settings, "data_dir": str(tmp_path / "others")}),
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert "@@ FAILED" in failed.stdout, failed.stdout + failed.stderr
        (prefect.home / "failed.log").write_text(failed.stdout + failed.stderr)
        tokens = {f"token {n}": token for n, token in enumerate(api.core.tokens._expiry)}
    assert tokens
    kept = kept_by(prefect, tmp_path / "kept")
    assert {("prefect.bytes", "run"), ("prefect.db", "run")} <= spots(kept, {"run": done["flow_run"]})
    assert set() == spots(kept, planted.texts | SECRETS | WORDS | tokens)


def test_what_stops_the_command_fails_the_flow(prefect: Server, tmp_path: Path):
    state = prefect.run(
        "sync",
        {"data_dir": str(tmp_path)},
        exports=["kunder-1.csv"],
        profiles=[PROFILE],
        environment="production",
    )
    assert (state["type"], state["name"]) == ("FAILED", "Settings")
    assert state["message"].endswith("(exit 13)")


def test_a_guard_fails_with_its_sentence_and_an_empty_file_is_one(
    prefect: Server, settings: dict[str, str], tmp_path: Path
):
    header = Path(export_of(tmp_path / "kunder-9.csv")).read_text().splitlines()[0]
    (tmp_path / "kunder-9.csv").write_text(header + "\n")
    state = prefect.run("sync", settings, exports=[str(tmp_path / "kunder-9.csv")], profiles=[PROFILE])
    assert (state["type"], state["name"]) == ("FAILED", "Guard"), state
    assert "holds a header and no row" in state["message"]


@contextmanager
def growing(path: Path | str) -> Iterator[None]:
    """A file that somebody writes to meanwhile, however long that takes."""
    over = threading.Event()
    os.utime(path)

    def grow() -> None:
        while not over.wait(1.0):
            os.utime(path)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_an_inbox_is_emptied_once_in_order_and_a_night_without_a_new_file_says_so(
    prefect: Server, api: Sandbox, settings: dict[str, str], tmp_path: Path
):
    inbox = tmp_path / "inbox"
    inbox.mkdir()

    def night() -> dict[str, str]:
        return prefect.run("sync", settings, inbox=str(inbox), profiles=[PROFILE])

    empty = night()
    assert (empty["type"], empty["name"]) == ("COMPLETED", "No new file")
    for seed, name in ((2, "kunder-2.csv"), (1, "kunder-1.csv")):
        export_of(inbox / name, seed=seed)
    with growing(export_of(inbox / "kunder-3.csv", seed=3)):
        first = night()
    assert (first["type"], first["name"]) == ("COMPLETED", "Completed")
    order = [
        line.split("|")[1].strip()
        for line in prefect.artifact("meterfeed-sync", first["flow_run"]).splitlines()
        if "kunder" in line
    ]
    assert [name.replace("\\", "") for name in order] == ["kunder-1.csv", "kunder-2.csv"]
    effects = len(api.effects())
    shutil.copy2(inbox / "kunder-1.csv", inbox / "kunder-1-again.csv")
    with growing(inbox / "kunder-3.csv"):
        second = night()
    assert (second["name"], len(api.effects())) == ("No new file", effects)
    assert "may still be growing" in second["message"]


def test_loading_the_same_export_again_is_a_night_without_a_new_file(
    prefect: Server, api: Sandbox, settings: dict[str, str], tmp_path: Path
):
    export = export_of(tmp_path / "kunder-1.csv")
    assert prefect.run("sync", settings, exports=[export], profiles=[PROFILE])["name"] == "Completed"
    again = prefect.run("sync", settings, exports=[export], profiles=[PROFILE])
    assert (again["type"], again["name"]) == ("COMPLETED", "No new file")


def test_a_backfill_loads_in_order_skips_what_is_done_and_reports_over_all(
    prefect: Server, api: Sandbox, settings: dict[str, str], tmp_path: Path
):
    exports = [export_of(tmp_path / f"kunder-{seed}.csv", seed=seed) for seed in (1, 2)]
    done = prefect.run("backfill", settings, exports=exports[:1], profiles=[PROFILE])
    assert done["name"] == "Completed"
    users = len(api.state()["users"])
    both = prefect.run("backfill", settings, exports=[str(tmp_path / "kunder-*.csv")], profiles=[PROFILE])
    assert both["name"] == "Completed"
    shown = prefect.artifact("meterfeed-backfill", both["flow_run"])
    assert "| read | 120 |" in shown
    assert "skipped" in shown
    assert len(api.state()["users"]) > users
    assert prefect.run("backfill", settings, exports=exports, profiles=[PROFILE])["name"] == "No new file"


def test_quality_reconcile_and_purge_run_as_flows(
    prefect: Server, api: Sandbox, settings: dict[str, str], tmp_path: Path
):
    export = export_of(tmp_path / "kunder-1.csv")
    bare = {"data_dir": settings["data_dir"], "environment": "production"}
    for asked, said in (({}, "production"), ({"environment": "sandbox"}, "sandbox")):
        judged = prefect.run("quality", bare, exports=[export], profiles=[PROFILE], **asked)
        assert (judged["name"], api.effects()) == ("Completed", [])
        assert f"Exit code 0, {said}." in prefect.artifact("meterfeed-quality", judged["flow_run"])
    prefect.run("sync", settings, exports=[export], profiles=[PROFILE])
    assert prefect.run("reconcile", settings, users="all", profiles=[PROFILE])["name"] == "Completed"
    api.core.reset()
    drifted = prefect.run("reconcile", settings, users="all", profiles=[PROFILE])
    assert (drifted["type"], drifted["name"]) == ("COMPLETED", "Drift")
    assert prefect.run("purge", settings, days=0)["name"] == "Completed"


def test_a_plan_stopped_by_a_guard_waits_for_a_person_and_goes_on_only_with_its_digest(
    prefect: Server, api: Sandbox, settings: dict[str, str], tmp_path: Path
):
    export = export_of(tmp_path / "kunder-1.csv", rows=400, damage={"cut_point": 0.2})
    with prefect.host() as host:
        for answer in ("0" * 32, None):
            prefect.begin(host, "sync", settings, exports=[export], profiles=[PROFILE], approval_hours=1.0)
            [run] = prefect.wait_until(
                lambda: prefect.runs("sync", flow_runs={"state": {"type": {"any_": ["PAUSED"]}}})
            )
            assert api.effects() == []
            digest = answer or shown_digest(prefect, run["id"])
            prefect.resume(run["id"], digest=digest)
            state = prefect.end(host)
            assert state["type"] == ("FAILED" if answer else "COMPLETED"), state
    assert state["name"] == "Done with rejects"
    assert len(api.state()["users"]) > 0


def shown_digest(prefect: Server, run: str) -> str:
    """The digest as a person reads it in the artifact of the waiting run."""
    found = re.search(r"Plan: `([0-9a-f]+)`", prefect.artifact("meterfeed-sync", run))
    assert found
    return found[1]


def test_an_overlapping_run_is_told_so_and_a_killed_one_is_finished_by_the_next(
    prefect: Server, settings: dict[str, str], tmp_path: Path
):
    export = export_of(tmp_path / "kunder-1.csv", rows=400)
    slow = {"fault": [{"kind": "slow-answer", "on": "batch", "at": list(range(4, 200)), "seconds": 10.0}]}
    with Sandbox(0, slow) as api:
        settings = {**settings, **settings_for(api), "chunk_size": "20", "concurrency": "2"}
        with prefect.host() as doomed:
            prefect.begin(doomed, "sync", settings, exports=[export], profiles=[PROFILE])
            prefect.wait_until(lambda: len(api.effects()) > 20)
            other = prefect.run("sync", settings, exports=[export], profiles=[PROFILE])
            assert (other["type"], other["name"]) == ("FAILED", "Busy")
            doomed.kill()
            doomed.wait(timeout=30)
        api.set_faults(None)
        api.settle()
        before = len(api.state()["users"])
        state = prefect.run("sync", settings, exports=[export], profiles=[PROFILE])
        assert state["type"] == "COMPLETED", state
        held = api.state()
        assert before < len(held["users"])
        shown = prefect.artifact("meterfeed-sync", state["flow_run"])
        assert f"| planned | {len(held['users'])} | {len(held['locations'])} |" in shown
        created = [one for one in api.effects() if one["effect"] == "create"]
        assert len(created) == len(held["users"]) + len(held["locations"])


def test_an_account_block_stands_in_for_the_environment_and_shows_no_secret(
    prefect: Server, api: Sandbox, settings: dict[str, str], tmp_path: Path
):
    saved = subprocess.run(
        [*METERFEED, "serve", "--save-account", "nordkraft", "--json"],
        cwd=ROOT,
        env=prefect.environ(settings),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert saved.returncode == 0, saved.stdout + saved.stderr
    elsewhere = tmp_path / "elsewhere"  # a worker has its data directory, and so its ledger, where it likes
    bare = {"data_dir": str(elsewhere), "settle": "0.2"}
    export = export_of(tmp_path / "kunder-1.csv")
    done = prefect.run("sync", bare, exports=[export], profiles=[PROFILE], account="nordkraft")
    assert done["name"] == "Completed", done
    assert [True, False] == [(one / "ledger.sqlite").exists() for one in (elsewhere, tmp_path / "runs")]
    assert len(api.state()["users"]) > 0
    stranger = prefect.run("sync", bare, exports=[export], profiles=[PROFILE], account="nobody")
    assert (stranger["name"], "no such account block" in stranger["message"]) == ("Settings", True)
    said = prefect.database() + (saved.stdout + saved.stderr).encode()
    said += b"".join(path.read_bytes() for path in prefect.home.glob("*.log"))
    assert not [secret for secret in (ID_KEY, api.client_secret) if secret.encode() in said]
