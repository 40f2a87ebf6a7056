"""The ledger's own command, and what becomes of a run when its ledger is moved, lost, put back or relinked."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from connectors import room
from connectors.room import MARGIN
from sandbox.server import Sandbox
from tests.integration.conftest import ROOT, settings_for
from tests.integration.test_cli_settle import mutating, portfolio, row, write
from tests.ledger.conftest import new_database
from tests.ledger.test_postgres_trouble import HOLDS_THE_LOCK, kill_backends
from tests.postgres_server import running_postgres

pytestmark = pytest.mark.xdist_group("postgres")
__all__ = ["write"]


def created(api: Sandbox) -> Counter[str]:
    """How often each record was created, by the sandbox's effect log."""
    return Counter(f"{one['kind']}:{one['id']}" for one in api.effects() if one["effect"] == "create")


def assert_all_there_once(api: Sandbox, users: int) -> None:
    counts = created(api)
    assert (2 * users, {1}) == (len(counts), set(counts.values()))


# ------------------------------------------------------------------ move
SLOW = {
    "fault": [
        {"kind": "applied-then-reset", "on": "batch", "at": [3]},
        {"kind": "slow-answer", "on": "batch", "at": list(range(6, 100)), "seconds": 1.0},
    ]
}
"""One answer is lost; slow enough from then on to be met in the middle, by a machine that is slow as well."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@contextmanager
def running(
    api: Sandbox, arguments: list[str], settings: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A `sync` in a process of its own, in the middle of its sending."""
    environ = {f"METERFEED_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-c", "from flows.cli import main; main()", "sync", *arguments, "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: mutating(api) >= 5 or process.poll() is not None)
            assert process.poll() is None
            yield process
        finally:
            process.kill()


def has_session(url: str, where: str) -> bool:
    """Whether some other session on a database in PostgreSQL is like that."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        found = connection.execute(
            sa.text(f"SELECT 1 FROM pg_stat_activity WHERE {others} AND {where}")
        ).first()
    engine.dispose()
    return found is not None


def is_frozen(process: subprocess.Popen[bytes], url: str) -> bool:
    """Freeze it, unless in the middle of a transaction: others would wait for the end of that."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: " T " in Path(f"/proc/{process.pid}/stat").read_text())
    if not has_session(url, "state <> 'idle'"):
        return True
    process.send_signal(signal.SIGCONT)
    return False


@pytest.mark.parametrize("direction", ["to postgresql", "to sqlite"])
def test_a_run_begun_on_one_database_is_finished_on_the_other(
    meterfeed, write, postgres, tmp_path, direction
):
    """Nothing is lost and nothing made twice, by the effect log."""
    places = [f"sqlite:///{tmp_path}/here.sqlite", new_database(postgres)]
    source, target = places if direction == "to postgresql" else reversed(places)
    with Sandbox(0, SLOW) as api:
        settings = {**settings_for(api), "ledger": source, "chunk_size": "10", "concurrency": "1"}
        with running(api, write("a.csv", portfolio(100)), settings) as process:
            process.kill()
        meterfeed("ledger", **settings)
        if source.startswith("postgresql"):
            # Its server has yet to notice that the killed one is gone.
            wait_until(lambda: not has_session(source, HOLDS_THE_LOCK))
        assert 0 < len(created(api)) < 200
        api.set_faults("none")
        moved = meterfeed("ledger", "move", "--to", target, "--json").document
        assert (0, "ledger") == (moved["exit_code"], moved["command"])
        assert {"run", "chunk", "attempt", "history", "holding"} <= {one["table"] for one in moved["moved"]}
        refused = meterfeed("resume", "--json").document  # METERFEED_LEDGER still names the old place
        told = refused["error"]["message"].removeprefix("This ledger was moved to ").removesuffix(".")
        assert (13, "Point METERFEED_LEDGER there") == (refused["exit_code"], refused["error"]["cure"][:28])
        done = meterfeed("resume", "--json", ledger=told).document
        assert (0, 100, 100) == (
            done["exit_code"],
            done["records"]["user"]["created"],
            done["records"]["location"]["created"],
        )
        assert_all_there_once(api, 100)
        before = mutating(api)
        again = meterfeed("sync", *write("a.csv", portfolio(100)), "--json").document
        assert (0, before) == (again["exit_code"], mutating(api))


def test_a_password_on_the_command_line_is_refused(meterfeed):
    ended = meterfeed("ledger", "move", "--to", "postgresql+psycopg://me:canary@127.0.0.1/there", "--json")
    assert 2 == ended.code
    assert "canary" not in ended.out + ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["move"],
        ["show", "--to", "sqlite:///x"],
        ["move", "--to", "nowhere"],
        ["move", "--to", "a://b"],
        ["move", "--to", "postgresql://u@h:abc/db"],
    ],
)
def test_a_move_without_a_place_or_a_place_without_a_move_is_a_wrong_command_line(meterfeed, arguments):
    assert 2 == meterfeed("ledger", *arguments, "--json").document["exit_code"]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_plain_address_of_postgresql_is_one(meterfeed, postgres, scheme):
    """What `Set METERFEED_LEDGER to a postgresql:// URL` says can be done as it stands."""
    url = new_database(postgres).replace("postgresql+psycopg", scheme, 1)
    assert 0 == meterfeed("ledger", "--json", ledger=url).document["exit_code"]


