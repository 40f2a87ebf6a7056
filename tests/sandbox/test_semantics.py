"""The six axes, value by value, and the rules about a record."""

from __future__ import annotations

import orjson
import pytest

from sandbox.semantics import AXES, CELLS, Semantics


def listed(answer, name="users", key="userId"):
    return [each[key] for each in orjson.loads(answer.body)[name]]


def shown(call):
    return [each["userId"] for each in orjson.loads(call("GET", "/users").body)["users"]]


# -- the matrix ----------------------------------------------------------------------------------------


def test_there_are_1350_cells_each_with_its_number():
    cells = list(Semantics.cells())
    assert len(cells) == len(set(cells)) == CELLS == 1350
    assert [each.cell for each in cells] == list(range(CELLS))
    assert all(Semantics.of_cell(number) == each for number, each in enumerate(cells))


def test_the_default_is_cell_0():
    assert Semantics().cell == 0


def test_a_cell_is_read_from_text_and_written_back():
    cell = Semantics.parse("a=prefix, b=skip,c=new-only,d=lists-lag,e=late,f=bytes")
    assert Semantics.parse(str(cell)) == cell
    assert Semantics.parse(f"cell={cell.cell}") == cell
    assert Semantics.parse("cell=17,limit_items=5").limit_items == 5


@pytest.mark.parametrize("text", ["a=some", "g=prefix", "prefix", "cell=1350", "cell=-1"])
def test_a_cell_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"axis a|unknown|axis=value|no cell"):
        Semantics.parse(text)


def test_every_cell_keeps_its_word_about_two_batches(drive):
    """A new batch, then one with an old, a bad and a new record: what is held and what is said, in every cell."""
    for number in range(CELLS):
        call = drive({"semantics": {"cell": number, "limit_items": 3, "limit_bytes": 10_000}})
        cell = call.core.world.semantics
        first = call.users("u1", "u2", "u3")
        assert first.status == (200 if cell.c == "empty" else 201)
        call.users("u1", " ", "u4")
        created = [each for change, each in call.changes if change == "create"]
        expected = ["u1", "u2", "u3"]
        if cell.a != "all-or-nothing":
            expected += ["u1"] if cell.b == "duplicate" else []
            expected += ["u4"] if cell.a == "subset" else []
        assert created == expected, str(cell)
        call.clock.now += 61
        call.core.world.advance()
        assert sorted(shown(call)) == sorted(expected), str(cell)
    assert {len(kind) for kind in AXES.values()} == {2, 3, 5}


# -- A: atomicity --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "left"),
    [("all-or-nothing", []), ("prefix", ["a"]), ("subset", ["a", "c"])],
)
def test_a_bad_record_leaves_behind_what_axis_a_says(drive, value, left):
    call = drive({"semantics": {"a": value}})
    answer = call.users("a", "", "c")
    assert answer.status == 400
    assert isinstance(orjson.loads(answer.body), str)
    assert call.ids == left


def test_a_location_of_an_unknown_user_refuses_the_batch(drive):
    call = drive()
    call.users("a")
    assert call.homes("a", "nobody").status == 400
    assert call.ids == ["a"]


def test_a_refusal_names_no_id(drive):
    call = drive()
    call.users("a")
    assert b"secret-id" not in call.users("b", "a", "secret-id", "secret-id").body


# -- B: an id that exists ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "status", "said", "changes"),
    [
        ("refuse", 400, None, []),
        ("skip", 201, ["b"], [("create", "b")]),
        ("echo", 201, ["a", "b"], [("create", "b")]),
        ("overwrite", 201, ["a", "b"], [("overwrite", "a"), ("create", "b")]),
        ("duplicate", 201, ["a", "b"], [("create", "a"), ("create", "b")]),
    ],
)
def test_an_existing_id_meets_what_axis_b_says(drive, value, status, said, changes):
    call = drive({"semantics": {"b": value}})
    call.users("a")
    answer = call.users("a", "b")
    assert answer.status == status
    assert said is None or listed(answer) == said
    assert call.changes[1:] == changes


def test_the_same_id_twice_in_one_batch_is_an_id_that_exists(drive):
    assert drive().users("a", "a").status == 400
    twice = drive({"semantics": {"b": "duplicate"}})
    assert twice.users("a", "a").status == 201
    assert twice.core.state()["counts"]["user"] == 2
    assert len(twice.core.state()["copies"]) == 1


