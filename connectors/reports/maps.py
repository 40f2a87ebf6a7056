"""The coarse map: counts per area over the outlines of the land, too coarse to find a home."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import shapely
from markupsafe import Markup
from shapely.geometry.base import BaseGeometry

from connectors.reports.drawing import WIDTH, Caption, drawn_map, filled_by, layer_of
from schemas.quality import MapArea, MapFigure

CLASSES = (
    ("5 – 9", 10),
    ("10 – 99", 100),
    ("100 – 999", 1_000),
    ("1 000 – 9 999", 10_000),
    ("10 000 and more", None),
)
"""Rows per area: the name of each class and the count it stays below."""
AREAS_SHOWN = 2_500
_MARGIN = 0.75
"""Degrees of surroundings around the outermost areas."""
_LEAST_SPAN = 4.0
"""A picture never shows less than this many degrees from south to north."""
_LOWEST, _TALLEST = 220, 620
_DETAIL = 600
"""Outlines are simplified to about this many steps across the window."""

Window = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


@dataclass(frozen=True, slots=True)
class CoarseMap:
    """The picture, and what it leaves out: quarantined rows outside of it, rows in areas not drawn."""

    svg: Markup
    outside: int
    undrawn: int


def coarse_map(figure: MapFigure, outlines: Iterable[BaseGeometry], caption: Caption) -> CoarseMap | None:
    """Draw the areas of a figure over outlines; None when there is no area to draw.

    Args:
        figure: areas with counts.
        outlines: polygons of countries, longitude before latitude, in degrees.
        caption: what the picture says.
    """
    drawn_by = [area for area in figure.areas if area.good] or list(figure.areas)
    if not drawn_by:
        return None
    window = _window(drawn_by, figure)
    inside = [area for area in figure.areas if _within(area, window)]
    outside = sum(area.good + area.quarantined for area in figure.areas) - _rows(inside)
    shown = sorted(inside, key=lambda area: (-(area.good + area.quarantined), area.latitude, area.longitude))
    shown = shown[:AREAS_SHOWN]
    svg = drawn_map(
        [_land(outlines, window), _areas(shown, figure), _rings(shown, figure)],
        width=WIDTH,
        height=_height(window),
        projection=_projection(window),
        caption=caption,
    )
    return CoarseMap(svg, outside=outside, undrawn=_rows(inside) - _rows(shown))


def _rows(areas: Iterable[MapArea]) -> int:
    return sum(area.good + area.quarantined for area in areas)


def _window(areas: Sequence[MapArea], figure: MapFigure) -> Window:
    """The box around the areas with a margin, never so small that it would zoom in on a village."""
    south = min(area.latitude for area in areas) - _MARGIN
    north = max(area.latitude for area in areas) + figure.latitude_step + _MARGIN
    west = min(area.longitude for area in areas) - 2 * _MARGIN
    east = max(area.longitude for area in areas) + figure.longitude_step + 2 * _MARGIN
    lack = max(_LEAST_SPAN - (north - south), 0) / 2
    lean = max(_LEAST_SPAN - (east - west), 0) / 2
    return max(west - lean, -180), max(south - lack, -85), min(east + lean, 180), min(north + lack, 85)


def _within(area: MapArea, window: Window) -> bool:
    west, south, east, north = window
    return west <= area.longitude <= east and south <= area.latitude <= north


def _height(window: Window) -> int:
    """Tall enough for the window at its middle latitude, between a letterbox and a portrait."""
    west, south, east, north = window
    across = (east - west) * math.cos(math.radians((south + north) / 2))
    return round(min(max((north - south) / max(across, 0.1) * WIDTH, _LOWEST), _TALLEST))


def _projection(window: Window) -> dict[str, Any]:
    """Equal areas on the page are equal areas on the ground; fitted to the window's edge."""
    west, south, east, north = window
    third = (north - south) / 6
    edge = [[west + (east - west) * step / 8, side] for side in (south, north) for step in range(9)]
    frame = {"type": "MultiPoint", "coordinates": edge}
    return {
        "type": "conicEqualArea" if abs(south + north) > 1 else "equirectangular",
        "parallels": [south + third, north - third],
        "rotate": [-(west + east) / 2, 0, 0],
        "fit": {"type": "Feature", "geometry": frame, "properties": {}},
        "size": [WIDTH, _height(window)],
    }


def _land(outlines: Iterable[BaseGeometry], window: Window) -> alt.Chart:
    west, south, east, north = window
    step = max(east - west, north - south) / _DETAIL
    shapes = []
    for outline in outlines:
        near = shapely.clip_by_rect(outline, west - 8, max(south - 4, -89), east + 8, min(north + 4, 89))
        simple = shapely.make_valid(shapely.simplify(near, step))
        for part in shapely.get_parts(simple):
            if part.geom_type in {"Polygon", "MultiPolygon"} and part.area > step * step * 4:
                clockwise = shapely.orient_polygons(part, exterior_cw=True)
                shapes.append({"type": "Feature", "geometry": shapely.geometry.mapping(clockwise)})
    land: alt.Chart = layer_of(shapes).mark_geoshape(
        fill="var(--land)", stroke="var(--coast)", strokeWidth=0.6
    )
    return land


def _areas(areas: Sequence[MapArea], figure: MapFigure) -> alt.Chart:
    """Areas of good rows; their ring runs clockwise, as the projection wants it."""
    features = []
    for area in areas:
        if not area.good:
            continue
        west, south = area.longitude, area.latitude
        east, north = west + figure.longitude_step, south + figure.latitude_step
        ring = [[west, south], [west, north], [east, north], [east, south], [west, south]]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "colour": f"var(--map-{_class(area.good)})",
            }
        )
    squares = layer_of(features).mark_geoshape(stroke="var(--panel)", strokeWidth=0.4)
    chart: alt.Chart = squares.encode(filled_by("colour"))
    return chart


def _rings(areas: Sequence[MapArea], figure: MapFigure) -> alt.Chart:
    """Rings where rows are in quarantine, larger for more of them."""
    points = [
        {
            "longitude": area.longitude + figure.longitude_step / 2,
            "latitude": area.latitude + figure.latitude_step / 2,
            "size": round(30 + 60 * math.log10(area.quarantined)),
        }
        for area in areas
        if area.quarantined
    ]
    rings: alt.Chart = (
        layer_of(points)
        .mark_point(filled=False, stroke="var(--quarantined)", strokeWidth=2, opacity=1)
        .encode(
            alt.Longitude("longitude:Q"),
            alt.Latitude("latitude:Q"),
            alt.Size("size:Q", scale=None, legend=None),
        )
    )
    return rings


def _class(rows: int) -> int:
    """The number of the class a count falls into, from 1."""
    return next(index for index, (_, below) in enumerate(CLASSES, 1) if below is None or rows < below)
