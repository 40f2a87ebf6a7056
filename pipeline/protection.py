"""A protected address stays protected, whichever row tells it: what one row forbids is forbidden to its siblings.

The flag stands in one row, the address in others too: the second meter of a home, its row in another export, a row
that is in quarantine or outside `[keep]`. So every flagged row leaves a *mark*, spooled by customer, and before
the fold the marks are laid over the rows of that customer. A mark covers

- the location the row names,
- the meter point the row names, under whatever location it occurs,
- the point of that location: another location of the customer within a building's width is the same address.

Rows that are covered are treated as if they had been flagged themselves.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import polars as pl

from pipeline.conflicts import COORDINATE_TOLERANCE
from pipeline.holdings import KEY, PROTECTED, is_protected
from pipeline.identity import Identity, record_digest
from pipeline.partition import RowShape, to_spool
from pipeline.ports import RowSpool
from pipeline.row_token import SOURCE_SIZE
from schemas.outcomes import Kind
from schemas.profile import VEHICLE

FLAGS_PAGE: Final = "protected"
"""The ledger's pages of locations that exports told to be protected and none has told to be open since."""

FLAGS_SCHEMA = pl.Schema({"user_id": pl.String(), "id": pl.String(), "bucket": pl.UInt8()})
"""One line per such location."""

MARKS: Final = "marks"
"""Spool table of what flagged rows say: `row, user, place, meter_point, latitude, longitude, skip`."""

COVERED: Final = "covered"
"""Boolean column of rows whose location is protected; absent where no row is."""

