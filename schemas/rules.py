"""Every rule about a single row: one entry in `RULES`, and nothing about it anywhere else.

A rule's name is a sentence that is true of a good row. It is the same name in the Pandera schema, the quarantine,
the reports, `docs/rules.md` (made from here by `python -m schemas.rules_doc`) and the tests. To add a rule, add an
entry; to add a scheme of meter point ids, see `schemas/meter_points.py`.

**Nulls.** A row without a value keeps every rule about that value: `good` is null and counts as true. Only the
rules whose `missing` is "broken" ask whether there is one.

**Screens.** Most rows are good, so all rows meet only a few cheap expressions, the screens; the rows that one
of them finds doubtful meet the rules. A rule names the screens that find *every* row that breaks it (a test
compares with judging all rows by all rules). Where none of them can be had, the rule is its own screen.

Rules between rows (one meter point claimed by two customers) are in `pipeline/conflicts.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, Self

import numpy as np
import pandera.polars as pa
import polars as pl

from schemas import rows as row_shapes
from schemas.coordinates import (
    METRES_FROM,
    Land,
    checked_outside_km,
    in_test_area,
    is_centre_of,
    is_rounded,
    land_within,
    number,
)
from schemas.meter_points import (
    BLANKS,
    HIDDEN,
    LOOK_ALIKES,
    SCHEMES,
    LookAlike,
    MeterPointScheme,
    Severity,
)
from schemas.profile import GEOGRAPHIC, Profile
from schemas.reference import Reference, TestArea

RULES_VERSION: Final = 1
"""Raise it when a rule changes in a way its expression does not show."""

LONGEST_ID: Final = 128
"""Bytes of an id that go into a URL."""
RESERVED_USERS: Final = ("batch", "eligible", "locations")
"""User ids that are routes of the API: `/users/batch` is not a user."""
VEHICLE: Final = "Vehicle"
"""The resource type that hangs on its user instead of a location."""

COAST_KM: Final = 2
"""Kilometres off land that a generalised coast does not tell from land: the town of Vardø is one off."""

WELL_FORMED: Final = "fact:meter_point"
"""Helper column: the meter point id ready for arithmetic; null when it is not well formed or missing."""
KM_OFF: Final = "fact:km_off"
"""Helper column: whole kilometres off the land of the country, UInt8."""
IS_FAR: Final = "fact:far"
"""Helper column of doubtful rows: farther off than `[guards] outside_km`, and in no test area."""
FITS_WHEN: Final = "fact:fits_when"
"""Helper column of doubtful rows: how a far point would have to be turned to lie in the country (`Turn`), UInt8."""

PLACEHOLDERS: Final = (
    "-", "--", "?", ".", "null", "none", "nil", "nan", "na", "n/a", "(null)", "undefined", "unknown", "ukjent",
    "okänd", "ukendt", "tuntematon", "unbekannt", "inconnu", "#n/a", "#na", "#ref!", "#value!", "#name?",
    "#num!", "#div/0!", "#null!", "#i/t", "#verdi!", "#navn?", "#saknas!", "#värdefel!", "#værdi!", "#nv",
    "#wert!", "#bezug!", "#puuttuu!", "#arvo!",
)  # fmt: skip
"""Words for "nothing". Different customers under one such word would become one."""

NOTHING: Final = tuple(
    {"NaN": 0}
    | dict.fromkeys(
        spelling
        for word in PLACEHOLDERS
        for spelling in (word, word.upper(), word.title(), word.capitalize())
    )
)
"""The same in the spellings that occur."""

CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\x{2028}\x{2029}"
"""Control characters and line separators, as the inside of a character class."""

Missing = Literal["good", "broken"]
Good = Callable[["Subject"], pl.Expr | None]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule may know when it is made for a profile.

    Attributes:
        columns: canonical columns of the export, `key:*` included.
        scheme: of the meter point ids; None without such a column.
        land: where coordinates may lie; None without coordinates or without an outline.
    """

    profile: Profile
    columns: frozenset[str]
    scheme: MeterPointScheme | None
    land: Land | None
    outside_km: float
    test_areas: tuple[TestArea, ...]

    def has(self, *names: str) -> bool:
        """Whether the export has all these columns."""
        return self.columns.issuperset(names)

    @property
    def defines(self) -> bool:
        """Whether rows define users and locations, or only refer to them."""
        return self.profile.export.of == "customers"

    @property
    def as_is(self) -> bool:
        """Whether ids go on the wire as the export has them."""
        return self.profile.identity.ids == "as-is"

    @property
    def in_degrees(self) -> bool:
        """Whether the coordinate columns hold degrees."""
        return self.profile.coordinates.crs in GEOGRAPHIC

    @property
    def place(self) -> list[str]:
        """Columns that together name the row's location."""
        if self.has("location"):
            return ["location"]
        parts = self.profile.identity.location_from
        return [part if part in self.columns else f"key:{part}" for part in parts if part != "user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that is true of every good row.

    Attributes:
        name: that thing as a sentence; public.
        sentence: the same for people, with its limits.
        columns: canonical columns it looks at; the first is the one to blame.
        cure: what to do about a row that breaks it.
        source: who says so.
        sandbox, production: what a violation does there.
        missing: what a row without a value is.
        screens: names of `SCREENS` one of which finds every row that breaks it; empty: the rule itself.
        good: true of a good row; None when the rule does not apply to the profile.
    """

    name: str
    sentence: str
    columns: tuple[str, ...]
    cure: str
    source: str
    good: Good = field(repr=False)
    sandbox: Severity = "quarantine"
    production: Severity = "quarantine"
    missing: Missing = "good"
    screens: tuple[str, ...] = ()

    @property
    def about_coordinates(self) -> bool:
        """Whether `[coordinates] on_violation = "drop"` applies to it."""
        return self.columns[0] in ("latitude", "longitude", "latitude_raw", "longitude_raw")


# ------------------------------------------------------------------ expressions used by several rules
def _both(subject: Subject) -> tuple[pl.Expr, pl.Expr] | None:
    return (pl.col("latitude"), pl.col("longitude")) if subject.has("latitude", "longitude") else None


def _is_vehicle(subject: Subject) -> pl.Expr:
    """Whether the row is a vehicle, which needs no location."""
    if not subject.has("resource_type"):
        return pl.lit(value=False)
    return (pl.col("resource_type") == VEHICLE).fill_null(value=False)


def _odd_text(name: str) -> pl.Expr:
    """Anything but letters, digits and inner dashes, and whatever is a word for nothing or a route of the API."""
    words = "|".join(word for word in (*NOTHING, *RESERVED_USERS) if word.isalpha() and word.isascii())
    column = pl.col(name)
    odd = column.str.contains(rf"[^0-9A-Za-z_-]|^[_-]|[_-]$|^$|^(?:{words})$")
    return odd | (column.str.len_bytes() > LONGEST_ID)


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


class Turn(IntEnum):
    """What makes a point that lies nowhere near lie in the country."""

    NOTHING = 0
    SWAPPED = 1
    SIGN = 2


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


# ------------------------------------------------------------------ ids
def _has_ink(name: str) -> pl.Expr:
    """Whether there is a value of more than blanks."""
    return pl.col(name).str.contains(rf"[^{BLANKS}{HIDDEN}\r\n]").fill_null(value=False)


def _user_is_present(_subject: Subject) -> pl.Expr:
    return _has_ink("user")


def _location_is_present(subject: Subject) -> pl.Expr | None:
    if not subject.place or not subject.defines:
        return None
    return pl.all_horizontal(_has_ink(part) for part in subject.place) | _is_vehicle(subject)


def _parts_are_plain(subject: Subject) -> pl.Expr | None:
    parts = sorted(name for name in subject.columns if name.startswith("key:"))
    if not parts:
        return None
    return ~pl.any_horizontal(
        pl.col(part).str.contains(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").fill_null(value=False)
        for part in parts
    )


def _is_plain_key(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name):
            return None
        column = pl.col(name)
        return ~column.str.contains(rf"^\.{{1,2}}$|[{CONTROLS}]") & (column.str.len_bytes() <= LONGEST_ID)

    return good


def _is_safe_in_a_url(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name) or not subject.as_is:
            return None
        column = pl.col(name)
        safe = ~column.str.contains(rf"^\.{{1,2}}$|[/\\%?#{CONTROLS}]") & (
            column.str.len_bytes() <= LONGEST_ID
        )
        return safe & ~column.is_in(list(RESERVED_USERS)) if name == "user" else safe

    return good


def _is_no_placeholder(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        return ~pl.col(name).is_in(list(NOTHING)) if subject.has(name) else None

    return good


def _is_no_exponent(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        return (
            ~pl.col(name).str.contains(r"^[0-9](?:[.,][0-9]+)?[eE][+-][0-9]{1,3}$")
            if subject.has(name)
            else None
        )

    return good


def _has_plain_edges(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        pattern = rf"^[{BLANKS}]|[{BLANKS}]$|[{HIDDEN}\x{{fffd}}]"
        return ~pl.col(name).str.contains(pattern) if subject.has(name) else None

    return good


def _is_in_normal_form(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name) or subject.profile.identity.unicode != "refuse":
            return None
        return pl.col(name) == pl.col(name).str.normalize("NFC")

    return good


def _id_rules(name: str, called: str) -> Iterator[Rule]:
    """The rules that hold for each of the three texts that become ids."""
    odd = (f"odd_{name}",)
    yield Rule(
        name=f"{name}_is_a_plain_key",
        sentence=f"The {called} holds no control characters or line breaks, is neither `.` nor `..`, and is "
        f"at most {LONGEST_ID} bytes long.",
        columns=(name,),
        cure=f"Export the {called} again from the source system; a text with line breaks is some other column.",
        source="https://www.rfc-editor.org/rfc/rfc3986 (dot segments are taken out of paths)",
        good=_is_plain_key(name),
        screens=odd,
    )
    reserved = (
        f", and is none of {', '.join(f'`{word}`' for word in RESERVED_USERS)}" if name == "user" else ""
    )
    yield Rule(
        name=f"{name}_id_is_safe_in_a_url",
        sentence=f'A {called} that is sent as it is (`ids = "as-is"`) also holds none of `/ \\ % ? #`'
        f"{reserved}: it becomes a part of addresses, where `..` would address somebody else.",
        columns=(name,),
        cure='Use [identity] ids = "hmac" (the default), which makes an id out of any text.',
        source="https://www.rfc-editor.org/rfc/rfc3986; httpx takes dot segments out of paths",
        good=_is_safe_in_a_url(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_is_not_a_placeholder",
        sentence=f'The {called} is not a word for "nothing" (`NULL`, `-`, `#N/A`, `ukjent` …), under which '
        "different ones would become one.",
        columns=(name,),
        cure=f"Fill in the {called}, or list the word in [file] nulls.",
        source="https://support.microsoft.com (error values of spreadsheets, in eight languages)",
        good=_is_no_placeholder(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_is_not_in_exponent_form",
        sentence=f"The {called} is not a number as spreadsheets show long ones (`7.07E+17`).",
        columns=(name,),
        cure="Export again from the source system with the column as text; the lost digits cannot be restored.",
        source="https://support.microsoft.com/kb/269370",
        good=_is_no_exponent(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_has_no_blank_edges_or_hidden_characters",
        sentence=f"The {called} has no blank at either end, no invisible character, and no U+FFFD (which says "
        "that a file was read in the wrong encoding). Two that look alike would be two.",
        columns=(name,),
        cure="Trim the column in the export; check [file] encoding when U+FFFD occurs.",
        source="Unicode 16, categories Zs and Cf",
        good=_has_plain_edges(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_is_in_normal_form",
        sentence=f'With `[identity] unicode = "refuse"`, the {called} is in Unicode normal form C: `å` is one '
        "character, not `a` and a ring.",
        columns=(name,),
        cure='Export composed characters, or set [identity] unicode = "NFC".',
        source="https://unicode.org/reports/tr15",
        good=_is_in_normal_form(name),
        screens=odd,
    )


# ------------------------------------------------------------------ meter points
def _scheme_rule(of: Callable[[MeterPointScheme], pl.Expr | None]) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        return of(subject.scheme) if subject.scheme is not None else None

    return good


def _has_form(_scheme: MeterPointScheme) -> pl.Expr:
    return pl.col(WELL_FORMED).is_not_null() | pl.col("meter_point").is_null()


def _has_prefix(scheme: MeterPointScheme) -> pl.Expr | None:
    return scheme.has_prefix(pl.col(WELL_FORMED)) if scheme.prefix else None


def _has_check_digit(scheme: MeterPointScheme) -> pl.Expr | None:
    return scheme.check_digit.is_valid(pl.col(WELL_FORMED)) if scheme.check_digit else None


def _is_no_sub_meter(subject: Subject) -> pl.Expr | None:
    if not subject.has("meter_point", "parent_meter_point"):
        return None
    return pl.col("parent_meter_point") == pl.col("meter_point")


def _look_alike_rule(look_alike: LookAlike) -> Rule:
    def good(subject: Subject) -> pl.Expr | None:
        scheme = subject.scheme
        if scheme is None:
            return None
        if look_alike.rule == GAS_POINT and scheme.gas and subject.profile.meter_point.carrier is None:
            return ~scheme.is_gas(pl.col(WELL_FORMED))
        pattern = scheme.patterns().get(look_alike.rule)
        if pattern is None:
            return None
        return pl.col(WELL_FORMED).is_not_null() | ~pl.col("meter_point").str.contains(pattern)

    return Rule(
        name=look_alike.rule,
        sentence=f"The meter point id is not {look_alike.is_it}.",
        columns=("meter_point",),
        cure=look_alike.cure,
        source=look_alike.source,
        good=good,
        screens=("malformed", "gas") if look_alike.rule == GAS_POINT else ("malformed",),
    )


def _row_has_meter_point(subject: Subject) -> pl.Expr | None:
    if subject.place or not subject.defines or not subject.has("meter_point"):
        return None
    return pl.col("meter_point").is_not_null() | _is_vehicle(subject)


def _has_meter_point_or_coordinates(subject: Subject) -> pl.Expr | None:
    if not subject.defines:
        return None
    given = [
        name
        for name in ("meter_point", "latitude_raw", "longitude_raw")
        if name in _with_raw(subject.columns)
    ]
    known = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).is_not_null() for name in given))
    return known | _is_vehicle(subject)


def _with_raw(columns: frozenset[str]) -> frozenset[str]:
    return columns | {f"{name}_raw" for name in ("latitude", "longitude") if name in columns}


GAS_POINT: Final = "meter_point_id_is_not_a_gas_point"
CHECK_DIGIT: Final = "meter_point_id_has_valid_check_digit"
FORM: Final = "meter_point_id_has_the_form_of_its_scheme"
PREFIX: Final = "meter_point_id_has_prefix_of_its_scheme"
NOWHERE: Final = "location_has_meter_point_or_coordinates"
OUTSIDE: Final = "coordinates_lie_in_the_country"


# ------------------------------------------------------------------ coordinates
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
    hundreds = rf"00(?:{re.escape(subject.profile.file.decimal)}0+)?$"
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


_GBIF = "https://docs.gbif.org/course-data-use/en/data-processing-pipeline.html"
_CLEANER = "https://docs.ropensci.org/CoordinateCleaner"


def _coordinate_rules() -> Iterator[Rule]:
    """The checks that respected tools make, and those that only the home market shows to be needed."""
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


# ------------------------------------------------------------------ words
def _word_is_known(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name):
            return None
        return pl.col(f"{name}_raw").is_null() | pl.col(name).is_not_null()

    return good


def _resource_has_a_type(subject: Subject) -> pl.Expr | None:
    if not subject.has("resource", "resource_type"):
        return None
    return pl.col("resource").is_null() | pl.col("resource_type_raw").is_not_null()


def _type_has_a_resource(subject: Subject) -> pl.Expr | None:
    if not subject.has("resource", "resource_type"):
        return None
    if subject.defines:
        return pl.col("resource").is_not_null() | pl.col("resource_type_raw").is_null()
    return pl.col("resource").is_not_null()


def _resource_names_its_place(subject: Subject) -> pl.Expr | None:
    if subject.defines or not subject.has("resource_type"):
        return None
    known = [part for part in (*subject.place, "meter_point") if part in subject.columns]
    named = pl.any_horizontal(pl.lit(value=False), *(pl.col(part).is_not_null() for part in known))
    return named | _is_vehicle(subject)


_CONTRACT = "The API's published contract (ec-sandbox-swagger.json)"

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="user_is_present",
        sentence="The row names its customer, with more than blanks.",
        columns=("user",),
        cure="Fill in the customer number; a row without one belongs to nobody.",
        source=_CONTRACT,
        good=_user_is_present,
        missing="broken",
        screens=("odd_user",),
    ),
    *_id_rules("user", "customer number"),
    Rule(
        name="location_is_present",
        sentence="The row names its location, where the profile says how: the location column, or every part of "
        "`[identity] location_from`. A vehicle needs none: it belongs to its customer.",
        columns=("location", "key:*"),
        cure="Fill in the column. Where the export names no locations, leave [columns] location out.",
        source=_CONTRACT,
        good=_location_is_present,
        missing="broken",
        screens=("odd_location", "no_part"),
    ),
    *_id_rules("location", "location number"),
    Rule(
        name="location_parts_are_plain_text",
        sentence="The columns that together name a location hold no control characters but tabs and line breaks.",
        columns=("key:*",),
        cure="Export the columns again as text.",
        source="The parts of a key are joined with U+001F",
        good=_parts_are_plain,
    ),
    Rule(
        name="location_type_is_known",
        sentence="The type of the location is one the API has (Unknown, Residential, Commercial, Other), or a word "
        "that `[values.location_type]` gives a meaning.",
        columns=("location_type_raw", "location_type"),
        cure='List the word in [values.location_type], or add "*" = "Unknown" for all others.',
        source=_CONTRACT,
        good=_word_is_known("location_type"),
    ),
    Rule(
        name=NOWHERE,
        sentence="The row has a meter point id or coordinates, without which the API does not take a location.",
        columns=("meter_point", "latitude", "longitude"),
        cure="Fill in the meter point id; only with it can the customer be compensated.",
        source="https://docs.voluespark.com/guides/energy-coordination/adding-resources",
        good=_has_meter_point_or_coordinates,
        missing="broken",
    ),
    Rule(
        name="row_has_a_meter_point",
        sentence="Where neither `[columns] location` nor `[identity] location_from` names locations, the meter point "
        "id does, and the row has one.",
        columns=("meter_point",),
        cure="Fill in the meter point id, or name the columns that tell locations apart.",
        source="A location without a name of its own is known by its meter point",
        good=_row_has_meter_point,
        missing="broken",
    ),
    Rule(
        name=FORM,
        sentence="The meter point id has exactly the length and the characters of its scheme.",
        columns=("meter_point",),
        cure="Map the right column, or export it as text; what a profile may undo is listed under "
        "[meter_point] normalise.",
        source="See the schemes below",
        good=_scheme_rule(_has_form),
        screens=("malformed",),
    ),
    Rule(
        name=PREFIX,
        sentence="The meter point id begins as ids of its scheme do.",
        columns=("meter_point",),
        cure="Check [meter_point] scheme; ids of another country belong into an export with its own profile.",
        source="See the schemes below",
        good=_scheme_rule(_has_prefix),
    ),
    Rule(
        name=CHECK_DIGIT,
        sentence="The check digit of the meter point id agrees with its other digits. The vendor's own printed "
        "example (707057500012345678) does not, so the sandbox only warns.",
        columns=("meter_point",),
        cure="Correct the id in the source system. No digit is ever repaired here.",
        source="See the schemes below",
        good=_scheme_rule(_has_check_digit),
        sandbox="warn",
    ),
    *(_look_alike_rule(look_alike) for look_alike in LOOK_ALIKES.values()),
    Rule(
        name="meter_point_id_is_not_a_sub_meter",
        sentence="The meter point is not a part of another one (`parent_meter_point` is empty or the id itself).",
        columns=("meter_point", "parent_meter_point"),
        cure="Leave sub-meters out of the export: the parent's id is the one that is billed.",
        source="https://docs.eloverblik.dk (field descriptions)",
        good=_is_no_sub_meter,
    ),
    *_coordinate_rules(),
    *_id_rules("resource", "resource id"),
    Rule(
        name="resource_has_a_type",
        sentence="A row that names a resource says of which type it is.",
        columns=("resource_type_raw", "resource"),
        cure="Fill in the type.",
        source=_CONTRACT,
        good=_resource_has_a_type,
        missing="broken",
    ),
    Rule(
        name="resource_is_present",
        sentence="A row that gives the type of a resource names it; in an export of resources every row does.",
        columns=("resource", "resource_type_raw"),
        cure="Fill in the resource id.",
        source=_CONTRACT,
        good=_type_has_a_resource,
        missing="broken",
    ),
    Rule(
        name="resource_type_is_known",
        sentence="The type of the resource is one the API has (Generic, Vehicle, Charger, HotWaterTank, HVAC, "
        "SolarInverter), or a word that `[values.resource_type]` gives a meaning.",
        columns=("resource_type_raw", "resource_type"),
        cure='List the word in [values.resource_type], or add "*" = "Generic" for all others.',
        source=_CONTRACT,
        good=_word_is_known("resource_type"),
    ),
    Rule(
        name="resource_names_its_place",
        sentence="In an export of resources, a row names the location or the meter point its resource stands at. A "
        "vehicle needs none.",
        columns=("location", "meter_point"),
        cure="Fill in the location or the meter point id.",
        source=_CONTRACT,
        good=_resource_names_its_place,
        missing="broken",
    ),
)
"""Every rule about a single row, in the order of the report."""


@dataclass(frozen=True, slots=True)
class RuleBetweenRows:
    """A rule that only several rows together can break; `pipeline/conflicts.py` and `records.py` hold them.

    Attributes:
        setting: the key of the profile that lets the first claim stand; empty where there is none.
    """

    name: str
    sentence: str
    cure: str
    setting: str = ""


BETWEEN_ROWS: Final[tuple[RuleBetweenRows, ...]] = (
    RuleBetweenRows(
        "meter_point_belongs_to_one_customer",
        "No meter point is claimed by two customers, in all files of the run together.",
        "Find out whose it is; leave closed contracts out with [keep].",
        "[conflicts] meter_point",
    ),
    RuleBetweenRows(
        "meter_point_belongs_to_one_location",
        "No meter point is at two locations of one customer.",
        "Correct the location, or leave closed contracts out with [keep].",
        "[conflicts] meter_point",
    ),
    RuleBetweenRows(
        "location_belongs_to_one_customer",
        "No location number occurs under two customers.",
        "Find out whose it is; leave closed contracts out with [keep].",
        "[conflicts] location",
    ),
    RuleBetweenRows(
        "location_has_one_content",
        "The rows of one location say the same type, and coordinates at most some metres apart.",
        "Correct the rows that differ.",
        "[conflicts] location",
    ),
    RuleBetweenRows(
        "resource_belongs_to_one_customer",
        "No resource id that is sent as it is occurs under two customers.",
        'Correct the rows, or use [identity] ids = "hmac".',
    ),
    RuleBetweenRows(
        "resource_has_one_content",
        "The rows of one resource say the same type and location.",
        "Correct the rows that differ.",
    ),
    RuleBetweenRows(
        "resource_has_one_meter_point",
        "The rows of one resource name the same meter point; otherwise it goes without, with a warning.",
        "Correct the rows that differ.",
    ),
    RuleBetweenRows(
        "resource_has_a_location",
        "A resource other than a vehicle hangs on a location that its row, or its customer's rows, can name.",
        "Fill in the location or the meter point.",
    ),
    RuleBetweenRows(
        "row_names_its_location",
        "A row that says something about a place names the place.",
        "Fill in the location.",
    ),
)
"""Every rule between rows."""

UNJUDGED: Final = "row_can_be_judged"
"""The rule of a row on which a rule itself fails: a bug of ours, and no reason to lose the rest of the file."""

BY_NAME: Final[Mapping[str, Rule]] = {rule.name: rule for rule in RULES}


# ------------------------------------------------------------------ screens
def _screens(subject: Subject) -> dict[str, pl.Expr]:
    """Cheap expressions that are true of every row that can break the rules which name them."""
    found = {f"odd_{name}": _odd_text(name) for name in ("user", "location", "resource") if subject.has(name)}
    for name in ("user", "location"):
        if subject.has(name):
            found[f"odd_{name}"] = found[f"odd_{name}"].fill_null(value=True)
    if subject.place and not subject.has("location"):
        found["no_part"] = pl.any_horizontal(~_has_ink(part) for part in subject.place)
    if subject.scheme is not None:
        well_formed = pl.col(WELL_FORMED)
        found["malformed"] = well_formed.is_null() & pl.col("meter_point").is_not_null()
        if subject.scheme.gas and subject.profile.meter_point.carrier is None:
            found["gas"] = subject.scheme.is_gas(well_formed)
    pair = _both(subject)
    if pair is not None:
        found["unparsed"] = pl.any_horizontal(
            pl.col(f"{name}_raw").is_not_null() & pl.col(name).is_null() for name in ("latitude", "longitude")
        )
        if subject.land is not None:
            found["astray"] = pl.col(KM_OFF) > min(subject.outside_km, COAST_KM - 1)
        if subject.in_degrees:
            found["rounded"] = is_rounded(pair[0], 1e-3) & is_rounded(pair[1], 1e-3)
    return found


# ------------------------------------------------------------------ rules of one profile
@dataclass(frozen=True, slots=True)
class ActiveRule:
    """A rule as it holds for one profile in one environment.

    Attributes:
        column: the one to blame.
        good: true or null for good rows; reads canonical columns and the helper columns.
        screens: names of the screens one of which finds every row that breaks it.
        drops: a row that breaks it goes on without its coordinates (`[coordinates] on_violation = "drop"`).
    """

    name: str
    column: str
    severity: Severity
    good: pl.Expr = field(repr=False)
    screens: frozenset[str]
    drops: bool = False

    def check(self) -> pa.Check:
        """The rule as a named Pandera check; it sees the whole frame."""
        good = self.good
        return pa.Check(lambda frame: frame.lazyframe.select(good), name=self.name)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The rules that hold for a profile in an environment, ready to judge canonical rows.

    Attributes:
        rules: those that apply, in the order of `RULES`.
        facts: helper columns (`fact:*`) that screens and rules read, in terms of canonical rows.
        closer_facts: helper columns that only rules read, in terms of canonical rows and `facts`, in this order.
        screens: cheap named expressions; a row that none of them finds doubtful breaks no rule.
        digest: 16 hex characters that change when a verdict may.
    """

    profile: Profile
    environment: str
    subject: Subject = field(repr=False)
    rules: tuple[ActiveRule, ...] = field(repr=False)
    facts: tuple[pl.Expr, ...] = field(repr=False)
    closer_facts: tuple[pl.Expr, ...] = field(repr=False)
    screens: tuple[pl.Expr, ...] = field(repr=False)
    digest: str

    @classmethod
    def for_profile(
        cls,
        profile: Profile,
        environment: str,
        reference: Reference,
        *,
        columns: frozenset[str] | None = None,
    ) -> Self:
        """The rulebook of `profile`.

        Args:
            environment: "sandbox" or "production".
            columns: what the export has, if not everything the profile maps.

        Raises:
            ProfileError: a country without outline, or a distance beyond what the outlines can tell.
        """
        subject = _subject(profile, reference, frozenset(profile.headers()) if columns is None else columns)
        known = _screens(subject)
        rules = tuple(
            made for rule in RULES if (made := _active(rule, subject, environment, frozenset(known)))
        )
        own = {rule.name: ~rule.good for rule in rules if rule.name in rule.screens}
        asked = frozenset().union(*(rule.screens for rule in rules))
        screens = {name: screen for name, screen in {**known, **own}.items() if name in asked}
        return cls(
            profile=profile,
            environment=environment,
            subject=subject,
            rules=rules,
            facts=tuple(_facts(subject)),
            closer_facts=tuple(_closer_facts(subject)),
            screens=tuple(screen.fill_null(value=False).alias(name) for name, screen in screens.items()),
            digest=_digest(profile, environment, reference, rules),
        )

    def named(self, name: str) -> ActiveRule | None:
        """The rule of that name, if it applies."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def schema(self, names: Iterable[str] | None = None) -> pa.DataFrameSchema:
        """The rules as a Pandera schema over canonical rows with the helper columns; all, or those named."""
        wanted = None if names is None else set(names)
        checks: dict[str, list[pa.Check]] = {}
        for rule in self.rules:
            if wanted is None or rule.name in wanted:
                checks.setdefault(rule.column, []).append(rule.check())
        return row_shapes.with_checks(checks)


def _subject(profile: Profile, reference: Reference, columns: frozenset[str]) -> Subject:
    has_pair = columns.issuperset(("latitude", "longitude"))
    name = profile.meter_point.scheme if "meter_point" in columns else None
    return Subject(
        profile=profile,
        columns=columns,
        scheme=SCHEMES[name] if name else None,
        land=land_within(profile.coordinates.within, reference) if has_pair else None,
        outside_km=checked_outside_km(profile.guards.outside_km),
        test_areas=reference.test_areas,
    )


def _active(rule: Rule, subject: Subject, environment: str, known: frozenset[str]) -> ActiveRule | None:
    good = rule.good(subject)
    if good is None:
        return None
    severity = _severity(rule, subject, environment)
    drops = rule.about_coordinates and severity == "quarantine" and drops_coordinates(subject.profile)
    if rule.missing == "broken":
        good = good.fill_null(value=False)
    return ActiveRule(
        name=rule.name,
        column=_blamed(rule, subject),
        severity="warn" if drops else severity,
        good=good.alias(rule.name),
        screens=known.intersection(rule.screens) or frozenset({rule.name}),
        drops=drops,
    )


def drops_coordinates(profile: Profile) -> bool:
    """Whether a row with bad coordinates goes on without them."""
    return profile.coordinates.on_violation == "drop"


def _blamed(rule: Rule, subject: Subject) -> str:
    """The first column of the rule that the rows have."""
    have = {"row"} | subject.columns
    for raw in ("latitude", "longitude", "location_type", "resource_type"):
        have |= {f"{raw}_raw"} if raw in subject.columns else set()
    return next((name for name in rule.columns if name in have), "row")


def _severity(rule: Rule, subject: Subject, environment: str) -> Severity:
    in_production = environment == "production"
    severity = rule.production if in_production else rule.sandbox
    scheme = subject.scheme
    if rule.name == CHECK_DIGIT and scheme is not None and scheme.check_digit is not None:
        severity = scheme.check_digit.production if in_production else scheme.check_digit.sandbox
    if rule.name == PREFIX and scheme is not None and scheme.prefix is not None:
        severity = scheme.prefix.severity
    return severity


def _facts(subject: Subject) -> Iterator[pl.Expr]:
    if subject.scheme is not None:
        yield subject.scheme.form.well_formed(pl.col("meter_point")).alias(WELL_FORMED)
    if subject.land is not None:
        yield subject.land.km_off(pl.col("latitude"), pl.col("longitude")).alias(KM_OFF)


def _closer_facts(subject: Subject) -> Iterator[pl.Expr]:
    if subject.land is None:
        return
    latitude, longitude = pl.col("latitude"), pl.col("longitude")
    in_area = in_test_area(latitude, longitude, subject.test_areas)
    yield ((pl.col(KM_OFF) > subject.outside_km) & ~in_area).alias(IS_FAR)
    point = pl.struct("latitude", "longitude", IS_FAR)
    yield point.map_batches(_fits_when(subject.land, subject.outside_km), return_dtype=pl.UInt8).alias(
        FITS_WHEN
    )


def _digest(profile: Profile, environment: str, reference: Reference, rules: Iterable[ActiveRule]) -> str:
    said = [str(RULES_VERSION), environment, profile.digest(), reference.digest]
    said += [f"{rule.name}\x1f{rule.severity}\x1f{rule.good}" for rule in rules]
    return hashlib.sha256("\x1e".join(said).encode()).hexdigest()[:16]
