"""The shape of rows between the stages, as Pandera models.

Validated as DataFrames, never as LazyFrames: on those Pandera skips every check of the data without a word.
Never with `coerce` (one unparsable value turns the column's other rules into failures without a row), and never
with `drop_invalid_rows` (it drops without a trace).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandera.polars as pa
import polars as pl
from pandera.typing.polars import Series

KEY_COLUMNS = r"^key:.+$"
"""Columns that only `[identity] location_from` names."""


class CanonicalRows(pa.DataFrameModel):
    """Rows under our names, not yet judged: what `pipeline/canonical.py` makes. Columns not mapped are absent."""

    row: Series[pl.UInt64] = pa.Field(nullable=False)
    user: Series[pl.String] = pa.Field(nullable=True)
    location: Series[pl.String] | None = pa.Field(nullable=True)
    location_type: Series[pl.String] | None = pa.Field(nullable=True)
    location_type_raw: Series[pl.String] | None = pa.Field(nullable=True)
    meter_point: Series[pl.String] | None = pa.Field(nullable=True)
    parent_meter_point: Series[pl.String] | None = pa.Field(nullable=True)
    metering_location: Series[pl.String] | None = pa.Field(nullable=True)
    latitude: Series[pl.Float64] | None = pa.Field(nullable=True)
    longitude: Series[pl.Float64] | None = pa.Field(nullable=True)
    latitude_raw: Series[pl.String] | None = pa.Field(nullable=True)
    longitude_raw: Series[pl.String] | None = pa.Field(nullable=True)
    resource: Series[pl.String] | None = pa.Field(nullable=True)
    resource_type: Series[pl.String] | None = pa.Field(nullable=True)
    resource_type_raw: Series[pl.String] | None = pa.Field(nullable=True)
    key_parts: Series[pl.String] | None = pa.Field(nullable=True, alias=KEY_COLUMNS, regex=True)


class ValidRows(pa.DataFrameModel):
    """Rows that broke no rule of severity quarantine: what `pipeline/validation.py` lets through."""

    row: Series[pl.UInt64] = pa.Field(nullable=False, unique=True)
    user: Series[pl.String] = pa.Field(nullable=False, str_length={"min_value": 1})
    location: Series[pl.String] | None = pa.Field(nullable=True)
    location_type: Series[pl.String] | None = pa.Field(nullable=True)
    meter_point: Series[pl.String] | None = pa.Field(nullable=True)
    metering_location: Series[pl.String] | None = pa.Field(nullable=True)
    latitude: Series[pl.Float64] | None = pa.Field(nullable=True, ge=-90, le=90)
    longitude: Series[pl.Float64] | None = pa.Field(nullable=True, ge=-180, le=180)
    resource: Series[pl.String] | None = pa.Field(nullable=True)
    resource_type: Series[pl.String] | None = pa.Field(nullable=True)
    key_parts: Series[pl.String] | None = pa.Field(nullable=True, alias=KEY_COLUMNS, regex=True)

    class Config:
        """Nothing else goes on: neither texts as received nor helpers."""

        strict = True


def with_checks(checks: Mapping[str, Iterable[pa.Check]]) -> pa.DataFrameSchema:
    """The shape of canonical rows with checks on some of its columns.

    Args:
        checks: column to checks; each check looks at the whole frame and blames this column.
    """
    shape = CanonicalRows.to_schema()
    columns = {name: column.set_checks(list(checks.get(name, ()))) for name, column in shape.columns.items()}
    return pa.DataFrameSchema(columns, name="canonical_rows")