_MARK = pl.Schema(
    {
        "row": pl.UInt64(),
        "user": pl.String(),
        "place": pl.String(),
        "meter_point": pl.String(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
        "skip": pl.Boolean(),
    }
)
_COORDINATES = r',"coordinates":\{[^}]*\}'
"""In a canonical body; in a text of it there is no quote without a backslash before it."""
_AXES = ("latitude", "longitude")
_PLACE = ["user", "place"]
_POINT = ["user", "meter_point"]


@dataclass(frozen=True, slots=True)
class Shielded:
    """What the marks of a partition leave of its rows.

    Attributes:
        rows: the rows that go on, those of protected locations without coordinates and marked in `COVERED`.
        left_out: the rows that do not, as they were.
        blanked: the rows that go on and had coordinates, as they were.
        beside: how many of the covered rows lost something without being flagged themselves.
    """

    rows: pl.DataFrame
    left_out: pl.DataFrame
    blanked: pl.DataFrame
    beside: int


def spool_marks(
    spool: RowSpool, flagged: pl.DataFrame, shape: RowShape, identity: Identity, *, skip: bool
) -> None:
    """Put the marks of one batch of one source into the spool.

    Args:
        flagged: canonical rows whose flag protects them, good or not, with what it takes away.
        skip: the profile leaves protected rows out altogether.

    Raises:
        StorageError: the disk is full or failing.
    """
    named = flagged.filter(pl.col("user").is_not_null()) if flagged.height else flagged
    if named.is_empty():
        return
    marks = to_spool(named, shape, identity).with_columns(pl.lit(skip).alias("skip"))
    spool.append(MARKS, _with(marks, *_MARK).select(*_MARK, "bucket"))


def shield(rows: pl.DataFrame, marks: pl.DataFrame) -> Shielded:
    """Lay the marks of a partition over its rows.

    Args:
        rows: made by `partition.to_spool`, all rows of every customer in them.
        marks: the same partition of `MARKS`; without columns where nothing is marked.
    """
    nothing = rows.clear()
    if rows.is_empty() or marks.is_empty():
        return Shielded(rows, nothing, nothing, 0)
    theirs = _with(rows.join(marks, on="user", how="semi"), *_MARK, "resource_type", "refers").drop("skip")
    covered = _covered(theirs, marks)
    if covered.is_empty():
        return Shielded(rows, nothing, nothing, 0)
    placed = pl.any_horizontal(pl.col(*_AXES).is_not_null())
    on_foot = pl.col("resource_type").ne_missing(VEHICLE) & pl.col("refers").is_null()
    goes = pl.col("skip") | (placed & pl.col("meter_point").is_null() & on_foot)
    going = covered.filter(goes)["row"]
    blank = covered.filter(~goes & placed)["row"]
    beside = covered.filter(goes | placed).join(marks, on="row", how="anti").height
    blanked = _only(rows, blank)
    left_out = _only(rows, going)
    kept = rows.join(left_out, on="row", how="anti", maintain_order="left") if left_out.height else rows
    row = pl.col("row")
    kept = kept.with_columns(row.is_in(covered["row"].implode()).alias(COVERED))
    if blanked.height:
        speaks = ~row.is_in(blank.implode())
        kept = kept.with_columns(pl.when(speaks).then(pl.col(*_AXES)))
    return Shielded(kept, left_out, blanked, beside)


def still_protected(
    locations: pl.DataFrame,
    held: pl.DataFrame | None,
    corrections: Collection[int],
    identity: Identity,
    *,
    unplaced: bool = False,
    told: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Records of locations as they may be sent where the flag may stand in a row that does not speak.

    A correction holds some of the rows of a location, and the flag may stand in another; a row that cannot be read, or
    names no customer, may be the flagged one of any. So a location that is held as protected, or was told to be, stays
    so until exports that speak for all of it say otherwise.

    Args:
        locations: in `RECORD_SCHEMA`.
        held: what is held of these customers.
        corrections: sources of the run that are corrections.
        unplaced: the run has rows that may be of any location.
        told: what the ledger remembers to be protected (`FLAGS_SCHEMA`).
    """
    if not (corrections or unplaced) or locations.is_empty():
        return locations
    known = pl.DataFrame(schema=dict.fromkeys(KEY, pl.String)) if told is None else told.select(KEY)
    if held is not None:
        known = pl.concat([known, held.filter(is_protected(pl.col("digest"))).select(KEY)])
    is_open = ~pl.col("digest").str.starts_with(PROTECTED)
    is_part = pl.lit(unplaced) | (pl.col("row") // SOURCE_SIZE).is_in(sorted(corrections))
    shut = locations.filter(is_open & is_part).join(known, on=KEY, how="semi", maintain_order="left")
    if shut.is_empty():
        return locations
    shut = shut.with_columns(pl.col("body").str.replace(_COORDINATES, ""))
    shut = shut.with_columns((pl.lit(PROTECTED) + record_digest(identity, Kind.LOCATION)).alias("digest"))
    return locations.update(shut.select(*KEY, "body", "digest"), on=KEY, maintain_order="left")


def flags_of(locations: pl.DataFrame, told: pl.DataFrame | None) -> pl.DataFrame:
    """What locations, as they may be sent, change of what is remembered: `FLAGS_SCHEMA` and `is_protected`."""
    flags = locations.select(*FLAGS_SCHEMA.names(), is_protected(pl.col("digest")).alias("is_protected"))
    if told is None:
        return flags.filter("is_protected")
    known = told.select(*KEY, pl.lit(value=True).alias("was_protected"))
    both = flags.join(known, on=KEY, how="left", maintain_order="left")
    return both.filter(pl.col("is_protected") != pl.col("was_protected").fill_null(value=False)).drop(
        "was_protected"
    )


def _covered(theirs: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    """The rows that marks cover, with `skip`; a location is covered whole."""
    named = _most(marks, _PLACE)
    known = theirs.join(named, on=_PLACE)
    told = pl.concat([marks.select(_MARK.names()), known.select(_MARK.names())])
    meters = theirs.join(_most(told, _POINT), on=_POINT)
    near = _near(theirs, told)
    hit = pl.concat([part.select("row", *_PLACE, "skip") for part in (known, meters, near)])
    whole = theirs.join(_most(hit, _PLACE), on=_PLACE).select("row", "skip")
    every = pl.concat([hit.select("row", "skip"), whole]).group_by("row").agg(pl.col("skip").any())
    return theirs.join(every, on="row")


def _most(marks: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """`key` and `skip`, once each: the strictest of several profiles holds."""
    return marks.drop_nulls(key).group_by(key).agg(pl.col("skip").any())


def _near(theirs: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """The rows of a customer that lie where a protected address of that customer lies.

    Looked for in the squares around each point, so that a customer of a thousand meters is no million pairs.
    """
    points = (
        told.filter(pl.all_horizontal(pl.col(*_AXES).is_finite())).select("user", "skip", *_AXES).unique()
    )
    around = points.with_columns(_square(axis) for axis in _AXES)
    for axis in _AXES:
        beside = pl.concat_list(pl.col(f"{axis}_square") + step for step in (-1, 0, 1))
        around = around.with_columns(beside.alias(f"{axis}_square")).explode(f"{axis}_square")
    placed = theirs.filter(pl.all_horizontal(pl.col(*_AXES).is_finite()))
    pairs = placed.with_columns(_square(axis) for axis in _AXES).join(
        around, on=["user", *(f"{axis}_square" for axis in _AXES)], suffix="_told"
    )
    apart = [(pl.col(axis) - pl.col(f"{axis}_told")).abs() for axis in _AXES]
    return pairs.filter(*(distance <= COORDINATE_TOLERANCE for distance in apart))


def _square(axis: str) -> pl.Expr:
    return (pl.col(axis) / COORDINATE_TOLERANCE).floor().cast(pl.Int64, strict=False).alias(f"{axis}_square")


def _with(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    """The rows, with null in the columns they lack."""
    types = {**_MARK, "resource_type": pl.String(), "refers": pl.Boolean()}
    return rows.with_columns(
        pl.lit(None, types[name]).alias(name) for name in names if name not in rows.columns
    )


def _only(rows: pl.DataFrame, tokens: pl.Series) -> pl.DataFrame:
    return rows.filter(pl.col("row").is_in(tokens.implode())) if tokens.len() else rows.clear()
