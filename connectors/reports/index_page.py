"""What `index.html` says about all runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from connectors.reports import words
from connectors.reports.charts import sparkline
from connectors.reports.drawing import Caption
from connectors.reports.history import Document, count_at, record_total, seconds_between, text_at
from connectors.reports.page import render
from connectors.reports.trends import Measure, Run, Trend, held_back, trends
from schemas.masking import masked_name, printable
from schemas.outcomes import Exit

GROUPS_SHOWN = 12
RUNS_SHOWN = 200
RUNS_CHARTED = 40


def index_page(runs: Sequence[Run], *, pages: dict[str, tuple[str, ...]]) -> bytes:
    """The page over all runs.

    Args:
        runs: oldest first.
        pages: folder name to the pages that exist in it.
    """
    groups = trends(runs)
    view: dict[str, Any] = {
        "total": len(runs),
        "groups": [_group(index, trend) for index, trend in enumerate(groups[:GROUPS_SHOWN], 1)],
        "more_groups": max(len(groups) - GROUPS_SHOWN, 0),
        "runs": [_run(run, pages.get(run.folder, ())) for run in reversed(runs[-RUNS_SHOWN:])],
        "more_runs": max(len(runs) - RUNS_SHOWN, 0),
    }
    return render("index.html.j2", view=view)


def _group(index: int, trend: Trend) -> dict[str, Any]:
    newest = trend.runs[-1].document
    exit_code = _exit_code(newest)
    status = words.status(exit_code)
    return {
        "name": f"trend-{index}",
        "profile": trend.profile or "no profile",
        "environment": trend.environment,
        "production": trend.environment == "production",
        "runs": len(trend.runs),
        "charted": min(len(trend.runs), RUNS_CHARTED),
        "status": status,
        "word": words.status_word(exit_code),
        "at": text_at(newest, "started_at"),
        "verdict": printable(text_at(newest, "verdict"))[:400],
        "measures": [_measure(index, position, measure) for position, measure in enumerate(trend.measures, 1)]
        if len(trend.runs) > 1
        else [],
    }


def _measure(group: int, position: int, measure: Measure) -> dict[str, Any]:
    values, odd = measure.values[-RUNS_CHARTED:], measure.odd[-RUNS_CHARTED:]
    label = words.sentence(masked_name(measure.label))
    latest = figure_text(measure.latest, measure.unit)
    title = f"{label} over {len(values)} runs, the latest {latest}"
    return {
        "label": label,
        "latest": latest,
        "usual": figure_text(measure.usual, measure.unit),
        "odd": bool(odd and odd[-1]),
        "earlier_odd": sum(odd[:-1]),
        "svg": sparkline(values, odd, Caption(f"spark-{group}-{position}", title)) if len(values) > 1 else "",
    }


def figure_text(value: float | None, unit: str) -> str:
    """A followed figure as people read it."""
    match unit:
        case "share":
            return words.per_cent(value)
        case "seconds":
            return words.seconds(value)
        case _:
            return words.number(value)


def _run(run: Run, pages: Sequence[str]) -> dict[str, Any]:
    document = run.document
    exit_code = _exit_code(document)
    status = words.status(exit_code)
    return {
        "folder": run.folder,
        "run_id": run.run_id or run.folder,
        "at": text_at(document, "started_at"),
        "command": text_at(document, "command"),
        "profile": run.group[0],
        "environment": run.group[1],
        "status": status,
        "word": words.status_word(exit_code),
        "exit_code": exit_code,
        "read": count_at(document, "rows", "read"),
        "held_back": words.per_cent(held_back(document)),
        "created": record_total(document, "created"),
        "rejected": record_total(document, "rejected"),
        "in_doubt": record_total(document, "in_doubt"),
        "duration": seconds_between(text_at(document, "started_at"), text_at(document, "ended_at")),
        "pages": [(f"./{quote(run.folder)}/{page}", page.removesuffix(".html")) for page in pages],
    }


def _exit_code(document: Document) -> int:
    """The exit code of a run; a summary without one is nothing to rely on."""
    found = count_at(document, "exit_code")
    return int(Exit.BUG) if found is None else found
