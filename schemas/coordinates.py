"""What is known about coordinates: how they are written, where countries lie, what is off.

All of it as Polars expressions over whole columns. Distances to land come from a raster (`schemas/reference.py`),
so that ten million points cost one look-up each and no geometry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.errors import ProfileError
from schemas.reference import (
    BEYOND,
    CELLS_PER_DEGREE_EAST,
    CELLS_PER_DEGREE_NORTH,
    FARTHEST_KM,
    OffLandTile,
    Reference,
    TestArea,
)

METRES_FROM = 1_000.0
"""No degree is this large; the smallest projected coordinate of a home practically is."""

EXACT_TO = 1e-6
"""A number times 1,000 is whole when it is this near to a whole number: exact up to nine decimals."""

CENTRE_REACH = 0.005
"""Degrees (some 500 m) within which a point counts as the centre of a country."""

CENTRES: Mapping[str, tuple[float, float]] = {
    "AT": (47.516231, 14.550072),
    "BE": (50.503887, 4.469936),
    "CH": (46.818188, 8.227512),
    "DE": (51.165691, 10.451526),
    "DK": (56.26392, 9.501785),
    "ES": (40.463667, -3.74922),
    "FI": (61.92411, 25.748151),
    "FR": (46.227638, 2.213749),
    "GB": (55.378051, -3.435973),
    "IT": (41.87194, 12.56738),
    "NL": (52.132633, 5.291266),
    "NO": (60.472024, 8.468946),
    "PT": (39.399872, -8.224454),
    "SE": (60.128161, 18.643501),
}
"""Where geocoders put an address of which they know the country alone (Dataset Publishing Language,
canonical concepts, countries.csv)."""


# ------------------------------------------------------------------ how numbers are written
def is_plain_number(text: pl.Expr, decimal: str) -> pl.Expr:
    """Digits with at most one decimal mark and at most one sign in front; nothing else."""
    mark = re.escape(decimal)
    return text.str.contains(rf"^[+-]?(?:[0-9]+(?:{mark}[0-9]*)?|{mark}[0-9]+)$")


def number(text: pl.Expr, decimal: str) -> pl.Expr:
    """The number a text holds, Float64; null where it is not a plain, finite one."""
    pointed = text if decimal == "." else text.str.replace(decimal, ".", literal=True)
    value = pointed.cast(pl.Float64, strict=False)
    return pl.when(is_plain_number(text, decimal) & value.is_finite()).then(value)


def numbers(texts: pl.Series, decimal: str) -> pl.Series:
    """The same for a whole column, at a third of the cost where all of it is written in plain signs.

    Without letters and foreign marks, what can be cast to a number is exactly a plain number; so the column's
    bytes are looked at all at once, and the decimal mark is exchanged in them.
    """
    written = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    validity, offsets, content = written.buffers()
    signs = b"" if content is None else content.to_pybytes()
    if signs.translate(None, b"0123456789+-" + decimal.encode()):
        return texts.to_frame("text").select(number(pl.col("text"), decimal)).to_series().rename(texts.name)
    pointed = pa.py_buffer(signs.replace(decimal.encode(), b"."))
    exchanged = pa.Array.from_buffers(written.type, len(written), [validity, offsets, pointed])
    values = pl.Series(texts.name, exchanged, pl.String).cast(pl.Float64, strict=False)
    return values.set(~values.is_finite(), None)


def is_rounded(value: pl.Expr, unit: float) -> pl.Expr:
    """Whether a number is a whole multiple of `unit`, such as 0.001 for three decimals."""
    scaled = value / unit
    return (scaled - scaled.round()).abs() < EXACT_TO


# ------------------------------------------------------------------ where countries lie
@dataclass(frozen=True, slots=True)
class Land:
    """How far off the land of some countries every point is.

    Attributes:
        countries: whose land.
        south, west: number of the first row (from 90° S) and column (from 180° W) of the raster.
        km: UInt8 Series, row-major, and one cell more for everything outside.
    """

    countries: tuple[str, ...]
    south: int
    west: int
    rows: int
    columns: int
    km: pl.Series = field(repr=False)

    @classmethod
    def of(cls, countries: Sequence[str], reference: Reference) -> Self:
        """The land of these countries, all of which the reference must know."""
        tiles = [tile for tile in reference.off_land if tile.country in countries]
        south, west = min(tile.south for tile in tiles), min(tile.west for tile in tiles)
        rows = max(tile.south + tile.rows for tile in tiles) - south
        columns = max(tile.west + tile.columns for tile in tiles) - west
        km = np.full(rows * columns + 1, BEYOND, dtype=np.uint8)
        for tile in tiles:
            _lay(tile, km[:-1].reshape(rows, columns)[tile.south - south :, tile.west - west :])
        return cls(tuple(countries), south, west, rows, columns, pl.Series(km))

    def km_off(self, latitude: pl.Expr, longitude: pl.Expr) -> pl.Expr:
        """Whole kilometres off land, never more than the truth, as UInt8; null where half a pair is.

        0 on land or less than a kilometre off it; 255 beyond `FARTHEST_KM`, and wherever no degrees are.
        """
        row = ((latitude.clip(-90, 90) + 90) * CELLS_PER_DEGREE_NORTH).floor().cast(pl.Int32) - self.south
        column = ((longitude.clip(-180, 180) + 180) * CELLS_PER_DEGREE_EAST).floor().cast(
            pl.Int32
        ) - self.west
        inside = (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        outside_cell = pl.lit(self.rows * self.columns, pl.Int32)
        known = latitude.is_not_null() & longitude.is_not_null()
        cell = pl.when(inside).then(row * self.columns + column).when(known).then(outside_cell)
        return pl.lit(self.km).gather(cell)


def _lay(tile: OffLandTile, window: np.ndarray) -> None:
    """Lay a tile over a larger raster: the nearer land counts."""
    km = np.frombuffer(tile.km, np.uint8).reshape(tile.rows, tile.columns)
    part = window[: tile.rows, : tile.columns]
    np.minimum(part, km, out=part)


def land_within(countries: Sequence[str], reference: Reference) -> Land | None:
    """The land of `[coordinates] within`; None where we have no outline of any of these countries.

    Raises:
        ProfileError: some of the countries have an outline and others have none.
    """
    missing = sorted(set(countries) - reference.countries)
    if not missing:
        return Land.of(countries, reference)
    if len(missing) == len(set(countries)):
        return None
    raise ProfileError(
        f"[coordinates] within names {', '.join(missing)}, of which we have no outline.",
        cure=f"Leave it out; we have {', '.join(sorted(reference.countries))}.",
    )


def checked_outside_km(outside_km: float) -> float:
    """`[guards] outside_km`, when the raster reaches that far.

    Raises:
        ProfileError: it does not.
    """
    if outside_km > FARTHEST_KM:
        raise ProfileError(
            f"[guards] outside_km is more than {FARTHEST_KM}, which is how far off land we can tell.",
            cure=f"Use {FARTHEST_KM} or less, or add the neighbouring country to [coordinates] within.",
        )
    return outside_km


def in_test_area(latitude: pl.Expr, longitude: pl.Expr, areas: Sequence[TestArea]) -> pl.Expr:
    """Whether a point lies in the box around one of the vendor's test areas."""
    return pl.any_horizontal(
        pl.lit(value=False),
        *(
            latitude.is_between(area.south, area.north) & longitude.is_between(area.west, area.east)
            for area in areas
        ),
    )


def is_centre_of(latitude: pl.Expr, longitude: pl.Expr, countries: Sequence[str]) -> pl.Expr:
    """Whether a point is where geocoders put an address of which they know the country alone."""
    return pl.any_horizontal(
        pl.lit(value=False),
        *(
            ((latitude - centre[0]).abs() < CENTRE_REACH) & ((longitude - centre[1]).abs() < CENTRE_REACH)
            for country in countries
            if (centre := CENTRES.get(country))
        ),
    )