def test_the_ledger_shows_itself(meterfeed, api, write, tmp_path):
    assert "no ledger" in meterfeed("ledger", "--json").document["verdict"]
    meterfeed("sync", *write("a.csv", portfolio(10)), "--json", **settings_for(api))
    facts = meterfeed("ledger", "--json").document["ledger"]
    assert ({"settled": 1}, {}, {"user": 10, "location": 10}, 1) == (
        facts["runs"],
        facts["open_records"],
        facts["held_records"],
        facts["id_keys"],
    )
    assert "10 user" in meterfeed("ledger").out
    meterfeed("ledger", "move", "--to", f"sqlite:///{tmp_path}/new.sqlite")
    old = meterfeed("ledger", "--json").document
    assert "new.sqlite" in old["verdict"]
    there = meterfeed("ledger", "--json", ledger=old["ledger"]["moved_to"]).document["ledger"]
    assert (facts["held_records"], None) == (there["held_records"], there["moved_to"])


# ------------------------------------------------------------------ put back, lost
def test_a_ledger_put_back_from_a_backup_sends_nothing_until_it_was_rebuilt(meterfeed, api, write, tmp_path):
    meterfeed("sync", *write("a.csv", portfolio(20)), "--json", **settings_for(api))
    ledger = tmp_path / "runs" / "ledger.sqlite"
    shutil.copy(ledger, tmp_path / "backup")
    arguments = write("b.csv", portfolio(30))
    meterfeed("sync", *arguments, "--json")
    shutil.copy(tmp_path / "backup", ledger)
    before = len(api.requests())
    for command in (["sync", *arguments], ["resume"], ["plan", *arguments], ["reconcile"]):
        refused = meterfeed(*command, "--json").document
        assert (16, "older than it was") == (
            refused["exit_code"],
            "older than it was" if "older than it was" in refused["error"]["message"] else "",
        )
    assert before == len(api.requests())
    assert 0 == meterfeed("adopt", *arguments[1:], "--json").code
    done = meterfeed("sync", *arguments, "--json").document
    assert (0, 30, 0) == (
        done["exit_code"],
        done["records"]["user"]["unchanged"],
        done["records"]["user"]["created"],
    )
    assert_all_there_once(api, 30)


def test_what_an_older_ledger_thinks_unsent_is_not_sent_blindly(meterfeed, write, tmp_path, kept_port):
    """The backup was made while a delta waited; since then the delta was sent."""
    with Sandbox(kept_port) as api:
        settings = settings_for(api)
    arguments = write("a.csv", portfolio(20), "delta")
    assert 15 == meterfeed("sync", *arguments, "--json", **settings).code
    ledger = tmp_path / "runs" / "ledger.sqlite"
    shutil.copy(ledger, tmp_path / "backup")
    with Sandbox(kept_port) as api:
        first = meterfeed("resume", "--json").document
        shutil.copy(tmp_path / "backup", ledger)
        adopted = meterfeed("adopt", *arguments[1:], "--json").document
        assert [first["run_id"]] == adopted["given_up"]
        before = mutating(api)
        again = meterfeed("sync", *arguments, "--json").document
        assert (0, 20, before) == (again["exit_code"], again["records"]["user"]["unchanged"], mutating(api))
        assert_all_there_once(api, 20)


