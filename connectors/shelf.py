"""Where runs keep their files: one private folder each, and the spool inside it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import polars as pl

from connectors.artifacts import RunFolder
from connectors.quarantine import write_quarantine
from connectors.reports import write_index, write_run_reports
from connectors.reports.tables import CORRECTS, DRIFT, OUTCOMES, VIOLATIONS, write_csv_copy, writing_table
from connectors.shared_spool import SharedRoot, SharedSpool
from connectors.spool import Spool
from schemas.details import RunDetails
from schemas.errors import StorageError
from schemas.quality import QualityFigures
from schemas.summary import Artifacts, Summary

_TABLES = {table.name: table for table in (OUTCOMES, VIOLATIONS, CORRECTS, DRIFT)}
_SPOOL = "spool"
_PARTS = ".*.part"
"""What a process was writing when it died; see `RunFolder.writing`."""
_VALUES = ("quarantine*.parquet", "correction*.csv", "drift.*", f"{_SPOOL}/*", _PARTS)
"""What in a run folder holds customers' values."""


@dataclass(frozen=True, slots=True)
class FileShelf:
    """Run folders below one data directory.

    Attributes:
        data_dir: the directory.
        shared: where spools lie that other machines read too; None where runs are not shared.
    """

    data_dir: Path
    shared: SharedRoot | None = None

    def fresh(self, label: str, *, now: float) -> FileRunShelf:
        """A folder with a new name, for something that is no run of the ledger."""
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dt%H%M%S")
        for number in range(1, 1000):
            name = f"{label}-{stamp}-{number}"
            with suppress(FileExistsError):  # of another, who may have begun in this very moment
                return FileRunShelf(name, RunFolder.create(self.data_dir, name, new=True), self.shared)
        raise StorageError(
            f"{self.data_dir.name} holds too many folders of one second.", cure="Start the command again."
        )

    def open(self, run_id: str, *, fresh: bool = False) -> FileRunShelf:
        """The folder of a run; `fresh` makes it."""
        if fresh or not (self.data_dir / run_id).is_dir():
            return FileRunShelf(run_id, RunFolder.create(self.data_dir, run_id), self.shared)
        return FileRunShelf(run_id, RunFolder(self.data_dir / run_id), self.shared)

    def shared_spool(self, run_id: str) -> SharedSpool:
        """The spool of a run as its own machine published it."""
        assert self.shared is not None
        return SharedSpool.open(self.shared.folder(run_id))

    def with_values(self) -> list[str]:
        """Folders that hold files with customers' values: quarantines, corrections, spools, ids that differ."""
        return sorted(
            folder.name
            for folder in self.data_dir.glob("*/")
            if any(path.is_file() for pattern in _VALUES for path in folder.glob(pattern))
        )

    def purge(
        self, *, before: float, keep: Collection[str], ended: Mapping[str, float] | None = None
    ) -> dict[str, int]:
        """Remove files that hold customers' values from folders of runs that ended before an instant.

        And, beside the folders, what dead processes were writing until then. A folder of no run of the ledger, or of
        one without an end, counts from its last change: `report` changes a folder too, and ends nothing.
        """
        ended = ended or {}
        removed = {"folders": 0, "files": 0, "bytes": 0}
        for path in self.data_dir.glob(_PARTS):
            if path.is_file() and path.stat().st_mtime < before:
                path.unlink()
        for folder in sorted(self.data_dir.glob("*/")):
            since = ended.get(folder.name)
            last = folder.stat().st_mtime if since is None else since
            if folder.name in keep or folder.is_symlink() or last >= before:
                continue
            found = [path for pattern in _VALUES for path in folder.glob(pattern) if path.is_file()]
            for path in found:
                removed["files"] += 1
                removed["bytes"] += path.stat().st_size
                path.unlink()
            if (folder / _SPOOL).is_dir():
                shutil.rmtree(folder / _SPOOL)
            removed["folders"] += bool(found)
        if self.shared is not None:
            removed["folders"] += self.shared.purge(before=before, keep=keep)
        return removed


class FileRunShelf:
    """The folder of one run."""

    def __init__(self, name: str, folder: RunFolder, shared: SharedRoot | None = None) -> None:
        self.name = name
        self._folder = folder
        self._shared = shared
        self._spool: Spool | SharedSpool | None = None

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._folder.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()
        self._folder.close()

    def new_spool(self, partitions: int) -> Spool:
        """An empty spool."""
        self._spool = spool = Spool.create(self.path / _SPOOL, partitions=partitions)
        return spool

    def spool(self) -> Spool | SharedSpool:
        """The finished spool; opened once. When this machine has lost it, the one it shared will do."""
        if self._spool is None:
            try:
                self._spool = Spool.open(self.path / _SPOOL)
            except StorageError:
                if self._shared is None or not self._shared.folder(self.name).exists():
                    raise
                self._spool = SharedSpool.open(self._shared.folder(self.name))
        return self._spool

    def publish(self, *, without: Collection[str]) -> None:
        """Put the spool where the workers of all machines can read it, but for these tables."""
        spool = self.spool()
        if self._shared is not None and isinstance(spool, Spool):
            self._shared.folder(self.name).publish(spool, without=without)

    def drop_spool(self) -> None:
        """Remove the spool, wherever it lies, and half a one as well."""
        if self._spool is not None:
            self._spool.delete()
            self._spool = None
        shutil.rmtree(self.path / _SPOOL, ignore_errors=True)
        if self._shared is not None:
            with suppress(StorageError):  # the run is done all the same, and `purge` comes by again
                self._shared.folder(self.name).delete()

    def keep_aside(self, exports: Sequence[Any], marks: Sequence[pl.DataFrame]) -> None:
        """Copy marked rows into the quarantine and the correction file."""
        write_quarantine(self._folder, exports, marks)

    def write_table(self, table: str, frames: Iterator[pl.DataFrame]) -> None:
        """Write a table of the run; it appears whole or not at all."""
        with writing_table(self._folder, _TABLES[table]) as writer:
            for frame in frames:
                writer.append(frame)

    def copy_table(self, table: str) -> None:
        """Copy a table of the run for spreadsheets."""
        write_csv_copy(self._folder, _TABLES[table])

    def drop_table(self, table: str) -> None:
        """Remove a table and its copy, if they are there."""
        self._folder.remove(_TABLES[table].file)
        self._folder.remove(f"{table}.csv")

    def write_reports(
        self,
        summary: Summary,
        *,
        details: RunDetails,
        quality: QualityFigures | None,
        previous: Mapping[str, Any] | None,
        history: Sequence[Mapping[str, Any]] = (),
    ) -> Artifacts:
        """Write the pages and `summary.json`, and the index over all runs again."""
        artifacts = write_run_reports(
            self.path, summary, details=details, quality=quality, previous=previous, history=history
        )
        write_index(self.path.parent)
        return artifacts
