"""What `report.html` says about a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from connectors.reports import words
from connectors.reports.account import OPEN, check_account, needing_somebody, outcome_total, removal_total
from connectors.reports.charts import Bar, bars
from connectors.reports.drawing import Caption
from connectors.reports.flow import Node, flow
from connectors.reports.history import (
    Document,
    count_at,
    counts_at,
    record_total,
    seconds_between,
    text_at,
)
from connectors.reports.page import render
from connectors.reports.verdict import capitalised, verdict_of
from schemas.details import EXAMPLE_LIMIT, GuardCheck, RunDetails
from schemas.masking import masked_text
from schemas.outcomes import Kind, Outcome, RowClass
from schemas.quality import QualityFigures
from schemas.summary import RowCounts, Summary

RULES_SHOWN = 40
REASONS_SHOWN = 40
SOURCES_SHOWN = 200
STAGES_SHOWN = 20
CHANGES_SHOWN = 60

FILES = {
    "quality.html": "the rows: rules, columns, map",
    "summary.json": "every figure, for programs",
    "report.txt": "the same in plain text",
    "junit.xml": "for CI servers",
    "outcomes.parquet": "one line per record",
    "outcomes.csv": "the same for spreadsheets",
    "rejected.csv": "records the API refused, for spreadsheets",
    "violations.parquet": "one line per row and broken rule",
    "violations.csv": "the same for spreadsheets",
    "quarantine.parquet": "rows in quarantine, personal data",
    "correction.csv": "rows to mend and send again, personal data",
}
"""Files a run folder may hold beside the page, and what they are."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A large figure with its label."""

    path: str
    value: float | None
    label: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One term of an equation."""

    path: str
    value: int
    label: str


@dataclass(frozen=True, slots=True)
class Equation:
    """A total, its terms and their picture."""

    name: str
    path: str
    total: int
    label: str
    parts: tuple[Part, ...]
    svg: Markup


def report_page(
    summary: Summary,
    *,
    details: RunDetails,
    quality: QualityFigures | None,
    previous: Document | None,
    files: Sequence[str],
) -> bytes:
    """The reconciliation page of a run.

    Args:
        summary: the account.
        details: reasons, examples, stages, guards.
        quality: only to say whether there is a data-quality page, and to check it against the account.
        previous: `summary.json` of the last run of the same profile, or None.
        files: names of the files in the run folder.

    Raises:
        AccountError: the figures contradict each other.
    """
    check_account(summary, details, quality)
    kinds = [kind for kind in Kind if summary.records[kind].planned]
    planned = [counts.planned for counts in summary.records.values() if counts.planned is not None]
    view: dict[str, Any] = {
        "verdict": verdict_of(summary, details),
        "title": f"meterfeed reconciliation, {summary.environment}",
        "run_id": summary.run_id or "none",
        "environment": summary.environment,
        "production": summary.environment == "production",
        "started": summary.started_at,
        "tiles": _tiles(summary),
        "rows": _row_equation(summary.rows) if summary.rows and summary.rows.read else None,
        "records": _record_equation(summary) if planned else None,
        "no_records": "No record was planned.",
        "kinds": [
            {
                "label": words.KIND_LABELS[kind],
                "planned": summary.records[kind].planned,
                "path": f"records.{kind}.planned",
            }
            for kind in kinds
        ],
        "outcomes": _outcome_lines(summary, kinds),
        "planned": sum(planned),
        "open": [
            *(_open_group(one, summary, details) for one in OPEN if outcome_total(summary, one)),
            *(_open_removals(one, summary) for one in OPEN if removal_total(summary, one)),
        ],
        "effort": _effort(summary),
        "previous_id": text_at(previous, "run_id") or "unnamed",
        "previous_at": text_at(previous, "started_at"),
        "changes": _changes(summary, previous)[:CHANGES_SHOWN] if previous else [],
        "same": _unchanged(summary, previous) if previous else 0,
        "guards": [_guard_line(guard) for guard in details.guards[:RULES_SHOWN]],
        "sources": summary.sources[:SOURCES_SHOWN],
        "more_sources": max(len(summary.sources) - SOURCES_SHOWN, 0),
        "about": _about(summary, details),
        "files": [
            (name, what)
            for known, what in FILES.items()
            for name in files
            if name == known or (known == "correction.csv" and name.startswith("correction-"))
        ],
        "quality_page": quality is not None,
        **_quarantine(summary),
        **_stages(details),
    }
    view["contents"] = _contents(view)
    return render("report.html.j2", view=view)


def _contents(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    sections = [
        ("flow", "Rows and records"),
        ("kinds", "By kind"),
        ("open", "What needs somebody"),
        ("effort", "Requests and time"),
        ("changes", "Since the last run"),
        ("guards", "Guards"),
        ("sources", "Sources"),
        ("about", "About this run"),
    ]
    return [(name, title) for name, title in sections if name != "kinds" or view["kinds"]]


def _tiles(summary: Summary) -> list[Tile]:
    rows, customers = summary.rows, summary.customers
    in_place = sum(
        outcome_total(summary, outcome) for outcome in (Outcome.CREATED, Outcome.UPDATED, Outcome.UNCHANGED)
    )
    planned = record_total(
        {"records": {k: {"planned": c.planned} for k, c in summary.records.items()}}, "planned"
    )
    needs = sum(
        outcome_total(summary, one) + removal_total(summary, one) for one in needing_somebody(summary)
    )
    return [
        Tile("rows.read", rows.read if rows else None, "rows read"),
        Tile("customers.complete", customers.complete, _of("customers complete", customers.incomplete)),
        Tile("", in_place if planned is not None else None, "records in place"),
        Tile(
            "",
            needs + (rows.quarantined + rows.unreadable if rows else 0),
            "rows and records that need somebody",
        ),
    ]


def _of(label: str, incomplete: int | None) -> str:
    return f"{label}, {words.number(incomplete)} incomplete" if incomplete else label


# ------------------------------------------------------------------ the two accounts
def _row_equation(rows: RowCounts) -> Equation:
    order = (
        RowClass.MAPPED,
        RowClass.DUPLICATE,
        RowClass.FILTERED,
        RowClass.QUARANTINED,
        RowClass.UNREADABLE,
    )
    counts = {row_class: int(getattr(rows, row_class.value)) for row_class in order}
    found = [row_class for row_class in order if counts[row_class]]
    nodes = [Node(words.ROW_LABELS[c].removesuffix(" to records"), counts[c], f"var(--{c})") for c in found]
    links = {(0, index): node.count for index, node in enumerate(nodes)}
    told = ", ".join(f"{words.number(node.count)} {node.label}" for node in nodes)
    caption = Caption(
        "flow-rows", "Rows read and where they went", f"{words.number(rows.read)} rows read: {told}."
    )
    return Equation(
        name="Rows read are the sum of their classes",
        path="rows.read",
        total=rows.read,
        label="rows read",
        parts=tuple(Part(f"rows.{c}", counts[c], words.ROW_LABELS[c]) for c in order),
        svg=flow([Node("rows read", rows.read, "var(--rows)")], nodes, links, caption),
    )


def _record_equation(summary: Summary) -> Equation:
    kinds = [kind for kind in Kind if summary.records[kind].planned]
    outcomes = [outcome for outcome in Outcome if outcome_total(summary, outcome)]
    total = sum(counts.planned or 0 for counts in summary.records.values())
    left = [
        Node(words.KIND_LABELS[kind], summary.records[kind].planned or 0, "var(--rows)") for kind in kinds
    ]
    right = [
        Node(words.OUTCOME_LABELS[outcome], outcome_total(summary, outcome), colour_of(outcome))
        for outcome in outcomes
    ]
    links = {
        (i, j): count
        for i, kind in enumerate(kinds)
        for j, outcome in enumerate(outcomes)
        if (count := getattr(summary.records[kind], outcome.value) or 0)
    }
    told = ", ".join(f"{words.number(node.count)} {node.label}" for node in right)
    caption = Caption(
        "flow-records",
        "Records planned and their outcomes",
        f"{words.number(total)} records planned: {told}.",
    )
    return Equation(
        name="Records planned are the sum of their outcomes",
        path="",
        total=total,
        label="records planned",
        parts=tuple(Part("", outcome_total(summary, o), words.OUTCOME_LABELS[o]) for o in Outcome),
        svg=flow(left, right, links, caption) if links else Markup(""),
    )


def colour_of(outcome: Outcome) -> str:
    """The colour variable of an outcome."""
    return f"var(--{outcome.value.replace('_', '-')})"


def _outcome_lines(summary: Summary, kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    return [
        {
            "outcome": outcome.value,
            "label": words.OUTCOME_LABELS[outcome],
            "total": outcome_total(summary, outcome),
            "cells": [
                {
                    "path": f"records.{kind}.{outcome}",
                    "value": getattr(summary.records[kind], outcome.value),
                }
                for kind in kinds
            ],
        }
        for outcome in Outcome
    ]


# ------------------------------------------------------------------ what needs somebody
def _open_group(outcome: Outcome, summary: Summary, details: RunDetails) -> dict[str, Any]:
    count = outcome_total(summary, outcome)
    reasons = sorted(
        (entry for entry in details.reasons if entry.outcome is outcome),
        key=lambda entry: (-entry.count, entry.code, entry.kind),
    )
    examples = [example for example in details.examples if example.outcome is outcome][:EXAMPLE_LIMIT]
    planning = summary.command == "plan" and outcome is Outcome.NOT_SENT
    return {
        "outcome": outcome.value,
        "anchor": outcome.value,
        "label": f"records {words.OUTCOME_LABELS[outcome]}",
        "count": count,
        "meaning": "This is a plan: nothing has been sent." if planning else words.OUTCOME_MEANING[outcome],
        "cure": "`meterfeed apply` sends exactly this." if planning else words.OUTCOME_CURE[outcome],
        "reasons": reasons[:REASONS_SHOWN],
        "more_reasons": max(len(reasons) - REASONS_SHOWN, 0),
        "examples": [
            {
                "kind": example.kind.value,
                "masked_id": example.masked_id,
                "file": example.file,
                "line": example.line,
                "code": example.code,
                "message": masked_text(example.message),
            }
            for example in examples
        ],
        "said": any(example.message for example in examples),
        "more": max(count - len(examples), 0),
    }


def _open_removals(outcome: Outcome, summary: Summary) -> dict[str, Any]:
    return {
        "outcome": outcome.value,
        "anchor": f"removals-{outcome.value}",
        "label": f"removals {words.REMOVAL_LABELS[outcome]}",
        "count": removal_total(summary, outcome),
        "meaning": words.REMOVAL_MEANING[outcome],
        "cure": words.REMOVAL_CURE[outcome],
        "reasons": [],
        "examples": [],
    }


def _quarantine(summary: Summary) -> dict[str, Any]:
    broken = [
        {"name": name, "severity": severity, "rows": rows, "path": f"{group}.{name}"}
        for group, severity, counts in (
            ("violations", "quarantine", summary.violations),
            ("warnings", "warn", summary.warnings),
        )
        for name, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if rows
    ]
    quarantined = summary.rows.quarantined if summary.rows else 0
    if not quarantined:
        cure = "No row was held back; these rules only warn."
    elif summary.artifacts.correction is None:
        cure = f"They made no record. They {words.ROWS_GONE}."
    else:
        cure = f"They made no record. {capitalised(words.CORRECT_ROWS)}."
    return {
        "rules": broken[:RULES_SHOWN],
        "more_rules": max(len(broken) - RULES_SHOWN, 0),
        "quarantined": quarantined,
        "quarantine_cure": cure,
        "read": summary.rows.read if summary.rows else None,
        "unreadable": summary.rows.unreadable if summary.rows else 0,
    }


# ------------------------------------------------------------------ effort, changes, guards
def _effort(summary: Summary) -> list[Tile]:
    requests = summary.requests
    duration = seconds_between(summary.started_at, summary.ended_at)
    return [
        Tile("requests.sent", requests.sent, "requests that change something"),
        Tile("requests.retried", requests.retried, "of them retries"),
        Tile("requests.split", requests.split, "refused chunks halved"),
        Tile("", duration, "from start to end", words.seconds(duration)),
    ]


def _stages(details: RunDetails) -> dict[str, Any]:
    stages = details.stages[:STAGES_SHOWN]
    rows = [
        Bar(words.sentence(masked_text(s.name)), s.seconds, words.seconds(s.seconds), "var(--accent)")
        for s in stages
    ]
    told = "; ".join(f"{row.label} {row.text}" for row in rows)
    return {
        "stages": stages,
        "stages_svg": bars(rows, Caption("stages", "Duration by stage", told)) if rows else "",
        "more_stages": len(details.stages) - len(stages),
    }


def _changes(summary: Summary, previous: Document) -> list[dict[str, str]]:
    """Figures that differ, then and now."""
    now = summary.to_json()
    lines = [
        {
            "label": label,
            "then": words.number(then),
            "now": words.number(current),
            "change": words.change(then, current),
        }
        for label, then, current in _compared(previous, now)
        if then != current
    ]
    spans = [seconds_between(text_at(run, "started_at"), text_at(run, "ended_at")) for run in (previous, now)]
    then_text, now_text = (words.seconds(span) for span in spans)
    return [*lines, {"label": "duration", "then": then_text, "now": now_text, "change": _pace(*spans)}]


def _unchanged(summary: Summary, previous: Document) -> int:
    """How many figures are as they were."""
    return sum(then == now is not None for _, then, now in _compared(previous, summary.to_json()))


def _compared(then: Document, now: Document) -> Iterator[tuple[str, int | None, int | None]]:
    """Every figure two runs are compared by: label, then, now."""
    yield "rows read", count_at(then, "rows", "read"), count_at(now, "rows", "read")
    for row_class, label in words.ROW_WORDS.items():
        yield label, count_at(then, "rows", row_class), count_at(now, "rows", row_class)
    if record_total(then, "planned") and record_total(now, "planned"):
        yield from _records_compared(then, now)
    for group in ("violations", "warnings"):
        before, after = counts_at(then, group), counts_at(now, group)
        for name in sorted({*before, *after}):
            yield words.sentence(name), before.get(name, 0), after.get(name, 0)


def _records_compared(then: Document, now: Document) -> Iterator[tuple[str, int | None, int | None]]:
    for kind, label in words.KIND_LABELS.items():
        path = ("records", kind, "planned")
        if count_at(then, *path) or count_at(now, *path):
            yield f"{label} planned", count_at(then, *path), count_at(now, *path)
    for outcome, label in words.OUTCOME_LABELS.items():
        yield f"records {label}", record_total(then, outcome), record_total(now, outcome)
    yield (
        "customers complete",
        count_at(then, "customers", "complete"),
        count_at(now, "customers", "complete"),
    )
    yield "requests sent", count_at(then, "requests", "sent"), count_at(now, "requests", "sent")


def _pace(then: float | None, now: float | None) -> str:
    if not then or now is None:
        return words.NOT_KNOWN
    return f"{'+' if now >= then else '−'}{words.per_cent(abs(now / then - 1))}"


def _guard_line(guard: GuardCheck) -> dict[str, Any]:
    result = "stopped the run" if guard.tripped else "passed"
    if guard.value is None:
        result = "stopped the run" if guard.tripped else "nothing to compare with"
    return {
        "name": words.GUARD_LABELS.get(guard.name) or words.sentence(guard.name),
        "value": _measure(guard.value, guard.unit),
        "limit": _measure(guard.limit, guard.unit),
        "tripped": guard.tripped,
        "result": result,
    }


def _measure(value: float | None, unit: str) -> str:
    if value is None:
        return words.NOT_KNOWN
    if unit == "share":
        return words.per_cent(value)
    text = words.number(value) if float(value).is_integer() else f"{value:.2f}"
    return {"times": f"{text}×", "km": f"{text}{words.THIN}km"}.get(unit, text)


def _about(summary: Summary, details: RunDetails) -> list[tuple[str, str]]:
    about = [
        ("Command", f"meterfeed {summary.command}"),
        ("Exit code", str(int(summary.exit_code))),
        ("Environment", summary.environment),
        ("Profile", ", ".join(details.profiles)),
        ("Started", words.moment(summary.started_at)),
        ("Ended", words.moment(summary.ended_at)),
        ("Plan", details.plan_digest or ""),
    ]
    if details.handovers is not None:
        moved, reported = details.handovers.moved, details.handovers.reported
        about.append(("Meter points handed over", words.number(moved)))
        about.append(("Handovers only reported", words.number(reported)))
    about += _absent(summary)
    return [(term, text) for term, text in about if text and text != words.NOT_KNOWN]


def _absent(summary: Summary) -> list[tuple[str, str]]:
    """What the exports do not name any more, what was removed of it, and who is back."""
    told = summary.extra.get("vanished") or {}
    waiting: Counter[str] = Counter()
    for counts in told.get("kinds", {}).values():
        waiting.update(counts["waiting"])
    return [
        (
            "Missing from the export",
            _by_kind({k: one["missing"] for k, one in told.get("kinds", {}).items()}),
        ),
        (
            "Not to be removed yet",
            ", ".join(f"{words.number(n)} {words.WAITS[w]}" for w, n in waiting.items()),
        ),
        ("Removed", _by_kind({k: one["removed"] for k, one in told.get("removals", {}).items()})),
        ("Removal refused or open", _by_kind(_not_removed(told))),
        ("Back after removal", _by_kind(summary.extra.get("returning") or {})),
    ]


def _not_removed(told: Mapping[str, Any]) -> dict[str, int]:
    return {kind: one["planned"] - one["removed"] for kind, one in told.get("removals", {}).items()}


def _by_kind(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{words.number(n)} {words.KIND_LABELS[Kind(kind)]}" for kind, n in counts.items() if n)
