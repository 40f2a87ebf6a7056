"""Judged rows into the spool: the rows themselves by customer, their claims by what is claimed."""

from __future__ import annotations

from typing import Final

import polars as pl

from pipeline.conflicts import claims_of
from pipeline.identity import Identity
from pipeline.partition import USER_KEY, RowShape, to_spool
from pipeline.ports import RowSpool

ROWS: Final = "rows"
"""The spool's table of valid rows; `records.fold` reads a partition of it."""


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
