"""What a command says of earlier runs that it had to finish before its own."""

from __future__ import annotations

from dataclasses import replace

from pipeline.ending import after, finished_first, together
from schemas.outcomes import Exit, Kind
from schemas.summary import RecordCounts, RequestCounts, RowCounts, Summary


def ended(run_id: str, code: Exit = Exit.OK, **values: object) -> Summary:
    summary = Summary(run_id, "sync", "sandbox", code, f"Verdict of {run_id}.", rows=RowCounts())
    return replace(summary, records=dict.fromkeys(Kind, RecordCounts()), **values)


def refused(run_id: str, count: int) -> Summary:
    records = {
        **dict.fromkeys(Kind, RecordCounts()),
        Kind.USER: RecordCounts(planned=count, rejected=count),
        Kind.LOCATION: RecordCounts(planned=count, blocked=count),
    }
    return replace(ended(run_id, Exit.DONE_WITH_REJECTS), records=records, requests=RequestCounts(sent=3))


def test_a_clean_run_after_one_with_rejects_is_no_clean_command():
    told = after([refused("r-1", 400)], ended("r-2"))
    assert (10, "Done; some rows were quarantined or records rejected.") == (told.exit_code, told.verdict)
    refusals = "400 records rejected, 400 records blocked"
    note = f"The earlier run r-1 was finished first (exit 10): {refusals}. See `meterfeed report r-1`."
    assert [note] == told.extra["notes"]
    assert [("r-1", 10), ("r-2", 0)] == [(run["run_id"], run["exit_code"]) for run in told.extra["runs"]]


def test_the_worse_end_of_the_own_run_is_told_in_its_own_words():
    told = after([refused("r-1", 1)], ended("r-2", Exit.UNAVAILABLE, extra={"notes": ["Of its own."]}))
    assert (15, "Verdict of r-2.") == (told.exit_code, told.verdict)
    assert ["Of its own.", finished_first(refused("r-1", 1))] == told.extra["notes"]


def test_an_earlier_run_that_ended_well_is_named_and_changes_nothing():
    told = after([ended("r-1")], ended("r-2"))
    assert (0, "Verdict of r-2.") == (told.exit_code, told.verdict)
    assert ["The earlier run r-1 was finished first; everything of it is accounted for."] == told.extra[
        "notes"
    ]
    assert "notes" not in after([], ended("r-2")).extra


def test_nothing_was_sent_is_not_said_where_the_earlier_run_has_sent():
    told = after([refused("r-1", 1)], ended("r-2", Exit.SETTINGS))
    assert (13, "Settings or credentials are wrong; nothing more was sent.") == (told.exit_code, told.verdict)


def test_rows_and_removals_of_an_earlier_run_that_were_not_good_are_counted():
    removals = {"vanished": {"removals": {"user": {"planned": 2, "removed": 0, "rejected": 2, "blocked": 0}}}}
    rows = RowCounts(read=4, unreadable=1, quarantined=2, mapped=1)
    told = finished_first(ended("r-1", Exit.DONE_WITH_REJECTS, rows=rows, extra=removals))
    assert "2 records rejected, 3 rows quarantined or unreadable." in told


def test_an_account_of_several_lists_the_earlier_runs_with_their_own_ends():
    total = together(
        "backfill", "sandbox", [ended("r-1"), after([refused("r-2", 1)], ended("r-3"))], planned=2
    )
    assert (10, {"given": 2, "done": 2}) == (total.exit_code, total.extra["exports"])
    assert [("r-1", 0), ("r-2", 10), ("r-3", 0)] == [
        (run["run_id"], run["exit_code"]) for run in total.extra["runs"]
    ]
    assert [finished_first(refused("r-2", 1))] == total.extra["notes"]
