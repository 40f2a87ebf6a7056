"""Rules about coordinates: the checks respected tools make, and those only the home market shows to be needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

import numpy as np
import polars as pl

from schemas.coordinates import METRES_FROM, Land, in_test_area, is_centre_of, is_rounded, number
from schemas.rules.rule import Good, Rule, Subject

OUTSIDE: Final = "coordinates_lie_in_the_country"

COAST_KM: Final = 2
"""Kilometres off land that a generalised coast does not tell from land: the town of Vardø is one off."""

KM_OFF: Final = "fact:km_off"
"""Helper column: whole kilometres off the land of the country, UInt8."""

IS_FAR: Final = "fact:far"
"""Helper column of doubtful rows: farther off than `[guards] outside_km`, and in no test area."""

FITS_WHEN: Final = "fact:fits_when"
"""Helper column of doubtful rows: how a far point would have to be turned to lie in the country (`Turn`), UInt8."""


class Turn(IntEnum):
    """What makes a point that lies nowhere near lie in the country."""

    NOTHING = 0
    SWAPPED = 1
    SIGN = 2


def _both(subject: Subject) -> tuple[pl.Expr, pl.Expr] | None:
    return (pl.col("latitude"), pl.col("longitude")) if subject.has("latitude", "longitude") else None


def _is_half(latitude: pl.Expr, longitude: pl.Expr) -> pl.Expr:
    """Whether a half is missing, so that nothing can be said of where the point lies."""
    return latitude.is_null() | longitude.is_null()


def _is_metres(latitude: pl.Expr, longitude: pl.Expr) -> pl.Expr:
    """Whether a number is too large for any degree."""
    return (latitude.abs() >= METRES_FROM) | (longitude.abs() >= METRES_FROM)


def _in_range(latitude: pl.Expr, longitude: pl.Expr) -> pl.Expr:
    return (latitude.abs() <= 90) & (longitude.abs() <= 180)


def _is_placeholder_pair(latitude: pl.Expr, longitude: pl.Expr) -> pl.Expr:
    return latitude == longitude


def _is_zero(latitude: pl.Expr, longitude: pl.Expr) -> pl.Expr:
    return (latitude == 0) | (longitude == 0)


def _is_turned(turn: Turn) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if _both(subject) is None or subject.land is None:
            return None
        return pl.col(FITS_WHEN) != turn

    return good


def _are_numbers(subject: Subject) -> pl.Expr | None:
    if _both(subject) is None:
        return None
    raw = [pl.col(f"{name}_raw") for name in ("latitude", "longitude")]
    decimal = subject.profile.file.decimal
    return pl.all_horizontal(text.is_null() | number(text, decimal).is_not_null() for text in raw)


def _come_in_pairs(subject: Subject) -> pl.Expr | None:
    if _both(subject) is None:
        return None
    return pl.col("latitude_raw").is_null() == pl.col("longitude_raw").is_null()


def _are_convertible(subject: Subject) -> pl.Expr | None:
    if _both(subject) is None or subject.in_degrees:
        return None
    raw = [number(pl.col(f"{name}_raw"), subject.profile.file.decimal) for name in ("latitude", "longitude")]
    return pl.any_horizontal(text.is_null() for text in raw) | pl.col("latitude").is_not_null()


def _are_degrees(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    if pair is None or not subject.in_degrees:
        return None
    return ~_is_metres(*pair) | _is_half(*pair)


def _are_metres(subject: Subject) -> pl.Expr | None:
    if _both(subject) is None or subject.in_degrees or "northing" not in subject.profile.coordinates.axes:
        return None
    raw = [number(pl.col(f"{name}_raw"), subject.profile.file.decimal) for name in ("latitude", "longitude")]
    return (raw[0].abs() > 180) | (raw[1].abs() > 180)


def _are_in_range(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    if pair is None:
        return None
    return _in_range(*pair) | _is_metres(*pair) | _is_half(*pair)


def _are_not_zero(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    return ~_is_zero(*pair) if pair else None


def _are_not_equal(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    return ~_is_placeholder_pair(*pair) | _is_zero(*pair) if pair else None


def _lie_in_the_country(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    if pair is None or subject.land is None:
        return None
    explained = ~_in_range(*pair) | _is_zero(*pair) | _is_placeholder_pair(*pair) | (pl.col(FITS_WHEN) > 0)
    return ~pl.col(IS_FAR) | explained


def _lie_on_land(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    if pair is None or subject.land is None:
        return None
    off, areas = pl.col(KM_OFF), subject.test_areas
    return (off < COAST_KM) | (off > subject.outside_km) | in_test_area(*pair, areas)


def _have_four_decimals(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    if pair is None:
        return None
    if subject.in_degrees:
        return ~(is_rounded(pair[0], 1e-3) & is_rounded(pair[1], 1e-3)) | _is_metres(*pair)
    hundreds = rf"^[+-]?[0-9]*00(?:{re.escape(subject.profile.file.decimal)}0*)?$"
    return ~pl.all_horizontal(
        pl.col(f"{name}_raw").str.contains(hundreds) for name in ("latitude", "longitude")
    )


def _are_not_whole_degrees(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    if pair is None or not subject.in_degrees:
        return None
    return ~(is_rounded(pair[0], 1.0) & is_rounded(pair[1], 1.0)) | _is_metres(*pair)


def _are_not_the_centre(subject: Subject) -> pl.Expr | None:
    pair = _both(subject)
    return ~is_centre_of(*pair, subject.profile.coordinates.within) if pair else None


def facts(subject: Subject) -> Iterator[pl.Expr]:
    """Helper columns that these rules and their screens read, in terms of canonical rows."""
    if subject.land is not None:
        yield subject.land.km_off(pl.col("latitude"), pl.col("longitude")).alias(KM_OFF)


def closer_facts(subject: Subject) -> Iterator[pl.Expr]:
    """Helper columns that only the rules read, in terms of canonical rows and `facts`, in this order."""
    if subject.land is None:
        return
    latitude, longitude = pl.col("latitude"), pl.col("longitude")
    in_area = in_test_area(latitude, longitude, subject.test_areas)
    yield ((pl.col(KM_OFF) > subject.outside_km) & ~in_area).alias(IS_FAR)
    point = pl.struct("latitude", "longitude", IS_FAR)
    yield point.map_batches(_fits_when(subject.land, subject.outside_km), return_dtype=pl.UInt8).alias(
        FITS_WHEN
    )


def _fits_when(land: Land, outside_km: float) -> Callable[[pl.Series], pl.Series]:
    """How far points would have to be turned; `NOTHING` for those that are near, or that mean no place at all."""

    def fits_when(points: pl.Series) -> pl.Series:
        rows = points.struct.unnest()
        found = np.zeros(rows.height, dtype=np.uint8)
        latitude, longitude = pl.col("latitude"), pl.col("longitude")
        means_a_place = (
            pl.col(IS_FAR)
            & _in_range(latitude, longitude)
            & ~_is_zero(latitude, longitude)
            & ~_is_placeholder_pair(latitude, longitude)
        )
        places = rows.select(means_a_place.fill_null(value=False).arg_true()).to_series()
        far = rows[places]
        for turn, pairs in (
            (Turn.SIGN, [(-latitude, longitude), (latitude, -longitude), (-latitude, -longitude)]),
            (Turn.SWAPPED, [(longitude, latitude)]),
        ):
            if far.height:
                fits = pl.any_horizontal(
                    _in_range(*pair) & (land.km_off(*pair) <= outside_km) for pair in pairs
                )
                found[places.filter(far.select(fits).to_series()).to_numpy()] = turn
        return pl.Series(found)

    return fits_when


def screens(subject: Subject) -> Iterator[tuple[str, pl.Expr]]:
    """Names and cheap expressions that find every row that can break a rule that names them."""
    pair = _both(subject)
    if pair is None:
        return
    yield (
        "unparsed",
        pl.any_horizontal(
            pl.col(f"{name}_raw").is_not_null() & pl.col(name).is_null() for name in ("latitude", "longitude")
        ),
    )
    if subject.land is not None:
        yield "astray", pl.col(KM_OFF) > min(subject.outside_km, COAST_KM - 1)
    if subject.in_degrees:
        yield "rounded", is_rounded(pair[0], 1e-3) & is_rounded(pair[1], 1e-3)


_GBIF = "https://docs.gbif.org/course-data-use/en/data-processing-pipeline.html"
_CLEANER = "https://docs.ropensci.org/CoordinateCleaner"


def _coordinate_rules() -> Iterator[Rule]:
    """All of them, from how numbers are written to where they lie."""
    pair = ("latitude", "longitude")
    raw = ("latitude_raw", "longitude_raw")
    yield Rule(
        name="coordinates_are_numbers",
        sentence="Both coordinates are plain numbers in the profile's decimal notation: no exponent, no degree "
        "sign, no letter, no blank, no typographer's minus, neither NaN nor infinite.",
        columns=raw,
        cure="Check [file] decimal; export decimal degrees (or metres) as plain numbers.",
        source=f"{_GBIF} (COORDINATE_INVALID); JSON has no NaN (RFC 8259)",
        good=_are_numbers,
        screens=("unparsed",),
    )
    yield Rule(
        name="coordinates_come_in_pairs",
        sentence="There are both coordinates or none.",
        columns=raw,
        cure="Fill in the missing half, or empty both.",
        source="The API's contract lets halves through; a half places nothing",
        good=_come_in_pairs,
        missing="broken",
    )
    yield Rule(
        name="coordinates_can_be_converted",
        sentence="The point lies where the profile's reference system is defined.",
        columns=raw,
        cure="Check [coordinates] crs and axes.",
        source="https://proj.org",
        good=_are_convertible,
        screens=("unparsed",),
    )
    yield Rule(
        name="coordinates_are_degrees_not_metres",
        sentence="Where the profile says degrees, neither number is as large as metres of a map projection are.",
        columns=pair,
        cure='Name the projection: [coordinates] crs = "EPSG:25833" (Norway), "EPSG:3006" (Sweden), "EPSG:3067" '
        '(Finland), "EPSG:25832" (Denmark) …, with axes = ["northing", "easting"] in the columns\' order.',
        source="https://www.geonorge.no (Kartprojeksjoner og koordinatsystemer)",
        good=_are_degrees,
        screens=("astray",),
    )
    yield Rule(
        name="coordinates_are_metres_not_degrees",
        sentence="Where the profile names a map projection, the numbers are not as small as degrees are.",
        columns=raw,
        cure='Set [coordinates] crs = "EPSG:4326" and axes = ["latitude", "longitude"].',
        source="https://www.geonorge.no (Kartprojeksjoner og koordinatsystemer)",
        good=_are_metres,
        screens=("astray",),
    )
    yield Rule(
        name="coordinates_are_within_range",
        sentence="Latitude is from -90 to 90 and longitude from -180 to 180.",
        columns=pair,
        cure="Correct the number in the source system.",
        source=f"{_GBIF} (COORDINATE_OUT_OF_RANGE)",
        good=_are_in_range,
        screens=("astray",),
    )
    yield Rule(
        name="coordinates_are_not_zero",
        sentence="Neither coordinate is exactly 0, which is what empty becomes in a column of numbers.",
        columns=pair,
        cure="Leave both empty where the place is not known.",
        source=f"{_GBIF} (ZERO_COORDINATE); {_CLEANER} (zeros)",
        good=_are_not_zero,
    )
    yield Rule(
        name="coordinates_are_not_a_placeholder",
        sentence="Latitude and longitude are not the same number (1/1, 99/99, -1/-1).",
        columns=pair,
        cure="Leave both empty where the place is not known.",
        source=f"{_CLEANER} (equal)",
        good=_are_not_equal,
    )
    yield Rule(
        name="coordinates_are_not_swapped",
        sentence="Latitude and longitude stand in their own columns: a point far outside the country that would "
        "lie in it the other way round has them swapped. It is never swapped back silently.",
        columns=pair,
        cure='Correct [columns], or set [coordinates] axes = ["longitude", "latitude"] when all rows are so.',
        source=f"{_GBIF} (PRESUMED_SWAPPED_COORDINATE)",
        good=_is_turned(Turn.SWAPPED),
        screens=("astray",),
    )
    yield Rule(
        name="coordinates_have_the_right_signs",
        sentence="A point far outside the country does not lie in it with another sign.",
        columns=pair,
        cure="Correct the sign in the source system.",
        source=f"{_GBIF} (PRESUMED_NEGATED_LATITUDE, PRESUMED_NEGATED_LONGITUDE)",
        good=_is_turned(Turn.SIGN),
        screens=("astray",),
    )
    yield Rule(
        name=OUTSIDE,
        sentence="The point lies on the land of `[coordinates] within` or at most `[guards] outside_km` (30 km) off "
        "it. The vendor's test areas are always allowed. Not said of points that another rule explains.",
        columns=pair,
        cure="Check the address; when many rows are so, check [coordinates] crs: a wrong UTM zone moves Oslo to "
        "Sweden. Countries are added with [coordinates] within.",
        source=f"{_GBIF} (COUNTRY_COORDINATE_MISMATCH); outlines: Natural Earth, data/reference/README.md",
        good=_lie_in_the_country,
        screens=("astray",),
    )
    yield Rule(
        name="coordinates_lie_on_land",
        sentence=f"The point lies on land, or less than {COAST_KM} km off a coast that is generalised and lacks small "
        "islands.",
        columns=pair,
        cure="Have a look at the map of the quality report; homes on small islands are nothing to worry about.",
        source=f"{_CLEANER} (seas)",
        good=_lie_on_land,
        sandbox="warn",
        production="warn",
        screens=("astray",),
    )
    yield Rule(
        name="coordinates_have_four_decimals",
        sentence="The coordinates are not both rounded to three decimals or fewer (100 m or more in a projection): "
        "two decimals are a kilometre, and the vendor's areas are half of one wide.",
        columns=pair,
        cure="Export five decimals or more.",
        source=f"{_GBIF} (COORDINATE_ROUNDED)",
        good=_have_four_decimals,
        sandbox="warn",
        production="warn",
        screens=("rounded",),
    )
    yield Rule(
        name="coordinates_are_not_whole_degrees",
        sentence="The coordinates are not both whole degrees (60/10).",
        columns=pair,
        cure="Leave both empty where the place is not known.",
        source=f"{_GBIF} (COORDINATE_ROUNDED)",
        good=_are_not_whole_degrees,
        sandbox="warn",
        production="warn",
        screens=("rounded",),
    )
    yield Rule(
        name="coordinates_are_not_the_centre_of_the_country",
        sentence="The point is not where geocoders put an address of which they know the country alone.",
        columns=pair,
        cure="Leave both empty where the place is not known.",
        source=f"{_CLEANER} (centroids); https://developers.google.com/public-data/docs/canonical/countries_csv",
        good=_are_not_the_centre,
        sandbox="warn",
        production="warn",
    )


COORDINATE_RULES: Final = tuple(_coordinate_rules())
