import json
from dataclasses import replace

import pytest

from connectors.reports.index_page import index_page
from connectors.reports.trends import (
    Run,
    is_unusual,
    load_runs,
    load_summary,
    terminal_sparkline,
    trends,
)
from schemas.details import RunDetails
from tests.golden.runs import mixed


def document(day: int, *, profile: str = "nordkraft", quarantined: int = 10, **changes) -> dict:
    example = mixed()
    assert example.summary.rows is not None
    rows = replace(example.summary.rows, quarantined=quarantined, mapped=11_596 + 161 - quarantined)
    summary = replace(
        example.summary,
        run_id=f"run-{day}",
        started_at=f"2026-03-{day:02}T04:00:00+00:00",
        ended_at=f"2026-03-{day:02}T04:01:00+00:00",
        rows=rows,
        violations={"coordinates_come_in_pairs": quarantined},
        **changes,
    )
    return {**summary.to_json(), "details": RunDetails(profiles=(profile,)).to_json()}


def keep(folder, name: str, content: dict | str) -> None:
    (folder / name).mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name / "summary.json").write_text(text)


def test_runs_are_loaded_oldest_first(tmp_path):
    for day in (3, 1, 2):
        keep(tmp_path, f"folder-{9 - day}", document(day))
    assert [run.run_id for run in load_runs(tmp_path)] == ["run-1", "run-2", "run-3"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "[" * 100_000, '"summary_version"', "\x00"])
def test_what_is_no_summary_is_passed_over(tmp_path, content):
    keep(tmp_path, "bad", content)
    keep(tmp_path, "good", document(1))
    assert [run.folder for run in load_runs(tmp_path)] == ["good"]


def test_links_are_not_followed(tmp_path):
    keep(tmp_path, "elsewhere/run", document(1))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere" / "run")
    (tmp_path / "runs" / "folder").mkdir()
    (tmp_path / "runs" / "folder" / "summary.json").symlink_to(
        tmp_path / "elsewhere" / "run" / "summary.json"
    )
    assert load_runs(tmp_path / "runs") == []
    assert load_summary(tmp_path / "missing") is None


def test_each_profile_and_environment_has_its_own_trend():
    runs = [
        Run("a", document(1)),
        Run("b", document(2, profile="hytter")),
        Run("c", document(3)),
        Run("d", document(4, environment="sandbox")),
    ]
    groups = trends(runs)
    assert [(group.profile, group.environment, len(group.runs)) for group in groups] == [
        ("nordkraft", "sandbox", 1),
        ("nordkraft", "production", 2),
        ("hytter", "production", 1),
    ]


def test_an_outlier_is_marked_against_the_profiles_own_history():
    runs = [Run(f"r{day}", document(day, quarantined=10 + day % 2)) for day in range(1, 9)]
    runs.append(Run("odd", document(9, quarantined=90)))
    measures = {measure.key: measure for measure in trends(runs)[0].measures}
    assert measures["held_back"].odd == (False,) * 8 + (True,)
    assert measures["rule:coordinates_come_in_pairs"].odd[-1]
    assert not any(measures["rows.read"].odd)


@pytest.mark.parametrize(
    ("value", "earlier", "odd"),
    [
        (100, [10, 11, 10, 12], False),  # too little history
        (100, [10, 11, 10, 12, 11], True),
        (12, [10, 11, 10, 12, 11], False),
        (11, [10, 10, 10, 10, 10], False),  # within a fifth of the median
        (13, [10, 10, 10, 10, 10], True),
        (1, [0, 0, 0, 0, 0], True),
        (0, [0, 0, 0, 0, 0], False),
        (None, [1, 1, 1, 1, 1], False),
        (5, [None, 5, None, 5, 5, 5, 5], False),
    ],
)
def test_unusual_means_far_from_the_median_by_the_historys_own_spread(value, earlier, odd):
    assert is_unusual(value, earlier) is odd


def test_durations_are_compared_within_one_command_only():
    runs = [Run("a", document(1)), Run("b", document(2, command="plan")), Run("c", document(3))]
    seconds = next(measure for measure in trends(runs)[0].measures if measure.key == "seconds")
    assert seconds.values == (60.0, None, 60.0)


@pytest.mark.parametrize(
    ("values", "shown"),
    [([1, 2, 3], "▁▅█"), ([5, 5], "▁▁"), ([None, 0, 7], " ▁█"), ([], ""), ([None], " ")],
)
def test_a_terminal_sparkline_has_a_block_per_run(values, shown):
    assert terminal_sparkline(values) == shown


def test_the_index_links_only_into_its_own_folders():
    hostile = 'javascript:alert(1)/"><script>'
    page = index_page([Run(hostile, document(1))], pages={hostile: ("report.html",)}).decode()
    assert 'href="./javascript%3Aalert%281%29/%22%3E%3Cscript%3E/report.html"' in page
    assert "<script" not in page


def test_the_index_stays_small_over_many_runs():
    runs = [
        Run(
            f"r{number}", document(1 + number % 28, profile=f"profile-{number % 40}", quarantined=number % 50)
        )
        for number in range(1_500)
    ]
    page = index_page(runs, pages={run.folder: ("report.html", "quality.html") for run in runs})
    assert len(page) < 2_000_000
    assert b"and 28 more profiles" in page
    assert b"older ones" in page


def test_an_index_over_damaged_figures_still_renders():
    damaged = {
        **document(1),
        "rows": {"read": "many", "quarantined": None},
        "records": [1, 2],
        "violations": "none",
        "started_at": 5,
        "exit_code": True,
        "details": {"profiles": "x"},
    }
    page = index_page([Run("a", damaged), Run("b", damaged)], pages={})
    assert b"no profile" in page