def test_an_echo_does_not_change_what_is_held(drive):
    call = drive({"semantics": {"b": "echo"}})
    call.users("a")
    call.homes("a")
    changed = {"userId": "a", "locationId": "a-home", "meterPointIds": ["other"]}
    answer = call("POST", "/users/locations/batch", {"locations": [changed]})
    assert orjson.loads(answer.body)["locations"][0]["meterPointIds"] == ["other"]
    assert call.core.state()["locations"][0]["meterPointIds"] == ["a-meter"]


def test_an_overwrite_changes_content_and_digest(drive):
    call = drive({"semantics": {"b": "overwrite"}})
    call.users("a")
    call.homes("a")
    call.homes("a")
    changed = {"userId": "a", "locationId": "a-home", "meterPointIds": ["other"]}
    call("POST", "/users/locations/batch", {"locations": [changed]})
    first, same, other = (each["digest"] for each in call.core.effects()[1:])
    assert first == same != other


# -- C: the list ---------------------------------------------------------------------------------------


def test_lists_are_what_axis_c_says(drive):
    ids = [f"u{number}" for number in range(20)]
    answers = {}
    for value in AXES["c"]:
        call = drive({"seed": 3, "semantics": {"c": value, "b": "echo"}})
        call.users("u0")
        answers[str(value)] = call.users(*ids)
        assert len(call.ids) == 20
    assert listed(answers["complete"]) == ids
    assert listed(answers["shuffled"]) != ids
    assert sorted(listed(answers["shuffled"])) == sorted(ids)
    assert listed(answers["new-only"]) == ids[1:]
    assert listed(answers["truncated"]) == ids[: len(listed(answers["truncated"]))]
    assert len(listed(answers["truncated"])) < 20
    assert (answers["empty"].status, answers["empty"].body) == (200, b"")


# -- D: visibility -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "by_id", "in_list"),
    [("immediate", 200, True), ("reads-lag", 404, False), ("lists-lag", 200, False)],
)
def test_reads_see_writes_when_axis_d_says(drive, value, by_id, in_list):
    call = drive({"semantics": {"d": value, "lag_seconds": 30.0}})
    call.users("a")
    assert call("GET", "/users/a").status == by_id
    assert (shown(call) == ["a"]) is in_list
    call.clock.now += 30
    assert call("GET", "/users/a").status == 200
    assert shown(call) == ["a"]


def test_writes_see_writes_at_once_even_when_reads_lag(drive):
    call = drive({"semantics": {"d": "reads-lag"}})
    call.users("a")
    assert call.homes("a").status == 201
    assert call.users("a").status == 400


def test_a_lagging_reader_never_sees_an_older_state_after_a_newer_one(drive):
    call = drive({"seed": 1, "semantics": {"d": "reads-lag"}})
    call.users("a")
    call.homes("a")
    for number in range(1, 6):
        call("PATCH", "/users/a/locations/a-home", {"meterPointIds": [str(number)]})
        call.clock.now += 1
    call("DELETE", "/users/a")
    seen = []
    for _ in range(40):
        call.clock.now += 1
        answer = call("GET", "/users/a/locations/a-home")
        seen.append(
            int(orjson.loads(answer.body)["meterPointIds"][0][:1], 36) if answer.status == 200 else 99
        )
    known = [each for each in seen if each != 10]
    first = next(index for index, each in enumerate(known) if each != 99)
    assert known[first:] == sorted(known[first:])
    assert seen[-1] == 99


def test_lag_ends_when_the_semantics_change(drive):
    call = drive({"semantics": {"d": "reads-lag"}})
    call.users("a")
    call.core.set_faults(None)
    assert call("GET", "/users/a").status == 200


# -- E: late application -------------------------------------------------------------------------------


def test_a_lost_request_is_applied_late_when_axis_e_says(drive):
    call = drive(
        {
            "semantics": {"e": "late", "late_seconds": 60.0},
            "fault": [{"kind": "applied-then-dropped", "times": 1}],
        }
    )
    call.users("a")
    assert call.ids == []
    assert call.core.state()["under_way"] == 1
    call.clock.now += 60
    assert call.core.effects()[0]["late"] is True
    assert call.core.effects()[0]["time"] <= call.clock.now
    assert call.core.state()["under_way"] == 0


def test_a_late_request_meets_the_world_as_it_is_by_then(drive):
    fault = {"kind": "applied-late", "seconds": 10.0, "times": 1}
    refusing, doubling = (
        drive({"semantics": {"b": value}, "fault": [fault]}) for value in ("refuse", "duplicate")
    )
    for call in (refusing, doubling):
        call.users("a")
        call.users("a")
        call.clock.now += 11
    assert refusing.changes == [("create", "a")]
    assert doubling.changes == [("create", "a"), ("create", "a")]