def test_a_ledger_that_is_gone_is_not_begun_again_by_itself(meterfeed, api, write, tmp_path):
    arguments = write("a.csv", portfolio(10))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    for path in (tmp_path / "runs").glob("ledger*"):
        path.unlink()
    before = len(api.requests())
    gone = meterfeed("sync", *arguments, "--json").document
    assert (16, before) == (gone["exit_code"], len(api.requests()))
    assert "adopt" in gone["error"]["cure"]


def strangers(document) -> list[str]:
    return [note for note in document["notes"] if "that the ledger does not know" in note]


def test_users_that_the_ledger_does_not_know_are_told_of_before_more_are_created(
    meterfeed, api, write, tmp_path
):
    """LE3, CO2: nothing beside the ledger says that it is old, or somebody else loads the same tenant."""
    first = meterfeed("sync", *write("a.csv", portfolio(20)), "--json", **settings_for(api)).document
    second = meterfeed("sync", *write("b.csv", portfolio(25)), "--json").document
    assert [[], []] == [strangers(first), strangers(second)]
    shutil.rmtree(tmp_path / "runs")
    blind = meterfeed("sync", *write("c.csv", portfolio(30)), "--json")
    [note] = strangers(blind.document)
    assert "25 users" in note
    assert {1} == set(created(api).values())


# ------------------------------------------------------------------ relink
def test_a_tenant_that_moved_to_another_address_is_relinked(meterfeed, api, write):
    arguments = write("a.csv", portfolio(20))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    elsewhere = {"base_url": api.base_url.replace("127.0.0.1", "localhost")}
    refused = meterfeed("sync", *arguments, "--json", **elsewhere).document
    assert 13 == refused["exit_code"]
    assert "meterfeed ledger relink" in refused["error"]["cure"]
    linked = meterfeed("ledger", "relink", "--json").document
    assert (0, 20, 20) == (linked["exit_code"], linked["users_read"], linked["users_there"])
    before = mutating(api)
    done = meterfeed("sync", *arguments, "--json").document
    assert (0, 20, before) == (done["exit_code"], done["records"]["user"]["unchanged"], mutating(api))


def test_another_tenant_is_not_taken_for_the_same(meterfeed, api, write):
    arguments = write("a.csv", portfolio(20))
    meterfeed("sync", *arguments, "--json", **settings_for(api))
    with Sandbox() as other:
        theirs = {"base_url": other.base_url, "token_url": other.token_url}
        refused = meterfeed("ledger", "relink", "--json", **theirs).document
        assert 11 == refused["exit_code"]
        assert "this API holds 0" in refused["error"]["message"]
        assert 13 == meterfeed("sync", *arguments, "--json").code
        assert 0 == mutating(other)


# ------------------------------------------------------------------ the database goes away
def crash(server, _url: str) -> None:
    """The server ends at once, and comes back."""
    os.kill(server.get_pid(), signal.SIGQUIT)
    server.get_postmaster_info().process.wait(240)
    time.sleep(0.5)
    server.ensure_postgres_running()


@pytest.mark.parametrize("event", ["connections killed", "server killed", "lock lost to another run"])
def test_a_database_that_goes_away_in_the_middle_ends_the_run_with_16_and_resume_finishes(
    meterfeed, write, event, own_server
):
    server, url = own_server
    with Sandbox(0, SLOW) as api:
        settings = {**settings_for(api), "ledger": url, "chunk_size": "10", "concurrency": "1"}
        with running(api, write("a.csv", portfolio(100)), settings) as process:
            if event == "connections killed":
                assert 2 <= kill_backends(url)
            elif event == "server killed":
                crash(server, url)
            else:
                wait_until(
                    lambda: is_frozen(process, url)
                )  # else it may be at its end before the other begins
                assert 1 == kill_backends(url, HOLDS_THE_LOCK)
                api.set_faults("none")
                assert meterfeed("resume", "--json", **settings).code in (0, 12, 15)
                process.send_signal(signal.SIGCONT)
            ended = json.loads(process.communicate(timeout=240)[0])
        assert (16, 16) == (process.returncode, ended["exit_code"])
        assert "ledger" in ended["error"]["message"]
        api.set_faults("none")
        assert 0 == meterfeed("resume", "--json", **settings).code
        done = meterfeed("sync", *write("a.csv", portfolio(100)), "--json").document
        assert (0, 100) == (done["exit_code"], done["records"]["user"]["planned"])
        assert_all_there_once(api, 100)


