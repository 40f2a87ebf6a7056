"""A run writes in its data directory and in the temporary directory, talks to the two hosts of its settings, and
does nothing else in the world (I15, PR2, PR4). strace watches a real process, and everything it starts.
"""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from sandbox.server import Sandbox
from tests.integration.conftest import prefect
from tests.integration.test_sync_flow import FLOW
from tests.security.scan import found_in
from tests.security.test_canaries import SECRETS, TALK, Planted, plant
from tests.security.traced import PROFILE, Place, needs_strace

__all__ = ["prefect"]
pytestmark = [needs_strace, pytest.mark.xdist_group("strace")]
WATCH = "file,network,process"


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return plant(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place", {"METERFEED_ID_KEY": SECRETS["id key"]})


@dataclass(frozen=True)
class Hosts:
    """The API at one address, its tokens at another."""

    api: Sandbox
    tokens: Sandbox

    @property
    def addresses(self) -> set[str]:
        return {f"127.0.0.1:{self.api.port}", f"127.0.0.1:{self.tokens.port}"}

    @property
    def settings(self) -> dict[str, str]:
        return {**self.api.settings, "METERFEED_TOKEN_URL": self.tokens.token_url}

    @property
    def given(self) -> dict[str, str]:
        """Every token that was given away."""
        return {f"token {n}": token for n, token in enumerate(self.tokens.core.tokens._expiry)}


@contextmanager
def two_hosts(faults: list[dict[str, object]]) -> Iterator[Hosts]:
    names = {"client_id": SECRETS["client id"], "client_secret": SECRETS["client secret"]}
    with Sandbox(faults={"fault": faults}, **names) as api, Sandbox(**names) as tokens:
        api.core.tokens = tokens.core.tokens
        yield Hosts(api, tokens)


def outside(place: Place) -> list[str]:
    """What was changed where nothing may be changed."""
    mine = (f"{place.data}/", f"{place.temporary}/", f"{place.kept}/")  # the last is ours, of the tests
    return sorted(
        path
        for path in place.changed()
        if not path.startswith(mine) and path not in (str(place.data), "/dev/null")
    )


SQLITE_REMOVES = {"ledger.sqlite-journal", "ledger.sqlite-wal", "ledger.sqlite-shm"}
"""By C, so that nobody could keep a copy: what counts in them is in the ledger by then."""

# A server that points elsewhere is not followed.
LURE = {"kind": "redirect", "on": "GetUsers", "location": "http://127.0.0.1:9/lure"}


@pytest.mark.parametrize(("form", "faults"), [("csv", TALK), ("parquet", [])])
def test_a_run_stays_in_its_place_and_talks_to_its_hosts_only(form, faults, place, planted):
    export, profile = planted.path, PROFILE
    if form == "parquet":
        export, profile = export.with_suffix(".parquet"), place.folder / "parquet.toml"
        pl.read_csv(planted.path, separator=";", infer_schema=False).write_parquet(export)
        text = PROFILE.read_text().replace('match = "kunder-*.csv*"', 'match = "kunder-*.parquet"')
        profile.write_text(text.replace('format = "csv"', 'format = "parquet"'))
    with two_hosts([LURE, *faults]) as hosts:
        place.settings |= hosts.settings
        code = place.run("sync", export, "--profile", profile, watch=WATCH)
        assert 10 == code, (place.folder / "err.txt").read_text()
        assert hosts.addresses == place.reached()
        assert {line["path"] for line in hosts.tokens.requests()} == {"/connect/token"}
        assert bool(faults) == ("bad-request" in {line["fault"] for line in hosts.api.requests()})
        tokens = hosts.given
    assert [] == outside(place)
    assert len(place.changed()) > 10
    assert [] == list(place.temporary.iterdir())
    left = [place.data, *place.data.rglob("*")]
    assert [] == [path.name for path in left if stat.S_IMODE(path.stat().st_mode) & 0o077], (
        "not its owner's alone"
    )
    kept = {
        str(place.folder / Path(*path.relative_to(place.kept).parts[1:])) for path in place.kept.rglob("*")
    }
    removed = place.removed()
    assert any("/spool/" in path for path in removed & kept)
    assert set() == {Path(path).name for path in removed - kept} - SQLITE_REMOVES, "removed, and not searched"
    started = place.started()
    assert (form == "parquet") == bool(started)
    assert all(b"PATH=" in one for one in started)
    assert tokens
    assert set() == found_in(started, planted.texts | SECRETS | tokens), "told of customers or secrets"


@pytest.mark.campaign
@pytest.mark.xdist_group("prefect")
def test_a_flow_talks_to_prefect_and_writes_in_its_home_beside(prefect, place, planted):
    with two_hosts([LURE, *TALK]) as hosts:
        told = {name: value for name, value in prefect.environ().items() if name.startswith("PREFECT_")}
        place.settings |= hosts.settings | told
        place.run(planted.path, PROFILE, code=FLOW, watch=WATCH)
        said = (place.folder / "out.txt").read_text()
        assert "@@ COMPLETED Done with rejects" in said, said + (place.folder / "err.txt").read_text()
        assert hosts.addresses | {f"127.0.0.1:{prefect.port}"} == place.reached()
    assert [] == [path for path in outside(place) if not path.startswith(str(prefect.home))]


def test_what_a_started_process_is_told_is_seen(place):
    secret = SECRETS["client secret"]
    place.run(
        "Kanari Ødegård",
        secret,
        code="import base64, subprocess, sys; from urllib.parse import quote; name, secret = sys.argv[1:];"
        "subprocess.run(['true', base64.b64encode(b'it: ' + name.encode())], env={'URL': quote(secret, safe='')})",
        watch=WATCH,
    )
    texts = {"name": "Kanari Ødegård", "secret": secret, "other": "Kanari Østby"}
    assert {"name", "secret"} == found_in(place.started(), texts)


ESCAPES = {
    "a file beside the data directory": "open('{outside}/left-behind', 'w').close()",
    "a file of another process": "import subprocess; subprocess.run(['touch', '{outside}/left-behind'])",
    "a file renamed out of it": "import os; os.makedirs('{data}'); open('{data}/x', 'w').close();"
    " os.rename('{data}/x', '{outside}/x')",
    "a file in a folder that was opened": "import os; where = os.open('{outside}', os.O_RDONLY);"
    " os.open('left-behind', os.O_CREAT | os.O_WRONLY, dir_fd=where)",
    "a link": "import os; os.symlink('/etc/passwd', '{outside}/passwd')",
}


@pytest.mark.parametrize("code", ESCAPES.values(), ids=ESCAPES.keys())
def test_an_escape_to_another_folder_is_seen(place, code):
    beside = place.folder / "beside"
    beside.mkdir()
    place.run(code=code.format(outside=beside, data=place.data), watch=WATCH)
    assert [] != outside(place)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_connection_to_another_host_is_seen(place, kind):
    with socket.socket(socket.AF_INET, kind) as trap:
        trap.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            trap.listen()
        host, port = trap.getsockname()
        send = (
            f"one.connect(('{host}', {port}))"
            if kind is socket.SOCK_STREAM
            else f"one.sendto(b'', ('{host}', {port}))"
        )
        place.run(code=f"import socket; one = socket.socket(2, {int(kind)}); {send}", watch=WATCH)
    assert {f"{host}:{port}"} == place.reached()