def test_settling_waits_for_nothing(drive):
    call = drive({"fault": [{"kind": "applied-late", "seconds": 1e6}]})
    call.users("a")
    call.core.settle()
    assert call.ids == ["a"]


# -- F: limits -----------------------------------------------------------------------------------------


def test_too_many_items_are_400_and_too_many_bytes_413(drive):
    items = drive({"semantics": {"f": "items", "limit_items": 2}})
    assert items.users("a", "b", "c").status == 400
    assert items.users("a", "b").status == 201
    size = drive({"semantics": {"f": "bytes", "limit_bytes": 100}})
    assert size.users(*"abcdefgh").status == 413
    assert size.users("a").status == 201
    assert size.ids == ["a"]


# -- rules ---------------------------------------------------------------------------------------------


def test_a_meter_point_on_two_locations_is_409_alone_and_400_in_a_batch(drive):
    call = drive()
    call.users("a", "b")
    call.homes("a")
    taken = {"locationId": "x", "meterPointIds": ["a-meter"]}
    assert call("POST", "/users/b/locations", taken).status == 409
    assert call("POST", "/users/locations/batch", {"locations": [taken | {"userId": "b"}]}).status == 400
    pair = [{"userId": "b", "locationId": name, "meterPointIds": ["same"]} for name in "xy"]
    assert call("POST", "/users/locations/batch", {"locations": pair}).status == 400


def test_a_meter_point_can_be_shared_when_the_rule_says_so(drive):
    taken = {"locationId": "x", "meterPointIds": ["a-meter"]}
    per_user, off = (drive({"rules": {"meter_point_unique": value}}) for value in ("user", "off"))
    for call in (per_user, off):
        call.users("a", "b")
        call.homes("a")
        assert call("POST", "/users/b/locations", taken).status == 201
    assert per_user("POST", "/users/a/locations", taken).status == 409
    assert off("POST", "/users/a/locations", taken).status == 201


def test_a_meter_point_is_free_again_after_a_patch_or_a_delete(drive):
    call = drive()
    call.users("a", "b", "c")
    call.homes("a")
    taken = {"locationId": "x", "meterPointIds": ["a-meter"]}
    call("PATCH", "/users/a/locations/a-home", {"meterPointIds": ["new"]})
    assert call("POST", "/users/b/locations", taken).status == 201
    call("DELETE", "/users/b")
    assert call("POST", "/users/c/locations", taken).status == 201


def test_any_text_is_a_meter_point_unless_a_pattern_is_set(drive):
    assert drive_with_home(drive, {}) == 201
    assert drive_with_home(drive, {"meter_point_pattern": "[0-9]{18}"}) == 400


def drive_with_home(drive, rules):
    call = drive({"rules": rules})
    call.users("a")
    return call.homes("a").status


def test_named_ids_and_meter_points_are_refused(drive):
    call = drive(
        {"rules": {"reject_ids": ["bad"], "reject_meter_points": ["c-meter"], "reject_reason": "No."}}
    )
    assert orjson.loads(call.users("a", "bad").body) == "No."
    call.users("a", "c")
    assert call.homes("a").status == 201
    assert call.homes("c").status == 400


def test_a_seeded_share_is_refused_and_always_the_same(drive):
    def refused(seed):
        call = drive({"rules": {"reject_fraction": 0.3, "reject_seed": seed}})
        names = [f"u{number}" for number in range(200)]
        call.users(*names)
        return {name for name in names if call.homes(name).status == 400}

    first = refused(1)
    assert 30 < len(first) < 90
    assert refused(1) == first != refused(2)


@pytest.mark.parametrize(
    "content",
    [
        {"locationId": "x"},
        {"locationId": "x", "meterPointIds": []},
        {"locationId": "x", "coordinates": {}},
        {"locationId": "x", "coordinates": {"latitude": 60.0}},
        {"locationId": "x", "coordinates": {"latitude": 91.0, "longitude": 10.0}},
        {"locationId": "x", "meterPointIds": [""]},
        {"locationId": " ", "meterPointIds": ["m"]},
    ],
)
def test_a_location_that_says_nothing_useful_is_refused(drive, content):
    call = drive()
    call.users("a")
    assert call("POST", "/users/a/locations", content).status == 400


def test_the_guide_s_own_example_is_taken_with_its_null(drive):
    call = drive()
    call.users("a")
    example = {
        "locationId": "1365caf1-fa04-40b1-98ff-1618860f77d0",
        "locationType": "Residential",
        "meterPointIds": ["707057500012345678"],
        "coordinates": None,
    }
    assert call("POST", "/users/a/locations", example).status == 201


