"""Make the reference data of this folder from Natural Earth (see README.md).

Needs `countries-10m.json` of the npm package `world-atlas` 2.0.2:

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    .venv/bin/python data/reference/build.py package/countries-10m.json

Writes `outlines.parquet` (one WKB per country) and `off_land.parquet`: for every cell of about one
kilometre, a lower bound of the distance from anywhere in the cell to the country's land. Takes two minutes.
"""  # noqa: INP001 - a script beside its data, not a package

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyproj
import shapely
import zstandard

HERE = Path(__file__).resolve().parent

CELLS_PER_DEGREE_NORTH = 100
"""Rows of the raster per degree of latitude: 1.11 km each."""
CELLS_PER_DEGREE_EAST = 50
"""Columns per degree of longitude: 1.1 km at 60° N, 1.8 km at 36° N."""
FARTHEST_KM = 100
"""Distances beyond this are not told apart; the raster is padded by as much."""
BEYOND = 255
"""What a cell farther than that holds."""
KM_PER_DEGREE = 111.2

COUNTRIES = {
    "AT": "Austria",
    "AX": "Åland",
    "BE": "Belgium",
    "CH": "Switzerland",
    "DE": "Germany",
    "DK": "Denmark",
    "ES": "Spain",
    "FI": "Finland",
    "FO": "Faeroe Is.",
    "FR": "France",
    "GB": "United Kingdom",
    "GL": "Greenland",
    "IT": "Italy",
    "NL": "Netherlands",
    "NO": "Norway",
    "PT": "Portugal",
    "SE": "Sweden",
}
EUROPE = shapely.union_all([shapely.box(-32, 27, 36, 82), shapely.box(-75, 59, -11, 84)])
"""With Greenland. Leaves out the Caribbean, Réunion, Bouvet and the like: other grids, other schemes."""
SVALBARD_AND_JAN_MAYEN = shapely.union_all([shapely.box(0, 74, 36, 82), shapely.box(-12, 70, -5, 73)])


def main(countries_json: Path) -> None:
    """Read the TopoJSON and write both files."""
    outlines = country_outlines(json.loads(countries_json.read_text(encoding="utf-8")))
    pl.DataFrame(
        {"country": list(outlines), "wkb": [shapely.to_wkb(land) for land in outlines.values()]}
    ).write_parquet(HERE / "outlines.parquet", compression="zstd", compression_level=22)
    tiles = [
        {"country": country, **off_land_tile(part)}
        for country, land in outlines.items()
        for part in separate_parts(land)
    ]
    pl.DataFrame(tiles).write_parquet(HERE / "off_land.parquet", compression="uncompressed")


def country_outlines(topology: dict[str, Any]) -> dict[str, shapely.Geometry]:
    """Outline of each country in degrees, longitude first. Svalbard and Jan Mayen stand apart."""
    arcs = decoded_arcs(topology)
    found = {
        geometry["properties"]["name"]: geometry
        for geometry in topology["objects"]["countries"]["geometries"]
    }
    land = {
        code: shapely.intersection(polygons(found[name], arcs), EUROPE) for code, name in COUNTRIES.items()
    }
    land["SJ"] = shapely.intersection(land["NO"], SVALBARD_AND_JAN_MAYEN)
    land["NO"] = shapely.difference(land["NO"], SVALBARD_AND_JAN_MAYEN)
    return dict(sorted(land.items()))


def decoded_arcs(topology: dict[str, Any]) -> list[np.ndarray]:
    """TopoJSON's delta-coded, quantised arcs as degrees."""
    scale = np.array(topology["transform"]["scale"])
    origin = np.array(topology["transform"]["translate"])
    return [np.cumsum(np.array(arc), axis=0) * scale + origin for arc in topology["arcs"]]


def polygons(geometry: dict[str, Any], arcs: list[np.ndarray]) -> shapely.Geometry:
    """One country's polygons; rings that quantisation made shorter than a triangle are left out."""
    parts = [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
    pieces = []
    for part in parts:
        shell, *holes = (ring(indices, arcs) for indices in part)
        if len(shell) >= 4:
            pieces.append(shapely.Polygon(shell, [hole for hole in holes if len(hole) >= 4]))
    return shapely.union_all([shapely.make_valid(piece) for piece in pieces])


def ring(indices: list[int], arcs: list[np.ndarray]) -> np.ndarray:
    """Arcs joined into a ring; a negative index means that arc backwards (TopoJSON 2.1.4)."""
    pieces = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in indices]
    return np.vstack([pieces[0], *(piece[1:] for piece in pieces[1:])])


