"""When a missing record may be removed: tables of what must be true."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.guards import first_tripped, plan_guards
from pipeline.holdings import HOLDING_COLUMNS
from pipeline.phases import Phase
from pipeline.plan import KindPlan, Plan, let_go
from pipeline.vanishing import (
    EVIDENCE_SCHEMA,
    HOUR,
    Absence,
    buried,
    due,
    name_of_exports,
    nothing_missing,
    remembered,
    removals,
)
from schemas.details import GuardCheck
from schemas.ledger import MANIFEST_SCHEMA
from schemas.outcomes import Kind
from schemas.profile import GuardsSection
from tests.unit.test_guards import NO_HISTORY
from tests.unit.test_plan import held

NOW = Absence(asked=True, export="second", read_at=30 * HOUR)


def holdings(*rows: tuple[str, str, str | None], scope: str = "p") -> pl.DataFrame:
    """Held records as `(user, id, location)`."""
    return pl.DataFrame(
        [
            {
                "user_id": user,
                "id": one,
                "location_id": place,
                "digest": "d",
                "meter_point_keys": [],
                "bucket": 0,
            }
            | {"row": 0, "scope": scope}
            for user, one, place in rows
        ],
        schema={name: MANIFEST_SCHEMA[name] for name in HOLDING_COLUMNS},
    )


def seen(*rows: tuple[str, str], since: float = 0.0, export: str = "first", scope: str = "p") -> pl.DataFrame:
    """Evidence of records as `(user, id)`."""
    return pl.DataFrame(
        [
            {"user_id": user, "id": one, "bucket": 0, "scope": scope, "since": since, "export": export}
            for user, one in rows
        ],
        schema=EVIDENCE_SCHEMA,
    )


def waits(
    missing: dict[Kind, pl.DataFrame],
    *,
    also: dict[Kind, pl.DataFrame] | None = None,
    evidence: dict[Kind, pl.DataFrame] | None = None,
    releasing: pl.DataFrame | None = None,
    blind: bool = False,
    absence: Absence = NOW,
) -> dict[str, str | None]:
    """Why each missing record waits; everything was seen missing a day ago unless told otherwise."""
    all_missing = {kind: missing.get(kind, nothing_missing().select(HOLDING_COLUMNS)) for kind in Kind}
    there = {kind: pl.concat([all_missing[kind], (also or {}).get(kind, holdings())]) for kind in Kind}
    known = {kind: seen(*page.select("user_id", "id").rows()) for kind, page in all_missing.items()}
    judged = due(all_missing, there, {**known, **(evidence or {})}, releasing, absence, blind=blind)
    return {one: word for page in judged.values() for one, word in page.select("id", "waits").rows()}


USER = {Kind.USER: holdings(("u", "u", None))}


def test_twice_missing_a_day_apart_may_go() -> None:
    """DE6."""
    assert {"u": None} == waits(USER)


@pytest.mark.parametrize(
    ("since", "export", "hours", "expected"),
    [
        (10 * HOUR, "first", 20.0, None),
        (10 * HOUR + 1, "first", 20.0, "seen_once"),
        (0.0, "second", 20.0, "seen_once"),
        (29 * HOUR, "first", 1.0, None),
    ],
)
def test_the_limit_in_hours_is_exact_and_the_same_export_is_no_second(
    since: float, export: str, hours: float, expected: str | None
) -> None:
    """DE6."""
    absence = Absence(asked=True, export="second", read_at=30 * HOUR, hours=hours)
    evidence = {Kind.USER: seen(("u", "u"), since=since, export=export)}
    assert {"u": expected} == waits(USER, evidence=evidence, absence=absence)


def test_never_missed_before_is_missing_once() -> None:
    """DE6."""
    assert {"u": "seen_once"} == waits(USER, evidence={Kind.USER: seen()})


def test_an_export_with_a_row_that_may_name_anybody_proves_nothing() -> None:
    """DE3."""
    assert {"u": "unreadable_rows"} == waits(USER, blind=True)


@pytest.mark.parametrize("kind", [Kind.LOCATION, Kind.RESOURCE, Kind.VEHICLE])
def test_a_user_with_anything_that_stays_stays(kind: Kind) -> None:
    """DE5."""
    also = {kind: holdings(("u", "x", "x" if kind is Kind.LOCATION else None), scope="other")}
    assert {"u": "has_other_records"} == waits(USER, also=also)


def test_a_user_goes_with_all_that_goes() -> None:
    """DE5."""
    missing = {
        **USER,
        Kind.LOCATION: holdings(("u", "l", "l")),
        Kind.RESOURCE: holdings(("u", "r", "l")),
        Kind.VEHICLE: holdings(("u", "v", None)),
    }
    assert {"u": None, "l": None, "r": None, "v": None} == waits(missing)


def test_a_location_with_a_resource_that_stays_stays_and_so_does_its_user() -> None:
    """DE5: the other location of the same user may go."""
    missing = {**USER, Kind.LOCATION: holdings(("u", "l", "l"), ("u", "m", "m"))}
    also = {Kind.RESOURCE: holdings(("u", "r", "l"), scope="other")}
    assert {"u": "has_other_records", "l": "has_other_records", "m": None} == waits(missing, also=also)


def test_a_resource_not_due_yet_keeps_its_location_and_its_user() -> None:
    """DE5, DE6."""
    missing = {**USER, Kind.LOCATION: holdings(("u", "l", "l")), Kind.RESOURCE: holdings(("u", "r", "l"))}
    late = {Kind.RESOURCE: seen(("u", "r"), since=29 * HOUR)}
    assert {"u": "has_other_records", "l": "has_other_records", "r": "seen_once"} == waits(
        missing, evidence=late
    )


def test_a_location_that_hands_over_goes_next_time() -> None:
    missing = {**USER, Kind.LOCATION: holdings(("u", "l", "l"))}
    found = waits(missing, releasing=holdings(("u", "l", "l")))
    assert {"u": "has_other_records", "l": "hands_over"} == found


def test_the_same_location_id_of_another_user_is_another_location() -> None:
    missing = {Kind.LOCATION: holdings(("u", "l", "l"))}
    also = {Kind.RESOURCE: holdings(("v", "r", "l"), scope="other")}
    assert {"l": None} == waits(missing, also=also)


def test_only_what_is_due_becomes_a_removal() -> None:
    judged = due(
        {
            kind: holdings(("u", "u", None), ("v", "v", None)) if kind is Kind.USER else holdings()
            for kind in Kind
        },
        dict.fromkeys(Kind),
        {Kind.USER: seen(("u", "u"))},
        None,
        NOW,
        blind=False,
    )
    assert [("u", "deleted", None)] == removals(judged[Kind.USER]).select("id", "digest", "body").rows()


# ------------------------------------------------------------------ memory
KEYS = ("user_id", "id")


def test_missing_again_keeps_the_first_date_and_named_again_is_forgotten() -> None:
    """DE6."""
    old = seen(("u", "u"), ("v", "v"))
    missing = holdings(("u", "u", None), ("w", "w", None))
    new = remembered(old, missing, old.filter(pl.col("id") == "v"), full_scopes=["p"], absence=NOW)
    assert [("u", 0.0, "first"), ("w", 30 * HOUR, "second")] == new.select("id", "since", "export").rows()


def test_what_a_full_export_names_is_forgotten_even_if_nobody_says_so() -> None:
    """DE6: it is not among the missing."""
    new = remembered(seen(("u", "u")), holdings(), seen(), full_scopes=["p"], absence=NOW)
    assert 0 == new.height


def test_profiles_that_do_not_speak_keep_what_they_said() -> None:
    new = remembered(seen(("u", "u"), scope="other"), holdings(), seen(), full_scopes=["p"], absence=NOW)
    assert ["u"] == new["id"].to_list()


def test_a_tombstone_keeps_its_first_date() -> None:
    once = buried(None, holdings(("u", "u", None)), at=1.0)
    twice = buried(once, holdings(("u", "u", None), ("v", "v", None)), at=2.0)
    assert [("u", 1.0), ("v", 2.0)] == twice.select("id", "deleted_at").rows()


def test_exports_are_named_by_content_whatever_their_order() -> None:
    assert name_of_exports(["a", "b"]) == name_of_exports(["b", "a"]) != name_of_exports(["a"])


# ------------------------------------------------------------------ guards
def plan(removed: int, held_records: int) -> Plan:
    facts = {"vanished": {"held": held_records}}
    return Plan(
        "d" * 32, {Kind.USER: KindPlan(delete=removed)}, {Phase.DELETE_USERS: removed}, 1, 1, facts=facts
    )


@pytest.mark.parametrize(
    ("removed", "held_records", "firm"),
    [(20, 100, False), (21, 100, True), (100, 10_000, False), (101, 10_000, True)],
)
def test_the_limit_of_removals_is_twenty_or_one_in_a_hundred(
    removed: int, held_records: int, firm: bool
) -> None:
    """DE1: an approval lifts the question, never the limit."""
    checks = plan_guards(plan(removed, held_records), GuardsSection(), history=NO_HISTORY)
    stopped = first_tripped(checks, plan_digest="d" * 32)
    assert ("deletes" if firm else "removal") == (stopped.guard if stopped else None)
    approved = first_tripped(checks, plan_digest="d" * 32, approved=True)
    assert ("deletes" if firm else None) == (approved.guard if approved else None)


def test_nothing_is_removed_when_the_export_shrank() -> None:
    """DE1."""
    shrank = GuardCheck("shrank", 0.2, 0.1, tripped=True)
    checks = [shrank, *plan_guards(plan(1, 1000), GuardsSection(), history=NO_HISTORY, rows=[shrank])]
    approved = first_tripped(checks, plan_digest="d" * 32, approved=True)
    assert approved is not None
    assert "deletes" == approved.guard


def test_the_cost_is_named_in_words() -> None:
    stopped = first_tripped(
        plan_guards(plan(1, 10), GuardsSection(), history=NO_HISTORY), plan_digest="d" * 32
    )
    assert stopped is not None
    assert "loses this month's compensation" in stopped.message
    assert "`meterfeed apply " + "d" * 32 + "`" in stopped.cure


def test_a_plan_without_removals_has_no_such_guard() -> None:
    assert [] == plan_guards(plan(0, 10), GuardsSection(), history=NO_HISTORY)


# ------------------------------------------------------------------ circles
def wanted(*rows: tuple[int, str, str, bool]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"key": key, "user_id": user, "id": one, "by_update": update} for key, user, one, update in rows],
        schema={"key": pl.UInt64, "user_id": pl.String, "id": pl.String, "by_update": pl.Boolean},
    )


def updated(*rows: tuple[str, str, list[int]]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"user_id": user, "id": one, "new_keys": keys} for user, one, keys in rows],
        schema={"user_id": pl.String, "id": pl.String, "new_keys": pl.List(pl.UInt64)},
    )


def test_both_of_a_pair_let_go_first() -> None:
    found = let_go(
        wanted((2, "a", "A", True), (1, "b", "B", True)),
        held(("a", "A", "d", [1, 5]), ("b", "B", "d", [2])),
        updated(("a", "A", [2, 5]), ("b", "B", [1])),
    )
    assert [("A", "released", [5]), ("B", "released", [])] == found.frees.select(
        "id", "digest", "meter_point_keys"
    ).rows()
    assert 2 == found.moved


def test_what_a_new_location_wants_needs_no_first_step() -> None:
    found = let_go(wanted((1, "c", "C", False)), held(("a", "A", "d", [1])), updated(("a", "A", [3])))
    assert (0, 1) == (found.frees.height, found.moved)


def test_who_keeps_a_meter_point_lets_nothing_go() -> None:
    found = let_go(wanted((1, "a", "A", True)), held(("a", "A", "d", [1])), updated(("a", "A", [1, 2])))
    assert (0, 0) == (found.frees.height, found.moved)
