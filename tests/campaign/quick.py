"""What makes a schedule cheap without making it another one: things made once in a process instead of once in a life.

A life of a schedule lasts some fifty milliseconds. In a process of its own a loader compiles its statements once and
lays out its tables once; a thousand lives in one process need not do it a thousand times. Nothing of what is written,
flushed or asked for changes: the same pragmas, the same transactions, the same bytes.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import sqlalchemy as sa

from connectors.ledger import frames, store
from pipeline.delivery import traffic
from schemas.ledger import Identity

_ENGINE = store.engine_for


@cache
def _shared() -> tuple[sa.Engine, list[str]]:
    """One engine for every ledger file of this process, and the path it opens next."""
    path = [""]
    engine = _ENGINE("sqlite:///nowhere.sqlite")

    @sa.event.listens_for(engine, "do_connect")
    def _there(_dialect: Any, _record: Any, arguments: list[Any], _named: Any) -> None:
        arguments[0] = path[0]

    return engine, path


def _engine(url: str, *, read_only: bool = False) -> sa.Engine:
    if read_only or not url.startswith("sqlite:///"):
        return _ENGINE(url, read_only=read_only)
    engine, path = _shared()
    path[0] = url.removeprefix("sqlite:///")
    return engine


_PAGES: dict[bytes, pl.DataFrame] = {}
"""Frames do not change: the same page is the same frame."""


def _decoded(page: bytes) -> pl.DataFrame:
    if page not in _PAGES:
        _PAGES[page] = frames.from_bytes(page)
    return _PAGES[page]


def _encoded(frame: pl.DataFrame) -> bytes:
    if len(_PAGES) > 1000:
        _PAGES.clear()
    page = frames.to_bytes(frame)
    _PAGES[page] = frame
    return page


PAUSE_STEP_SECONDS = 10.0
"""Virtual seconds between two looks whether a pause is to end early: a pause that is not asked to lasts as long."""


@contextmanager
def cheaply() -> Iterator[None]:
    """Share engine and pages between the lives lived inside; look at the clock in large steps."""
    with (
        patch.object(traffic, "PAUSE_STEP_SECONDS", PAUSE_STEP_SECONDS),
        patch.object(store, "engine_for", _engine),
        patch.object(store, "from_bytes", _decoded),
        patch.object(store, "to_bytes", _encoded),
    ):
        yield


@lru_cache(maxsize=4)
def _empty(identity: Identity, now: float) -> bytes:
    """A ledger as its first opening leaves it, but for the fence that the opening took."""
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    try:
        with store.open_ledger(f"sqlite:///{folder}/ledger.sqlite", identity=identity, now=now):
            pass
        return (folder / "ledger.sqlite").read_bytes()
    finally:
        shutil.rmtree(folder)


def lay_out(path: Path, identity: Identity, now: float) -> None:
    """Put a ledger with its tables there, as a process that died right after making them would have."""
    path.write_bytes(_empty(identity, now))


def settle_down() -> None:
    """Take what is loaded by now out of the collector's rounds, and let it come when it is called (`tidy`)."""
    gc.collect()
    gc.freeze()
    gc.disable()


def tidy() -> None:
    """Free what points at itself, at the end of a case, where `settle_down` has sent the collector away.

    What is left then stays: modules that only some cases load, and caches. Gone through again after every case, it took
    as long as the cases themselves.
    """
    if not gc.isenabled():
        gc.collect()
        gc.freeze()
