"""The same main job with the ledger in PostgreSQL, on a real server; and a ledger that moves between the two."""

from __future__ import annotations

import pytest

from sandbox.server import Sandbox
from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import mutating, portfolio, write

pytestmark = pytest.mark.xdist_group("postgres")
__all__ = ["write"]


def test_the_main_job_runs_on_postgresql(meterfeed, write, postgres, tmp_path, kept_port):
    with Sandbox(kept_port) as api:
        settings = {**settings_for(api), "ledger": postgres}
    assert 15 == meterfeed("sync", *write("a.csv", portfolio(60)), "--json", **settings).code
    with Sandbox(kept_port) as api:
        done = meterfeed("resume", "--json").document
        assert (0, 60, 60) == (
            done["exit_code"],
            done["records"]["user"]["created"],
            done["records"]["location"]["created"],
        )
        before = mutating(api)
        again = meterfeed("sync", *write("a.csv", portfolio(60)), "--json").document
        assert (0, 60, before) == (again["exit_code"], again["records"]["user"]["unchanged"], mutating(api))
        assert [run["exit_code"] for run in meterfeed("runs", "--json").document["runs"]] == [0]
    assert not list((tmp_path / "runs").glob("ledger*"))


def test_a_postgresql_that_is_not_there_is_storage_trouble(meterfeed, api, write):
    settings = {**settings_for(api), "ledger": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    ended = meterfeed("sync", *write("a.csv", portfolio(3)), "--json", **settings)
    assert (16, 0) == (ended.code, mutating(api))
    assert "nobody" not in ended.out + ended.err
