"""Bodies: exact JSON without nulls, whatever the texts hold."""

import json

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bodies import with_location_body, with_resource_body, with_user_body

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    ['"', "\\", "\x00", "\x1f", "\x7f", "\u2028", "é", "😀", '","', "/"]
)
degrees = st.floats(-180, 180).map(lambda value: round(value, 7) + 0.0)
points = st.none() | st.tuples(degrees, degrees)
lists = st.none() | st.lists(texts, max_size=4)
SCHEMA = {
    "user_id": pl.String,
    "id": pl.String,
    "location_type": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "meter_points": pl.List(pl.String),
}


@st.composite
def locations(draw: st.DrawFn) -> dict[str, object]:
    point = draw(points)
    return {
        "user_id": draw(texts),
        "id": draw(texts),
        "location_type": draw(st.sampled_from([None, "Residential"])),
        "latitude": point and point[0],
        "longitude": point and point[1],
        "meter_points": draw(lists),
    }


def expected(location: dict[str, object]) -> dict[str, object]:
    body: dict[str, object] = {"userId": location["user_id"], "locationId": location["id"]}
    if location["location_type"]:
        body["locationType"] = location["location_type"]
    if location["latitude"] is not None:
        body["coordinates"] = {"latitude": location["latitude"], "longitude": location["longitude"]}
    if location["meter_points"]:
        body["meterPointIds"] = location["meter_points"]
    return body


def minified(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


@settings(deadline=None)  # the first call waits for threads to start
@given(st.lists(locations(), min_size=1, max_size=5))
def test_location_bodies_are_exact_json_without_nulls(rows: list[dict[str, object]]) -> None:
    made = with_location_body(pl.DataFrame(rows, schema=SCHEMA))
    read = [json.loads(body) for body in made["body"]]
    assert read == [expected(row) for row in rows]
    assert [list(body) for body in read] == [list(expected(row)) for row in rows]


@settings(deadline=None)  # the first call waits for threads to start
@given(st.lists(texts, min_size=1, max_size=5))
def test_user_bodies_hold_the_id(ids: list[str]) -> None:
    made = with_user_body(pl.DataFrame({"id": ids}))
    assert [json.loads(body) for body in made["body"]] == [{"userId": id_} for id_ in ids]


@settings(deadline=None)  # the first call waits for threads to start
@given(texts, st.none() | texts)
def test_resource_bodies_leave_out_an_absent_meter_point(resource: str, meter_point: str | None) -> None:
    rows = {"id": [resource], "resource_type": ["Charger"], "meter_point": [meter_point]}
    schema = {"id": pl.String, "resource_type": pl.String, "meter_point": pl.String}
    body = json.loads(with_resource_body(pl.DataFrame(rows, schema=schema))["body"].item())
    full = {"resourceId": resource, "resourceType": "Charger", "meterPointId": meter_point}
    assert body == {name: value for name, value in full.items() if value is not None}


def test_bodies_have_no_blanks_and_numbers_are_the_shortest() -> None:
    row = {
        "user_id": "u",
        "id": "l",
        "location_type": "Other",
        "latitude": 59.1,
        "longitude": 10.1234567,
        "meter_points": ["707057500000000001", "707057500000000018"],
    }
    body = with_location_body(pl.DataFrame([row], schema=SCHEMA))["body"].item()
    assert body == minified(expected(row))


def test_a_slice_of_locations_has_the_bodies_of_its_own_rows() -> None:
    rows = [
        {**dict.fromkeys(SCHEMA), "user_id": "u", "id": str(i), "meter_points": [str(i)]} for i in range(4)
    ]
    frame = pl.DataFrame(rows, schema=SCHEMA)
    assert with_location_body(frame[2:])["body"].to_list() == with_location_body(frame)["body"].to_list()[2:]


def test_no_locations_have_no_bodies() -> None:
    assert with_location_body(pl.DataFrame(schema=SCHEMA))["body"].to_list() == []
