"""The fold: what rows become."""

from pipeline.partition import RowShape, bucket_of
from schemas.outcomes import Kind
from tests.folding.harness import SOURCE, Result, Source, run

NO_LOCATION = RowShape(place_from=("meter_point",), place_is_an_id=False)
RESOURCES = RowShape(defines=False)
RESOURCES_BY_METER = RowShape(defines=False, place_from=(), place_is_an_id=False)
HOME = {"user": "u1", "location": "l1", "meter_point": "mp1", "location_type": "Residential"}
POINT = {"latitude": 59.12345678, "longitude": 10.5}


def customers(*rows: dict[str, object], **more: object) -> Result:
    return run(Source(rows), **more)  # type: ignore[arg-type]


def test_a_row_becomes_a_user_and_a_location() -> None:
    result = customers(HOME | POINT)
    assert result.bodies(Kind.USER) == [{"userId": "u1"}]
    assert result.bodies(Kind.LOCATION) == [
        {
            "userId": "u1",
            "locationId": "l1",
            "locationType": "Residential",
            "coordinates": {"latitude": 59.1234568, "longitude": 10.5},
            "meterPointIds": ["mp1"],
        }
    ]
    assert result.provenance() == {("user", "u1", 1), ("location", "l1", 1)}


def test_several_meters_of_a_home_are_one_location_with_sorted_meter_points() -> None:
    result = customers(HOME | {"meter_point": "mp3"}, HOME, HOME | {"meter_point": "mp2"})
    assert result.bodies(Kind.LOCATION)[0]["meterPointIds"] == ["mp1", "mp2", "mp3"]
    assert result.records(Kind.LOCATION).select("row", "row_count").row(0) == (1, 3)


def test_several_homes_of_a_customer_are_one_user() -> None:
    result = customers(HOME, HOME | {"location": "l2", "meter_point": "mp2"})
    assert len(result.bodies(Kind.USER)) == 1
    assert [body["locationId"] for body in result.bodies(Kind.LOCATION)] == ["l1", "l2"]


def test_without_a_location_column_each_meter_point_is_a_location() -> None:
    rows = [{"user": "u1", "meter_point": "mp1"}, {"user": "u1", "meter_point": "mp2"}]
    result = run(Source(rows, NO_LOCATION))
    assert [body["meterPointIds"] for body in result.bodies(Kind.LOCATION)] == [["mp1"], ["mp2"]]


def test_a_location_may_have_only_coordinates() -> None:
    result = customers({"user": "u1", "location": "l1"} | POINT)
    assert "meterPointIds" not in result.bodies(Kind.LOCATION)[0]


def test_half_a_coordinate_pair_is_never_sent() -> None:
    result = customers(HOME | {"latitude": 59.0, "longitude": None})
    assert "coordinates" not in result.bodies(Kind.LOCATION)[0]


def test_numbers_json_does_not_know_never_reach_a_body() -> None:
    for odd in (float("nan"), float("inf")):
        assert (
            "coordinates"
            not in customers(HOME | {"latitude": odd, "longitude": 10.0}).bodies(Kind.LOCATION)[0]
        )


def test_minus_nought_is_nought() -> None:
    result = customers(HOME | {"latitude": -0.00000001, "longitude": 10.0})
    assert '"latitude":0.0' in result.records(Kind.LOCATION)["body"].item()


def test_what_one_row_leaves_out_another_may_say() -> None:
    result = customers({"user": "u1", "location": "l1", "meter_point": "mp2"}, HOME | POINT)
    body = result.bodies(Kind.LOCATION)[0]
    assert (body["locationType"], body["meterPointIds"], "coordinates" in body) == (
        "Residential",
        ["mp1", "mp2"],
        True,
    )


def test_points_a_few_metres_apart_are_one_point_that_a_row_named() -> None:
    near = [{"latitude": 59.00005, "longitude": 10.00001}, {"latitude": 59.00001, "longitude": 10.00005}]
    result = customers(HOME | near[0], HOME | near[1] | {"meter_point": "mp2"})
    assert result.bodies(Kind.LOCATION)[0]["coordinates"] == near[1]
    assert not result.violations()


def test_a_repeated_row_is_a_duplicate_and_the_first_copy_is_mapped() -> None:
    result = customers(HOME, HOME | {"meter_point": "mp2"}, HOME, HOME)
    assert result.duplicates() == {3: 1, 4: 1}
    assert result.counts() == (4, 0, 2, 2)
    assert ("location", "l1", 3) not in result.provenance()


def test_a_row_of_another_file_can_be_a_duplicate() -> None:
    result = run(Source([HOME]), Source([HOME]))
    assert result.duplicates() == {SOURCE + 1: 1}


def test_rows_that_differ_in_anything_mapped_are_no_duplicates() -> None:
    result = customers(HOME, HOME | {"location_type": None})
    assert result.counts() == (2, 0, 0, 2)
    assert result.records(Kind.LOCATION)["row_count"].item() == 2


def test_a_meter_point_named_twice_is_sent_once() -> None:
    result = customers(HOME, HOME | {"location_type": None})
    assert result.bodies(Kind.LOCATION)[0]["meterPointIds"] == ["mp1"]
    assert result.records(Kind.LOCATION)["meter_point_keys"].list.len().item() == 1


def test_a_resource_hangs_on_its_location_and_a_vehicle_on_its_user() -> None:
    result = customers(
        HOME | {"resource": "r1", "resource_type": "Charger"},
        HOME | {"resource": "v1", "resource_type": "Vehicle"},
    )
    assert result.bodies(Kind.RESOURCE) == [
        {"resourceId": "r1", "resourceType": "Charger", "meterPointId": "mp1"}
    ]
    assert result.records(Kind.RESOURCE)["location_id"].item() == "l1"
    assert result.bodies(Kind.VEHICLE) == [{"resourceId": "v1", "resourceType": "Vehicle"}]
    assert result.records(Kind.VEHICLE)["location_id"].item() is None