def test_an_unknown_rule_is_refused_by_name():
    from sandbox.semantics import Rules

    with pytest.raises(ValueError, match="reject_fraktion"):
        Rules.from_mapping({"reject_fraktion": 0.1})


# -- resources, deletes, enrolment, eligibility --------------------------------------------------------


def test_deleting_a_user_takes_everything_below_it(drive):
    call = drive()
    call.users("a")
    call.homes("a")
    call("POST", "/users/a/locations/a-home/resources", {"resourceId": "r", "resourceType": "HVAC"})
    call("POST", "/users/a/vehicles", {"resourceId": "car", "resourceType": "Vehicle"})
    call("POST", "/users/a/enrollment")
    call("DELETE", "/users/a")
    deleted = [(each["kind"], each["id"]) for each in call.core.effects() if each["effect"] == "delete"]
    assert deleted == [
        ("resource", "r"),
        ("resource", "car"),
        ("location", "a-home"),
        ("enrollment", "a"),
        ("user", "a"),
    ]
    assert set(call.core.state()["counts"].values()) == {0}


def test_deleting_a_location_takes_its_resources_and_leaves_vehicles(drive):
    call = drive()
    call.users("a")
    call.homes("a")
    call("POST", "/users/a/locations/a-home/resources", {"resourceId": "r", "resourceType": "HVAC"})
    call("POST", "/users/a/vehicles", {"resourceId": "car", "resourceType": "Vehicle"})
    call("DELETE", "/users/a/locations/a-home")
    assert [each["resourceId"] for each in call.core.state()["resources"]] == ["car"]


def test_a_resource_s_meter_point_must_be_its_location_s(drive):
    call = drive()
    call.users("a")
    call.homes("a")
    resource = {"resourceId": "r", "resourceType": "HVAC", "meterPointId": "elsewhere"}
    assert call("POST", "/users/a/locations/a-home/resources", resource).status == 400
    resource["meterPointId"] = "a-meter"
    assert call("POST", "/users/a/locations/a-home/resources", resource).status == 201


def test_a_patch_changes_only_what_it_names(drive):
    call = drive()
    call.users("a")
    call.homes("a")
    answer = call("PATCH", "/users/a/locations/a-home", {"locationType": "Commercial"})
    assert orjson.loads(answer.body) == {
        "locationId": "a-home",
        "locationType": "Commercial",
        "meterPointIds": ["a-meter"],
        "userId": "a",
    }
    assert call.core.effects()[-1]["effect"] == "patch"


def test_moving_a_location_into_a_test_area_makes_its_user_and_meter_eligible(drive):
    call = drive()
    call.users("a", "b")
    call.homes("a", "b")

    def eligible():
        user = orjson.loads(call("GET", "/users/a/eligibility").body)["isEligible"]
        meter = orjson.loads(call("GET", "/meters/a-meter/eligible").body)["isEligible"]
        users = listed(call("GET", "/users/eligible"))
        return user, meter, users

    assert eligible() == (False, False, [])
    inside = {"latitude": 78.21661621129984, "longitude": 15.63509153386616}
    call("PATCH", "/users/a/locations/a-home", {"coordinates": inside})
    assert eligible() == (True, True, ["a"])
    swapped = {"latitude": inside["longitude"], "longitude": inside["latitude"]}
    call("PATCH", "/users/a/locations/a-home", {"coordinates": swapped})
    assert eligible() == (False, False, [])


def test_compensation_says_which_location_cannot_be_paid(drive):
    call = drive()
    call.users("a")
    call.homes("a")
    point = {"latitude": 60.0, "longitude": 10.0}
    call("POST", "/users/a/locations", {"locationId": "bare", "coordinates": point})
    shown = orjson.loads(call("GET", "/users/a/compensation").body)
    assert shown["period"] == {"from": "2026-01-01", "to": "2026-01-31"}
    problems = {
        each["locationId"]: [problem["problemType"] for problem in each["problems"]]
        for each in shown["locationCompensations"]
    }
    assert problems == {"a-home": [], "bare": ["MissingMpidOnLocation"]}


def test_pages_are_numbered_from_1_and_know_their_neighbours(drive):
    call = drive()
    call.users(*(f"u{number}" for number in range(5)))
    page = orjson.loads(call("GET", "/users?page=2&pageSize=2").body)
    assert [each["userId"] for each in page["users"]] == ["u2", "u3"]
    assert page["pagination"] == {
        "totalRecords": 5,
        "pageSize": 2,
        "currentPage": 2,
        "totalPages": 3,
        "nextPage": 3,
        "previousPage": 1,
    }
    last = orjson.loads(call("GET", "/users?page=3&pageSize=2").body)["pagination"]
    assert last["nextPage"] is None
