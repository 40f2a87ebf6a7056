"""What reading hands on: some rows as text, and the rows that could not be read."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

BATCH_ROWS = 125_000
"""Rows handed on at a time. Three batches are under way at once: twice as many rows are 90 MB more and not faster."""

UNREADABLE_SCHEMA = {"source_line": pl.UInt32, "lines": pl.UInt32, "reason": pl.String}

LARGEST_LINE = 2**32 - 1
"""Lines are numbered with 32 bits."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Some consecutive rows of one export, as text; fits `RawBatch` of the pipeline's ports.

    Attributes:
        source: index of the export in the run.
        rows: the mapped columns under our names, String, null where the cell is empty or one of the
            profile's `nulls`; plus `source_line` (UInt32, first physical line of the row, from 1, counted in
            the decoded file; in Parquet the row number) and `source_record` (UInt32, from 1, number among
            all rows, the unreadable ones included).
        unreadable: `source_line` (UInt32), `lines` (UInt32: how many physical lines) and `reason` (String,
            a value of `schemas.unreadable.Unreadable`). The number of unreadable rows is the sum of `lines`.
    """

    source: int
    rows: pl.DataFrame
    unreadable: pl.DataFrame
