"""The account: sums of leaf chunks against the plan."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.account import exits, of_settled, outcome_of, reason_counts, record_counts
from pipeline.phases import Phase
from pipeline.plan import KindPlan, Plan
from schemas.errors import AccountError
from schemas.ledger import State
from schemas.outcomes import VERDICTS, Exit, Kind, Outcome
from schemas.summary import ErrorEntry, RecordCounts, RowCounts, Summary

PLAN = Plan(
    "d",
    {Kind.LOCATION: KindPlan(create=10, update=4, unchanged=3)},
    {Phase.CREATE_LOCATIONS: 10, Phase.UPDATE_LOCATIONS: 4},
    1,
    12,
)
LINES = [
    ("create_locations", "acknowledged", None, 4),
    ("create_locations", "rejected", "bad_request", 1),
    ("create_locations", "blocked", "parent_rejected", 1),
    ("create_locations", "in_doubt", "timed_out", 2),
    ("update_locations", "acknowledged", None, 3),
    ("update_locations", "planned", "throttled", 1),
]


def test_every_planned_record_has_exactly_one_outcome():
    counts = record_counts(PLAN, LINES)[Kind.LOCATION]
    assert (
        RecordCounts(17, created=4, updated=3, unchanged=3, rejected=1, blocked=1, in_doubt=2, not_sent=3)
        == counts
    )


def test_a_record_too_many_is_a_bug():
    with pytest.raises(AccountError, match="more location records than were planned"):
        record_counts(PLAN, [("create_locations", "acknowledged", None, 15)])


def test_an_equation_that_fails_is_a_bug():
    with pytest.raises(AccountError):
        RecordCounts(planned=2, created=1).check(Kind.USER)
    with pytest.raises(AccountError):
        RowCounts(read=2, mapped=1).check()


def test_reasons_add_up_to_the_outcomes():
    found = {(one.outcome, one.code): one.count for one in reason_counts(LINES, PLAN)}
    assert 2 == found[Outcome.NOT_SENT, "not_reached"]
    assert 1 == found[Outcome.NOT_SENT, "throttled"]
    assert 2 == found[Outcome.IN_DOUBT, "timed_out"]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("earlier_in_doubt", Outcome.IN_DOUBT),
        ("earlier_in_flight", Outcome.IN_DOUBT),
        ("earlier_planned", Outcome.NOT_SENT),
        ("earlier_rejected", Outcome.BLOCKED),
        ("release_in_doubt", Outcome.BLOCKED),
        ("parent_in_doubt", Outcome.BLOCKED),
    ],
)
def test_an_update_that_waits_for_its_own_first_step_is_where_that_step_is(reason, outcome):
    """Only that one: who waits for somebody else's is blocked."""
    lines = [("free_locations", "in_doubt", "timed_out", 1), ("update_locations", "blocked", reason, 2)]
    counts = record_counts(PLAN, lines)[Kind.LOCATION]
    told = Counter({(one.outcome, one.code): one.count for one in reason_counts(lines, PLAN)})
    assert 2 == told[outcome, reason]
    for one in (Outcome.IN_DOUBT, Outcome.BLOCKED, Outcome.NOT_SENT):
        assert getattr(counts, one.value) == sum(n for (other, _), n in told.items() if other is one)


def test_a_removal_that_waits_is_blocked_whatever_it_waits_for():
    assert Outcome.BLOCKED is outcome_of(Phase.DELETE_LOCATIONS, State.BLOCKED, "earlier_in_doubt")


@pytest.mark.parametrize(
    ("rows", "counts", "expected"),
    [
        (RowCounts(1, mapped=1), RecordCounts(), {Exit.OK}),
        (RowCounts(1, quarantined=1), RecordCounts(), {Exit.OK, Exit.DONE_WITH_REJECTS}),
        (RowCounts(1, unreadable=1), RecordCounts(), {Exit.OK, Exit.DONE_WITH_REJECTS}),
        (None, RecordCounts(1, blocked=1), {Exit.OK, Exit.DONE_WITH_REJECTS}),
        (None, RecordCounts(1, rejected=1), {Exit.OK, Exit.DONE_WITH_REJECTS}),
        (None, RecordCounts(1, in_doubt=1), {Exit.OK, Exit.IN_DOUBT}),
        (None, RecordCounts(1, not_sent=1), {Exit.OK, Exit.UNAVAILABLE}),
    ],
)
def test_the_counts_speak_for_their_exit_codes(rows, counts, expected):
    assert expected == exits(rows, [counts])


@pytest.mark.parametrize(
    ("records", "removed", "expected"),
    [
        (RecordCounts(planned=1, created=1), {}, Exit.OK),
        (RecordCounts(planned=1, rejected=1), {}, Exit.DONE_WITH_REJECTS),
        (RecordCounts(planned=1, created=1), {"planned": 1, "rejected": 1}, Exit.DONE_WITH_REJECTS),
    ],
)
@pytest.mark.parametrize("ended", [Exit.TERMINATED, Exit.UNAVAILABLE, Exit.STORAGE, Exit.GUARD])
def test_a_settled_run_is_told_again_by_its_counts(records, removed, expected, ended):
    gone = {"vanished": {"removals": {"user": removed}}} if removed else {}
    before = Summary(
        *("run", "sync", "sandbox", ended, VERDICTS[ended]),
        records={Kind.USER: records},
        error=ErrorEntry("ApiUnavailable", "x"),
        extra=gone,
    )
    again = of_settled(before)
    assert (expected, VERDICTS[expected], None) == (again.exit_code, again.verdict, again.error)
