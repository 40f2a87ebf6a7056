"""Distances to land agree with the outlines they were made from, in places everybody knows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyproj
import pytest
import shapely

from connectors.reference import load_reference, outlines_of
from schemas.coordinates import Land, is_rounded, land_within, number
from schemas.errors import ProfileError
from schemas.reference import BEYOND
from schemas.rules import COAST_KM

REFERENCE = load_reference()
NORWAY = Land.of(("NO", "SJ"), REFERENCE)

LATITUDE, LONGITUDE = pl.col("latitude"), pl.col("longitude")


def km_off(land: Land, *points: tuple[float | None, float | None]) -> list[int | None]:
    rows = pl.DataFrame(points, schema={"latitude": pl.Float64, "longitude": pl.Float64}, orient="row")
    return rows.select(land.km_off(LATITUDE, LONGITUDE)).to_series().to_list()


@pytest.mark.parametrize(
    ("place", "latitude", "longitude"),
    [
        ("Oslo", 59.9139, 10.7522),
        ("Bergen", 60.3913, 5.3221),
        ("the North Cape", 71.1695, 25.7831),
        ("Vardø", 70.3705, 31.1107),
        ("Longyearbyen", 78.2232, 15.6267),
        ("Jan Mayen", 70.98, -8.5),
        ("test area 1", 79.51913682860402, 15.97611317258921),
        ("test area 2", 78.21661621129984, 15.63509153386616),
        ("the vendor's point of 2024, on an island", 60.52485, 5.06001),
        ("Lindesnes", 57.9826, 7.0467),
    ],
)
def test_known_places_in_norway_are_on_land(place: str, latitude: float, longitude: float) -> None:
    (km,) = km_off(NORWAY, (latitude, longitude))
    assert km is not None
    assert km < COAST_KM


@pytest.mark.parametrize(
    ("country", "latitude", "longitude"),
    [
        ("SE", 59.3293, 18.0686),
        ("DK", 55.6761, 12.5683),
        ("FI", 60.1699, 24.9384),
        ("AX", 60.0973, 19.9348),
        ("FO", 62.0079, -6.7900),
        ("GL", 64.1814, -51.6941),
        ("NL", 52.3676, 4.9041),
        ("BE", 50.8503, 4.3517),
        ("GB", 51.5074, -0.1278),
        ("DE", 52.5200, 13.4050),
        ("AT", 48.2082, 16.3738),
        ("CH", 46.9480, 7.4474),
        ("FR", 42.6977, 9.4509),
        ("IT", 37.5079, 15.0830),
        ("ES", 28.1235, -15.4363),
        ("PT", 37.7412, -25.6756),
    ],
)
def test_a_town_of_each_country_is_on_its_land_and_on_no_neighbours(
    country: str, latitude: float, longitude: float
) -> None:
    assert km_off(Land.of((country,), REFERENCE), (latitude, longitude)) == [0]
    others = [other for other in REFERENCE.countries if other != country]
    assert all(km_off(Land.of((other,), REFERENCE), (latitude, longitude)) != [0] for other in others)


def test_the_wrong_utm_zone_moves_oslo_out_of_the_country() -> None:
    """Its UTM 32 numbers read as UTM 33 are exactly six degrees east, in Sweden."""
    assert km_off(NORWAY, (59.911, 16.753)) == [BEYOND]


def test_half_a_pair_has_no_distance_and_the_rest_of_the_world_is_beyond() -> None:
    points = [
        (None, 10.7),
        (59.9, None),
        (None, None),
        (0.0, 0.0),
        (-59.9, 10.7),
        (1e300, -1e300),
        (90.0, 180.0),
    ]

    assert km_off(NORWAY, *points) == [None, None, None, *[BEYOND] * 4]


def test_distances_are_never_more_than_the_truth_and_at_most_three_kilometres_less() -> None:
    """Against geodesics to the nearest point of the outline, for points all over the neighbourhood."""
    chance = np.random.default_rng(7)
    for country in ("NO", "DK", "PT"):
        (outline,) = outlines_of([country], REFERENCE)
        west, south, east, north = outline.bounds
        points = np.column_stack(
            [chance.uniform(south - 1, north + 1, 60), chance.uniform(west - 1, east + 1, 60)]
        )
        said = km_off(Land.of((country,), REFERENCE), *points.tolist())
        for (latitude, longitude), km in zip(points, said, strict=True):
            truth = distance_km(outline, latitude, longitude)
            if km == BEYOND:
                assert truth > 98
            else:
                assert km <= truth * 1.02 + 0.1
                assert truth <= km * 1.02 + 3.2


def distance_km(outline: shapely.Geometry, latitude: float, longitude: float) -> float:
    """Kilometres to the outline, measured about the point itself."""
    flat = pyproj.Transformer.from_crs(
        4326, f"+proj=aeqd +lat_0={latitude} +lon_0={longitude} +units=km", always_xy=True
    )
    window = shapely.box(longitude - 12, latitude - 4, longitude + 12, latitude + 4)
    near = shapely.segmentize(shapely.intersection(outline, window), 0.02)
    if near.is_empty:
        return 400.0
    around = shapely.transform(near, lambda xy: np.column_stack(flat.transform(xy[:, 0], xy[:, 1])))
    return float(shapely.distance(around, shapely.Point(0, 0)))


def test_a_country_without_outline_switches_the_check_off() -> None:
    assert land_within(("PL",), REFERENCE) is None


def test_a_country_without_outline_beside_one_that_has_one_is_a_mistake() -> None:
    with pytest.raises(ProfileError, match="PL"):
        land_within(("NO", "PL"), REFERENCE)


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        ("59,91391", ",", 59.91391),
        ("59.91391", ".", 59.91391),
        ("-31975,01", ",", -31975.01),
        ("+7,3", ",", 7.3),
        ("60", ",", 60.0),
        ("59.91391", ",", None),
        ("59,91391", ".", None),
        ("1.234,5", ",", None),
        ("6 668 000", ".", None),
        ("5,9e1", ",", None),
        ("1e400", ".", None),
        ("9" * 400, ".", None),
        ("NaN", ".", None),
        ("inf", ".", None),
        ("-Infinity", ".", None),
        ("60,", ",", 60.0),
        (",5", ",", 0.5),
        (",", ",", None),
        ("1,2,3", ",", None),
        ("+-5", ",", None),
        ("5-", ",", None),
        ("60,1°", ",", None),
        ("60°6'18\"N", ",", None),
        ("60,1N", ",", None),
        ("\u22127,35", ",", None),
        ("６０,1", ",", None),
        (" 60,1", ",", None),
        ("60,1\n", ",", None),
        ("0x3c", ".", None),
        ("6_0.1", ".", None),
        ("", ".", None),
        (None, ".", None),
    ],
)
def test_only_plain_numbers_in_the_declared_notation_are_read(
    text: str | None, decimal: str, value: float | None
) -> None:
    column = pl.DataFrame({"text": [text]}, schema={"text": pl.String})

    assert column.select(number(pl.col("text"), decimal)).item() == value


def test_rounding_is_seen_through_floating_point() -> None:
    column = pl.DataFrame({"value": [59.913, 0.1 + 0.2, 59.9131, 59.9130001, -7.001, 78.2166]})

    assert column.select(is_rounded(pl.col("value"), 1e-3)).to_series().to_list() == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]
