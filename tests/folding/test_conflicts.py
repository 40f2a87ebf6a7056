"""Rules between rows: who may claim what, and that every row of a conflict is named."""

import pytest

from pipeline.conflicts import CROSS_ROW_RULES, ConflictPolicy
from pipeline.partition import RowShape
from schemas.outcomes import Kind
from tests.folding.harness import Result, Source, run

KEEP_FIRST = ConflictPolicy("keep-first", "keep-first")
RESOURCES = RowShape(defines=False)
ADDRESS = RowShape(place_from=("key:Adresse",), place_is_an_id=False)


def row(user: str, location: str, meter_point: str | None = None, **more: object) -> dict[str, object]:
    return {"user": user, "location": location, "meter_point": meter_point, **more}


def verdicts(result: Result) -> dict[int, set[tuple[str, str]]]:
    found: dict[int, set[tuple[str, str]]] = {}
    for number, rule, severity in result.violations():
        found.setdefault(number, set()).add((rule, severity))
    return found


def named(rule: str, *rows: int, severity: str = "quarantine") -> dict[int, set[tuple[str, str]]]:
    return {number: {(rule, severity)} for number in rows}


@pytest.mark.parametrize("partitions", [1, 64])
def test_a_meter_point_of_two_customers_is_nobodys(partitions: int) -> None:
    rows = [row("u1", "l1", "mp1"), row("u2", "l2", "mp1"), row("u3", "l3", "mp3"), row("u1", "l1", "mp4")]
    result = run(Source(rows), partitions=partitions)
    assert verdicts(result) == named("meter_point_belongs_to_one_customer", 1, 2)
    assert [body["userId"] for body in result.bodies(Kind.USER)] == ["u1", "u3"]


def test_keep_first_lets_the_earlier_customer_stand_and_names_both() -> None:
    rows = [row("u1", "l1", "mp1"), row("u2", "l2", "mp1"), row("u1", "l1", "mp1", location_type="Other")]
    result = run(Source(rows), policy=KEEP_FIRST, partitions=64)
    rule = "meter_point_belongs_to_one_customer"
    assert verdicts(result) == named(rule, 2) | named(rule, 1, 3, severity="warn")
    assert [body["userId"] for body in result.bodies(Kind.USER)] == ["u1"]


def test_first_is_by_row_not_by_arrival() -> None:
    sources = [Source([row("u1", "l1", "mp1")]), Source([row("u2", "l2", "mp1")])]
    late_first = [(1, sources[1].frame(1)), (0, sources[0].frame(0))]
    result = run(*sources, policy=KEEP_FIRST, frames=late_first)
    assert [body["userId"] for body in result.bodies(Kind.USER)] == ["u1"]


@pytest.mark.parametrize("ids", ["as-is", "hmac"])
def test_a_location_number_of_two_customers_is_nobodys(ids: str) -> None:
    rows = [row("u1", "l1", "mp1"), row("u2", "l1", "mp2"), row("u2", "l2", "mp3")]
    result = run(Source(rows), ids=ids, partitions=64)
    assert verdicts(result) == named("location_belongs_to_one_customer", 1, 2)


def test_two_customers_may_live_at_one_address() -> None:
    rows = [{"user": user, "meter_point": f"mp-{user}", "key:Adresse": "Storgata 1"} for user in ("u1", "u2")]
    result = run(Source(rows, ADDRESS), ids="hmac")
    assert not result.violations()
    assert len(set(result.records(Kind.LOCATION)["id"])) == 2


def test_a_resource_that_refers_to_a_meter_point_does_not_claim_it() -> None:
    refers = row("u2", "l2", "mp1", resource="r1", resource_type="HVAC")
    result = run(Source([row("u1", "l1", "mp1")]), Source([refers], RESOURCES))
    assert not result.violations()


def test_a_resource_id_of_two_customers_is_a_conflict_only_when_it_is_the_id_sent() -> None:
    rows = [
        row(user, f"l-{user}", f"mp-{user}", resource="r1", resource_type="HVAC") for user in ("u1", "u2")
    ]
    as_is, hashed = (run(Source(rows), ids=ids, partitions=8) for ids in ("as-is", "hmac"))
    assert verdicts(as_is) == named("resource_belongs_to_one_customer", 1, 2)
    assert not hashed.violations()


def test_a_meter_point_at_two_locations_of_a_customer_is_at_none() -> None:
    rows = [row("u1", "l1", "mp1"), row("u1", "l2", "mp1"), row("u1", "l2", "mp2")]
    assert verdicts(run(Source(rows))) == named("meter_point_belongs_to_one_location", 1, 2)


