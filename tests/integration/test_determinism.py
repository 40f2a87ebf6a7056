"""The same export, configuration and API give the same plan, the same chunks and the same reports (I18)."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from pipeline import plan
from pipeline.plan import PLAN_SCHEMA
from sandbox.portfolio import write_portfolio
from sandbox.server import Sandbox
from tests.integration.conftest import settings_for
from tests.security.traced import PROFILE

NIGHT = 1_790_000_000.0
TELLS_DURATIONS = {"report.html", "junit.xml"}
"""Reports that say how long each stage took, which differs; all else must not."""


def left_by(meterfeed: Any, api: Sandbox, export: Path, data: Path) -> dict[str, object]:
    """What a run on an empty ledger and an empty API leaves: the digest of its plan, its chunks and its reports."""
    api.core.reset()
    arguments = ("sync", export, "--profile", PROFILE, "--json")
    done = meterfeed(*arguments, **settings_for(api), data_dir=str(data)).document
    with sqlite3.connect(data / "ledger.sqlite") as ledger:
        chunks = sorted(ledger.execute("SELECT chunk_id, phase, cursor_from, n FROM chunk"))
    ledger.close()
    folder = data / done["run_id"]
    reports = {file.name: file.read_bytes() for file in folder.iterdir() if file.name not in TELLS_DURATIONS}
    summary = json.loads(reports.pop("summary.json"), object_hook=without_durations)
    assert {
        "outcomes.parquet",
        "outcomes.csv",
        "violations.csv",
        "quality.html",
        "report.txt",
    } <= reports.keys()
    return {"plan": done["plan_digest"], "chunks": chunks, "summary": summary, **reports}


def without_durations(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in ("seconds", "artifacts")}


@pytest.fixture
def twice(meterfeed: Any, api: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run twice at the same moment of the wall clock; the names of what differs."""
    still = SimpleNamespace(time=lambda: NIGHT, monotonic=time.monotonic)
    monkeypatch.setattr("flows.wiring.time", still)

    def differing() -> list[str]:
        export = tmp_path / "kunder-2026-01.csv"
        write_portfolio(export, rows=120)
        one, other = (left_by(meterfeed, api, export, tmp_path / name) for name in ("one", "other"))
        assert one.keys() == other.keys()
        return sorted(name for name in one if one[name] != other[name])

    return differing


def test_a_run_leaves_the_same_plan_chunks_and_reports_again(twice: Any) -> None:
    assert [] == twice()


def test_an_order_nobody_chose_is_seen(twice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: records are planned as they come, not in an order of their own."""

    def as_they_come(records: pl.DataFrame) -> pl.DataFrame:
        planned = records.select(PLAN_SCHEMA.names()).cast(dict(PLAN_SCHEMA))  # type: ignore[arg-type]
        return planned.sample(fraction=1.0, shuffle=True)

    monkeypatch.setattr(plan, "_ordered", as_they_come)
    assert {"plan", "chunks"} <= set(twice())


def test_a_report_that_tells_the_time_of_day_is_seen(twice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: reports are dated by a clock of their own."""
    started = iter(range(10**6))
    still = SimpleNamespace(time=lambda: NIGHT + 3600 * next(started), monotonic=time.monotonic)
    monkeypatch.setattr("flows.wiring.time", still)
    assert "quality.html" in twice()
