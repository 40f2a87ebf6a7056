"""A run writes in its data directory and in the temporary directory, talks to the two hosts of its settings, and
does nothing else in the world (I15, PR2, PR4). strace watches a real process, and everything it starts.
"""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import polars as pl
import pytest

from sandbox.portfolio import write_portfolio
from sandbox.server import Sandbox
from tests.integration.conftest import ID_KEY
from tests.security.traced import PROFILE, Place, needs_strace

pytestmark = [needs_strace, pytest.mark.xdist_group("strace")]
WATCH = "file,network,process"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "kunder-2026-01.csv"
    write_portfolio(path, rows=60, damage={})
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place", {"METERFEED_ID_KEY": ID_KEY})


def outside(place: Place) -> list[str]:
    """What was changed where nothing may be changed."""
    mine = (f"{place.data}/", f"{place.temporary}/")
    return sorted(
        path
        for path in place.changed()
        if not path.startswith(mine) and path not in (str(place.data), "/dev/null")
    )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_run_stays_in_its_place_and_talks_to_its_hosts_only(form, place, export):
    if form == "parquet":
        pl.read_csv(export, separator=";", infer_schema=False).write_parquet(export.with_suffix(".parquet"))
        profile = place.folder / "parquet.toml"
        text = PROFILE.read_text().replace('match = "kunder-*.csv*"', 'match = "kunder-*.parquet"')
        profile.write_text(text.replace('format = "csv"', 'format = "parquet"'))
        arguments = ("sync", export.with_suffix(".parquet"), "--profile", profile)
    else:
        arguments = ("sync", export, "--profile", PROFILE)
    # A server that points elsewhere is not followed either.
    lure = {"kind": "redirect", "on": "GetUsers", "location": "http://127.0.0.1:9/lure"}
    with Sandbox(faults={"fault": [lure]}) as api:
        place.settings |= api.settings
        assert 0 == place.run(*arguments, watch=WATCH), (place.folder / "err.txt").read_text()
        assert {f"127.0.0.1:{api.port}"} == place.reached()
    assert [] == outside(place)
    assert len(place.changed()) > 10
    assert [] == list(place.temporary.iterdir())
    left = [place.data, *place.data.rglob("*")]
    assert [] == [path.name for path in left if stat.S_IMODE(path.stat().st_mode) & 0o077], (
        "not its owner's alone"
    )
    started = place.started()
    assert (form == "parquet") == bool(started)
    assert all("PATH=" in one for one in started)
    assert [] == [one for one in started if ID_KEY in one or api.client_secret in one], "told its secrets"


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
