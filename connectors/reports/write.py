"""Write the pages of a run into its folder, and the index over all runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from shapely.geometry.base import BaseGeometry

from connectors.artifacts import RunFolder
from connectors.reference import load_reference, outlines_of
from connectors.reports.account import check_account
from connectors.reports.history import Document, names_at, text_at
from connectors.reports.index_page import index_page
from connectors.reports.plain import junit_report, text_report
from connectors.reports.quality_page import quality_page
from connectors.reports.reconciliation import FILES, report_page
from connectors.reports.tables import (
    OUTCOMES,
    REJECTED,
    REJECTED_FILE,
    REMOVAL,
    VIOLATIONS,
    Table,
    cannot_read,
    write_csv_copy,
)
from connectors.reports.trends import load_runs, load_summary
from schemas.details import RunDetails
from schemas.errors import AccountError, StorageError
from schemas.outcomes import Outcome
from schemas.quality import QualityFigures
from schemas.summary import Artifacts, Summary

HISTORY_SHOWN = 24
SENDING = ("sync", "apply", "resume", "backfill", "demo")
"""Commands whose records can be compared with each other's."""
PAGES = ("report.html", "quality.html")
_CORRECTION = re.compile(r"correction(?:-[a-z0-9-]+-[0-9]+)?\.csv")
"""As `connectors/quarantine.py` names them; what people save beside them may be called anything."""
Counts = dict[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Earlier runs a run is compared with: the last one of its profile, and those before, oldest first."""

    previous: Document | None
    history: tuple[Document, ...]

    def to_json(self) -> dict[str, Any]:
        """Which runs they are, so that the pages can be made again."""
        return {
            "previous": text_at(self.previous, "run_id") or None,
            "history": [text_at(run, "run_id") for run in self.history],
        }


def write_run_reports(
    folder: Path,
    summary: Summary,
    *,
    details: RunDetails,
    quality: QualityFigures | None,
    previous: Document | None,
    history: Sequence[Document] = (),
) -> Artifacts:
    """Write the pages, report.txt, junit.xml, CSV copies and, last, summary.json into the run folder.

    `outcomes.parquet`, `violations.parquet` and `quarantine.parquet` are written before by those who own
    the frames; what lies in the folder is checked against the account, copied to CSV and named in the
    artifacts. `summary.json` holds `details`, `quality` and `compared_with` as well. quality.html is
    written when there are figures.

    Args:
        folder: the run folder; must exist.
        summary: the account.
        details: reasons, examples, stages, guards.
        quality: figures of the rows, or None.
        previous: the `summary.json` of the last run of the same profile; None: the last one of its history
            that sends, if this run does.
        history: earlier `summary.json` documents of the same profile, oldest first; none: those found in
            the folders beside this one.

    Returns:
        The artifacts, to put into the summary that is shown.

    Raises:
        AccountError: an equation does not hold, or two figures disagree; no page is written.
        StorageError: the folder cannot be written to.
    """
    earlier = history or earlier_runs(folder, summary, details)
    if previous is None:
        previous = _last_alike(earlier, summary.command)
    return _write(folder, summary, details, quality, Comparison(previous, tuple(earlier[-HISTORY_SHOWN:])))


def _last_alike(earlier: Sequence[Document], command: str) -> Document | None:
    """The newest run that sends, for one that does; else the newest."""
    alike = [run for run in earlier if (text_at(run, "command") in SENDING) == (command in SENDING)]
    found = alike or list(earlier)
    return found[-1] if found else None


def rebuild_reports(folder: Path) -> Artifacts:
    """Render the pages again from `summary.json` in the run folder: same bytes as the first time.

    Raises:
        AccountError: the summary contradicts itself.
        StorageError: it is missing, damaged, or the folder cannot be written to.
    """
    document = load_summary(folder)
    if document is None:
        raise StorageError(
            f"There is no readable summary.json in {folder.name}.",
            cure="Name another run: `meterfeed runs` lists them.",
        )
    try:
        summary, details, quality = read_summary(document)
    except (msgspec.MsgspecError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise StorageError(
            f"summary.json in {folder.name} is damaged ({type(error).__name__}).",
            cure="Put the folder back from a backup; what was sent is in the ledger in any case.",
        ) from None
    beside = {run.run_id: run.document for run in load_runs(folder.parent)}
    comparison = Comparison(
        previous=beside.get(text_at(document, "compared_with", "previous")),
        history=tuple(beside[name] for name in _compared(document) if name in beside),
    )
    return _write(folder, summary, details, quality, comparison)


def _compared(document: Document) -> tuple[str, ...]:
    return names_at(document, "compared_with", "history")


def write_index(runs: Path) -> Path:
    """Write `index.html` over all run folders below `runs` and return its path.

    Raises:
        StorageError: the folder cannot be read or written to.
    """
    found = load_runs(runs)
    pages = {
        run.folder: tuple(page for page in PAGES if (runs / run.folder / page).is_file()) for run in found
    }
    with RunFolder(runs) as folder:
        return folder.write("index.html", index_page(found, pages=pages))


def earlier_runs(folder: Path, summary: Summary, details: RunDetails) -> list[Document]:
    """Summaries of runs of the same profiles and environment that lie beside a run folder, oldest first."""
    group = (", ".join(details.profiles), summary.environment)
    ours = (summary.started_at or "~", summary.run_id or "~")
    return [
        run.document
        for run in load_runs(folder.parent)
        if run.group == group and run.folder != folder.name and run.order < ours
    ]


def summary_document(
    summary: Summary, details: RunDetails, quality: QualityFigures | None, comparison: Comparison
) -> dict[str, Any]:
    """Everything the pages show, as it is written to `summary.json`."""
    return {
        **summary.to_json(),
        "details": details.to_json(),
        "quality": quality.to_json() if quality is not None else None,
        "compared_with": comparison.to_json(),
    }


def read_summary(document: Document) -> tuple[Summary, RunDetails, QualityFigures | None]:
    """The inverse of `summary_document`, without the comparison.

    Raises:
        msgspec.ValidationError: a value is not of its type.
        TypeError: a figure that must be there is missing.
    """
    ours = {"details", "quality", "compared_with"}
    summary = Summary.from_json({name: value for name, value in document.items() if name not in ours})
    quality = document.get("quality")
    return (
        summary,
        RunDetails.from_json(document.get("details") or {}),
        QualityFigures.from_json(quality) if quality else None,
    )


# ------------------------------------------------------------------ writing
def _write(
    folder: Path,
    summary: Summary,
    details: RunDetails,
    quality: QualityFigures | None,
    comparison: Comparison,
) -> Artifacts:
    check_account(summary, details, quality)
    with RunFolder(folder) as run:
        tables = [table for table in (OUTCOMES, VIOLATIONS) if run.has(table.file)]
        _check_tables(folder, summary, {table.name for table in tables})
        made = {
            "report.html",
            "report.txt",
            "junit.xml",
            "summary.json",
            *(f"{table.name}.csv" for table in tables),
        }
        if quality is not None:
            made.add("quality.html")
        if OUTCOMES in tables and _was_refused(summary):
            write_csv_copy(run, OUTCOMES, file=REJECTED_FILE, only=REJECTED)
        else:
            run.remove(REJECTED_FILE)
        corrections = _corrections(folder, run)
        files = sorted({*corrections, *(name for name in FILES if name in made or run.has(name))})
        artifacts = _artifacts(folder, made | set(files), corrections)
        summary = replace(summary, artifacts=artifacts)
        pages = {
            "report.html": report_page(
                summary, details=details, quality=quality, previous=comparison.previous, files=files
            ),
            "report.txt": text_report(summary, details),
            "junit.xml": junit_report(summary, details),
        }
        if quality is not None:
            pages["quality.html"] = quality_page(
                summary,
                details=details,
                quality=quality,
                history=comparison.history,
                outlines=_outlines(),
                files=files,
            )
        for table in tables:
            write_csv_copy(run, table)
        for name, content in pages.items():
            run.write(name, content)
        document = summary_document(summary, details, quality, comparison)
        run.write("summary.json", msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return artifacts


def _was_refused(summary: Summary) -> bool:
    """Whether the API refused any record, or any removal."""
    removals = summary.extra.get("vanished", {}).get("removals", {}).values()
    return any(counts.rejected for counts in summary.records.values()) or any(
        counts.get(Outcome.REJECTED) for counts in removals
    )


def _corrections(folder: Path, run: RunFolder) -> list[str]:
    """Correction files, the first one first; in a run of several profiles each has the name of its own."""
    names = (path.name for path in folder.glob("correction*.csv") if _CORRECTION.fullmatch(path.name))
    return sorted(
        filter(run.has, names), key=lambda name: (name != "correction.csv", name.rpartition("-")[2])
    )


def _artifacts(folder: Path, files: set[str], corrections: Sequence[str]) -> Artifacts:
    """What lies in the folder under its agreed name. What `purge` removed since is not named any more."""
    agreed = {
        "report": "report.html",
        "quality": "quality.html",
        "quarantine": "quarantine.parquet",
        "correction": next(iter(corrections), "correction.csv"),
        "rejected": REJECTED_FILE,
        "outcomes": "outcomes.parquet",
        "violations": "violations.parquet",
    }
    return Artifacts(**{field: str(folder / name) for field, name in agreed.items() if name in files})


def _check_tables(folder: Path, summary: Summary, names: set[str]) -> None:
    """The tables beside the pages must tell the same story as the account.

    Raises:
        AccountError: they do not.
    """
    if OUTCOMES.name in names:
        records: Counts = {
            (kind.value, outcome.value): getattr(counts, outcome.value) or 0
            for kind, counts in summary.records.items()
            for outcome in Outcome
        }
        removals: Counts = {
            (kind, outcome): count
            for kind, counts in summary.extra.get("vanished", {}).get("removals", {}).items()
            for outcome, count in counts.items()
            if outcome != "planned"
        }
        removes = (pl.col("operation") == REMOVAL).fill_null(value=False)
        for what, which, account in (("", ~removes, records), ("removals ", removes, removals)):
            lines = _grouped(folder / OUTCOMES.file, "kind", "outcome", which=which)
            _must_agree(OUTCOMES, lines, account, what)
    if VIOLATIONS.name in names:
        rules: Counts = {
            (rule, severity): rows
            for severity, counted in (("quarantine", summary.violations), ("warn", summary.warnings))
            for rule, rows in counted.items()
        }
        _must_agree(VIOLATIONS, _grouped(folder / VIOLATIONS.file, "rule", "severity"), rules)


def _must_agree(table: Table, lines: Counts, account: Counts, what: str = "") -> None:
    for names in sorted({*lines, *account}):
        told, expected = lines.get(names, 0), account.get(names, 0)
        if told != expected:
            named = what + " ".join(names)
            raise AccountError(f"{table.file} has {told} lines of {named}, the account {expected}")


def _grouped(path: Path, *columns: str, which: pl.Expr | None = None) -> Counts:
    """Lines of a table, or some of them, per combination of some columns."""
    try:
        lines = pl.scan_parquet(path)
        found = (lines if which is None else lines.filter(which)).group_by(*columns).len().collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise cannot_read(path.name, error) from None
    return {tuple(names): count for *names, count in found.iter_rows()}


def _outlines() -> list[BaseGeometry]:
    """Outlines of the countries we know, for the map; none when the reference data is missing.

    A page without land is still a page: the rows were judged long before.
    """
    try:
        reference = load_reference()
    except StorageError:
        return []
    return outlines_of(sorted(reference.outlines), reference)
