import pytest

from flows.artifact import summary_markdown
from schemas.outcomes import Exit, Kind
from schemas.summary import Artifacts, ErrorEntry, RecordCounts, RowCounts, Summary


def markdown(**changes) -> str:
    given = {
        "run_id": "run-1",
        "command": "sync",
        "environment": "sandbox",
        "exit_code": Exit.DONE_WITH_REJECTS,
        "verdict": "Done.",
        "rows": RowCounts(read=1_004, quarantined=4, mapped=1_000),
        "records": {Kind.USER: RecordCounts(planned=9, created=8, rejected=1), Kind.VEHICLE: RecordCounts()},
        "violations": {"coordinates_come_in_pairs": 4},
        "artifacts": Artifacts(report="/runs/run-1/report.html"),
    }
    return summary_markdown(Summary(**{**given, **changes}))


def test_the_artifact_holds_verdict_equations_rules_and_report():
    text = markdown()
    for piece in ("## Done.", "Exit code 10", "| read | 1,004 |", "| planned | 9 |", "| rejected | 1 |"):
        assert piece in text
    assert "| coordinates come in pairs | 4 |" in text
    assert "`/runs/run-1/report.html`" in text
    assert "vehicles" not in text


@pytest.mark.parametrize(
    "attack", ["<script>alert(1)</script>", "[x](javascript:1)", "a | b", "![x](http://e)", "a\n## b", "`x`"]
)
def test_foreign_words_arrive_inert(attack):
    text = markdown(error=ErrorEntry("X", attack), violations={attack: 1})
    assert attack not in text
    assert "<script" not in text


def test_a_figure_not_known_says_so():
    assert "| created | not known |" in markdown(records={Kind.USER: RecordCounts(planned=1, created=None)})


def test_removals_that_were_refused_are_told():
    removals = {"user": {"planned": 1_203, "removed": 1_200, "rejected": 3, "blocked": 0}}
    text = markdown(extra={"vanished": {"removals": removals}})
    for piece in ("| Removals | users |", "| planned | 1,203 |", "| removed | 1,200 |", "| refused | 3 |"):
        assert piece in text
    assert "Removals" not in markdown(extra={"vanished": {"removals": {}}})
