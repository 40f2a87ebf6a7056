"""Guards: values about a plan, and the one sentence a person gets when one trips."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.guards import History, first_tripped, plan_guards, row_guards, tightest
from pipeline.phases import Phase
from pipeline.plan import KindPlan, Plan
from pipeline.vanishing import COST
from schemas.details import GuardCheck
from schemas.outcomes import Kind
from schemas.profile import GuardsSection
from schemas.summary import RowCounts

LIMITS = GuardsSection()
NO_HISTORY = History()


def rows(read: int, bad: int = 0, filtered: int = 0) -> RowCounts:
    return RowCounts(read, 0, filtered, bad, 0, read - bad - filtered)


def tripped(checks) -> list[str]:
    return [check.name for check in checks if check.tripped]


@pytest.mark.parametrize(
    ("read", "bad", "expected"),
    [(1000, 20, []), (1000, 21, ["quarantined"]), (299, 200, []), (300, 7, ["quarantined"])],
)
def test_the_share_of_bad_rows_counts_from_300_rows(read, bad, expected):
    """VA7."""
    assert expected == tripped(row_guards(rows(read, bad), LIMITS, history=NO_HISTORY, full=True))


def test_unreadable_rows_count_like_quarantined_ones():
    counts = RowCounts(1000, 15, 0, 10, 0, 975)
    assert ["quarantined"] == tripped(row_guards(counts, LIMITS, history=NO_HISTORY, full=True))


@pytest.mark.parametrize(
    ("read", "filtered", "bad", "expected"),
    [
        (100_000, 97_000, 2_000, ["quarantined"]),
        (100_000, 97_000, 60, []),
        (100_000, 97_000, 61, ["quarantined"]),
        (100_000, 99_701, 200, []),
    ],
)
def test_rows_that_nobody_wants_make_no_bad_row_rarer(read, filtered, bad, expected):
    counts = rows(read, bad=bad, filtered=filtered)
    assert expected == tripped(row_guards(counts, LIMITS, history=NO_HISTORY, full=False))


@pytest.mark.parametrize("counts", [rows(0), rows(50, filtered=50)])
def test_an_export_with_nothing_to_load_is_empty(counts):
    assert ["empty"] == tripped(row_guards(counts, LIMITS, history=NO_HISTORY, full=True))


@pytest.mark.parametrize(("read", "expected"), [(900, []), (899, ["shrank"]), (2000, []), (2001, ["grew"])])
def test_a_full_export_is_measured_by_the_last_one(read, expected):
    assert expected == tripped(row_guards(rows(read), LIMITS, history=History(rows=1000), full=True))


def test_a_delta_may_be_of_any_size():
    assert [] == tripped(row_guards(rows(3), LIMITS, history=History(rows=1000), full=False))


def plan(create: int = 0, update: int = 0, unchanged: int = 0, release: int = 0) -> Plan:
    counts = {Kind.LOCATION: KindPlan(create=create, update=update, unchanged=unchanged, release=release)}
    return Plan("d" * 32, counts, {Phase.CREATE_LOCATIONS: create}, 1, 1)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (plan(update=300, unchanged=700), []),
        (plan(update=301, unchanged=699), ["updates"]),
        (plan(update=200, release=101, unchanged=699), ["updates"]),
        (plan(update=299), []),
    ],
)
def test_many_updates_at_once_are_a_mapping_mistake(made, expected):
    assert expected == tripped(plan_guards(made, LIMITS, history=NO_HISTORY))


@pytest.mark.parametrize(("lost", "expected"), [(0, None), (20, False), (21, True)])
def test_meter_points_that_a_delta_loses_need_a_person(lost, expected):
    made = replace(plan(update=300), facts={"meter_points_lost": lost} if lost else {})
    found = [one for one in plan_guards(made, LIMITS, history=NO_HISTORY) if one.name == "meter_points_lost"]
    assert ([] if expected is None else [expected]) == [one.tripped for one in found]
    if expected:
        error = first_tripped(found, plan_digest="d" * 32)
        assert "21 meter points would leave their location" in error.message
        assert "meterfeed apply" in error.cure


@pytest.mark.parametrize(("create", "expected"), [(3000, []), (3001, ["creates"]), (299, [])])
def test_creates_are_measured_by_the_largest_run_before(create, expected):
    history = History(most_creates=1000 if create > 299 else 1)
    assert expected == tripped(plan_guards(plan(create=create), LIMITS, history=history))


def test_the_first_run_has_no_history():
    assert History() == History.of([])
    assert [] == tripped(plan_guards(plan(create=10**6), LIMITS, history=History()))


def test_history_takes_the_newest_rows_and_the_most_creates():
    runs = [
        {"rows": {"read": 5}, "records": {"user": {"created": 1}}},
        {"rows": {"read": 9}, "records": {"user": {"created": 7}, "location": {"created": None}}},
    ]
    assert History(rows=5, most_creates=7) == History.of(runs)


def test_a_tripped_guard_says_how_a_person_lets_it_through():
    error = first_tripped(
        row_guards(rows(1000, 500), LIMITS, history=NO_HISTORY, full=True), plan_digest="abc"
    )
    assert error is not None
    assert (11, "quarantined") == (error.exit_code, error.guard)
    assert "50.0%" in error.message
    assert "`meterfeed apply abc`" in error.cure


def test_an_empty_export_cannot_be_approved():
    error = first_tripped(row_guards(rows(0), LIMITS, history=NO_HISTORY, full=True), plan_digest="abc")
    assert error is not None
    assert "apply" not in error.cure


def test_nothing_tripped_is_no_error():
    assert (
        first_tripped(row_guards(rows(1000), LIMITS, history=NO_HISTORY, full=True), plan_digest="a") is None
    )


def test_of_several_profiles_the_strictest_limit_holds():
    merged = tightest([GuardsSection(quarantined=0.5, updates=0.1), GuardsSection(quarantined=0.01)])
    assert (0.01, 0.1) == (merged.quarantined, merged.updates)


# ------------------------------------------------------------------ every value, as the report shows it
SMALL = GuardsSection(quarantined=0.25, minimum_rows=4, shrank=0.5, grew=1.0, updates=0.5, creates=2.0)


@pytest.mark.parametrize(
    ("counts", "history", "expected"),
    [
        (rows(0), NO_HISTORY, [("empty", 0, 1, True, "count"), ("quarantined", 0.0, 0.25, False, "share")]),
        (
            rows(9, bad=2, filtered=1),
            NO_HISTORY,
            [("empty", 8, 1, False, "count"), ("quarantined", 0.25, 0.25, False, "share")],
        ),
        (
            rows(4, bad=2),
            History(rows=3),
            [("empty", 4, 1, False, "count"), ("quarantined", 0.5, 0.25, True, "share")],
        ),
        (
            rows(2),
            History(rows=4),
            [
                ("empty", 2, 1, False, "count"),
                ("quarantined", 0.0, 0.25, False, "share"),
                ("shrank", 0.5, 0.5, False, "share"),
                ("grew", 0.0, 1.0, False, "share"),
            ],
        ),
        (
            rows(12),
            History(rows=4),
            [
                ("empty", 12, 1, False, "count"),
                ("quarantined", 0.0, 0.25, False, "share"),
                ("shrank", 0.0, 0.5, False, "share"),
                ("grew", 2.0, 1.0, True, "share"),
            ],
        ),
    ],
)
def test_each_row_guard_shows_what_it_measured_and_its_limit(counts, history, expected):
    assert [GuardCheck(*one) for one in expected] == row_guards(counts, SMALL, history=history, full=True)


@pytest.mark.parametrize(
    ("made", "history", "expected"),
    [
        (plan(update=1, release=1, unchanged=2), NO_HISTORY, [("updates", 0.5, 0.5, False, "share")]),
        (plan(update=1, release=2, unchanged=1), NO_HISTORY, [("updates", 0.75, 0.5, True, "share")]),
        (plan(update=3), NO_HISTORY, []),
        (plan(create=4), History(most_creates=2), [("creates", 2.0, 2.0, False, "times")]),
        (plan(create=5), History(most_creates=2), [("creates", 2.5, 2.0, True, "times")]),
        (plan(create=3), History(most_creates=1), []),
        (plan(create=9), History(most_creates=0), []),
    ],
)
def test_each_plan_guard_shows_what_it_measured_and_its_limit(made, history, expected):
    assert [GuardCheck(*one) for one in expected] == plan_guards(made, SMALL, history=history)


CURE = "Nothing was sent. Look at the report"
APPROVED = f"{CURE}; if it is right, run `meterfeed apply abc`."


@pytest.mark.parametrize(
    ("check", "sentence", "cure"),
    [
        (GuardCheck("empty", 0, 1, True, "count"), "The exports hold no row to load (0).", f"{CURE}."),
        (
            GuardCheck("quarantined", 0.5, 0.02, True),
            "50.0% of the rows to load are quarantined or unreadable; the limit is 2.0%.",
            APPROVED,
        ),
        (
            GuardCheck("shrank", 0.25, 0.1, True),
            "The export is 25.0% smaller than the last one; the limit is 10.0%.",
            APPROVED,
        ),
        (
            GuardCheck("grew", 1.5, 1.0, True),
            "The export is 150% larger than the last one; the limit is 100%.",
            APPROVED,
        ),
        (
            GuardCheck("updates", 0.4, 0.3, True),
            "40.0% of the known records would change at once; the limit is 30.0%.",
            APPROVED,
        ),
        (
            GuardCheck("creates", 4.0, None, True, "times"),
            "4.0 times as many records as ever before would be created; the limit is 0.0.",
            APPROVED,
        ),
    ],
)
def test_each_guard_says_what_it_saw_and_what_to_do(check, sentence, cure):
    error = first_tripped([GuardCheck("empty", 1, 1), check], plan_digest="abc")
    assert error is not None
    assert (sentence, cure, check.name) == (error.message, error.cure, error.guard)


def test_without_a_plan_there_is_nothing_to_approve():
    error = first_tripped([GuardCheck("quarantined", 0.5, 0.02, True)], plan_digest=None)
    assert error is not None
    assert f"{CURE}." == error.cure


def test_history_of_runs_without_figures_is_no_history():
    assert History(rows=None, most_creates=0) == History.of([{}])


# ------------------------------------------------------------------ removals
SHRANK = [GuardCheck("empty", 9, 1), GuardCheck("shrank", 0.9, 0.5, True)]


def removing(count: int, held: int | None = None) -> Plan:
    facts = {} if held is None else {"vanished": {"held": held}}
    counts = {Kind.USER: KindPlan(delete=count - 1), Kind.LOCATION: KindPlan(delete=1)}
    return Plan("d" * 32, counts, {Phase.DELETE_USERS: count}, 1, 1, facts=facts)


@pytest.mark.parametrize(
    ("made", "read", "limit", "tripped_too"),
    [
        (removing(20, 100), [], 20, False),
        (removing(21, 100), [], 20, True),
        (removing(21), [], 20, True),
        (removing(30, 3_000), [], 30, False),
        (removing(31, 3_000), [], 30, True),
        (removing(1, 3_000), SHRANK, 0, True),
        (removing(1, 3_000), [GuardCheck("shrank", 0.9, 0.5, False)], 30, False),
        (removing(1, 3_000), [GuardCheck("grew", 9.0, 0.5, True)], 30, False),
    ],
)
def test_removals_are_limited_and_always_asked_about(made, read, limit, tripped_too):
    count = made.removals
    assert [
        GuardCheck("deletes", count, limit, tripped_too, "count"),
        GuardCheck("removal", count, 0, True, "count"),
    ] == plan_guards(made, GuardsSection(deletes=0.01, deletes_always=20), history=NO_HISTORY, rows=read)


def test_removals_are_looked_at_first():
    made = Plan(
        "d" * 32, {Kind.USER: KindPlan(update=3, unchanged=1, delete=2)}, {Phase.DELETE_USERS: 2}, 1, 1
    )
    checks = plan_guards(made, SMALL, history=NO_HISTORY, rows=[])
    assert ["deletes", "removal", "updates"] == [check.name for check in checks]


MANY = GuardCheck("deletes", 50, 20, True, "count")
ASKED = GuardCheck("removal", 50, 0, True, "count")


@pytest.mark.parametrize(
    ("checks", "approved", "expected"),
    [
        ([ASKED], False, "removal"),
        ([ASKED], True, None),
        ([ASKED, MANY], False, "deletes"),
        ([ASKED, MANY], True, "deletes"),
        ([GuardCheck("updates", 0.9, 0.3, True), MANY], True, "deletes"),
        ([GuardCheck("updates", 0.9, 0.3, True), ASKED], True, None),
    ],
)
def test_a_person_s_yes_lets_everything_through_but_too_many_removals(checks, approved, expected):
    error = first_tripped(checks, plan_digest="abc", approved=approved)
    assert expected == (error.guard if error else None)


def test_too_many_removals_say_how_to_go_on_without_them():
    error = first_tripped([MANY], plan_digest="abc")
    assert error is not None
    assert (
        "50 records would be removed at once; the limit is 20, or none when the export shrank."
        == error.message
    )
    assert (
        f"{CURE}; leave --delete-vanished out to send the rest, or raise [guards] deletes in the profile."
        == error.cure
    )


def test_removals_are_asked_about_with_what_they_cost():
    error = first_tripped([ASKED], plan_digest="abc")
    assert error is not None
    assert f"50 records vanished from the exports and would be removed. {COST}" == error.message
    assert APPROVED == error.cure
