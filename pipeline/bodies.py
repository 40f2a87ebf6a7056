"""Records as JSON, as they go on the wire: built natively, nothing null, keys in a fixed order.

The body is also what the digest covers, so it is canonical: meter points sorted and unique, coordinates
whole or absent and rounded to seven decimals (a centimetre), numbers in their shortest round-trip form.

Concatenating texts is five times as fast as encoding structs and can leave a key out, which encoding
cannot; only texts that need escaping (a quote, a backslash, a control) go through the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

COORDINATE_DECIMALS: Final = 7

_NEEDS_ESCAPING: Final = r'["\\\x00-\x1f]'


def escaped(texts: pl.Series) -> pl.Series:
    """The texts as they stand between quotes in JSON."""
    if not texts.str.contains(_NEEDS_ESCAPING).any():
        return texts
    return texts.to_frame("t").select(_escape(pl.col("t")).alias(texts.name)).to_series()


def _escape(text: pl.Expr) -> pl.Expr:
    inner = pl.struct(text.alias("t")).struct.json_encode().str.strip_prefix('{"t":"').str.head(-2)
    return pl.when(text.is_not_null()).then(inner)


def with_user_body(users: pl.DataFrame) -> pl.DataFrame:
    """Add `body` to users. Reads `id`."""
    return users.with_columns(_body(users, _text("userId", "id")))


def with_location_body(locations: pl.DataFrame) -> pl.DataFrame:
    """Add `body` to locations.

    Reads `user_id`, `id`, `location_type` (or null), `latitude` and `longitude` (both or null), and
    `meter_points` (List of String, sorted and unique, no null in it; or null or empty).
    """
    texts = locations.with_columns(_listed(locations["meter_points"]).alias("listed"))
    coordinates = _Member(
        "latitude",
        ('"coordinates":{"latitude":', pl.col("latitude"), ',"longitude":', pl.col("longitude"), "}"),
    )
    meter_points = _Member("listed", ('"meterPointIds":', pl.col("listed"), "]"))
    type_ = _text("locationType", "location_type")
    ids = (_text("userId", "user_id"), _text("locationId", "id"))
    return locations.with_columns(_body(texts, *ids, type_, coordinates, meter_points))


def with_more_meter_points(locations: pl.DataFrame, column: str) -> pl.DataFrame:
    """Locations as they would be if they had other meter points beside their own. Reads `body`, replaces it.

    Args:
        column: names them (List of String, or null).
    """
    named = pl.col("body").str.json_decode(pl.Struct({"meterPointIds": pl.List(pl.String)}))
    own = named.struct.field("meterPointIds").fill_null([])
    together = own.list.concat(pl.col(column).fill_null([])).list.unique().list.sort()
    # They are its last member. Within a text there is no quote without a backslash before it.
    head = pl.col("body").str.split_exact(',"meterPointIds":', 1).struct.field("field_0")
    bare = pl.when(head == pl.col("body")).then(head.str.head(-1)).otherwise(head)
    found = locations.select(together.alias("meter_points"), bare.alias("bare"))
    listed = pl.concat_str(pl.lit(',"meterPointIds":'), _listed(found["meter_points"]), pl.lit("]"))
    body = pl.concat_str("bare", listed, pl.lit("}"), ignore_nulls=True)
    return locations.with_columns(found.select(body.alias("body")).to_series())


def with_resource_body(resources: pl.DataFrame) -> pl.DataFrame:
    """Add `body` to resources or vehicles. Reads `id`, `resource_type` and `meter_point` (or null)."""
    members = (
        _text("resourceId", "id"),
        _text("resourceType", "resource_type"),
        _text("meterPointId", "meter_point"),
    )
    return resources.with_columns(_body(resources, *members))


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of a JSON object: its parts, left out where `column` is null. `text`: it needs escaping."""

    column: str
    parts: tuple[str | pl.Expr, ...]
    text: bool = False

    def expressions(self, before: str) -> list[pl.Expr]:
        head, *tail = self.parts
        assert isinstance(head, str)
        return [pl.lit(before + head), *(pl.lit(part) if isinstance(part, str) else part for part in tail)]


def _text(name: str, column: str) -> _Member:
    return _Member(column, (f'"{name}":"', pl.col(column), '"'), text=True)


def _body(records: pl.DataFrame, *members: _Member) -> pl.Series:
    """Concatenate members. The first is in every record; the others may be null.

    One flat concatenation is a quarter cheaper than one per member, so only columns that have nulls get
    their own.
    """
    texts = {member.column for member in members if member.text}
    safe = records.with_columns(escaped(records[column]) for column in texts)
    pieces = [pl.lit("{"), *members[0].expressions("")]
    for member in members[1:]:
        parts = member.expressions(",")
        pieces += [pl.concat_str(parts)] if records[member.column].null_count() else parts
    return safe.select(pl.concat_str(*pieces, pl.lit("}"), ignore_nulls=True).alias("body")).to_series()


def _listed(lists: pl.Series) -> pl.Series:
    """Each list as `["first","second"`, null where it is empty.

    All members lie one after the other in memory. They are written out once, each with its quotes and a
    comma before it, and cut at the borders of the lists; the comma at a border becomes the bracket. That
    takes half the time of joining many short lists.
    """
    array = lists.fill_null([]).rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    offsets = array.offsets.to_numpy()
    members = pl.Series("t", array.values).slice(offsets[0], offsets[-1] - offsets[0]).cast(pl.String)
    borders = offsets - offsets[0]
    text, ends = _quoted(members)
    if not _is_plain(text, members.len()):
        text, ends = _quoted(escaped(members))
    starts = ends[borders]
    filled = borders[1:] > borders[:-1]
    text = text.copy()
    text[starts[:-1][filled]] = ord("[")
    cut = pa.LargeStringArray.from_buffers(lists.len(), pa.py_buffer(starts), pa.py_buffer(text))
    listed = pl.Series("listed", cut)
    return (
        listed
        if filled.all()
        else listed.to_frame().select(pl.when(pl.Series(filled)).then("listed")).to_series()
    )


def _quoted(members: pl.Series) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """`,"member"` of all members as one run of bytes, and where each begins (and the last ends)."""
    run = members.to_frame("t").select(pl.concat_str(pl.lit(',"'), "t", pl.lit('"'))).to_series()
    array = run.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, text = array.buffers()
    if not members.len():
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    return np.frombuffer(text, np.uint8), np.frombuffer(offsets, np.int64, count=members.len() + 1)


def _is_plain(text: npt.NDArray[np.uint8], count: int) -> bool:
    """Whether quoted members hold nothing that JSON escapes: two quotes each, no backslash, no control."""
    return bool(
        np.count_nonzero(text == ord('"')) == 2 * count
        and not ((text < ord(" ")) | (text == ord("\\"))).any()
    )
