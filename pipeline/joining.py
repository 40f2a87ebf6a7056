"""A correction speaks for its own rows: what it brings to a location joins what the location holds already.

A location is sent with its good rows. When the others come back corrected, they come without the good ones, so their
meter points are added and none is taken away. Which meter points there are beside them is read when it is their
turn: the ledger knows only their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import orjson
import polars as pl

from pipeline.delivery.answers import HeldLocation
from pipeline.delivery.comparing import has_coordinates, held_meter_points, same_location
from pipeline.holdings import KEY
from pipeline.row_token import SOURCE_SIZE

JOINED: Final = "joined:"
"""How the digest of such a content begins: no export says all of it, so the next full one is compared anew."""

Record = Mapping[str, Any]
Keys = Callable[[Sequence[str]], list[int]]


def joined(update: pl.DataFrame, held: pl.DataFrame | None, corrections: Collection[int]) -> pl.DataFrame:
    """Updates of locations as they are sent: those of corrections keep the meter points that are held.

    Args:
        update: changed locations, in `PLAN_SCHEMA`.
        held: what is held of these buckets.
        corrections: sources of the run that are corrections.
    """
    if held is None or not corrections or not update.height:
        return update
    known = held.select(*KEY, pl.col("meter_point_keys").alias("held_keys"))
    of_correction = (pl.col("row") // SOURCE_SIZE).is_in(sorted(corrections))
    others = pl.col("held_keys").list.set_difference("meter_point_keys").list.len()
    joins = of_correction & (others > 0).fill_null(value=False)
    all_keys = pl.col("meter_point_keys").list.set_union("held_keys").list.sort()
    return (
        update.join(known, on=KEY, how="left", maintain_order="left")
        .with_columns(
            pl.when(joins).then(pl.lit(JOINED) + pl.col("digest")).otherwise("digest").alias("digest"),
            pl.when(joins).then(all_keys).otherwise("meter_point_keys").alias("meter_point_keys"),
        )
        .select(update.columns)
    )


def joins(record: Record) -> bool:
    """Whether a record is to join what is held."""
    return str(record["digest"]).startswith(JOINED)


def joined_body(record: Record, held: HeldLocation, keys_of: Keys) -> str:
    """The body that says what the record says, and keeps what it says nothing of."""
    content = orjson.loads(record["body"])
    own = content.get("meterPointIds") or []
    known = set(record["meter_point_keys"] or ())
    points = held_meter_points(held)
    kept = [
        point for point, key in zip(points, keys_of(points), strict=True) if key in known and point not in own
    ]
    content["meterPointIds"] = [*own, *kept]
    content |= _place_of(held) if "coordinates" not in content else {}
    if "locationType" not in content and isinstance(held.location_type, str):
        content["locationType"] = held.location_type
    return orjson.dumps(content).decode()


def has_joined(record: Record, held: HeldLocation, keys_of: Keys) -> bool:
    """Whether a location holds what the record says, and no meter point but those it may."""
    content = orjson.loads(record["body"])
    points = held_meter_points(held)
    if not set(content.get("meterPointIds") or ()) <= set(points):
        return False
    if not set(keys_of(points)) <= set(record["meter_point_keys"] or ()):
        return False
    content["meterPointIds"] = points
    content |= _place_of(held) if "coordinates" not in content else {}
    return same_location(content, held)


def _place_of(held: HeldLocation) -> dict[str, Any]:
    """The position of a held location as a part of a body; nothing where it has none."""
    if not has_coordinates(held):
        return {}
    place: Any = held.coordinates
    return {"coordinates": {"latitude": place.latitude, "longitude": place.longitude}}