@pytest.fixture
def own_server(tmp_path_factory):
    """A server of the test's own, and the URL of an empty ledger on it."""
    with running_postgres(tmp_path_factory.mktemp("pg")) as (instance, url):
        yield instance, new_database(url)


# ------------------------------------------------------------------ both databases tell the same
TIMES = ("started_at", "ended_at", "stages", "artifacts")
DAY = re.compile(r"^20\d{6}-(?=\d{4}$)")
"""Of a run's id; between two runs it may be midnight."""


def without_times(told):
    """A document without what no two runs share."""
    if isinstance(told, dict):
        return {name: without_times(value) for name, value in told.items() if name not in TIMES}
    if isinstance(told, str):
        return DAY.sub("", told)
    return [without_times(one) for one in told] if isinstance(told, list) else told


def test_the_same_run_tells_the_same_on_both_databases(meterfeed, write, postgres, tmp_path):
    """LE10: rejected, quarantined, doubtful and handed over alike."""
    faults = {
        "fault": [{"kind": "bad-request", "on": "batch", "at": [3]}, {"kind": "applied-then-503", "at": [2]}]
    }
    first = [*portfolio(60), "K9;A9;Husholdning;123;61,5;9,6;Aktiv\n"]
    second = [*portfolio(59), row(59, 59, 59, "62,00001"), row(900, 900, 7)]
    told: list[list[object]] = []
    for place in (f"sqlite:///{tmp_path}/here.sqlite", new_database(postgres)):
        told.append([])
        with Sandbox(0, faults) as api:
            settings = {**settings_for(api), "ledger": place, "chunk_size": "10", "concurrency": "1"}
            settings["data_dir"] = str(tmp_path / f"runs-{len(told)}")
            for rows in (first, second):
                run = meterfeed("sync", *write("a.csv", rows), "--json", **settings).document
                folder = Path(run["artifacts"]["report"]).parent
                page = json.loads((folder / "summary.json").read_bytes())
                told[-1] += [
                    without_times(run),
                    without_times(page),
                    pl.read_parquet(folder / "outcomes.parquet"),
                ]
    for on_sqlite, on_postgres in zip(*told, strict=True):
        if isinstance(on_sqlite, pl.DataFrame):
            assert_frame_equal(on_sqlite.sort(pl.all()), on_postgres.sort(pl.all()))
        else:
            assert on_sqlite == on_postgres


# ------------------------------------------------------------------ room on the disk
def test_a_disk_without_room_is_noticed_before_anything_is_sent(meterfeed, api, write, monkeypatch):
    free = [MARGIN + 5_000]
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free[0]))
    arguments = write("a.csv", portfolio(40))
    full = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    assert (16, 0) == (full["exit_code"], mutating(api))
    assert re.search(r"[0-9,]+ bytes are needed in \S+, 67,113,864 are free", full["error"]["message"])
    free[0] = 1 << 40
    plan = meterfeed("plan", *arguments, "--json").document
    free[0] = MARGIN + 5_000
    full = meterfeed("apply", plan["plan_digest"], "--json").document
    assert (16, 0, 40) == (full["exit_code"], mutating(api), full["records"]["user"]["not_sent"])
    free[0] = 1 << 40
    assert 0 == meterfeed("apply", plan["plan_digest"], "--json").code
    assert_all_there_once(api, 40)


# ------------------------------------------------------------------ killed
def test_what_a_killed_run_was_told_is_remembered_by_the_next(meterfeed, api, write, monkeypatch):
    """Killed after its last answer and before it folded what was acknowledged into what is held."""
    from pipeline.session import Session

    async def killed(self, *_: object) -> None:
        raise MemoryError

    async def killed_too(self) -> None:
        """It does not live to do it."""

    meterfeed("ledger", **settings_for(api))
    with monkeypatch.context() as patched:
        patched.setattr(Session, "finish", killed)
        patched.setattr(Session, "remember", killed_too)
        assert 1 == meterfeed("sync", *write("a.csv", portfolio(20)), "--json").code
    assert 20 == len(api.state()["users"])
    done = meterfeed("sync", *write("b.csv", portfolio(21)), "--json").document
    assert (0, 1, 20) == (
        done["exit_code"],
        done["records"]["user"]["created"],
        done["records"]["user"]["unchanged"],
    )
    assert_all_there_once(api, 21)
