"""Reads `data/reference`: country outlines, distances to land, the vendor's test areas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import zstandard

from schemas.errors import StorageError
from schemas.reference import OffLandTile, Reference, TestArea

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

REFERENCE = Path(__file__).resolve().parent.parent / "data" / "reference"
"""Found from the package, so that the working directory does not matter."""

FILES = ("off_land.parquet", "outlines.parquet", "test_areas.json")


@cache
def load_reference(folder: Path = REFERENCE) -> Reference:
    """The reference data; read once.

    Raises:
        StorageError: a file is missing or unreadable.
    """
    try:
        contents = [(folder / name).read_bytes() for name in FILES]
        return Reference(
            off_land=tuple(_off_land(folder / "off_land.parquet")),
            outlines=dict(pl.read_parquet(folder / "outlines.parquet").iter_rows()),
            test_areas=tuple(_test_area(entry) for entry in json.loads(contents[-1])),
            digest=hashlib.sha256(
                b"".join(hashlib.sha256(content).digest() for content in contents)
            ).hexdigest(),
        )
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError, zstandard.ZstdError) as error:
        raise StorageError(
            f"The reference data cannot be read: {type(error).__name__}.",
            cure="Install meterfeed again: data/reference is part of it.",
        ) from None


def outlines_of(countries: Sequence[str], reference: Reference) -> list[BaseGeometry]:
    """The outlines of these countries, in degrees, longitude first; those we do not have are left out."""
    import shapely

    return [
        shapely.from_wkb(reference.outlines[country])
        for country in countries
        if country in reference.outlines
    ]


def _off_land(path: Path) -> list[OffLandTile]:
    unpack = zstandard.ZstdDecompressor().decompress
    tiles = []
    for row in pl.read_parquet(path).iter_rows(named=True):
        rows, columns = row["rows"], row["columns"]
        steps = np.frombuffer(unpack(row["steps"]), np.uint8).reshape(rows, columns)
        km = np.cumsum(steps, axis=1, dtype=np.uint8)
        tiles.append(OffLandTile(row["country"], row["south"], row["west"], rows, columns, km.tobytes()))
    return tiles


def _test_area(entry: dict[str, object]) -> TestArea:
    import shapely

    west, south, east, north = shapely.bounds(shapely.from_wkt(str(entry["outline"]))).tolist()
    return TestArea(**entry, south=south, west=west, north=north, east=east)  # type: ignore[arg-type]
