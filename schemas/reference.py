"""Facts about the world that the rules need: where countries lie, where the vendor's test areas are.

No I/O: `connectors/reference.py` reads them from `data/reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CELLS_PER_DEGREE_NORTH = 100
"""Rows of the raster per degree of latitude."""
CELLS_PER_DEGREE_EAST = 50
"""Columns of the raster per degree of longitude."""
FARTHEST_KM = 100
"""The raster tells distances up to this apart, and no farther."""
BEYOND = 255
"""What a cell holds that is farther off."""


@dataclass(frozen=True, slots=True)
class OffLandTile:
    """How far off a country's land each cell of a rectangle is.

    Attributes:
        country: ISO 3166 code.
        south, west: number of the first row (from 90° S) and column (from 180° W).
        km: row-major from the south-west corner; whole kilometres, never more than the truth; 0 touches land.
    """

    country: str
    south: int
    west: int
    rows: int
    columns: int
    km: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TestArea:
    """An area in which the vendor's sandbox makes every user eligible.

    Attributes:
        number: 1 or 2, as in `--to-test-area`.
        latitude, longitude: of the centre the vendor gives, degrees.
        south, west, north, east: edges of the box around it, degrees.
        outline: WKT polygon, longitude before latitude.
    """

    __test__ = False  # no test case, whatever pytest makes of the name

    number: int
    name: str
    latitude: float
    longitude: float
    south: float
    west: float
    north: float
    east: float
    outline: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """Everything under `data/reference`.

    Attributes:
        outlines: country code to WKB, longitude before latitude.
        digest: SHA-256 over the files: verdicts may change when it does.
    """

    off_land: tuple[OffLandTile, ...]
    outlines: Mapping[str, bytes] = field(repr=False)
    test_areas: tuple[TestArea, ...]
    digest: str

    @property
    def countries(self) -> frozenset[str]:
        """The codes `[coordinates] within` may name."""
        return frozenset(tile.country for tile in self.off_land)
