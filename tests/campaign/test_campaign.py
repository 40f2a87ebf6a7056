"""How a campaign counts what it tried, names it, and says so, however it ends."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.campaign import campaign as whole
from tests.campaign.campaign import Reference, Score, Tally
from tests.campaign.processes import Point
from tests.campaign.reference import LEDGER, MAIN

CALLS = [Point(MAIN, "sendto", n) for n in range(1, 31)] + [Point(LEDGER, "pwrite64", n) for n in range(1, 9)]
REFERENCE = Reference(CALLS, CALLS)


def tried(*outcomes: bool) -> tuple[Tally, list[str]]:
    """A tally of cases that come to their points or not, and the names of those that ran, each time they did."""
    tally, ran = Tally(there_are=len(outcomes)), []

    def case(name: str, met: bool) -> whole.Case:
        return name, lambda _: ran.append(name) or met

    cases = [case(str(n), met) for n, met in enumerate(outcomes)]
    whole.try_all(cases, tally, seed=1, minutes=1, workers=1)
    return tally, ran


def test_a_case_that_never_came_to_its_point_is_tried_again_and_not_counted_as_met(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tally, ran = tried(True, False)
    assert ["0", "1", "1", "1", "1"] == ran
    assert (2, 1, 0) == (tally.tried, tally.met, tally.failed)
    assert "1: never came to its point" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        (Tally(there_are=1755, tried=1755, met=1755), "1,755"),
        (Tally(there_are=884, tried=150, met=150), "150 of 884"),
        (Tally(there_are=755, tried=755, met=750), "750 met of 755"),
        (Tally(there_are=884, tried=150, met=148), "148 met of 150 tried of 884"),
    ],
)
def test_a_tally_says_how_many_were_met(tally: Tally, said: str) -> None:
    assert said == str(tally)


def test_a_violation_is_told_with_the_command_that_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(_: Path) -> bool:
        raise AssertionError("I6")

    tally = Tally(there_are=1)
    whole.try_all([("main sendto 3", wrong)], tally, seed=7, minutes=1, workers=1)
    assert 1 == tally.failed
    assert "make campaign SEED=7 CASE='main sendto 3'" in capsys.readouterr().out


def test_no_name_of_a_case_is_without_a_case() -> None:
    kills, fails = whole.all_kills(1, REFERENCE)
    drills = whole.all_drills(1, REFERENCE, triples=3) + whole.all_drills_on_postgres(1, REFERENCE)
    names = kills + fails + drills + whole.all_wire_faults(1, cells=1) + ["file 4096", "disk 64"]
    assert names == [whole.case_named(name, 1)[0] for name in names]


@pytest.mark.parametrize("name", ["pwrite64 40 ENOSPC", "frozen 3", "postgres", "nested main sendto 3 then"])
def test_a_name_that_no_case_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no point"):
        whole.case_named(name, 1)


def test_kills_on_postgresql_are_spread_over_the_whole_run() -> None:
    names = whole.all_drills_on_postgres(1, REFERENCE)
    for first_and_last in ("main sendto 1", "main sendto 30", "ledger pwrite64 1", "ledger pwrite64 8"):
        assert f"postgres {first_and_last}" in names


def test_kills_in_a_row_lie_where_there_is_something_left_to_recover() -> None:
    chance = random.Random(1)
    for _ in range(50):
        name = whole._triple(chance, REFERENCE).removeprefix("nested ")
        assert all(Point.named(one) in CALLS[:19] for one in name.split(" then "))


class Interrupted:
    """Schedules beside a campaign that is interrupted at its first real process."""

    def score(self, *, at_once: bool = False) -> Score:
        assert at_once
        return Score(schedules=12, doubles=3)


@contextmanager
def interrupted(*_: object, **__: object) -> Iterator[Interrupted]:
    yield Interrupted()


def told_in(folder: Path) -> dict[str, str]:
    """The last line of a scorecard, by its columns."""
    cells = (folder / "scorecard.md").read_text(encoding="utf-8").splitlines()[-1].strip("| ").split(" | ")
    return dict(zip(whole.COLUMNS, cells, strict=True))


@pytest.mark.parametrize(
    ("error", "said"), [(KeyboardInterrupt, "interrupted"), (OSError, "broken off: OSError")]
)
def test_a_campaign_that_is_stopped_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], said: str
) -> None:
    def stops(_: int) -> object:
        raise error

    monkeypatch.setattr(whole, "SCORECARD", tmp_path / "scorecard.md")
    monkeypatch.setattr(whole, "commit", lambda: "abc")
    monkeypatch.setattr(whole, "schedules_beside", interrupted)
    monkeypatch.setattr(whole, "real_cases", stops)
    try:
        assert 130 == whole.whole(5, minutes=10, cases=1, workers=1)
    except OSError:
        assert error is OSError
    told = told_in(tmp_path)
    assert f"0 ({said})" == told["minutes"]
    assert "12" == told["schedules"]
    assert "3" == told["made twice where the cell allows it"]
    assert told["command"].startswith("`make campaign SEED=5 MINUTES=10`")


def test_a_campaign_whose_schedules_did_not_say_what_they_came_to_does_not_say_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost(Interrupted):
        def score(self, *, at_once: bool = False) -> Score:
            raise RuntimeError if at_once else KeyboardInterrupt

    @contextmanager
    def lost(*_: object, **__: object) -> Iterator[Interrupted]:
        yield Lost()

    monkeypatch.setattr(whole, "SCORECARD", tmp_path / "scorecard.md")
    monkeypatch.setattr(whole, "commit", lambda: "abc")
    monkeypatch.setattr(whole, "schedules_beside", lost)
    assert 130 == whole.whole(5, minutes=10, cases=1, workers=1, schedules_only=True)
    told = told_in(tmp_path)
    of_schedules = whole.COLUMNS[4:9]
    assert ["not known"] * 5 == [told[name] for name in of_schedules]
    assert "0, those of schedules not known" == told["violations"]


def test_a_campaign_of_schedules_alone_says_so_in_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(Interrupted):
        def score(self, *, at_once: bool = False) -> Score:
            assert not at_once
            return Score(schedules=12)

    @contextmanager
    def ended(*_: object, **__: object) -> Iterator[Interrupted]:
        yield Ended()

    monkeypatch.setattr(whole, "SCORECARD", tmp_path / "scorecard.md")
    monkeypatch.setattr(whole, "commit", lambda: "abc")
    monkeypatch.setattr(whole, "schedules_beside", ended)
    monkeypatch.setattr(whole, "real_cases", None)
    assert 0 == whole.whole(5, minutes=10, cases=1, workers=1, schedules_only=True)
    told = told_in(tmp_path)
    assert ["-"] * len(whole.REAL) == [told[name] for name in whole.REAL]
    assert "`make campaign SEED=5 MINUTES=10 ONLY=schedules`" == told["command"]


def test_schedules_that_are_told_to_end_know_it() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            told = whole.told_to_stop()
            os.kill(os.getpid(), number)
            assert told.is_set()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_every_line_of_the_scorecard_has_a_cell_for_every_column() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "scorecard.md").read_text(encoding="utf-8").splitlines()
    head = lines.index(f"| {' | '.join(whole.COLUMNS)} |")
    assert lines[head:] == [line for line in lines[head:] if line.count(" | ") == len(whole.COLUMNS) - 1]
