"""What must be true of a run's figures before a page may show them."""

from __future__ import annotations

from schemas.details import RunDetails
from schemas.errors import AccountError
from schemas.outcomes import Exit, Outcome
from schemas.quality import QualityFigures
from schemas.summary import Summary

EXPLAINED = (Outcome.REJECTED, Outcome.BLOCKED, Outcome.IN_DOUBT)
"""Outcomes that need a reason for each record."""
OPEN = (Outcome.IN_DOUBT, Outcome.REJECTED, Outcome.BLOCKED, Outcome.NOT_SENT)
"""Outcomes that need somebody, worst first."""


def outcome_total(summary: Summary, outcome: Outcome) -> int:
    """Records of all kinds with this outcome; unknown counts as none."""
    return sum(getattr(counts, outcome.value) or 0 for counts in summary.records.values())


def removal_total(summary: Summary, end: str) -> int:
    """Removals of all kinds that ended so: no export names their records, so they are counted apart."""
    removals = (summary.extra.get("vanished") or {}).get("removals") or {}
    return sum(counts.get(end) or 0 for counts in removals.values())


def needing_somebody(summary: Summary) -> list[Outcome]:
    """The open outcomes a person has to care for, worst first. That a plan has sent nothing is none of them."""
    return [one for one in OPEN if one is not Outcome.NOT_SENT or summary.command != "plan"]


def check_account(summary: Summary, details: RunDetails, quality: QualityFigures | None) -> None:
    """Refuse figures that contradict each other.

    Raises:
        AccountError: naming the two figures that disagree.
    """
    summary.check()
    _check_sources(summary)
    _check_reasons(summary, details)
    _check_exit(summary)
    if quality is not None:
        _check_quality(summary, quality)


def _must_equal(what: str, figure: int, other: str, expected: int) -> None:
    if figure != expected:
        raise AccountError(f"{what} {figure} is not {other} {expected}")


def _check_sources(summary: Summary) -> None:
    rows = [source.rows for source in summary.sources]
    if summary.rows is not None and rows and None not in rows:
        total = sum(count for count in rows if count is not None)
        _must_equal("the sum of the sources' rows", total, "the rows read", summary.rows.read)


def _check_reasons(summary: Summary, details: RunDetails) -> None:
    """Reasons may be left out altogether, but what is there must add up, kind by kind."""
    for outcome in EXPLAINED:
        for kind, counts in summary.records.items():
            given = [
                entry.count for entry in details.reasons if (entry.outcome, entry.kind) == (outcome, kind)
            ]
            if given:
                expected = getattr(counts, outcome.value) or 0
                _must_equal(f"the reasons for {outcome} {kind} records", sum(given), "their number", expected)


def _check_exit(summary: Summary) -> None:
    """Exit 0 is a promise."""
    if summary.exit_code != Exit.OK:
        return
    rows = summary.rows
    broken = {
        "quarantined rows": rows.quarantined if rows else 0,
        "unreadable rows": rows.unreadable if rows else 0,
        **{f"{outcome} records": outcome_total(summary, outcome) for outcome in EXPLAINED},
        **{f"{outcome} removals": removal_total(summary, outcome) for outcome in OPEN},
    }
    for what, count in broken.items():
        if count:
            raise AccountError(f"exit code 0, yet {count} {what}")


def _check_quality(summary: Summary, quality: QualityFigures) -> None:
    if summary.rows is None:
        raise AccountError(f"{quality.rows} rows measured, yet no row is in the account")
    rows = summary.rows
    judged = rows.read - rows.unreadable - rows.filtered
    _must_equal("the rows measured", quality.rows, "the rows read less unreadable and filtered", judged)
    _must_equal(
        "the rows measured as quarantined", quality.quarantined, "those in the account", rows.quarantined
    )
    unreadable = sum(figure.rows for figure in quality.unreadable)
    _must_equal("the unreadable lines by reason", unreadable, "those in the account", rows.unreadable)
    areas = quality.map.areas
    placed = sum(area.good + area.quarantined for area in areas) + quality.map.hidden + quality.map.without
    _must_equal("the rows of the map", placed, "the rows measured", quality.rows)
    if quality.map.quarantined is not None:
        _check_map(quality)
    for figure in quality.rules:
        counted = summary.warnings if figure.severity == "warn" else summary.violations
        expected = counted.get(figure.rule, 0)
        _must_equal(f"the rows breaking {figure.rule}", figure.rows, "its violations", expected)


def _check_map(quality: QualityFigures) -> None:
    """Areas too thin to show, and rows that lie nowhere, may be missing of either; none may be there too often."""
    counted = quality.map.quarantined or 0
    _must_equal("the rows of the map in quarantine", counted, "those measured", quality.quarantined)
    shown = {
        "good": (sum(area.good for area in quality.map.areas), quality.rows - counted),
        "quarantined": (sum(area.quarantined for area in quality.map.areas), counted),
    }
    for what, (rows, all_rows) in shown.items():
        if rows > all_rows:
            raise AccountError(f"the {what} rows shown on the map {rows} are more than there are, {all_rows}")
