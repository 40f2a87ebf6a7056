"""Judged rows into the spool: the rows themselves by customer, their claims by what is claimed."""

from __future__ import annotations

from typing import Final

import polars as pl

from pipeline.conflicts import claims_of
from pipeline.identity import Identity
from pipeline.partition import USER_KEY, RowShape, to_spool, wire_user
from pipeline.ports import RowSpool

ROWS: Final = "rows"
"""The spool's table of valid rows; `records.fold` reads a partition of it."""

SPARED: Final = "spared"
"""Spool table of `user_id`: customers a full export names in rows that went into quarantine."""


def spool_rows(spool: RowSpool, valid_rows: pl.DataFrame, shape: RowShape, identity: Identity) -> None:
    """Put the valid rows of one batch of one source into the spool.

    Raises:
        StorageError: the disk is full or failing.
    """
    if valid_rows.is_empty():
        return
    rows = to_spool(valid_rows, shape, identity)
    spool.append(ROWS, rows.drop(USER_KEY))
    for table, claims in claims_of(rows, shape, identity).items():
        spool.append(table, claims)


def spare(
    spool: RowSpool, rows: pl.DataFrame, quarantined: pl.Series, violations: pl.DataFrame, identity: Identity
) -> int:
    """Note the customers of quarantined rows: nobody may say that they are missing from the export.

    Args:
        rows: the canonical rows of a batch.
        quarantined: `row` of those in quarantine.
        violations: `row, rule, severity` of the batch.

    Returns:
        How many of the quarantined rows name nobody we could know.
    """
    if not quarantined.len():
        return 0
    nameless = violations.filter(
        (pl.col("severity").cast(pl.String) == "quarantine")
        & pl.col("rule").cast(pl.String).str.starts_with("user_")
    )["row"].unique()
    row = pl.col("row")
    known = row.is_in(quarantined.implode()) & ~row.is_in(nameless.implode()) & pl.col("user").is_not_null()
    named = rows.filter(known)
    if named.height:
        placed = to_spool(named, RowShape(place_from=()), identity)
        spool.append(SPARED, placed.select(wire_user(placed).alias("user_id"), "bucket"))
    return quarantined.len() - named.height
