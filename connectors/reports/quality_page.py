"""What `quality.html` says about the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shapely.geometry.base import BaseGeometry

from connectors.reports import words
from connectors.reports.account import check_account
from connectors.reports.charts import Bar, bars, columns
from connectors.reports.drawing import Caption
from connectors.reports.history import Document, count_at, counts_at, text_at
from connectors.reports.maps import CLASSES, coarse_map
from connectors.reports.page import render
from connectors.reports.reconciliation import Tile
from connectors.reports.verdict import Verdict, capitalised
from schemas.details import RuleNote, RunDetails
from schemas.errors import AccountError
from schemas.outcomes import Exit
from schemas.quality import ColumnProfile, MapFigure, QualityFigures, RuleFigure, UnreadableFigure
from schemas.rules import RULES
from schemas.summary import RowCounts, Summary
from schemas.unreadable import Unreadable

RULES_SHOWN = 60
RULES_CHARTED = 12
COLUMNS_SHOWN = 40
PAIRS_SHOWN = 15
FILES_SHOWN = 12
RUNS_SHOWN = 24
AREAS_LISTED = 10
COLUMN_LABELS = {
    "user": "customer",
    "location": "location",
    "meter_point": "meter point",
    "parent_meter_point": "parent meter point",
    "metering_location": "metering location",
    "location_type": "location type",
    "resource": "resource",
    "resource_type": "resource type",
}


@dataclass(frozen=True, slots=True)
class RuleView:
    """A broken rule as the page shows it."""

    figure: RuleFigure
    note: RuleNote
    share: str
    files: tuple[tuple[str, int], ...]
    more_files: int


def quality_page(
    summary: Summary,
    *,
    details: RunDetails,
    quality: QualityFigures,
    history: Sequence[Document],
    outlines: Iterable[BaseGeometry],
    files: Sequence[str],
) -> bytes:
    """The data-quality page of a run.

    Args:
        summary: the account.
        details: notes on rules, profiles.
        quality: figures of the rows.
        history: `summary.json` of earlier runs of the same profile, oldest first.
        outlines: polygons of countries to draw under the map.
        files: names of the files in the run folder.

    Raises:
        AccountError: the figures contradict each other.
    """
    check_account(summary, details, quality)
    if summary.rows is None:
        raise AccountError("figures of rows without an account of rows")
    notes = {**_known_rules(), **{note.name: note for note in details.rules}}
    rules = [_rule(figure, notes, summary.rows) for figure in quality.rules]
    view: dict[str, Any] = {
        "verdict": _verdict(summary, quality, rules),
        "run_id": summary.run_id or "none",
        "environment": summary.environment,
        "production": summary.environment == "production",
        "started": summary.started_at,
        "profiles": ", ".join(details.profiles),
        "tiles": _tiles(summary.rows, quality),
        "rules": rules[:RULES_SHOWN],
        "more_rules": max(len(rules) - RULES_SHOWN, 0),
        "rules_svg": _rules_chart(quality, summary.rows),
        "rules_per_row": [share for share in quality.rules_per_row if share.rows],
        "unreadable": [_unreadable(figure) for figure in quality.unreadable],
        "read": summary.rows.read,
        "columns": [_column(profile) for profile in quality.columns[:COLUMNS_SHOWN]],
        "more_columns": max(len(quality.columns) - COLUMNS_SHOWN, 0),
        "together": quality.together[:PAIRS_SHOWN],
        "more_together": max(len(quality.together) - PAIRS_SHOWN, 0),
        "normalised": sorted(summary.normalised.items(), key=lambda item: (-item[1], item[0]))[:RULES_SHOWN],
        "map": _map(quality.map, outlines),
        "customers": quality.customers,
        "registered": summary.customers.complete,
        "comparison": _comparison(summary, history),
        "csv": "violations.csv" in set(files),
    }
    view["contents"] = [
        ("rules", "Rules broken"),
        *([("unreadable", "Unreadable lines")] if view["unreadable"] else []),
        ("columns", "Columns"),
        ("together", "Rules together"),
        ("map", "Map"),
        ("customers", "Customers"),
        ("earlier", "Earlier exports"),
    ]
    return render("quality.html.j2", view=view)


# ------------------------------------------------------------------ verdict and tiles
def _verdict(summary: Summary, quality: QualityFigures, rules: Sequence[RuleView]) -> Verdict:
    rows = summary.rows or RowCounts()
    held_back = rows.quarantined + rows.unreadable
    status = "attention" if held_back else "good"
    if summary.exit_code == Exit.GUARD:
        status = "stop"
    worst = next((rule for rule in rules if rule.figure.severity == "quarantine"), None)
    if not rows.read:
        headline = "There are no rows to judge."
    elif held_back:
        told, share = words.number(held_back), words.share(held_back, rows.read)
        headline = f"{told} of {words.number(rows.read)} rows are held back, {share}."
    else:
        headline = "No row is held back."
    return Verdict(
        status=status,
        sign=words.STATUS_MARK[status],
        word="Data quality",
        headline=headline,
        why=_cause(worst, quality),
        next=capitalised(_cure(worst, quality, summary)),
    )


def _cause(worst: RuleView | None, quality: QualityFigures) -> str:
    if worst is not None:
        rows = words.number(worst.figure.rows)
        return f"Most often broken: {words.sentence(worst.figure.rule)} ({rows} rows)."
    if quality.unreadable:
        first = quality.unreadable[0]
        return f"Most often: {_reason(first.reason)[0]} ({words.number(first.rows)} lines)"
    if quality.rules:
        first_rule = quality.rules[0]
        return f"Warnings only: {words.sentence(first_rule.rule)} ({words.number(first_rule.rows)} rows)."
    return ""


def _cure(worst: RuleView | None, quality: QualityFigures, summary: Summary) -> str:
    if worst is not None:
        cure = worst.note.cure or "mend these rows"
        gone = summary.artifacts.correction is None
        where = words.ROWS_GONE if gone else "are in `correction.csv`, ready to be mended and loaded again"
        return f"{cure.rstrip('.')}. The rows {where}."
    if quality.unreadable:
        return _reason(quality.unreadable[0].reason)[1]
    return "nothing to do." if not quality.rules else "look at the warnings when there is time."


def _tiles(rows: RowCounts, quality: QualityFigures) -> list[Tile]:
    customers = quality.customers
    warned = sum(figure.rows for figure in quality.rules if figure.severity == "warn")
    good = rows.mapped + rows.duplicate
    kept_out = f"good, {words.number(rows.filtered)} filtered out" if rows.filtered else "good"
    tiles = [
        Tile("rows.read", rows.read, "rows read"),
        Tile("", good, kept_out),
        Tile(
            "rows.quarantined", rows.quarantined, f"in quarantine, {words.share(rows.quarantined, rows.read)}"
        ),
        Tile("", warned, "warnings"),
    ]
    if customers is not None:
        share = words.share(customers.compensable, customers.total)
        tiles.append(
            Tile("quality.customers.compensable", customers.compensable, f"customers compensable, {share}")
        )
    return tiles


# ------------------------------------------------------------------ rules
def _rule(figure: RuleFigure, notes: Mapping[str, RuleNote], rows: RowCounts) -> RuleView:
    ranked = sorted(figure.by_file, key=lambda item: (-item[1], item[0]))
    return RuleView(
        figure=figure,
        note=notes.get(figure.rule, RuleNote(figure.rule, figure.severity)),
        share=words.share(figure.rows, rows.read),
        files=tuple(ranked[:FILES_SHOWN]),
        more_files=max(len(ranked) - FILES_SHOWN, 0),
    )


def _known_rules() -> dict[str, RuleNote]:
    """What the rules about single rows say of themselves."""
    return {rule.name: RuleNote(rule.name, rule.production, rule.sentence, rule.cure) for rule in RULES}


def _rules_chart(quality: QualityFigures, rows: RowCounts) -> str:
    shown = [
        Bar(
            words.sentence(figure.rule),
            figure.rows,
            f"{words.number(figure.rows)} · {words.share(figure.rows, rows.read)}",
            "var(--quarantined)" if figure.severity == "quarantine" else "var(--warned)",
        )
        for figure in quality.rules[:RULES_CHARTED]
    ]
    told = "; ".join(f"{bar.label}: {bar.text}" for bar in shown)
    return bars(shown, Caption("rules", "Rows by broken rule", told)) if shown else ""


def _unreadable(figure: UnreadableFigure) -> dict[str, Any]:
    sentence, cure = _reason(figure.reason)
    return {"sentence": sentence, "cure": cure, "rows": figure.rows, "examples": figure.examples}


def _reason(code: str) -> tuple[str, str]:
    """Sentence and cure of a reason why a line cannot be read."""
    known = code in set(Unreadable)
    return (Unreadable(code).sentence, Unreadable(code).cure) if known else (words.sentence(code), "")


# ------------------------------------------------------------------ columns
def _column(profile: ColumnProfile) -> dict[str, Any]:
    closed = bool(profile.values)
    span = ""
    if profile.shortest is not None:
        same = profile.shortest == profile.longest
        span = str(profile.shortest) if same else f"{profile.shortest} – {profile.longest}"
    return {
        "path": f"quality.columns.{profile.column}",
        "label": COLUMN_LABELS.get(profile.column, profile.column.removeprefix("key:")),
        "filled": profile.filled,
        "filled_share": words.share(profile.filled, profile.rows),
        "distinct": f"{'' if profile.distinct_exact else '≈ '}{words.number(profile.distinct)}",
        "span": "" if closed else span,
        "check": words.share(profile.check_digit_passed, profile.check_digit_checked)
        if profile.check_digit_checked
        else "",
        "zeros": words.share(profile.ends_in_zeros, profile.filled)
        if profile.filled and profile.ends_in_zeros is not None
        else "",
        "details": [
            (name, shares)
            for name, shares in (
                ("Values", profile.values),
                ("Lengths in characters", () if closed or len(profile.lengths) == 1 else profile.lengths),
                ("First characters", profile.prefixes),
            )
            if shares
        ],
    }


# ------------------------------------------------------------------ map
def _map(figure: MapFigure, outlines: Iterable[BaseGeometry]) -> dict[str, Any]:
    good, bad = sum(area.good for area in figure.areas), sum(area.quarantined for area in figure.areas)
    busiest = sorted(figure.areas, key=lambda area: (-area.good, area.latitude, area.longitude))[
        :AREAS_LISTED
    ]
    told = (
        f"{words.number(good)} good rows and {words.number(bad)} in quarantine, in {len(figure.areas)} areas"
    )
    drawing = coarse_map(figure, outlines, Caption("map", "Where the rows lie", f"{told}."))
    return {
        "svg": drawing.svg if drawing else "",
        "outside": drawing.outside if drawing else 0,
        "undrawn": drawing.undrawn if drawing else 0,
        "hidden": figure.hidden,
        "without": figure.without,
        "good": good,
        "quarantined": bad,
        "classes": [name.replace(" ", words.THIN) for name, _ in CLASSES],
        "latitude_step": f"{figure.latitude_step:g}",
        "longitude_step": f"{figure.longitude_step:g}",
        "areas": [
            {
                "name": f"{_span(area.latitude, figure.latitude_step, 'N', 'S')}, "
                f"{_span(area.longitude, figure.longitude_step, 'E', 'W')}",
                "good": area.good,
                "quarantined": area.quarantined,
            }
            for area in busiest
        ],
        "more_areas": max(len(figure.areas) - AREAS_LISTED, 0),
    }


def _span(start: float, step: float, positive: str, negative: str) -> str:
    """A stretch of degrees as `59.5 – 60° N`."""
    if start >= 0:
        return f"{start:g} – {start + step:g}° {positive}"
    return f"{-start - step:g} – {-start:g}° {negative}"


# ------------------------------------------------------------------ earlier exports
def _comparison(summary: Summary, history: Sequence[Document]) -> dict[str, Any] | None:
    """This export against earlier ones of the same profile: share held back, and each rule then and now."""
    measured = [run for run in history if count_at(run, "rows", "read")][-(RUNS_SHOWN - 1) :]
    if not measured or summary.rows is None or not summary.rows.read:
        return None
    runs = [*measured, summary.to_json()]
    shares = [_held_back(run) for run in runs]
    shown = [
        Bar(day, 100 * share, words.per_cent(share), "var(--unchanged)")
        for day, share in zip(_days(runs), shares, strict=True)
    ]
    last = shown[-1]
    shown[-1] = Bar("now", last.value, last.text, "var(--quarantined)")
    told = ", ".join(f"{bar.label} {bar.text}" for bar in shown)
    return {
        "svg": columns(shown, Caption("earlier-runs", "Share of rows held back, by run", told)),
        "runs": [
            (text_at(run, "started_at"), count_at(run, "rows", "read"), words.per_cent(share))
            for run, share in zip(runs[:-1], shares[:-1], strict=True)
        ][::-1],
        "rules": _then_and_now(measured[-1], summary),
        "previous_at": text_at(measured[-1], "started_at"),
    }


def _days(runs: Sequence[Document]) -> list[str]:
    """Month and day of each run; the time instead when all are of one day."""
    moments = [text_at(run, "started_at") for run in runs]
    same_day = len({moment[:10] for moment in moments}) == 1
    return [moment[11:16] if same_day else moment[5:10] for moment in moments]


def _held_back(run: Document) -> float:
    held = (count_at(run, "rows", "quarantined") or 0) + (count_at(run, "rows", "unreadable") or 0)
    return held / (count_at(run, "rows", "read") or 1)


def _then_and_now(previous: Document, summary: Summary) -> list[tuple[str, str, str, str]]:
    """Each rule as a share of the rows read: then, now, and the change of the count."""
    then = {**counts_at(previous, "warnings"), **counts_at(previous, "violations")}
    now = {**summary.warnings, **summary.violations}
    read_then = count_at(previous, "rows", "read")
    read_now = summary.rows.read if summary.rows else None
    return [
        (
            words.sentence(name),
            words.share(then.get(name, 0), read_then),
            words.share(now.get(name, 0), read_now),
            words.change(then.get(name, 0), now.get(name, 0)),
        )
        for name in sorted({*then, *now}, key=lambda name: (-now.get(name, 0), name))
    ][:RULES_SHOWN]
