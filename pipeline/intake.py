"""Judged rows into the spool: the rows themselves by customer, their claims by what is claimed."""

from __future__ import annotations

from typing import Final

import polars as pl

from pipeline.conflicts import claims_of
from pipeline.identity import ID_KEY, Identity
from pipeline.partition import USER_KEY, RowShape, to_spool, wire_user
from pipeline.ports import RowSpool

ROWS: Final = "rows"
"""The spool's table of valid rows; `records.fold` reads a partition of it."""

SPARED: Final = "spared"
"""Spool table of `user_id`: customers named in rows that went into quarantine."""
SET_ASIDE: Final = "set_aside"
"""Spool table of what such rows say of locations, as far as they define any: `user, place, meter_point` and what makes
their ids (`partition.to_spool`). `place` is null where a row does not say which location, or says it wrongly."""


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
    spool: RowSpool,
    rows: pl.DataFrame,
    quarantined: pl.Series,
    violations: pl.DataFrame,
    shape: RowShape,
    identity: Identity,
) -> int:
    """Note whom and what the quarantined rows name: nobody may say that it is missing from the export.

    Args:
        rows: the canonical rows of a batch.
        quarantined: `row` of those in quarantine.
        violations: `row, rule, severity` of the batch.
        shape: what the rows say of users and locations.

    Returns:
        How many of the quarantined rows name nobody we could know.
    """
    if not quarantined.len():
        return 0
    rule, row = pl.col("rule").cast(pl.String), pl.col("row")
    broken = violations.filter(pl.col("severity").cast(pl.String) == "quarantine")
    nameless = broken.filter(rule.str.starts_with("user_"))["row"].unique()
    known = row.is_in(quarantined.implode()) & ~row.is_in(nameless.implode()) & pl.col("user").is_not_null()
    named = rows.filter(known)
    if named.height:
        of_place = rule.str.starts_with("location_") & ~rule.str.starts_with("location_type_")
        misplaced = broken.filter(of_place)["row"].unique()
        placed = to_spool(named, shape if shape.defines else RowShape(place_from=()), identity)
        spool.append(SPARED, placed.select(wire_user(placed).alias("user_id"), "bucket"))
        if shape.defines:
            place = pl.when(~row.is_in(misplaced.implode())).then("place").alias("place")
            said = placed.with_columns(place)
            spool.append(SET_ASIDE, said.select(name for name in _SAID if name in said.columns))
    return quarantined.len() - named.height


_SAID: Final = ("user", "user_id", ID_KEY, "place", "meter_point", "bucket")
