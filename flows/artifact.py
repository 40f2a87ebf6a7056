"""The account of a run as Markdown, for the artifact a Prefect flow leaves behind. No Prefect in here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

from connectors.reports.account import OPEN
from schemas.masking import masked_text, printable
from schemas.outcomes import REMOVED, Outcome
from schemas.summary import Summary

MOST_ROWS: Final = 500
"""A table of exports ends there; the server stores the whole artifact."""
_REFUSED: Final = {Outcome.REJECTED.value: "refused"}
"""What is said of removals: nothing was rejected of what an export says."""
_DIGEST: Final = re.compile(r"[0-9a-f]{16,128}")
_STEERING: Final = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")


def summary_markdown(summary: Summary) -> str:
    """Verdict, both equations, broken rules, and where the report is. Ids and foreign words are masked."""
    parts = [
        f"## {_inert(summary.verdict)}",
        f"Exit code {int(summary.exit_code)}, {_inert(summary.environment)}.",
    ]
    if summary.error is not None:
        parts.append(f"{_inert(summary.error.message)} {_inert(summary.error.cure)}".strip())
    if summary.rows is not None:
        parts.append(_table(("Rows", "count"), asdict(summary.rows).items()))
    parts.extend(_records(summary))
    parts.extend(_removals(summary))
    for title, counted in (("Rule broken", summary.violations), ("Warning", summary.warnings)):
        if counted:
            ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
            parts.append(_table((title, "rows"), ranked))
    parts.extend(_extra(summary))
    if summary.artifacts.report:
        parts.append(f"Report: `{printable(summary.artifacts.report).replace('`', ' ')}`")
    return "\n\n".join(parts) + "\n"


def _records(summary: Summary) -> Iterable[str]:
    kinds = {kind: counts for kind, counts in summary.records.items() if counts.planned}
    if not kinds:
        return
    rows = [
        (name, *(getattr(counts, name) for counts in kinds.values()))
        for name in ("planned", *(outcome.value for outcome in Outcome))
    ]
    yield _table(("Records", *(f"{kind}s" for kind in kinds)), rows)


def _removals(summary: Summary) -> Iterable[str]:
    """Where the records ended that were to be removed because they had vanished."""
    removals = (summary.extra.get("vanished") or {}).get("removals")
    if removals:
        names = ("planned", REMOVED, *(outcome.value for outcome in OPEN))
        rows = [
            (_REFUSED.get(name, name), *(counts.get(name) for counts in removals.values())) for name in names
        ]
        yield _table(("Removals", *(f"{kind}s" for kind in removals)), rows)


def _extra(summary: Summary) -> Iterable[str]:
    """What only some commands have: the exports of a backfill, the drift of a reconciliation, a plan's digest."""
    runs = summary.extra.get("runs")
    if runs:
        rows = [
            (run["export"] or "?", run["run_id"] or "-", "skipped" if run["skipped"] else run["exit_code"])
            for run in runs[:MOST_ROWS]
        ]
        yield _table(("Export", "run", "exit code"), rows)
        if len(runs) > MOST_ROWS:
            yield f"and {len(runs) - MOST_ROWS:,} more exports."
    drift = summary.extra.get("drift")
    if drift:
        rows = [(name, *(kinds[name] for kinds in drift.values())) for name in next(iter(drift.values()))]
        yield _table(("Drift", *(f"{kind}s" for kind in drift)), rows)
    digest = str(summary.extra.get("plan_digest") or "")
    if _DIGEST.fullmatch(digest):  # printed whole: masking would take its digits for somebody's number
        yield f"Plan: `{digest}`"


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "not known"
    return f"{value:,}" if isinstance(value, int) else _inert(str(value).replace("_", " "))


def _inert(text: str) -> str:
    """Foreign words as words: neither HTML nor Markdown, masked, on one line."""
    return _STEERING.sub(r"\\\1", html.escape(masked_text(text, limit=400), quote=False))