CONTENTS = [
    ({"location_type": "Residential"}, {"location_type": "Commercial"}),
    ({"latitude": 59.0, "longitude": 10.0}, {"latitude": 59.001, "longitude": 10.0}),
    ({"latitude": 59.0, "longitude": 10.0}, {"latitude": 59.0, "longitude": 10.001}),
]


@pytest.mark.parametrize(("first", "other"), CONTENTS)
def test_a_location_with_two_contents_is_not_sent(first: dict[str, object], other: dict[str, object]) -> None:
    rows = [row("u1", "l1", "mp1", **first), row("u1", "l1", "mp2", **other), row("u1", "l2", "mp3", **other)]
    result = run(Source(rows))
    assert verdicts(result) == named("location_has_one_content", 1, 2)
    assert [body["locationId"] for body in result.bodies(Kind.LOCATION)] == ["l2"]


@pytest.mark.parametrize(("first", "other"), CONTENTS)
def test_keep_first_sends_the_content_named_first(first: dict[str, object], other: dict[str, object]) -> None:
    rows = [row("u1", "l1", "mp0"), row("u1", "l1", "mp1", **first), row("u1", "l1", "mp2", **other)]
    result = run(Source(rows), policy=KEEP_FIRST)
    rule = "location_has_one_content"
    assert verdicts(result) == named(rule, 3) | named(rule, 1, 2, severity="warn")
    assert result.bodies(Kind.LOCATION)[0]["meterPointIds"] == ["mp0", "mp1"]


def test_copies_of_a_quarantined_row_are_quarantined_with_it() -> None:
    bad = row("u1", "l1", "mp1", location_type="Other")
    result = run(Source([bad, row("u1", "l1", "mp2", location_type="Unknown"), bad]))
    assert verdicts(result) == named("location_has_one_content", 1, 2, 3)
    assert result.counts() == (3, 3, 0, 0)


def test_a_row_another_customer_disputes_does_not_drag_its_location_along() -> None:
    disputed = row("u1", "l1", "mp1", location_type="Other")
    rows = [disputed, row("u2", "l2", "mp1"), row("u1", "l1", "mp2", location_type="Residential")]
    result = run(Source(rows))
    assert result.quarantined() == {1, 2}
    assert result.bodies(Kind.LOCATION)[0]["locationType"] == "Residential"


def test_a_resource_with_two_types_is_not_sent() -> None:
    rows = [row("u1", "l1", "mp1", resource="r1", resource_type=kind) for kind in ("HVAC", "Vehicle")]
    assert verdicts(run(Source(rows))) == named("resource_has_one_content", 1, 2)


def test_a_resource_at_two_locations_is_not_sent_but_a_vehicle_is_at_none() -> None:
    def at_two_places(kind: str) -> Result:
        return run(Source([row("u1", f"l{i}", f"mp{i}", resource="r1", resource_type=kind) for i in (1, 2)]))

    assert verdicts(at_two_places("HVAC")) == named("resource_has_one_content", 1, 2)
    assert not at_two_places("Vehicle").violations()


def test_a_resource_behind_two_meters_goes_without_a_meter_point_and_is_warned_of() -> None:
    rows = [row("u1", "l1", f"mp{i}", resource="r1", resource_type="HVAC") for i in (1, 2)]
    result = run(Source(rows))
    assert verdicts(result) == named("resource_has_one_meter_point", 1, 2, severity="warn")
    assert result.bodies(Kind.RESOURCE) == [{"resourceId": "r1", "resourceType": "HVAC"}]
    assert result.counts() == (2, 0, 0, 2)


@pytest.mark.parametrize(
    ("lost", "rule"),
    [
        ({"user": "u1", "resource": "r1", "resource_type": "HVAC"}, "resource_has_a_location"),
        ({"user": "u1", "resource": None}, "row_names_its_location"),
    ],
)
def test_a_row_of_which_no_record_can_be_made_is_not_called_mapped(
    lost: dict[str, object], rule: str
) -> None:
    result = run(Source([lost], RowShape(defines=False, place_from=(), place_is_an_id=False)))
    assert verdicts(result) == named(rule, 1)


def test_a_meter_point_without_a_location_is_not_lost_silently() -> None:
    nowhere: dict[str, object] = {"user": "u1", "meter_point": "mp1", "key:Adresse": None}
    assert verdicts(run(Source([nowhere], ADDRESS))) == named("row_names_its_location", 1)


def test_a_row_that_names_only_a_customer_is_a_customer() -> None:
    result = run(Source([{"user": "u1", "location": None}]))
    assert result.counts() == (1, 0, 0, 1)
    assert result.bodies(Kind.USER) == [{"userId": "u1"}]


def test_rules_between_rows_are_sentences() -> None:
    assert all(len(rule.split("_")) >= 4 for rule in CROSS_ROW_RULES)
