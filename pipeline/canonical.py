"""Raw rows become canonical rows: our columns, parsed numbers, the API's words, the closed list of undoings.

Nothing is judged here and nothing mended: what cannot be read becomes null beside its text, and the rules of
`schemas/rules/` say so. An undoing (`[meter_point] normalise`) is taken only when it leaves a well-formed id;
otherwise the text stays as it was received.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import polars as pl

from pipeline.row_token import SOURCE_BITS
from schemas.coordinates import numbers
from schemas.errors import ProfileError
from schemas.meter_points import BLANKS, HIDDEN, SCHEMES, MeterPointScheme
from schemas.profile import GEOGRAPHIC, LOCATION_TYPES, RESOURCE_TYPES, VEHICLE, Profile
from schemas.rules.keys import CONTROLS

UNDOINGS: Final[Mapping[str, tuple[str, str]]] = {
    "zero-width": (f"[{HIDDEN}]", ""),
    "blanks": (f"[{BLANKS}]", ""),
    "excel-text": (r'^="(.*)"$', "$1"),
    "apostrophe": (r"^'", ""),
    "ai-8018": (r"^(?:8018|\(8018\))([0-9]{18})$", "$1"),
    "gb-s-number": (r"^[0-9]{8}([0-9]{13})$", "$1"),
}
"""The closed list, in the order of undoing: pattern and what is put in its place."""

PROTECTED: Final = "protected"
"""Rows from which a protection flag took their coordinates, or themselves; counted beside the undoings."""

OTHER_VALUES: Final = "*"
"""In `[values.*]`: every word that is not listed."""

HALF_AROUND_THE_EARTH: Final = 20_040_000.0
"""Metres; no map projection of a country has larger numbers."""

_ENUMS: Final = {"location_type": LOCATION_TYPES, "resource_type": RESOURCE_TYPES}
_PASSED_ON: Final = (
    "user", "location", "meter_point", "parent_meter_point", "metering_location", "resource",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Canonical:
    """Canonical rows of one batch.

    Attributes:
        rows: `row` (UInt64 token), then those of `user, location, meter_point, parent_meter_point,
            metering_location, resource, key:*` (String), `location_type, resource_type` (the API's word or null) and
            `latitude, longitude` (Float64 degrees or null), each of the latter four with `…_raw` (the text as
            received), that the profile maps.
        filtered: rows left out: outside `[keep]`, of another carrier, or protected and skipped.
        normalised: undoing to rows in which it was taken; `protected` to rows that were.
        flagged: the rows a flag protects, whatever else they are, with all they say: so what is forbidden is known
            of their siblings, too (`pipeline/protection.py`).
    """

    rows: pl.DataFrame
    filtered: int
    normalised: Mapping[str, int]
    flagged: pl.DataFrame = field(default_factory=pl.DataFrame)


def to_canonical(raw_rows: pl.DataFrame, profile: Profile, source: int) -> Canonical:
    """Canonical rows of `raw_rows` (`RawBatch.rows`: String columns and `source_line`), in their order."""
    counts: Counter[str] = Counter()
    kept = raw_rows.filter(_is_kept(raw_rows, profile)) if profile.keep else raw_rows
    kept, undone = _undone(kept, profile)
    counts.update(undone)
    kept = _of_carrier(kept, profile)
    rows, flagged = _renamed(kept, profile, source), pl.DataFrame()
    if "protected" in raw_rows.columns:
        is_flagged = _is_flagged(kept, profile)
        counts[PROTECTED] = int(is_flagged.sum())
        rows = _protect(rows, is_flagged, profile)
        all_flagged, _ = _undone(raw_rows.filter(_is_flagged(raw_rows, profile)), profile)
        flagged = _renamed(all_flagged, profile, source) if all_flagged.height else flagged
    return Canonical(rows, raw_rows.height - rows.height, +counts, flagged)


def _renamed(kept: pl.DataFrame, profile: Profile, source: int) -> pl.DataFrame:
    rows = kept.select(
        (pl.col("source_line").cast(pl.UInt64) + (source << SOURCE_BITS)).alias("row"),
        *(name for name in _PASSED_ON if name in kept.columns),
        *(name for name in kept.columns if name.startswith("key:")),
        *_words(kept, profile),
        *_numbers(kept, profile),
    )
    return _in_degrees(rows, profile)


# ------------------------------------------------------------------ which rows
def _is_kept(raw_rows: pl.DataFrame, profile: Profile) -> pl.Expr:
    return pl.all_horizontal(
        pl.lit(_are_among(raw_rows[name], words))
        for name, words in profile.keep.items()
        if name in raw_rows.columns
    )


def _are_among(texts: pl.Series, words: tuple[str, ...]) -> pl.Series:
    """Whether each text is one of the words, whatever blanks and signs that cannot be seen stand in either."""
    wanted = _bare(pl.Series(words, dtype=pl.String))
    spellings = texts.drop_nulls().unique()  # a few, as a rule: the column stays as it is
    meant = spellings.filter(_bare(spellings).is_in(wanted.implode()))
    return texts.is_in(meant.implode()).fill_null(value=False)


def _bare(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(rf"[{BLANKS}{HIDDEN}{CONTROLS}]", "")


def _of_carrier(rows: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """Without the points of the other carrier, where the scheme can tell."""
    scheme, carrier = _scheme(profile), profile.meter_point.carrier
    if scheme is None or carrier is None or not scheme.gas or "meter_point" not in rows.columns:
        return rows
    is_gas = scheme.is_gas(scheme.form.well_formed(pl.col("meter_point"))).fill_null(value=carrier == "gas")
    return rows.filter(is_gas if carrier == "gas" else ~is_gas)


# ------------------------------------------------------------------ protected addresses
def _is_flagged(rows: pl.DataFrame, profile: Profile) -> pl.Series:
    return _are_among(rows["protected"], profile.protect.values)


def _protect(rows: pl.DataFrame, is_flagged: pl.Series, profile: Profile) -> pl.DataFrame:
    """Canonical rows without what their own flag forbids.

    A protected row that only its coordinates could place is left out altogether. The row of a resource names its place
    or is in quarantine for it.
    """
    if not is_flagged.any():
        return rows
    if profile.protect.action == "skip":
        return rows.filter(~is_flagged)
    pair = [name for name in rows.columns if name.removesuffix("_raw") in ("latitude", "longitude")]
    if not pair:
        return rows
    blanked = rows.with_columns(pl.when(~is_flagged).then(pl.col(pair)))
    if profile.export.of == "resources":
        return blanked
    was_placed = pl.any_horizontal(pl.col(name).is_not_null() for name in pair if name.endswith("_raw"))
    nowhere = pl.col("meter_point").is_null() if "meter_point" in rows.columns else pl.lit(value=True)
    if "resource_type" in rows.columns:
        nowhere &= pl.col("resource_type").ne_missing(VEHICLE)  # it hangs on the customer, wherever that is
    return blanked.filter(~(rows.select(was_placed & nowhere).to_series() & is_flagged))


# ------------------------------------------------------------------ meter points
def _scheme(profile: Profile) -> MeterPointScheme | None:
    return SCHEMES[profile.meter_point.scheme] if profile.meter_point.scheme else None


def _undone(rows: pl.DataFrame, profile: Profile) -> tuple[pl.DataFrame, Counter[str]]:
    """The rows with the undoings of the profile taken, and how often each was."""
    scheme = _scheme(profile)
    if scheme is None or "meter_point" not in rows.columns:
        return rows, Counter()
    undoings = profile.meter_point.normalise
    meter_points, undone = normalised(rows["meter_point"], scheme, undoings)
    if "parent_meter_point" in rows.columns:  # compared with the other one, and used for nothing else
        rows = rows.with_columns(normalised(rows["parent_meter_point"], scheme, undoings)[0])
    return rows.with_columns(meter_points), undone


def normalised(
    received: pl.Series, scheme: MeterPointScheme, undoings: tuple[str, ...]
) -> tuple[pl.Series, Counter[str]]:
    """The ids with the undoings of the profile taken where they leave a well-formed id, and how often each was."""
    counts: Counter[str] = Counter()
    if not undoings:
        return received, counts
    malformed = received.is_not_null() & _well_formed(received, scheme).is_null()
    if not malformed.any():
        return received, counts
    steps = [name for name in UNDOINGS if name in undoings]
    frame = pl.DataFrame({"0": received.filter(malformed)})
    for place, name in enumerate(steps):
        pattern, instead = UNDOINGS[name]
        frame = frame.with_columns(pl.col(str(place)).str.replace_all(pattern, instead).alias(str(place + 1)))
    last = frame[str(len(steps))]
    mended = _well_formed(last, scheme).is_not_null()
    taken = frame.filter(mended)
    for place, name in enumerate(steps):
        counts[name] = int((taken[str(place)] != taken[str(place + 1)]).sum())
    places = malformed.arg_true().filter(mended)
    return received.clone().scatter(places, last.filter(mended)), +counts


def _well_formed(ids: pl.Series, scheme: MeterPointScheme) -> pl.Series:
    return pl.select(scheme.form.well_formed(pl.lit(ids))).to_series()


# ------------------------------------------------------------------ words
def _words(rows: pl.DataFrame, profile: Profile) -> list[pl.Expr]:
    """The API's word for each listed word, the API's own words for themselves, null for any other."""
    made = []
    for name, api_words in _ENUMS.items():
        if name not in rows.columns:
            continue
        listed: Mapping[str, str] = getattr(profile.values, name)
        known = dict.fromkeys(api_words)
        meaning = {word: word for word in known} | {w: v for w, v in listed.items() if w != OTHER_VALUES}
        default = pl.when(pl.col(name).is_not_null()).then(pl.lit(listed.get(OTHER_VALUES), pl.String))
        word = pl.col(name).replace_strict(meaning, default=default, return_dtype=pl.String)
        made += [word.alias(name), pl.col(name).alias(f"{name}_raw")]
    return made


# ------------------------------------------------------------------ coordinates
def _numbers(rows: pl.DataFrame, profile: Profile) -> list[pl.Series]:
    if "latitude" not in rows.columns:
        return []
    pair = [rows["latitude"], rows["longitude"]]
    return [
        *(numbers(texts, profile.file.decimal) for texts in pair),
        *(texts.alias(f"{texts.name}_raw") for texts in pair),
    ]


def _in_degrees(rows: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """The pair as WGS 84 latitude and longitude, whatever the two columns hold."""
    section = profile.coordinates
    if "latitude" not in rows.columns:
        return rows
    north_first = section.axes[0] in ("latitude", "northing")
    north, east = ("latitude", "longitude") if north_first else ("longitude", "latitude")
    if section.crs in GEOGRAPHIC:
        if north_first:
            return rows
        return rows.with_columns(pl.col(north).alias("latitude"), pl.col(east).alias("longitude"))
    # Halves and gaps go in as NaN and come out so; what lies outside the projection comes out infinite.
    longitude, latitude = to_degrees(section.crs).transform(_on_earth(rows[east]), _on_earth(rows[north]))
    return rows.with_columns(_finite("latitude", latitude), _finite("longitude", longitude))


def _on_earth(values: pl.Series) -> Any:
    """As a NumPy array, NaN where nothing on Earth is: inverse projections wrap such numbers around it."""
    return values.set(values.abs() > HALF_AROUND_THE_EARTH, None).fill_null(float("nan")).to_numpy()


def _finite(name: str, values: Any) -> pl.Series:
    return pl.Series(name, np.where(np.isfinite(values), values, np.nan), pl.Float64, nan_to_null=True)


@lru_cache(maxsize=16)
def to_degrees(crs: str) -> Any:
    """A transformer from the profile's reference system to WGS 84, east before north on both sides.

    Raises:
        ProfileError: the system is not known.
    """
    import pyproj

    try:
        return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except pyproj.exceptions.CRSError:
        raise ProfileError(
            f"[coordinates] crs {crs} is not a reference system we know.",
            cure="Look the code up at epsg.org, or convert the export to EPSG:4326.",
        ) from None
