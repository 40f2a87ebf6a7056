"""Write the pages of a run into its folder, and the index over all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.details import RunDetails
from schemas.quality import QualityFigures
from schemas.summary import Artifacts, Summary


def write_run_reports(
    folder: Path,
    summary: Summary,
    *,
    details: RunDetails,
    quality: QualityFigures | None,
    previous: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]] = (),
) -> Artifacts:
    """Write report.html, quality.html (when there are figures), the CSV copies, report.txt and summary.json.

    `outcomes.parquet`, `violations.parquet` and `quarantine.parquet` are written before by those who own
    the frames; what lies in the folder is copied to CSV and named in the artifacts.

    Args:
        folder: the run folder; must exist.
        summary: the account; `artifacts` may already name files, which are kept.
        details: reasons, examples, stages, guards.
        quality: figures of the rows, or None.
        previous: the `summary.json` of the last run of the same profile, or None.
        history: earlier `summary.json` documents of the same profile, oldest first.

    Returns:
        The artifacts, to put into the summary that is shown.

    Raises:
        AccountError: an equation does not hold, or two figures disagree; nothing is written.
        StorageError: the folder cannot be written to.
    """
    raise NotImplementedError


def rebuild_reports(folder: Path) -> Artifacts:
    """Render the pages again from `summary.json` in the run folder: same bytes as the first time."""
    raise NotImplementedError


def write_index(runs: Path) -> Path:
    """Write `index.html` over all run folders below `runs` and return its path."""
    raise NotImplementedError
