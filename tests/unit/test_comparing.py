"""Is what the API holds what we sent? RE22: liberal about form, strict about meaning."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.delivery.answers import held_location, held_resource
from pipeline.delivery.comparing import has_coordinates, held_meter_points, same_location, same_resource

SENT: dict[str, Any] = {
    "userId": "u",
    "locationId": "l",
    "locationType": "Residential",
    "coordinates": {"latitude": 60.1234567, "longitude": 10.5},
    "meterPointIds": ["1", "2"],
}


def held(**changes: Any) -> Any:
    import json

    body = {name: value for name, value in {**SENT, **changes}.items() if value is not ...}
    return held_location(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"meterPointIds": ["2", "1"]}, True),
        ({"meterPointIds": ["1"]}, False),
        ({"meterPointIds": ["1", "2", "3"]}, False),
        ({"meterPointIds": ["1", "2", "2"]}, False),
        ({"meterPointIds": None}, False),
        ({"meterPointIds": ["1 ", "2"]}, False),
        ({"coordinates": {"latitude": 60.123457, "longitude": 10.5}}, True),
        ({"coordinates": {"latitude": 60.12346, "longitude": 10.5}}, False),
        ({"coordinates": {"latitude": 10.5, "longitude": 60.1234567}}, False),
        ({"coordinates": None}, False),
        ({"coordinates": {"latitude": 60.1234567}}, False),
        ({"locationType": "Commercial"}, False),
        ({"locationType": ...}, False),
        ({"userId": ...}, True),
        ({"somethingNew": {"a": 1}}, True),
    ],
)
def test_a_location_is_the_same_by_meaning(changes: dict[str, Any], same: bool) -> None:
    """RE22, DR1: order and rounding may differ, content may not; unknown fields say nothing."""
    assert same is same_location(SENT, held(**changes))


def test_what_was_not_sent_may_be_anything_but_a_place() -> None:
    """RE22."""
    sent = {"userId": "u", "locationId": "l", "meterPointIds": ["1", "2"]}
    assert same_location(sent, held(coordinates=...))
    assert same_location(sent, held(coordinates=None, locationType="Other"))
    assert not same_location(sent, held())


def test_absent_null_and_empty_are_one() -> None:
    """RE22."""
    sent = {"userId": "u", "locationId": "l", "coordinates": SENT["coordinates"]}
    for told in (..., None, []):
        assert same_location(sent, held(meterPointIds=told, locationType=...))


def test_the_deprecated_single_meter_point_is_read_where_there_is_no_list() -> None:
    """RE22."""
    assert ["9"] == held_meter_points(held(meterPointIds=..., meterPointId="9"))
    assert ["1", "2"] == held_meter_points(held(meterPointId="9"))
    assert [] == held_meter_points(held(meterPointIds=None, meterPointId=""))


@pytest.mark.parametrize(
    ("coordinates", "there"),
    [
        ({"latitude": 1.0, "longitude": 2.0}, True),
        ({"latitude": 1.0}, False),
        ({}, False),
        (None, False),
        (..., False),
    ],
)
def test_coordinates_are_there_when_both_halves_are(coordinates: Any, there: bool) -> None:
    assert there is has_coordinates(held(coordinates=coordinates))


RECORD = {"user_id": "u", "id": "r", "location_id": "l"}


@pytest.mark.parametrize(
    ("told", "same"),
    [
        (b'{"resourceId":"r","resourceType":"HVAC"}', True),
        (b'{"resourceId":"r","resourceType":"HVAC","userId":"u","locationId":"l","meterPointId":"1"}', True),
        (b'{"resourceId":"r","resourceType":"Charger"}', False),
        (b'{"resourceId":"r","resourceType":"HVAC","userId":"v"}', False),
        (b'{"resourceId":"r","resourceType":"HVAC","locationId":"m"}', False),
        (b'{"resourceId":"r","resourceType":"HVAC","meterPointId":"2"}', False),
    ],
)
def test_a_resource_is_the_same_by_type_and_place(told: bytes, same: bool) -> None:
    """RE22: what the answer leaves out does not contradict."""
    sent = {"resourceId": "r", "resourceType": "HVAC", "meterPointId": "1"}
    assert same is same_resource(RECORD, sent, held_resource(told))
