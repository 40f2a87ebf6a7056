"""A protected address goes out through no other row: what a flag forbids is forbidden to the rows beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.holdings import PROTECTED
from pipeline.partition import RowShape
from schemas.outcomes import Kind
from tests.folding.harness import Result, Source, run

Row = Mapping[str, Any]

AT_HOME = {"latitude": 59.912345, "longitude": 10.712345}
AWAY = {"latitude": 61.5, "longitude": 9.6}
FLAGGED = {"user": "a", "location": "L1", "meter_point": "MP1"} | AT_HOME
BESIDE = {"user": "a", "location": "L1", "meter_point": "MP2"} | AT_HOME
RESOURCES = RowShape(defines=False, place_from=(), place_is_an_id=False)
NO_LOCATION = RowShape(place_from=("meter_point",), place_is_an_id=False)
BLANK = {"latitude": None, "longitude": None}


def folded(*beside: Row, flagged: Row = FLAGGED, more: tuple[Source, ...] = (), **how: Any) -> Result:
    """The first row is flagged and already without its coordinates; the others are not flagged."""
    shape = how.pop("shape", RowShape())
    return run(Source([{**flagged, **BLANK}, *beside], shape, flagged={1: flagged}), *more, **how)


def skipped(*beside: Row, flagged: Row = FLAGGED, more: tuple[Source, ...] = (), **how: Any) -> Result:
    """The first row is flagged and already left out."""
    source = Source([{**flagged, "user": "nobody else"}, *beside], flagged={1: flagged}, skip=True)
    frames = [(0, source.frame(0).filter(~_nobody())), *((n, one.frame(n)) for n, one in enumerate(more, 1))]
    return run(source, *more, frames=frames, **how)


def _nobody() -> Any:
    import polars as pl

    return pl.col("user") == "nobody else"


def placed(result: Result) -> list[str]:
    return [body["locationId"] for body in result.bodies(Kind.LOCATION) if "coordinates" in body]


def test_a_second_meter_does_not_say_where_a_protected_location_is() -> None:
    result = folded(BESIDE)
    [body] = result.bodies(Kind.LOCATION)
    assert {"userId": "a", "locationId": "L1", "meterPointIds": ["MP1", "MP2"]} == body
    assert ((2, 0, 0, 2), set(), 1) == (result.counts(), result.left_out(), result.beside())


def test_the_order_of_rows_is_of_no_consequence() -> None:
    source = Source([BESIDE, {**FLAGGED, **BLANK}], flagged={2: FLAGGED})
    assert ([], 1) == (placed(run(source)), run(source).beside())


@pytest.mark.parametrize("partitions", [1, 8])
def test_every_customer_is_looked_after_in_his_own_partition_and_piece(partitions: int) -> None:
    users = [f"u{number}" for number in range(40)]
    rows: list[Row] = [row | {"user": user} for user in users for row in ({**FLAGGED, **BLANK}, BESIDE)]
    rows = [row | {"meter_point": f"{row['meter_point']}{row['user']}"} for row in rows]
    rows = [row | {"location": f"{row['location']}{row['user']}"} for row in rows]
    flagged = {number: rows[number - 1] | AT_HOME for number in range(1, 41, 2)}
    result = run(Source(rows, flagged=flagged), partitions=partitions, rows_each=7)
    assert {f"L1u{number}" for number in range(20, 40)} == set(placed(result))
    assert 20 == result.beside()


def test_another_customer_and_another_address_are_not_protected() -> None:
    elsewhere = [{**BESIDE, "user": "b", "location": "L9", "meter_point": "MP9"}]
    elsewhere += [{"user": "a", "location": "L2", "meter_point": "MP3"} | AWAY]
    result = folded(BESIDE, *elsewhere)
    assert ["L2", "L9"] == placed(result)
    assert ["L2", "L9"] == placed(skipped(BESIDE, *elsewhere))


def test_a_second_location_of_the_customer_at_the_same_point_is_the_same_address() -> None:
    near = {"latitude": 59.91240, "longitude": 10.71230}
    garage = {"user": "a", "location": "L2", "meter_point": "MP3"}
    assert [] == placed(folded(garage | near, garage | {"meter_point": "MP4"} | near))
    assert ["L2"] == placed(folded(garage | near | {"latitude": 59.9130}))


def test_without_a_location_column_the_point_tells_that_it_is_one_home() -> None:
    rows = [{name: value for name, value in row.items() if name != "location"} for row in (FLAGGED, BESIDE)]
    assert [] == placed(folded(rows[1], flagged=rows[0], shape=NO_LOCATION))


def test_the_point_of_a_protected_location_may_be_told_by_its_other_row_alone() -> None:
    flagged = {**FLAGGED, **BLANK}
    garage = {"user": "a", "location": "L2", "meter_point": "MP3"} | AT_HOME
    assert [] == placed(folded(BESIDE, garage, flagged=flagged))


def test_a_flag_counts_in_a_row_that_is_in_quarantine_or_filtered() -> None:
    assert [] == placed(run(Source([BESIDE], flagged={9: FLAGGED})))


def test_a_flag_counts_in_another_export_of_the_run() -> None:
    by_meter = Source([{"user": "a", "meter_point": "MP1"} | AT_HOME], NO_LOCATION)
    result = folded(more=(Source([BESIDE]), by_meter))
    assert [] == placed(result)
    assert 2 == result.beside()


def test_a_row_that_only_its_coordinates_could_place_is_left_out() -> None:
    result = folded({"user": "a", "location": "L1"} | AT_HOME)
    assert ({2}, (1, 0, 0, 1), 1) == (result.left_out(), result.counts(), result.beside())
    assert [["MP1"]] == [body["meterPointIds"] for body in result.bodies(Kind.LOCATION)]


def test_a_vehicle_hangs_on_its_customer_wherever_that_is() -> None:
    car = {"user": "a", "location": "L1", "resource": "car", "resource_type": "Vehicle"}
    result = folded(car | AT_HOME)
    assert (set(), [], 1) == (result.left_out(), placed(result), len(result.bodies(Kind.VEHICLE)))


def test_a_resource_stays_at_the_location_its_row_names_without_coordinates() -> None:
    """The rows of another export define the location; this one names it."""
    charger = {"user": "a", "location": "L1", "resource": "r1", "resource_type": "Charger"}
    result = folded(more=(Source([charger | AT_HOME], RowShape(defines=False)),))
    assert (set(), [], 1) == (result.left_out(), placed(result), len(result.bodies(Kind.RESOURCE)))


def test_a_location_of_which_nothing_may_be_said_does_not_count_as_named() -> None:
    """It is told as missing, so that what is held of it can be removed."""
    car = {"user": "a", "location": "L1", "resource": "car", "resource_type": "Vehicle"}
    result = run(Source([car | AT_HOME], flagged={9: FLAGGED}))
    assert [] == result.bodies(Kind.LOCATION)
    assert [0] == [each.only_named.height for each in result.folds]


def test_a_copy_but_for_the_flag_is_a_duplicate() -> None:
    result = folded(FLAGGED)
    assert (2, 0, 1, 1) == result.counts()
    assert {2: 1} == result.duplicates()


def test_skipping_leaves_out_the_location_and_what_hangs_on_it() -> None:
    charger = {**BESIDE, "meter_point": "MP5", "resource": "r1", "resource_type": "Charger"}
    other = {"user": "a", "location": "L2", "meter_point": "MP3"} | AWAY
    result = skipped(BESIDE, charger, other)
    assert ({2, 3}, (1, 0, 0, 1), 2) == (result.left_out(), result.counts(), result.beside())
    assert ["L2"] == [body["locationId"] for body in result.bodies(Kind.LOCATION)]
    assert [] == result.bodies(Kind.RESOURCE)


def test_skipping_leaves_out_resources_that_another_export_hangs_there() -> None:
    hung = [
        {"user": "a", "meter_point": point, "resource": f"r{point}", "resource_type": "Charger"}
        for point in ("MP1", "MP2", "MP3")
    ]
    other = {"user": "a", "location": "L2", "meter_point": "MP3"} | AWAY
    result = skipped(BESIDE, other, more=(Source(hung, RESOURCES),))
    assert ["rMP3"] == [body["resourceId"] for body in result.bodies(Kind.RESOURCE)]
    assert 3 == len(result.left_out())


def test_a_row_that_is_left_out_is_in_no_conflict() -> None:
    rival = {"user": "b", "location": "L9", "meter_point": "MP2"} | AWAY
    result = skipped(BESIDE, rival)
    assert ({2}, {3}) == (result.left_out(), result.quarantined())
    assert (1, 1, 0, 0) == result.counts()


def test_of_two_profiles_the_stricter_holds() -> None:
    lenient = Source([{**FLAGGED, **BLANK}], flagged={1: FLAGGED})
    assert [] == skipped(BESIDE, more=(lenient,)).bodies(Kind.LOCATION)


def test_a_protected_location_is_known_by_its_digest() -> None:
    digests = folded(BESIDE, {"user": "a", "location": "L2", "meter_point": "MP3"} | AWAY).records(
        Kind.LOCATION
    )["digest"]
    assert [True, False] == [digest.startswith(PROTECTED) for digest in digests]


def test_without_a_flag_nothing_is_covered() -> None:
    result = run(Source([FLAGGED, BESIDE]))
    assert (["L1"], 0) == (placed(result), result.beside())
    assert not any(digest.startswith(PROTECTED) for digest in result.records(Kind.LOCATION)["digest"])
