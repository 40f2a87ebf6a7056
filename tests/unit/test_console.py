import io
import re

import pytest
from rich.console import Console

from flows.console import Bars, PlainLines, progress, show_summary, show_table
from pipeline.ports import Notice
from schemas.outcomes import Exit, Kind
from schemas.summary import Artifacts, Customers, ErrorEntry, RecordCounts, RequestCounts, RowCounts, Summary


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def summary(**changes) -> Summary:
    given = {
        "run_id": "run-1",
        "command": "sync",
        "environment": "sandbox",
        "exit_code": Exit.DONE_WITH_REJECTS,
        "verdict": "Done; some rows were quarantined.",
        "rows": RowCounts(read=10_412, filtered=103, quarantined=214, duplicate=12, mapped=10_083),
        "records": {
            Kind.USER: RecordCounts(planned=3500, created=3500),
            Kind.LOCATION: RecordCounts(4900, 4890, rejected=10),
        },
        "violations": {"coordinates_come_in_pairs": 14, "meter_point_id_has_valid_check_digit": 200},
        "customers": Customers(3490, 10),
        "requests": RequestCounts(sent=12, retried=1, split=2),
        "artifacts": Artifacts(report="/runs/run-1/report.html"),
    }
    return Summary(**{**given, **changes})


def shown(told: Summary) -> str:
    stream = io.StringIO()
    show_summary(told, stream=stream)
    return stream.getvalue()


def test_both_equations_are_shown_and_hold_in_what_is_shown():
    figures = {}
    for line in shown(summary()).splitlines():
        for name, number in re.findall(r"([a-z]+(?: [a-z]+)?) +([0-9][0-9,]*)", line):
            figures.setdefault(name, int(number.replace(",", "")))
    assert figures["rows read"] == sum(
        figures[part] for part in ("unreadable", "filtered", "quarantined", "duplicate", "mapped")
    )
    assert figures["planned"] == 3500 == figures["created"]


def test_the_account_names_verdict_exit_code_rules_and_report():
    text = shown(summary())
    for piece in (
        "Done; some rows",
        "(exit 10)",
        "200",
        "/runs/run-1/report.html",
        "3,490 complete, 10 incomplete",
    ):
        assert piece in text
    assert text.index("meter_point_id_has_valid_check_digit") < text.index("coordinates_come_in_pairs")


def test_a_kind_that_does_not_occur_is_not_shown():
    assert "vehicles" not in shown(summary(records={kind: RecordCounts() for kind in Kind}))


def test_a_plan_shows_what_would_change_and_what_it_would_take():
    changes = {"create": 1_200, "update": 3, "release": 0, "unchanged": 9, "vanished": 0}
    extra = {
        "plan": {"user": changes, "vehicle": dict.fromkeys(changes, 0)},
        "plan_digest": "abc",
        "requests_expected": 14,
        "seconds_expected": 90.2,
    }
    text = shown(summary(command="plan", extra=extra))
    for piece in ("create", "1,200", "14 requests, about 1 min 30 s", "digest      abc"):
        assert piece in text
    assert "vehicles" not in text
    assert "not sent" not in text


def test_an_error_is_shown_with_its_cure_and_nothing_else():
    failed = Summary(
        None,
        "sync",
        "",
        Exit.SETTINGS,
        "Settings are wrong.",
        error=ErrorEntry("SettingsError", "Not set: X.", "Set it."),
    )
    lines = [line for line in shown(failed).splitlines() if line]
    assert lines[-3:] == ["Settings are wrong. (exit 13)", "Not set: X.", "Set it."]


def test_a_path_is_not_broken_over_lines():
    path = "/runs/" + "x" * 300 + "/report.html"
    assert path in shown(summary(artifacts=Artifacts(report=path)))


def test_a_path_is_shown_as_one_would_type_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = shown(
        summary(artifacts=Artifacts(report=f"{tmp_path}/runs/report.html", quality="/elsewhere/quality.html"))
    )
    assert "report      runs/report.html" in text
    assert "quality     /elsewhere/quality.html" in text


def test_many_rules_are_cut_to_the_most_frequent():
    text = shown(summary(violations={f"rule_{number:02}": number for number in range(1, 21)}))
    assert "rule_20" in text
    assert "rule_01" not in text
    assert "12 more in the report" in text


@pytest.mark.parametrize(
    "attack", ["\x1b[2Jgone", "[red]markup[/red]", "[link=file:///etc]x", "a\nb", "\u202eabc"]
)
def test_foreign_text_arrives_inert(attack):
    told = summary(
        error=ErrorEntry("X", attack, attack), violations={attack: 1}, artifacts=Artifacts(report=attack)
    )
    stream = Terminal()
    show_summary(told, stream=stream)
    show_table(["run"], [[attack]], stream=stream)
    text = stream.getvalue()
    assert attack not in text or "[" in attack[:1]
    assert "\x1b[2J" not in text
    assert "\u202e" not in text


def test_nothing_colours_a_pipe():
    assert "\x1b" not in shown(summary())


def test_a_table_sets_numbers_to_the_right():
    stream = io.StringIO()
    show_table(["run", "rows"], [["a", 1000], ["b", 2]], stream=stream)
    assert [line.rstrip() for line in stream.getvalue().splitlines()] == [
        "run  rows",
        "a   1,000",
        "b       2",
    ]


def test_plain_lines_say_each_stage_once():
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock=clock)
    for done in range(1, 101):
        clock.now += 0.01
        lines.notice(Notice("read", done, None, "rows"))
    clock.now += 2
    lines.notice(Notice("plan", 1, None, "partitions"))
    lines.notice(Notice("send", 1, 2, "records"))
    lines.close()
    assert stream.getvalue().splitlines() == [
        "read: 100 rows in 1.0 s",
        "plan: 1 partition in 2.0 s",
        "send: 1 of 2 records in 0.0 s",
    ]


def test_plain_lines_tell_of_a_long_stage_every_ten_seconds_with_the_time_left():
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock=clock)
    for done in range(0, 3001, 100):
        clock.now = done / 100
        lines.notice(Notice("send", done, 10_000, "records"))
    assert stream.getvalue().splitlines()[0] == "send: 1,000 of 10,000 records, 100/s, about 1 min 30 s left"
    assert len(stream.getvalue().splitlines()) == 3


def test_bars_show_every_stage_on_a_terminal():
    stream = Terminal()
    with progress(stream=stream) as notice:
        notice(Notice("read", 500, None, "rows"))
        notice(Notice("send", 3, 10, "chunks"))
        notice(Notice("send", 10, 10, "chunks"))
    text = stream.getvalue()
    for piece in ("read", "500 rows", "send", "10 chunks"):
        assert piece in text


def test_a_stage_may_come_again_and_end_anywhere():
    bars = Bars(Console(file=Terminal(), force_terminal=True))
    for stage in ("send", "settle", "send"):
        bars.notice(Notice(stage, 0, None, "records"))
    bars.close()


def test_quiet_is_quiet():
    stream = Terminal()
    with progress(quiet=True, stream=stream) as notice:
        notice(Notice("read", 1, None, "rows"))
    assert stream.getvalue() == ""
