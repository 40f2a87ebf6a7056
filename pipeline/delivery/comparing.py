"""Is what the API holds what we sent? Liberal about form, strict about meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from pipeline.delivery.answers import HeldLocation, HeldResource

COORDINATE_TOLERANCE = 1e-6
"""Degrees: 0.1 m on the ground, ten times what we round to, for servers that store other decimals."""


def same_location(sent: Mapping[str, Any], held: HeldLocation) -> bool:
    """Whether a held location says what the body said.

    The order of meter points is free, absent and null are the same, a type we did not send may be anything,
    and a coordinate may differ by less than `COORDINATE_TOLERANCE`.
    """
    wanted_type = sent.get("locationType")
    if wanted_type is not None and wanted_type != held.location_type:
        return False
    if sorted(sent.get("meterPointIds") or ()) != sorted(held_meter_points(held)):
        return False
    return _same_place(sent.get("coordinates"), held)


def held_meter_points(held: HeldLocation) -> list[str]:
    """The meter points of a held location, with the deprecated single field as a fallback."""
    if held.meter_point_ids is not UNSET and held.meter_point_ids:
        return list(held.meter_point_ids)
    single = held.meter_point_id
    return [single] if isinstance(single, str) and single else []


def has_coordinates(held: HeldLocation) -> bool:
    """Whether both halves of a position are held."""
    place = held.coordinates
    return not (
        place is UNSET or place is None or place.latitude in (UNSET, None) or place.longitude in (UNSET, None)
    )


def _same_place(sent: Mapping[str, float] | None, held: HeldLocation) -> bool:
    if sent is None:
        return not has_coordinates(held)
    if not has_coordinates(held):
        return False
    place: Any = held.coordinates
    return bool(
        abs(place.latitude - sent["latitude"]) < COORDINATE_TOLERANCE
        and abs(place.longitude - sent["longitude"]) < COORDINATE_TOLERANCE
    )


def same_resource(record: Mapping[str, Any], sent: Mapping[str, Any], held: HeldResource) -> bool:
    """Whether a held resource or vehicle is of the type we sent and hangs where we hung it."""
    if sent.get("resourceType") != held.resource_type:
        return False
    if held.user_id not in (UNSET, None) and held.user_id != record["user_id"]:
        return False
    place = None if held.location_id is UNSET else held.location_id
    if record.get("location_id") is not None and place is not None and place != record["location_id"]:
        return False
    wanted = sent.get("meterPointId")
    return wanted is None or held.meter_point_id in (UNSET, None, wanted)
