"""Rows in, records out, the way a run does it: spool, conflicts between customers, fold of each partition."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from connectors.spool import Spool
from pipeline.conflicts import ConflictPolicy, find_conflicts
from pipeline.identity import Identity
from pipeline.intake import spool_rows
from pipeline.partition import RowShape
from pipeline.protection import spool_marks
from pipeline.records import FOLD_ROWS, Folded, Folding, Piece, fold_all
from schemas.outcomes import Kind

SCHEMA = {
    "row": pl.UInt64,
    "user": pl.String,
    "location": pl.String,
    "meter_point": pl.String,
    "location_type": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "resource": pl.String,
    "resource_type": pl.String,
}
SOURCE = 1 << 40
QUARANTINE = ConflictPolicy()


@dataclass
class Source:
    """Rows of one export: mappings of canonical columns; absent ones are absent from the export.

    Attributes:
        flagged: what its protected rows say, by line, with what their flag takes away.
        skip: protected rows are left out.
    """

    rows: Sequence[Mapping[str, Any]]
    shape: RowShape = field(default_factory=RowShape)
    flagged: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    skip: bool = False

    def frame(self, number: int) -> pl.DataFrame:
        return self._frame(number, dict(enumerate(self.rows, start=1)))

    def flagged_frame(self, number: int) -> pl.DataFrame:
        return self._frame(number, self.flagged)

    def _frame(self, number: int, rows: Mapping[int, Mapping[str, Any]]) -> pl.DataFrame:
        columns = sorted({name for row in (*self.rows, *self.flagged.values()) for name in row} | {"user"})
        numbered = [
            {"row": number * SOURCE + line, **dict.fromkeys(columns), **row} for line, row in rows.items()
        ]
        schema = {name: SCHEMA.get(name, pl.String) for name in ["row", *columns]}
        return pl.DataFrame(numbered, schema=schema)


@dataclass
class Result:
    """What all partitions made together."""

    pieces: list[Piece]

    @property
    def folds(self) -> list[Folded]:
        return [piece.folded for piece in self.pieces]

    def left_out(self) -> set[int]:
        return {row for each in self.pieces if each.shielded for row in each.shielded.left_out["row"]}

    def beside(self) -> int:
        return sum(each.shielded.beside for each in self.pieces if each.shielded)

    def records(self, kind: Kind) -> pl.DataFrame:
        return pl.concat([folded.records[kind] for folded in self.folds]).sort("user_id", "id")

    def bodies(self, kind: Kind) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.records(kind)["body"]]

    def provenance(self) -> set[tuple[str, str, int]]:
        return {line for folded in self.folds for line in folded.provenance.collect().iter_rows()}

    def duplicates(self) -> dict[int, int]:
        return dict(pair for folded in self.folds for pair in folded.duplicates.iter_rows())

    def violations(self) -> set[tuple[int, str, str]]:
        return {line for folded in self.folds for line in folded.violations.iter_rows()}

    def quarantined(self) -> set[int]:
        return {row for row, _, severity in self.violations() if severity == "quarantine"}

    def counts(self) -> tuple[int, int, int, int]:
        each = [
            (c.rows, c.quarantined, c.duplicate, c.mapped) for c in (folded.counts for folded in self.folds)
        ]
        rows, quarantined, duplicate, mapped = (sum(part) for part in zip(*each, strict=True))
        return rows, quarantined, duplicate, mapped


def run(
    *sources: Source,
    ids: str = "as-is",
    policy: ConflictPolicy = QUARANTINE,
    partitions: int = 1,
    workers: int = 1,
    rows_each: int = FOLD_ROWS,
    frames: Iterable[tuple[int, pl.DataFrame]] | None = None,
) -> Result:
    """Take the sources through spool, conflicts and fold; `frames` overrides how their rows arrive."""
    identity = Identity("k" * 32, ids=ids)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool.create(Path(folder) / "spool", partitions=partitions)
        for number, frame in frames or ((i, source.frame(i)) for i, source in enumerate(sources)):
            spool_rows(spool, frame, sources[number].shape, identity)
        for number, source in enumerate(sources):
            marks = source.flagged_frame(number)
            spool_marks(spool, marks, source.shape, identity, skip=source.skip)
        find_conflicts(spool, policy)
        folding = Folding(identity, policy, scopes=[f"profile-{i}" for i in range(len(sources))])
        result = Result(list(fold_all(spool, folding, workers=workers, rows_each=rows_each)))
        spool.delete()
    return result