def separate_parts(land: shapely.Geometry) -> list[shapely.Geometry]:
    """Land split where more than two paddings of sea lie between: the Azores need no raster to Lisbon."""
    reach = 2 * FARTHEST_KM / KM_PER_DEGREE
    clusters = shapely.get_parts(shapely.buffer(shapely.simplify(land, 0.1), reach, quad_segs=2))
    pieces = shapely.get_parts(land)
    return [shapely.union_all(pieces[shapely.intersects(pieces, cluster)]) for cluster in clusters]


def off_land_tile(land: shapely.Geometry) -> dict[str, Any]:
    """Raster of whole kilometres off land, 0 where the cell touches land.

    Returns:
        `south`, `west`: index of the first row and column (cells from 90° S, 180° W); `rows`, `columns`;
        `steps`: from the south-west corner row by row, one byte per cell, each the difference (modulo 256)
        to its western neighbour; compressed with zstd, a third smaller than the values themselves.
    """
    west, south, east, north = shapely.bounds(land)
    pad_north = FARTHEST_KM / KM_PER_DEGREE
    pad_east = pad_north / np.cos(np.radians(min(north + pad_north, 85.0)))
    first_row = int(np.floor((south - pad_north + 90) * CELLS_PER_DEGREE_NORTH))
    first_column = int(np.floor((west - pad_east + 180) * CELLS_PER_DEGREE_EAST))
    rows = int(np.ceil((north + pad_north + 90) * CELLS_PER_DEGREE_NORTH)) - first_row
    columns = int(np.ceil((east + pad_east + 180) * CELLS_PER_DEGREE_EAST)) - first_column
    latitude = (first_row + np.arange(rows) + 0.5) / CELLS_PER_DEGREE_NORTH - 90
    longitude = (first_column + np.arange(columns) + 0.5) / CELLS_PER_DEGREE_EAST - 180
    centre_latitude, centre_longitude = np.repeat(latitude, columns), np.tile(longitude, rows)
    distance = distance_to_land(land, centre_latitude, centre_longitude)
    half_north = KM_PER_DEGREE / CELLS_PER_DEGREE_NORTH / 2
    half_east = KM_PER_DEGREE / CELLS_PER_DEGREE_EAST / 2 * np.cos(np.radians(centre_latitude))
    nearest_corner = np.clip(distance - np.hypot(half_north, half_east), 0, None)
    km = np.where(nearest_corner > FARTHEST_KM, BEYOND, np.floor(nearest_corner)).astype(np.uint8)
    steps = np.diff(km.reshape(rows, columns), axis=1, prepend=np.zeros((rows, 1), np.uint8))
    return {
        "south": first_row,
        "west": first_column,
        "rows": rows,
        "columns": columns,
        "steps": zstandard.ZstdCompressor(level=22).compress(steps.tobytes()),
    }


def distance_to_land(land: shapely.Geometry, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Kilometres from each point to the land; 0 on it, infinite beyond reach of the raster.

    Measured in a Lambert azimuthal equal-area projection about the land's middle, which is within 2 % of
    the true distance over a country.
    """
    west, south, east, north = shapely.bounds(land)
    flat = pyproj.Transformer.from_crs(
        4326,
        f"+proj=laea +lat_0={(south + north) / 2} +lon_0={(west + east) / 2} +ellps=WGS84 +units=km",
        always_xy=True,
    )
    dense = shapely.segmentize(land, 0.05)
    coast = shapely.transform(dense, lambda xy: np.column_stack(flat.transform(xy[:, 0], xy[:, 1])))
    corners, line = shapely.get_coordinates(shapely.get_parts(shapely.boundary(coast)), return_index=True)
    same_line = line[1:] == line[:-1]
    segments = shapely.linestrings(np.stack([corners[:-1], corners[1:]], axis=1)[same_line])
    points = shapely.points(*flat.transform(longitude, latitude))
    distance = np.full(len(points), np.inf)
    (index, _), found = shapely.STRtree(segments).query_nearest(
        points, max_distance=FARTHEST_KM + 3.0, return_distance=True, all_matches=False
    )
    distance[index] = found
    shapely.prepare(land)
    distance[shapely.contains_xy(land, longitude, latitude)] = 0.0
    return distance


if __name__ == "__main__":
    main(Path(sys.argv[1]))
