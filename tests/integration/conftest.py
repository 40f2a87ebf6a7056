from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows import logs
from flows.cli import main
from sandbox.server import Sandbox
from tests.ports import port_kept
from tests.postgres_server import running_postgres

if TYPE_CHECKING:
    from tests.integration.prefect_server import Server

ROOT = Path(__file__).resolve().parents[2]
ID_KEY = "an id key for tests, long enough to be taken"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server for the module; its URL without a database."""
    with running_postgres(tmp_path_factory.mktemp("pg")) as (_, url):
        yield url


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, what it printed, and the one JSON object when it was asked for."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.out.endswith("\n")
        document = json.loads(self.out)  # fails on anything beside one object
        assert document["exit_code"] == self.code
        assert document["verdict"]
        assert "error" in document
        return document


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings, and a data directory of the test's own."""
    for name in [name for name in os.environ if name.startswith("METERFEED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("METERFEED_DATA_DIR", str(tmp_path / "runs"))


@pytest.fixture
def meterfeed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ended]]:
    """Run a command line in this process, settings as keyword arguments."""

    def call(*arguments: object, **settings: str) -> Ended:
        for name, value in settings.items():
            monkeypatch.setenv(f"METERFEED_{name.upper()}", value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    yield call
    logs.configure(None)


@pytest.fixture
def api() -> Iterator[Sandbox]:
    """The API, with nothing in it and nothing wrong with it."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def kept_port() -> Iterator[int]:
    """Where the API can be, go away and come back: nobody else gets this port meanwhile."""
    with port_kept() as port:
        yield port


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prefect server, for the whole session: starting one takes longer than most tests."""
    from tests.integration.prefect_server import running_server

    with running_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def settings_for(api: Sandbox) -> dict[str, str]:
    """The settings that reach a sandbox, as keyword arguments of `meterfeed`."""
    return {
        "base_url": api.base_url,
        "token_url": api.token_url,
        "client_id": api.client_id,
        "client_secret": api.client_secret,
        "id_key": ID_KEY,
        "settle": "0.2",
    }
