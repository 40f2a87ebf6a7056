"""What rows bring to a location joins what it holds already, where they do not speak for all of it.

A location is sent with its good rows. When the others come back corrected, they come without the good ones; while they
are set aside, the good ones come without them (`pipeline/keeping.py`). Either way meter points are added and none is
taken away. Which there are beside them is read when it is their turn: the ledger knows only their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from pipeline.delivery.answers import HeldLocation
from pipeline.delivery.comparing import has_coordinates, held_meter_points, same_location
from pipeline.holdings import JOINED, PROTECTED

Record = Mapping[str, Any]
Keys = Callable[[Sequence[str]], list[int]]


def joined(update: pl.DataFrame) -> pl.DataFrame:
    """Updates of locations as they are sent: with the meter points that stay though they are not named.

    Args:
        update: changed locations, in `PLAN_SCHEMA`, and `kept`: keys they hold, do not name and may keep.
    """
    joins = pl.col("kept").list.len() > 0
    all_keys = pl.col("meter_point_keys").list.set_union("kept").list.sort()
    return update.with_columns(
        pl.when(joins).then(pl.lit(JOINED) + pl.col("digest")).otherwise("digest").alias("digest"),
        pl.when(joins).then(all_keys).otherwise("meter_point_keys").alias("meter_point_keys"),
    ).drop("kept")


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
    content |= _place_of(record, held) if "coordinates" not in content else {}
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
    content |= _place_of(record, held) if "coordinates" not in content else {}
    return same_location(content, held)


def _place_of(record: Record, held: HeldLocation) -> dict[str, Any]:
    """The position of a held location as a part of a body; nothing where it has none, or may not have it."""
    if not has_coordinates(held) or PROTECTED in record["digest"]:
        return {}
    place: Any = held.coordinates
    return {"coordinates": {"latitude": place.latitude, "longitude": place.longitude}}
