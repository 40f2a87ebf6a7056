"""The row token: source and line of a row in one integer, which sorts in the order of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

SOURCE_BITS: Final = 40
"""A row token is `source << 40 | line`: up to 10^12 lines a file."""
SOURCE_SIZE: Final = 1 << SOURCE_BITS
"""Row tokens of one source: `divmod(token, SOURCE_SIZE)` is source and line."""


def source_columns(files: Sequence[str]) -> tuple[pl.Expr, pl.Expr]:
    """File and line of the column `row`: `source_file` (String; empty if unknown) and `source_line` (UInt32).

    Args:
        files: names of the run's sources, by source number.
    """
    names = dict(enumerate(files))
    source = (pl.col("row") // SOURCE_SIZE).cast(pl.Int64)
    return (
        source.replace_strict(names, default="", return_dtype=pl.String).alias("source_file"),
        (pl.col("row") % SOURCE_SIZE).cast(pl.UInt32).alias("source_line"),
    )
