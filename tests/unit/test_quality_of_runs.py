"""The quality figures of whole runs: exports are read, judged, folded and planned by the real thing."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from connectors.exports import open_exports
from connectors.spool import Spool
from pipeline.conflicts import METER_POINT_OWNER, USER_SPELLING
from pipeline.identity import Identity
from pipeline.planning import make_plan
from pipeline.ports import World
from pipeline.prepare import Judged, _about, judge_exports
from schemas.profile import Profile
from schemas.rules import CHECK_DIGIT
from tests.unit.judging import REFERENCE

WORLD = World(time.time, time.monotonic, lambda _seconds: None, lambda: 0.5)  # type: ignore[arg-type, return-value]
HEADER = "user;location;meter_point;latitude;longitude\n"
PROFILE = """
name = "{country}"
country = "{country}"
[file]
separator = ";"
[columns]
user = "user"
location = "location"
meter_point = "meter_point"
latitude = "latitude"
longitude = "longitude"
"""


def gsrn(number: int) -> str:
    body = f"70705759999{number:06d}"
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(body))
    return body + str(-total % 10)


def row(number: int, meter: str | None = None, place: str = "60.25131;10.75131") -> str:
    return f"K{number:04};L{number:04};{meter or gsrn(number)};{place}\n"


@pytest.fixture
def run(tmp_path: Path):
    def run_(
        *exports: Sequence[str],
        more: str = "",
        countries: Sequence[str] = ("NO", "FR"),
        environment: str = "production",
    ) -> Judged:
        for number, rows in enumerate(exports):
            (tmp_path / f"{number}.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
        places = [str(tmp_path / f"{number}.csv") for number in range(len(exports))]
        profiles = [
            Profile.from_toml(PROFILE.format(country=country) + more, "p.toml")
            for country in countries[: len(exports)]
        ]
        identity = Identity("k" * 32)
        judged = judge_exports(
            open_exports(places, profiles), profiles, environment=environment, reference=REFERENCE,
            identity=identity, spool=Spool.create(tmp_path / "spool", partitions=2), world=WORLD,
        )  # fmt: skip
        make_plan(judged, identity, lambda _kind, _buckets: None, world=WORLD)
        return judged

    return run_


def test_ids_of_a_country_without_check_digits_are_not_rated_beside_those_of_another(run):
    french = [row(number, f"{30001234567000 + number}", "48.85131;2.35131") for number in range(100, 150)]
    figures = run([row(number) for number in range(20)], french).gauge.figures()
    profile = next(one for one in figures.columns if one.column == "meter_point")
    assert (70, 20, 20) == (profile.filled, profile.check_digit_checked, profile.check_digit_passed)


def test_a_row_that_was_warned_of_and_is_then_in_conflict_breaks_two_rules(run):
    wrong = gsrn(1)[:-1] + str((int(gsrn(1)[-1]) + 1) % 10)
    rows = [row(1, wrong), row(2, wrong), row(3), "k0003;L0033;" + gsrn(33) + ";60.25131;10.75131\n"]
    figures = run(rows, environment="sandbox").gauge.figures()
    broken = {rule.rule: (rule.severity, rule.rows, rule.alone) for rule in figures.rules}
    assert {
        CHECK_DIGIT: ("warn", 2, 0),
        METER_POINT_OWNER: ("quarantine", 2, 0),
        USER_SPELLING: ("warn", 2, 2),
    } == broken
    assert [(METER_POINT_OWNER, CHECK_DIGIT, 2)] == [
        (pair.first, pair.second, pair.rows) for pair in figures.together
    ]
    assert [2, 2, 0] == [share.rows for share in figures.rules_per_row]
    assert 2 == figures.quarantined


def test_a_warning_over_all_customers_joins_what_a_row_broke_in_the_fold(run):
    """The first rows of two spellings are in conflict with a third customer."""
    rows = [row(3), f"k0003;L0033;{gsrn(33)};60.25131;10.75131\n", row(5, gsrn(3)), row(6, gsrn(33))]
    figures = run(rows).gauge.figures()
    broken = {rule.rule: (rule.rows, rule.alone) for rule in figures.rules}
    assert {METER_POINT_OWNER: (4, 2), USER_SPELLING: (2, 0)} == broken
    assert [2, 2, 0] == [share.rows for share in figures.rules_per_row]


def test_rows_that_are_quarantined_between_rows_are_so_on_the_map_too(run):
    judged = run(
        [row(number, gsrn(number % 5)) for number in range(10)] + [row(number) for number in range(20, 26)]
    )
    figure = judged.gauge.figures().map
    assert 10 == judged.tally.quarantined == figure.quarantined
    assert [(6, 10, 0, 0)] == [
        (area.good, area.quarantined, figure.hidden, figure.without) for area in figure.areas
    ]


def test_rows_in_conflict_whose_coordinates_were_dropped_are_in_quarantine_nowhere(run):
    at_sea = [row(number, gsrn(number % 5), "40.25131;10.75131") for number in range(10)]
    judged = run(
        at_sea + [row(number) for number in range(20, 26)], more='[coordinates]\non_violation = "drop"\n'
    )
    figure = judged.gauge.figures().map
    assert 10 == judged.tally.quarantined == figure.quarantined == figure.without
    assert [(6, 0)] == [(area.good, area.quarantined) for area in figure.areas]


def test_what_rows_broke_is_found_over_batches_of_many_rules():
    chance = random.Random(5)
    lines = sorted((row, rule) for row in range(900) for rule in "abc" if chance.random() < 0.4)
    whole = pl.DataFrame(
        [(row, rule, "warn") for row, rule in lines],
        schema={"row": pl.UInt64, "rule": pl.String, "severity": pl.String},
        orient="row",
    )
    frames = [whole.filter(pl.col("row").is_between(at, at + 299)) for at in (0, 300, 600)]
    wanted = pl.Series([chance.randrange(1_000) for _ in range(200)], dtype=pl.UInt64)
    expected = whole.filter(pl.col("row").is_in(wanted.implode()))
    assert expected.equals(_about(wanted, [*frames[:2], whole.clear(), frames[2]]))
    assert 0 == _about(wanted.clear(), frames).height == _about(wanted, []).height
