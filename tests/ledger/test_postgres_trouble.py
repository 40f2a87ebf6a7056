"""PostgreSQL goes away in the middle: what was committed counts, nothing is stored twice, a lost lock is noticed."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from connectors.ledger import Ledger, open_ledger
from connectors.ledger.journal import Journal
from pipeline.holdings import MERGES
from schemas.errors import BusyError, ConnectionLost, StorageError
from schemas.ledger import SourceRow, State
from tests.ledger.conftest import IDENTITY, begun, draft
from tests.postgres_server import running_postgres


def opened(url: str):
    return open_ledger(url, identity=IDENTITY, now=1.0)


def kill_backends(url: str, where: str = "true") -> int:
    """End the server processes behind a database's connections, and with them their locks; how many there were."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        killed = connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND ({where})"
            )
        ).all()
    engine.dispose()
    return len(killed)


HOLDS_THE_LOCK = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"

WRITES: dict[str, Callable[[Ledger, int], object]] = {
    "intend": lambda ledger, run: ledger.intend([draft(run, "z", start=9)], now=9.0),
    "hold": lambda ledger, run: ledger.hold([draft(run, "z")], state=State.BLOCKED, reason="parent"),
    "again": lambda ledger, run: ledger.again(2, now=9.0),
    "settle": lambda ledger, run: ledger.settle(1, state=State.ACKNOWLEDGED, now=9.0, verdict="applied"),
    "absorb": lambda ledger, run: ledger.absorb(MERGES),
    "supersede": lambda ledger, run: ledger.supersede(run),
    "begin_run": lambda ledger, run: begun(ledger),
    "change_run": lambda ledger, run: ledger.change_run(run, state="settled"),
    "finish_run": lambda ledger, run: ledger.finish_run(
        run, exit_code=0, state="settled", summary={}, now=9.0
    ),
    "note_sources": lambda ledger, run: ledger.note_sources(run, [SourceRow(0, "x.csv", "0", 1, 1)]),
    "remember": lambda ledger, run: ledger.remember({"learned": "{}"}),
    "store_holdings": lambda ledger, run: ledger.store_holdings("user", 0, pl.DataFrame()),
    "relink": lambda ledger, run: ledger.relink(),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_run_whose_lock_was_lost_writes_nothing_once_another_has_begun(
    postgres_url: str, write: str
) -> None:
    with opened(postgres_url) as first:
        run = begun(first)
        first.intend([draft(run, "a")], now=3.0)
        first.hold([draft(run, "b", start=1)], state=State.PLANNED, reason="later")
        [done] = first.intend([draft(run, "c", start=2)], now=3.0)
        first.settle(done.chunk_seq, state=State.ACKNOWLEDGED, now=4.0)
        assert 1 == kill_backends(postgres_url, HOLDS_THE_LOCK)
        with opened(postgres_url) as second:
            before = facts(second)
            with pytest.raises(StorageError, match="stale fence"):
                WRITES[write](first, run)
            assert before == facts(second)
            begun(second)


def facts(ledger: Ledger) -> list[tuple[object, ...]]:
    with ledger.engine.connect() as connection:
        return [
            tuple(row)
            for table in ("meta", "run", "source", "holding")
            for row in connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1, 2"))
        ] + list(connection.execute(sa.text("SELECT chunk_seq, state, fence FROM chunk ORDER BY 1")).tuples())


def test_a_run_that_takes_over_waits_for_what_the_other_is_just_storing(postgres_url: str) -> None:
    """Otherwise a chunk could be stored as in flight after the new run looked for chunks in flight."""
    with opened(postgres_url) as first:
        run = begun(first)
        kill_backends(postgres_url, HOLDS_THE_LOCK)
        seen: list[list[str]] = []

        def take_over() -> None:
            with opened(postgres_url) as second:
                seen.append([chunk.reason for chunk in second.chunks(states=[State.IN_DOUBT])])

        other = threading.Thread(target=take_over)
        with first.together():
            first.intend([draft(run, "a")], now=3.0)
            other.start()
            wait_until(lambda: waiting_for_a_lock(postgres_url))
        other.join()
        assert [["run_died"]] == seen


def waiting_for_a_lock(url: str) -> bool:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        waiting = connection.execute(
            sa.text(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        ).scalar_one()
    engine.dispose()
    return waiting > 0


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(4800):
        if holds():
            return
        threading.Event().wait(0.05)
    pytest.fail("it never came to that")


def store_around(ledger: Ledger, run: int, event: Callable[[], object]) -> None:
    ledger.intend([draft(run, "a")], now=3.0)
    event()
    ledger.intend([draft(run, "b", start=1)], now=3.0)


def test_a_connection_lost_before_the_commit_stores_nothing(postgres_url: str) -> None:
    with opened(postgres_url) as ledger:
        run = begun(ledger)
        with pytest.raises(ConnectionLost), ledger.together():
            store_around(ledger, run, lambda: kill_backends(postgres_url))
    with opened(postgres_url) as ledger:
        assert [] == list(ledger.chunks(states=list(State)))


def test_a_server_that_was_killed_keeps_what_was_committed(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_postgres(tmp_path_factory.mktemp("pg")) as (instance, url):
        with opened(url) as ledger:
            run = begun(ledger)
            ledger.intend([draft(run, "a")], now=3.0)
            os.kill(instance.get_pid(), signal.SIGQUIT)  # ends at once, without writing anything down
            instance.get_postmaster_info().process.wait(240)
            with pytest.raises(StorageError):
                ledger.intend([draft(run, "b", start=1)], now=3.0)
            with pytest.raises(StorageError), opened(url):
                pytest.fail("opened a ledger on no server")
        instance.ensure_postgres_running()
        with opened(url) as ledger:
            [chunk] = ledger.chunks(states=list(State))
            assert (State.IN_DOUBT, "run_died", ["a"]) == (
                chunk.state,
                chunk.reason,
                chunk.manifest["id"].to_list(),
            )


def test_a_second_run_is_busy_while_the_lock_lives(postgres_url: str) -> None:
    with opened(postgres_url):
        kill_backends(postgres_url, f"NOT {HOLDS_THE_LOCK}")
        with pytest.raises(BusyError), opened(postgres_url):
            pytest.fail("two writers")


# ------------------------------------------------------------------ the answer to a COMMIT is lost
class Proxy:
    """Between a client and the server: lets everything through, and the answer to one COMMIT not."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(self.folder / server.name))
        self._door.listen()
        self._over = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.cut_next_commit = False
        self.cuts = 0

    def close(self) -> None:
        self._over = True
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(self.folder / self._server.name))
        self._door.close()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while True:
            client, _ = self._door.accept()
            if self._over:
                client.close()
                return
            self._threads.append(threading.Thread(target=self._carry, args=(client,)))
            self._threads[-1].start()

    def _carry(self, client: socket.socket) -> None:
        """Bytes both ways, until one side goes away."""
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._server))
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)
                    if source is client and self.cut_next_commit and b"COMMIT" in data:
                        self.cut_next_commit = False
                        self.cuts += 1
                        server.recv(1)  # it is committed; the client hears nothing of it
                        return


@pytest.fixture
def proxied(postgres_url: str) -> Iterator[tuple[str, Proxy]]:
    """The URL of an empty ledger behind a proxy."""
    url = sa.engine.make_url(postgres_url)
    proxy = Proxy(Path(str(url.query["host"])) / ".s.PGSQL.5432")
    through = url.update_query_dict({"host": str(proxy.folder)})
    yield through.render_as_string(hide_password=False), proxy
    proxy.close()


@pytest.mark.parametrize("together", [1, 2])
def test_what_may_be_committed_is_never_stored_once_more(
    proxied: tuple[str, Proxy], postgres_url: str, together: int
) -> None:
    """Two operations share a commit whose answer is lost: doing them again would put their records in two chunks."""
    url, proxy = proxied

    async def store(ledger: Ledger, run: int) -> list[object]:
        async with Journal(ledger) as journal:
            proxy.cut_next_commit = True
            return await asyncio.gather(
                *(journal(ledger.intend, [draft(run, f"r{n}", start=n)], now=3.0) for n in range(together)),
                return_exceptions=True,
            )

    with opened(url) as ledger:
        run = begun(ledger)
        results = asyncio.run(store(ledger, run))
        assert ({ConnectionLost}, 1) == ({type(result) for result in results}, proxy.cuts)
        assert 16 == results[0].exit_code
    with opened(postgres_url) as ledger:
        stored = [chunk.manifest["id"].item() for chunk in ledger.chunks(states=[State.IN_DOUBT])]
        assert [f"r{n}" for n in range(together)] == sorted(stored)