CAR = {"user": "u1", "location": "l1", "resource": "v1", "resource_type": "Vehicle"}


def only_named(result: Result) -> list[tuple[str, str]]:
    return [row for folded in result.folds for row in folded.only_named.rows()]


def test_a_location_that_only_a_vehicle_names_is_none() -> None:
    """A vehicle hangs on its customer; a location without meter point and coordinates is refused."""
    result = customers(CAR, CAR | {"resource": "v2", "location_type": "Residential"})
    assert result.bodies(Kind.LOCATION) == []
    assert result.provenance() == {
        ("user", "u1", 1),
        ("user", "u1", 2),
        ("vehicle", "v1", 1),
        ("vehicle", "v2", 2),
    }
    assert (result.counts(), only_named(result)) == ((2, 0, 0, 2), [("u1", "l1")])


def test_a_vehicle_beside_other_rows_of_its_location_is_one_of_its_rows() -> None:
    other = CAR | {"location": "l2", "resource": "v2"}
    for beside in (HOME, {"user": "u1", "location": "l1"} | POINT, CAR | {"resource": "v3"} | POINT):
        result = customers(CAR, other, beside)
        assert [body["locationId"] for body in result.bodies(Kind.LOCATION)] == ["l1"]
        assert {row for kind, _, row in result.provenance() if kind == "location"} == {1, 3}
        assert result.records(Kind.LOCATION)["row_count"].item() == 2
        assert only_named(result) == [("u1", "l2")]


def test_a_vehicle_with_a_meter_point_makes_its_location() -> None:
    result = customers(CAR | {"meter_point": "mp1"})
    assert ([["mp1"]], []) == (
        [body["meterPointIds"] for body in result.bodies(Kind.LOCATION)],
        only_named(result),
    )


def test_an_export_of_resources_defines_no_users_and_no_locations() -> None:
    row = {"user": "u1", "location": "l1", "resource": "r1", "resource_type": "HVAC"}
    result = run(Source([row], RESOURCES))
    assert [len(result.bodies(kind)) for kind in Kind] == [0, 0, 1, 0]
    assert result.provenance() == {("resource", "r1", 1)}


def test_a_resource_finds_its_location_by_the_meter_point_of_another_file() -> None:
    row = {"user": "u1", "meter_point": "mp1", "resource": "r1", "resource_type": "HVAC"}
    result = run(Source([HOME]), Source([row], RESOURCES_BY_METER), partitions=8)
    assert result.records(Kind.RESOURCE)["location_id"].item() == "l1"
    assert result.records(Kind.RESOURCE)["scope"].item() == "profile-1"


def test_a_resource_of_an_unknown_meter_point_hangs_where_the_meter_point_alone_would_be() -> None:
    row = {"user": "u1", "meter_point": "mp9", "resource": "r1", "resource_type": "HVAC"}
    by_resource = (
        run(Source([row], RESOURCES_BY_METER), ids="hmac").records(Kind.RESOURCE)["location_id"].item()
    )
    by_meter = run(Source([row], NO_LOCATION), ids="hmac").records(Kind.LOCATION)["id"].item()
    assert by_resource == by_meter


def test_a_customers_row_is_no_duplicate_of_a_resources_row() -> None:
    row = HOME | {"resource": "r1", "resource_type": "HVAC"}
    result = run(Source([row], RESOURCES), Source([row]))
    assert len(result.bodies(Kind.USER)) == 1
    assert result.counts() == (2, 0, 0, 2)


def test_records_carry_what_the_ledger_needs() -> None:
    result = customers(HOME, ids="hmac")
    record = result.records(Kind.LOCATION).row(0, named=True)
    assert record["location_id"] == record["id"] == result.bodies(Kind.LOCATION)[0]["locationId"]
    assert record["bucket"] == bucket_of(record["user_id"])
    assert (record["scope"], len(record["digest"]), len(record["meter_point_keys"])) == ("profile-0", 32, 1)


def test_an_unchanged_record_has_the_same_digest_and_a_changed_one_another() -> None:
    again, moved = HOME | {"meter_point": "mp1"}, HOME | POINT
    digests = [customers(row).records(Kind.LOCATION)["digest"].item() for row in (HOME, again, moved)]
    assert digests[0] == digests[1] != digests[2]


def test_a_resource_that_hangs_elsewhere_has_other_content() -> None:
    row = {"user": "u1", "location": "l1", "resource": "r1", "resource_type": "HVAC"}
    results = [run(Source([r], RESOURCES)) for r in (row, row | {"location": "l2"})]
    assert len({result.records(Kind.RESOURCE)["digest"].item() for result in results}) == 2


def test_no_rows_are_no_records() -> None:
    result = run(Source([]))
    assert result.counts() == (0, 0, 0, 0)
    assert all(result.records(kind).is_empty() for kind in Kind)


def test_customers_that_share_a_hash_stay_apart(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """No such pair is known, so the hash is taken away: then texts alone decide who is a neighbour."""
    import polars as pl

    from pipeline import records

    rows = [HOME | {"user": f"u{i % 3}", "location": f"l{i % 6}", "meter_point": f"mp{i}"} for i in range(12)]
    honest = customers(*rows)
    monkeypatch.setattr(
        records, "user_key", lambda text: pl.when(text.is_not_null()).then(pl.lit(7, pl.UInt64))
    )
    colliding = customers(*rows)
    assert colliding.bodies(Kind.LOCATION) == honest.bodies(Kind.LOCATION)
    assert colliding.provenance() == honest.provenance()
