"""A spool without a disk."""

from __future__ import annotations

import polars as pl


class MemorySpool:
    """A spool that forgets: tables of rows in two partitions."""

    partitions = 2

    def __init__(self) -> None:
        self._tables: dict[str, list[pl.DataFrame]] = {}

    def append(self, table: str, rows: pl.DataFrame) -> None:
        if rows.height:
            self._tables.setdefault(table, []).append(rows)

    def read(self, table: str, partition: int) -> pl.DataFrame:
        parts = self._tables.get(table)
        if not parts:
            return pl.DataFrame()
        rows = pl.concat(parts, how="diagonal").filter(pl.col("bucket") // 128 == partition)
        return rows.drop("bucket").sort("row") if rows.height else pl.DataFrame()

    def drop(self, table: str) -> None:
        self._tables.pop(table, None)
