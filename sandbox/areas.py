"""The two areas in which the vendor's sandbox makes users eligible every day.

The outlines are data (`areas.wkt`), because the vendor has moved them before. Mind the axes: the guide gives
its centre points as latitude, longitude and its polygons as longitude latitude.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sandbox.records import Coordinates

AREAS_FILE = Path(__file__).with_name("areas.wkt")


@dataclass(frozen=True, slots=True)
class Area:
    """A test area.

    Attributes:
        name: what we call it.
        latitude: of the centre the vendor's guide gives, degrees.
        longitude: of that centre, degrees.
        outline: WKT polygon, longitude before latitude.
    """

    name: str
    latitude: float
    longitude: float
    outline: str


@cache
def areas() -> tuple[Area, ...]:
    """The areas of `areas.wkt`, in order."""
    found: list[Area] = []
    for line in AREAS_FILE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, latitude, longitude, outline = line.split("\t")
            found.append(Area(name, float(latitude), float(longitude), outline))
    return tuple(found)


@cache
def _shapes() -> tuple[Any, ...]:
    import shapely

    shapes = tuple(shapely.from_wkt(area.outline) for area in areas())
    shapely.prepare(list(shapes))
    return shapes


def area_at(point: Coordinates) -> Area | None:
    """The area a point lies in (its border belongs to it), or None."""
    # Both areas are on Svalbard: nearly every customer is told apart without any geometry.
    if point.latitude is None or point.longitude is None or point.latitude < 70.0:
        return None
    import shapely

    for area, shape in zip(areas(), _shapes(), strict=True):
        if shapely.intersects_xy(shape, point.longitude, point.latitude):
            return area
    return None


def any_in_area(points: Iterable[Coordinates]) -> bool:
    """Whether at least one of the points lies in an area."""
    return any(area_at(point) is not None for point in points)
