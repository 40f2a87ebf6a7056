"""What is brought to a location joins what the location holds."""

from __future__ import annotations

import orjson
import polars as pl

from pipeline.delivery.answers import HeldLocation, held_location
from pipeline.holdings import JOINED
from pipeline.joining import has_joined, joined, joined_body, joins
from pipeline.plan import PLAN_SCHEMA


def keys_of(points):
    return [int(point) for point in points]


def held(points, **more) -> HeldLocation:
    body = {"userId": "u", "locationId": "l", "locationType": "Residential", "meterPointIds": points, **more}
    return held_location(orjson.dumps(body))


def record(body, keys, digest=f"{JOINED}d"):
    return {"body": orjson.dumps(body).decode(), "meter_point_keys": keys, "digest": digest}


def update(keys):
    line = {"user_id": "u", "id": "l", "digest": "d", "meter_point_keys": keys, "body": "{}"}
    blank = dict.fromkeys(PLAN_SCHEMA.names())
    return pl.DataFrame([blank | line], schema=PLAN_SCHEMA)


def joined_with(keys, kept):
    line = update(keys).with_columns(pl.Series("kept", [kept], pl.List(pl.UInt64)))
    return joined(line).row(0, named=True)


def test_what_stays_is_among_the_keys():
    made = joined_with([2], [3, 1])
    assert (f"{JOINED}d", [1, 2, 3]) == (made["digest"], made["meter_point_keys"])
    assert joins(made)
    assert PLAN_SCHEMA.names() == list(made)


def test_where_nothing_stays_the_update_replaces():
    made = joined_with([2], [])
    assert ("d", [2]) == (made["digest"], made["meter_point_keys"])
    assert not joins(made)


def test_the_body_says_its_own_and_keeps_the_rest():
    body = joined_body(record({"meterPointIds": ["2"]}, [1, 2]), held(["1", "9"]), keys_of)
    assert {"meterPointIds": ["2", "1"], "locationType": "Residential"} == orjson.loads(body)


def test_a_point_that_is_said_takes_the_place_of_the_held_one():
    place = {"latitude": 60.0, "longitude": 10.0}
    here = held(["1"], coordinates=place)
    silent = joined_body(record({"meterPointIds": ["2"]}, [1, 2]), here, keys_of)
    loud = joined_body(
        record({"meterPointIds": ["2"], "coordinates": {"latitude": 61.0, "longitude": 9.0}}, [1, 2]),
        here,
        keys_of,
    )
    assert (60.0, 61.0) == tuple(orjson.loads(body)["coordinates"]["latitude"] for body in (silent, loud))


def test_reading_back_sees_that_it_has_joined():
    sent = record({"meterPointIds": ["2"], "locationType": "Residential"}, [1, 2])
    assert has_joined(sent, held(["1", "2"]), keys_of)
    assert has_joined(sent, held(["2"]), keys_of)  # the other one was taken away elsewhere


def test_reading_back_sees_that_it_has_not():
    sent = record({"meterPointIds": ["2"], "locationType": "Commercial"}, [1, 2])
    assert not has_joined(sent, held(["1"]), keys_of)
    assert not has_joined(sent, held(["1", "2", "3"]), keys_of)
    assert not has_joined(sent, held(["1", "2"]), keys_of)  # another type
    assert not joins({"digest": "d"})
