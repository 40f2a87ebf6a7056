"""What must change, compared set-wise."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.holdings import HOLDING_COLUMNS, merge
from pipeline.partition import user_key
from pipeline.phases import Phase
from pipeline.plan import PLAN_SCHEMA, KindPlan, Plan, claims, compare, handover, lost, plan_digest
from schemas.outcomes import Kind


def records(*rows: tuple[str, str, str, list[int]], scope: str = "p") -> pl.DataFrame:
    """Locations as `(user, id, digest, meter point keys)`."""
    return pl.DataFrame(
        [
            {
                "id": one,
                "user_id": user,
                "location_id": one,
                "digest": digest,
                "meter_point_keys": keys,
                "bucket": 0,
                "row": number,
                "scope": scope,
                "body": "{}",
            }
            for number, (user, one, digest, keys) in enumerate(rows)
        ],
        schema=PLAN_SCHEMA,
    )


def held(*rows: tuple[str, str, str, list[int]], scope: str = "p") -> pl.DataFrame:
    return records(*rows, scope=scope).select(HOLDING_COLUMNS)


def test_records_are_sorted_into_new_changed_and_same() -> None:
    found = compare(
        Kind.LOCATION,
        records(("u", "new", "1", []), ("u", "changed", "2", []), ("u", "same", "3", [])),
        held(("u", "changed", "old", []), ("u", "same", "3", [])),
        [],
    )
    assert (["new"], ["changed"], 1) == (
        found.create["id"].to_list(),
        found.update["id"].to_list(),
        found.unchanged,
    )


def test_only_a_full_export_of_the_same_profile_makes_records_vanish() -> None:
    there = pl.concat([held(("u", "mine", "1", [])), held(("u", "theirs", "1", []), scope="other")])
    assert [] == compare(Kind.LOCATION, records(), there, []).vanished["id"].to_list()
    assert ["mine"] == compare(Kind.LOCATION, records(), there, ["p"]).vanished["id"].to_list()


def test_the_order_of_a_plan_does_not_depend_on_how_the_run_was_cut() -> None:
    """Pieces lie apart by the hash of the customer; what is planned of each, one after the other, is the whole."""
    rows = records(*((f"u{n}", f"l{n}", "1", []) for n in range(40)))
    apart = user_key(pl.col("user_id")) < 2**63
    whole, low, high = (
        compare(Kind.LOCATION, some, None, []).create
        for some in (rows, rows.filter(apart), rows.filter(~apart))
    )
    assert whole.equals(pl.concat([low, high]))


def test_users_are_never_updated() -> None:
    found = compare(Kind.USER, records(("u", "u", "new digest", [])), held(("u", "u", "old", [])), [])
    assert (0, 1) == (found.update.height, found.unchanged)


def test_the_same_location_id_of_another_user_is_another_location() -> None:
    found = compare(Kind.LOCATION, records(("b", "x", "1", [])), held(("a", "x", "1", [])), ["p"])
    assert (["x"], ["a"]) == (found.create["id"].to_list(), found.vanished["user_id"].to_list())


def test_a_wanted_meter_point_is_released_by_its_holder_first() -> None:
    wanted = claims(records(("b", "new", "1", [7])))
    found = handover(wanted, held(("a", "old", "1", [7, 8])), full_scopes=["p"])
    assert (["old"], [[8]], 1, 0) == (
        found.releases["id"].to_list(),
        found.releases["meter_point_keys"].to_list(),
        found.moved,
        found.reported,
    )


def test_a_delta_only_reports_who_holds_the_meter_point() -> None:
    found = handover(claims(records(("b", "new", "1", [7]))), held(("a", "old", "1", [7])), full_scopes=[])
    assert (0, 0, 1) == (found.releases.height, found.moved, found.reported)


def test_a_location_that_keeps_its_meter_point_hands_nothing_over() -> None:
    found = handover(claims(records(("a", "x", "2", [7]))), held(("a", "x", "1", [7])), full_scopes=["p"])
    assert (0, 0) == (found.moved, found.reported)


def updated(*rows: tuple[str, str, list[int]]) -> pl.DataFrame:
    """Locations of an update and the meter points they name."""
    columns = {"user_id": pl.String, "id": pl.String, "new_keys": pl.List(pl.UInt64)}
    return pl.DataFrame(list(rows), schema=columns, orient="row")


def test_meter_points_that_leave_and_arrive_nowhere_are_lost() -> None:
    there = held(("u1", "home", "d", [1, 2, 3]), ("u2", "cabin", "d", [4]), ("u3", "shed", "d", [5]))
    wanted = claims(records(("u1", "home", "e", [1]), ("u4", "new", "e", [2])))
    assert 1 == lost(wanted, there, updated(("u1", "home", [1])))  # 2 goes to u4, nobody gets 3
    assert 0 == lost(wanted, there, updated(("u2", "cabin", [4, 6])))
    assert 1 == lost(wanted.clear(), there, updated(("u3", "shed", [])))


def test_the_digest_names_the_content_and_nothing_else() -> None:
    one, other = records(("u", "x", "1", [])), records(("u", "x", "2", []))
    assert plan_digest([(Phase.CREATE_LOCATIONS, one)]) == plan_digest([(Phase.CREATE_LOCATIONS, one)])
    assert plan_digest([(Phase.CREATE_LOCATIONS, one)]) != plan_digest([(Phase.CREATE_LOCATIONS, other)])
    assert plan_digest([(Phase.CREATE_LOCATIONS, one)]) != plan_digest([(Phase.UPDATE_LOCATIONS, one)])


def test_a_plan_survives_json() -> None:
    plan = Plan("d", {Kind.USER: KindPlan(create=2, unchanged=1)}, {Phase.CREATE_USERS: 2}, 1, 3)
    assert plan == Plan.from_json(plan.to_json())
    assert 3 == plan.counts[Kind.USER].planned


def test_requests_are_counted_by_how_a_phase_is_sent() -> None:
    plan = Plan("d", {}, {Phase.CREATE_USERS: 2001, Phase.CREATE_VEHICLES: 5}, 1, 1)
    assert 3 + 5 == plan.requests(1000)


@pytest.mark.parametrize(
    ("pieces", "canary", "expected"),
    [([1000, 1000, 1], 0, 3), ([999, 999, 3], 0, 3), ([1001, 1000], 0, 3), ([996, 1004, 1], 5, 2 + 2 + 1)],
)
def test_a_shared_plan_is_cut_partition_by_partition(pieces: list[int], canary: int, expected: int) -> None:
    sizes = {Phase.CREATE_USERS: sum(pieces)}
    plan = Plan("d", {}, sizes, 3, 1, facts={"pieces": {"create_users": [(n, 30 * n) for n in pieces]}})
    assert expected == plan.requests(1000, canary=canary, shared=True)
    assert 3 == plan.requests(1000, canary=canary)


def test_the_later_acknowledgement_wins_and_a_deletion_removes() -> None:
    page = merge(
        held(("u", "x", "1", []), ("u", "y", "1", [])), held(("u", "x", "2", []), ("u", "y", "deleted", []))
    )
    assert [("x", "2")] == page.select("id", "digest").rows()
