"""The quality figures of whole runs: exports are read, judged, folded and planned by the real thing."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.exports import open_exports
from connectors.spool import Spool
from pipeline.identity import Identity
from pipeline.planning import make_plan
from pipeline.ports import World
from pipeline.prepare import Judged, judge_exports
from schemas.profile import Profile
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


def row(number: int, meter: str | None = None, place: str = "60.25;10.75") -> str:
    return f"K{number:04};L{number:04};{meter or gsrn(number)};{place}\n"


@pytest.fixture
def run(tmp_path: Path):
    def run_(*exports: Sequence[str], more: str = "", countries: Sequence[str] = ("NO", "FR")) -> Judged:
        for number, rows in enumerate(exports):
            (tmp_path / f"{number}.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
        places = [str(tmp_path / f"{number}.csv") for number in range(len(exports))]
        profiles = [
            Profile.from_toml(PROFILE.format(country=country) + more, "p.toml")
            for country in countries[: len(exports)]
        ]
        identity = Identity("k" * 32)
        judged = judge_exports(
            open_exports(places, profiles), profiles, environment="production", reference=REFERENCE,
            identity=identity, spool=Spool.create(tmp_path / "spool", partitions=2), world=WORLD,
        )  # fmt: skip
        make_plan(judged, identity, lambda _kind, _buckets: None, world=WORLD)
        return judged

    return run_


def test_ids_of_a_country_without_check_digits_are_not_rated_beside_those_of_another(run):
    french = [row(number, f"{30001234567000 + number}", "48.85;2.35") for number in range(100, 150)]
    figures = run([row(number) for number in range(20)], french).gauge.figures()
    profile = next(one for one in figures.columns if one.column == "meter_point")
    assert (70, 20, 20) == (profile.filled, profile.check_digit_checked, profile.check_digit_passed)
