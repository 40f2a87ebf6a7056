"""Rules over all rows of a run that only warn: customers who may be one, points that are nobody's home.

Both are about customers, and all rows of a customer are in one partition. So each partition leaves a hash of every
customer number's *skeleton* in the spool, by that hash, and counts its points in a table of fixed size; only points
that seem to be crowded are looked at again. Memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from pipeline.conflicts import POINT_CROWD, USER_SPELLING, VIOLATIONS, RuleName
from pipeline.intake import ROWS
from pipeline.partition import bucket
from pipeline.ports import RowSpool
from schemas.coordinates import in_test_area
from schemas.meter_points import BLANKS, HIDDEN
from schemas.reference import TestArea

SKELETONS: Final = "skeletons"
"""The spool's table of customer numbers: hash of the skeleton, first row."""
BUCKETS_AT_ONCE: Final = 4
"""Buckets of skeletons that are compared together: they are narrow, and larger groups are written faster."""
ONE: Final = np.uint32(1)
"""Of the type of the counters, or NumPy takes a hundred times as long."""
SLOT_BITS: Final = 20
"""2^20 counters of points, 4 MB: ten of ten million points share one, far fewer than make a crowd."""

LOOK_ALIKES: Final = {
    "O": "0", "I": "1",
    "А": "A", "В": "B", "Е": "E", "К": "K", "М": "M", "Н": "H", "О": "0", "Р": "P", "С": "C", "Т": "T", "Х": "X",
    "Α": "A", "Β": "B", "Ε": "E", "Ζ": "Z", "Η": "H", "Ι": "1", "Κ": "K", "Μ": "M", "Ν": "N", "Ο": "0", "Ρ": "P",
    "Τ": "T", "Υ": "Y", "Χ": "X",
}  # fmt: skip
"""Capitals that look like another sign: letters like digits, Cyrillic and Greek letters like Latin ones."""

_NONE = pl.DataFrame(schema=VIOLATIONS)


def skeletons(numbers: pl.Series) -> pl.Series:
    """What is left of customer numbers when case, blanks, look-alikes and leading zeros are taken for the same.

    Most exports have numbers that are their own skeletons; only what a column holds is paid for.
    """
    column = pl.col(numbers.name)
    text = column
    holds = numbers.to_frame().select(
        other=(column.str.len_bytes() != column.str.len_chars()).any(),
        odd=column.str.contains(r"[a-zOI\s]").any(),
        zero=column.str.starts_with("0").any(),
    )
    other, odd, zero = holds.row(0)
    if other:
        text = text.str.normalize("NFKC").str.replace_all(rf"[{HIDDEN}]", "")
    if other or odd:
        text = text.str.replace_all(rf"[{BLANKS}]", "").str.to_uppercase()
        text = text.str.replace_many(LOOK_ALIKES) if other else text.str.replace_many({"O": "0", "I": "1"})
    if other or odd or zero:
        is_number = text.str.contains(r"^[0-9]+$")
        text = pl.when(is_number).then(text.str.strip_chars_start("0")).otherwise(text)
    return numbers.to_frame().select(text).to_series()


class Resemblance:
    """Gathers customers and points, one partition of the spool after the other.

    Args:
        spool: of the run.
        shared_by: most customers at one point that may be a block of flats.
        test_areas: places where everybody may be.
    """

    def __init__(self, spool: RowSpool, *, shared_by: int, test_areas: Sequence[TestArea] = ()) -> None:
        self._spool, self._shared_by, self._areas = spool, shared_by, tuple(test_areas)
        self._crowds = np.zeros(1 << SLOT_BITS, dtype=np.uint32)

    def add(self, rows: pl.DataFrame) -> None:
        """Take the spooled rows of one partition; all rows of every customer in them."""
        if rows.is_empty():
            return
        customers = rows.select("user", "row").filter(pl.col("user").is_first_distinct())
        keys = customers.with_columns(skeletons(customers["user"]).alias("user")).select(
            pl.col("user").nchash.xxh3_64().alias("skeleton"),  # type: ignore[attr-defined]
            "row",
        )
        coarse = bucket(pl.col("skeleton")) // BUCKETS_AT_ONCE * BUCKETS_AT_ONCE
        self._spool.append(SKELETONS, keys.with_columns(coarse.alias("bucket")))
        if {"latitude", "longitude"} <= set(rows.columns):
            np.add.at(self._crowds, _slots(rows.select("latitude", "longitude").drop_nulls()), ONE)

    def find(self) -> pl.DataFrame:
        """Violations (`row, rule, severity`) of both rules; forgets what was gathered."""
        found = pl.concat([self._spellings(), self._crowded()])
        self._spool.drop(SKELETONS)
        return found

    def _spellings(self) -> pl.DataFrame:
        """The first row of every customer whose number another one resembles."""
        found = [_NONE]
        for partition in range(self._spool.partitions):
            keys = self._spool.read(SKELETONS, partition)
            if keys.width and keys["skeleton"].n_unique() < keys.height:
                found.append(_warnings(keys.filter(pl.col("skeleton").is_duplicated()), USER_SPELLING))
        return pl.concat(found).sort("row")

    def _crowded(self) -> pl.DataFrame:
        """All rows at points with more customers than a house has."""
        crowds = self._crowds > self._shared_by
        if not crowds.any():
            return _NONE
        places = ["latitude", "longitude"]
        counted = [
            self._at(partition, crowds).group_by(places).agg(pl.col("user").n_unique().alias("customers"))
            for partition in range(self._spool.partitions)
        ]
        points = pl.concat(counted).group_by(places).agg(pl.col("customers").sum())
        nobodys = ~in_test_area(pl.col("latitude"), pl.col("longitude"), self._areas)
        points = points.filter((pl.col("customers") > self._shared_by) & nobodys)
        if points.is_empty():
            return _NONE
        found = [
            _warnings(self._at(partition, crowds).join(points, on=places, how="semi"), POINT_CROWD)
            for partition in range(self._spool.partitions)
        ]
        return pl.concat(found).sort("row")

    def _at(self, partition: int, crowds: np.ndarray) -> pl.DataFrame:
        """Rows of a partition at points that seem to be crowded."""
        rows = self._spool.read(ROWS, partition)
        if not {"latitude", "longitude"} <= set(rows.columns):
            return _NO_PLACE
        placed = rows.select(_NO_PLACE.columns).drop_nulls(("latitude", "longitude"))
        return placed.filter(pl.Series(crowds[_slots(placed)]))


_NO_PLACE = pl.DataFrame(
    schema={"row": pl.UInt64, "user": pl.String, "latitude": pl.Float64, "longitude": pl.Float64}
)


def _slots(placed: pl.DataFrame) -> np.ndarray:
    """The counter of each point."""
    halves = [placed[name].to_numpy().view(np.uint64) for name in ("latitude", "longitude")]
    mixed = (halves[0] * np.uint64(0x9E3779B97F4A7C15)) ^ (halves[1] * np.uint64(0xC2B2AE3D27D4EB4F))
    slots: np.ndarray = (mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - SLOT_BITS)
    return slots.astype(np.int64)


def _warnings(rows: pl.DataFrame, rule: str) -> pl.DataFrame:
    return rows.select("row", pl.lit(rule, RuleName).alias("rule"), pl.lit("warn").alias("severity"))
