"""`runs`: what was done, and how the figures of each profile went."""

from __future__ import annotations

import pytest

from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import portfolio, write
from tests.unit.test_trends import document, keep

__all__ = ["write"]


@pytest.fixture
def week(tmp_path):
    """Six ordinary nights of one profile and a bad one; one run of another."""
    for day in range(1, 8):
        keep(tmp_path / "runs", f"run-{day}", document(day, quarantined=900 if day == 7 else 10 + day % 2))
    keep(tmp_path / "runs", "other", document(8, profile="fjord\x1b[31m"))
    return tmp_path


def test_trends_mark_what_is_unusual_against_the_profiles_own_history(meterfeed, week):
    [trend] = meterfeed("runs", "--json").document["trends"]
    assert ("nordkraft", 7) == (trend["profile"], trend["runs"])
    measures = {measure["key"]: measure for measure in trend["measures"]}
    assert {"held_back", "rule:coordinates_come_in_pairs"} == {
        key for key, measure in measures.items() if measure["unusual"]
    }
    assert 7 == len(measures["rows.read"]["values"])
    assert measures["held_back"]["usual"] < measures["held_back"]["latest"]


def test_trends_are_drawn_on_a_terminal(meterfeed, week):
    told = meterfeed("runs")
    lines = {line.split("  ")[0].strip(): line for line in told.out.splitlines()}
    assert "nordkraft (production), 7 runs, the latest on the right" in lines
    held_back = next(line for line in told.out.splitlines() if "rows held back" in line)
    assert "▁▁▁▁▁▁█" in held_back
    assert held_back.rstrip().endswith("UNUSUAL")
    assert "UNUSUAL" not in next(line for line in told.out.splitlines() if "rows read" in line)
    assert "\x1b" not in told.out


def test_one_run_makes_no_trend(meterfeed, tmp_path):
    keep(tmp_path / "runs", "run-1", document(1))
    told = meterfeed("runs")
    assert "run-1" in told.out
    assert "latest on the right" not in told.out


def test_figures_not_known_leave_a_gap(meterfeed, tmp_path):
    for day in range(1, 4):
        content = document(day)
        if day == 2:
            content["rows"] = None
        keep(tmp_path / "runs", f"run-{day}", content)
    assert "▁ ▁" in next(line for line in meterfeed("runs").out.splitlines() if "rows read" in line)


def test_of_two_runs_that_began_in_one_second_the_later_one_is_reported_and_listed_first(meterfeed, tmp_path):
    for number in (1, 2):
        keep(tmp_path / "runs", f"20260301-000{number}", document(1) | {"run_id": f"20260301-000{number}"})
    assert "20260301-0002" == meterfeed("report", "--json").document["run_id"]
    listed = meterfeed("runs", "--json").document["runs"]
    assert ["20260301-0002", "20260301-0001"] == [run["run_id"] for run in listed]


def test_a_run_stands_where_the_ledger_says_not_where_its_exit_code_suggests(meterfeed, api, write):
    def states():
        return {run["run_id"]: run["state"] for run in meterfeed("runs", "--json").document["runs"]}

    arguments = write("a.csv", portfolio(5))
    plan = meterfeed("plan", *arguments, "--json", **settings_for(api)).document
    judged = meterfeed("quality", *arguments, "--json").document
    assert (0, 0) == (plan["exit_code"], judged["exit_code"])
    assert {plan["run_id"]: "planned", judged["run_id"]: "settled"} == states()
    assert [plan["run_id"]] == meterfeed("adopt", *arguments[1:], "--json").document["plans_given_up"]
    assert "superseded" == states()[plan["run_id"]]
    done = meterfeed("sync", *arguments, "--json").document
    assert "settled" == states()[done["run_id"]]
