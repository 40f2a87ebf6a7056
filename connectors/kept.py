"""Runs by what lies in their folders: which rows they held back, what they made of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from connectors.quarantine import BROKEN, FILE, LINE, QUARANTINE
from connectors.reports.history import Document, text_at
from connectors.reports.tables import CORRECTS, OUTCOMES, VIOLATIONS
from connectors.reports.trends import load_runs
from schemas.errors import StorageError
from schemas.unreadable import Unreadable

UNREADABLE: Final = "unreadable"


def kept_runs(data_dir: Path) -> list[KeptFolder]:
    """Every run whose folder holds a summary, oldest first."""
    return [
        KeptFolder(
            data_dir / run.folder,
            run.run_id or run.folder,
            text_at(run.document, "command"),
            text_at(run.document, "started_at"),
            _sources(run.document),
        )
        for run in load_runs(data_dir)
    ]


def _sources(document: Document) -> tuple[tuple[str, str], ...]:
    listed = document.get("sources")
    found = listed if isinstance(listed, list) else []
    return tuple(
        (one["name"], one["sha256"])
        for one in found
        if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("sha256"), str)
    )


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """One run folder; fits `KeptRun` of the pipeline's ports."""

    path: Path
    run_id: str
    command: str
    started_at: str
    sources: Sequence[tuple[str, str]]

    def broken(self, file: str, line: int) -> list[tuple[str, str]]:
        """Rules a row broke, each with its severity; why it could not be read, with `unreadable`."""
        rules = self._of_row(VIOLATIONS.file, "source_file", "source_line", file, line)
        found = [(row["rule"], row["severity"]) for row in rules]
        kept = self._of_row(QUARANTINE, FILE, LINE, file, line)
        reasons = set(Unreadable)
        return found + [(name, UNREADABLE) for row in kept for name in row[BROKEN] or () if name in reasons]

    def records(self, file: str, line: int) -> list[dict[str, Any]] | None:
        """Records that began with a row, and where they ended; None where the run sent nothing."""
        if not (self.path / OUTCOMES.file).is_file():
            return None
        rows = self._of_row(OUTCOMES.file, "source_file", "source_line", file, line)
        names = ("kind", "masked_id", "operation", "outcome", "reason", "message")
        return [{name: row[name] for name in names} | {"attempts": row["attempt_count"]} for row in rows]

    def corrects(self) -> list[tuple[str, int, str, int]]:
        """Rows of corrections, each with the row it stands for."""
        table = self._scan(CORRECTS.file)
        if table is None:
            return []
        return [tuple(row) for row in _collected(table.select(list(CORRECTS.columns)), self.path).iter_rows()]

    def _of_row(
        self, name: str, file_column: str, line_column: str, file: str, line: int
    ) -> list[dict[str, Any]]:
        table = self._scan(name)
        if table is None:
            return []
        its = (pl.col(file_column) == file) & (pl.col(line_column) == line)
        return _collected(table.filter(its), self.path).to_dicts()

    def _scan(self, name: str) -> pl.LazyFrame | None:
        path = self.path / name
        return pl.scan_parquet(path) if path.is_file() and not path.is_symlink() else None


def _collected(table: pl.LazyFrame, folder: Path) -> pl.DataFrame:
    try:
        return table.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"A table in {folder.name} cannot be read ({type(error).__name__}).",
            cure="Put that folder of METERFEED_DATA_DIR back from a backup, or move it away: the rest is then told.",
        ) from None
