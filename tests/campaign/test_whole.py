"""Schedules that live through the whole command: that they occur, what they differ in, and bugs only they can see."""

from __future__ import annotations

import ast
import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import planning
from pipeline import run as story_of
from pipeline.plan import Compared
from pipeline.session import Session, _Spools
from schemas.outcomes import Kind
from tests.campaign import retailer
from tests.campaign.checker import Evidence, Record, violations
from tests.campaign.retailer import (
    Days,
    Expected,
    Places,
    Target,
    WholeEvidence,
    days_of,
    expected,
)
from tests.campaign.schedules import Schedule, axes_of, schedule
from tests.campaign.simulator import is_guarded, simulate
from tests.campaign.test_slice import BLOCKS, CASES_PER_BLOCK, SEED, story
from tests.campaign.whole import WholeRun, is_whole

SLICE = [schedule(SEED, case) for case in range(BLOCKS * CASES_PER_BLOCK)]
AXES = axes_of(0)


def days(case: int) -> tuple[Days, Expected]:
    """What happens in a case of seed 1, and what must come of it."""
    found = days_of(1, case, 0.0)
    return found, expected(found, contents(found.before))


def contents(places: Places) -> dict[Target, Record]:
    return {target: content for place in places.values() for target, content in place.content()}


def first_case(such: Callable[[Days, Expected], bool]) -> int:
    return next(case for case in range(1000) if such(*days(case)))


def is_busy(days: Days, will: Expected) -> bool:
    changed = {kind for kind, *_ in will.changes & contents(days.before).keys()}
    return {"location", "resource"} <= changed and bool(will.gave_up) and not days.guarded | days.removes


BUSY = first_case(is_busy)
"""Customers come, a location and a device change, and a meter point passes on."""
DEAF = [{"kind": "dropped", "on": "api", "after": 1.2, "until": 900.0}]
"""In the middle of the first life the API hears nothing more, so that something stays in doubt."""
REMOVES = first_case(lambda days, _: days.removes)


def calm(**changes: Any) -> Schedule:
    """A schedule of the whole command in which nothing goes wrong, but for what is said."""
    return Schedule(
        **{
            "seed": 1,
            "case": BUSY,
            "cell": 0,
            "semantics": AXES
            | changes.pop("axes", {})
            | {"lag_seconds": 0.0, "late_seconds": 20.0, "limit_items": 50, "limit_bytes": 10**6},
            "faults": [],
            "sizes": {},
            "poison": 0.0,
            "chunk": 4,
            "concurrency": 2,
            "canary": 1,
            "token_lifetime": 3600.0,
            "latency": 0.2,
            "faulty_lives": 1,
        }
        | changes
    )


def lived(one: Schedule, folder: Path) -> WholeEvidence:
    found = WholeRun(one, folder).run()
    assert isinstance(found, WholeEvidence)
    return found


def broken(evidence: Evidence) -> set[str]:
    return {wrong.partition(":")[0] for wrong in violations(evidence)}


# ------------------------------------------------------------------ how many there are, and of what
def test_the_slice_has_its_share_of_whole_commands_and_of_guards() -> None:
    whole = [one for one in SLICE if is_whole(one)]
    assert len(SLICE) // 150 < len(whole) < len(SLICE) // 60
    assert {0, 1, 2} == {len(one.kills) for one in whole}
    assert 0.08 < sum(is_guarded(one) for one in SLICE) / len(SLICE) < 0.12


def test_a_case_lives_through_the_whole_command_when_its_number_says_so(tmp_path: Path) -> None:
    one = next(one for one in SLICE if is_whole(one))
    assert isinstance(simulate(one, tmp_path), WholeEvidence)


def test_the_days_of_whole_commands_differ_in_everything_the_planner_decides() -> None:
    seen: Counter[str] = Counter()
    for one in (one for one in SLICE if is_whole(one)):
        days = days_of(one.seed, one.case, one.poison)
        before = contents(days.before)
        will = expected(days, before)
        seen["first day"] += not before
        seen["delta"] += not days.full
        seen["removes"] += days.removes
        seen["guarded"] += days.guarded
        seen["poison"] += bool(days.poison)
        seen["later export"] += len(days.exports) > 1
        seen["gives up"] += bool(will.gave_up)
        for target in will.changes:
            seen[f"{'changes' if target in before else 'makes'} {target[0]}"] += 1
    assert {
        *("first day", "delta", "removes", "guarded", "poison", "later export", "gives up"),
        *("makes user", "makes location", "makes resource", "changes location", "changes resource"),
    } == (+seen).keys()


def test_what_must_come_of_an_export_is_worked_out_without_the_loader() -> None:
    tree = ast.parse(Path(retailer.__file__).read_text(encoding="utf-8"))
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    ours = {"pipeline", "connectors", "flows", "schemas", "sandbox", "tests"}
    assert {"tests.campaign.checker"} == {
        one for one in named | plain if one is not None and one.partition(".")[0] in ours
    }


def test_a_seed_tells_the_same_story_of_a_whole_command_again(tmp_path: Path) -> None:
    one = next(one for one in SLICE if is_whole(one) and one.kills)
    first, second = lived(one, tmp_path / "a"), lived(one, tmp_path / "b")
    assert (story(first), first.commands) == (story(second), second.commands)


# ------------------------------------------------------------------ each can fail
def test_nothing_is_wrong_with_a_whole_command_without_a_bug(tmp_path: Path) -> None:
    evidence = lived(calm(), tmp_path)
    assert [] == violations(evidence)
    assert {"user", "location", "resource"} == {target[0] for target in evidence.expected.changes}


def test_a_run_that_may_go_on_and_says_it_is_done_is_seen(tmp_path: Path) -> None:
    evidence = lived(calm(), tmp_path)
    last = evidence.lives[-1]
    last.states = {"acknowledged": 1, retailer.WAITING: 1}
    found = []
    for last.exit_code in (0, 10, 12, 15):
        found.append("I13" in broken(evidence))
    last.states |= {"in_doubt": 1}  # that is what is to be told of it: the others wait for it
    for last.exit_code in (12, 15):
        found.append("I13" in broken(evidence))
    assert [True, True, True, False, False, True] == found


def compares(change: Callable[[Kind, Compared, pl.DataFrame], Compared]) -> Callable[..., Compared]:
    """The planner's comparison with a bug in it."""
    honest = planning.compare

    def compare(kind: Kind, records: pl.DataFrame, *rest: Any) -> Compared:
        return change(kind, honest(kind, records, *rest), records)

    return compare


def forgets_one(kind: Kind, compared: Compared, _records: pl.DataFrame) -> Compared:
    if kind is not Kind.LOCATION or not compared.create.height:
        return compared
    return dataclasses.replace(compared, create=compared.create[1:], unchanged=compared.unchanged + 1)


def knows_no_digest(_kind: Kind, compared: Compared, _records: pl.DataFrame) -> Compared:
    same = compared.unchanged + compared.update.height
    return dataclasses.replace(compared, update=compared.update.clear(), unchanged=same)


@pytest.mark.parametrize("bug", [forgets_one, knows_no_digest])
def test_a_planner_that_forgets_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: Callable[..., Compared]
) -> None:
    monkeypatch.setattr(planning, "compare", compares(bug))
    assert "I9" in broken(lived(calm(), tmp_path))


def test_a_planner_that_compares_with_nothing_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = planning.make_plan

    def over_nothing(judged: Any, identity: Any, _holdings: Any, **rest: Any) -> Any:
        return honest(judged, identity, planning.nothing_held, **rest)

    monkeypatch.setattr(story_of, "make_plan", over_nothing)
    assert {"I5", "I6"} <= broken(lived(calm(axes={"b": "duplicate"}), tmp_path))


def test_what_was_acknowledged_and_is_not_remembered_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(self: Session) -> None:
        pass

    one = calm(axes={"b": "duplicate"})
    with_yesterday = lived(one, tmp_path / "well")
    assert [] == violations(with_yesterday)
    monkeypatch.setattr(Session, "remember", forget)
    assert {"I3", "I6"} <= broken(lived(one, tmp_path / "ill"))


def test_a_run_that_is_not_given_up_for_a_newer_one_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [] == violations(lived(calm(faults=DEAF), tmp_path / "well"))

    def keep(self: Session, run_id: str) -> None:
        [run] = self.ledger.runs(run_id=run_id)
        self.ledger.change_run(run.run_seq, state="superseded")

    monkeypatch.setattr(Session, "_supersede", keep)
    assert "I3" in broken(lived(calm(faults=DEAF), tmp_path / "ill"))


def test_a_command_that_takes_a_fifth_start_is_seen(tmp_path: Path) -> None:
    """The evidence is edited: guards and what they ask for count apart, so that one bug would have to pass them all."""
    found = lived(calm(), tmp_path)
    [*before, last] = found.lives
    late = dataclasses.replace(last, settled=False)
    stopped = dataclasses.replace(late, guard="some")
    bad = [one for one in before if one.faulty]
    assert set() == broken(dataclasses.replace(found, lives=[*bad, late, late, late, stopped, stopped, last]))
    assert {"I10"} == broken(dataclasses.replace(found, lives=[*bad, *[late] * 4, last]))


def test_a_removal_nobody_has_said_yes_to_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = calm(case=REMOVES)
    assert [] == violations(lived(one, tmp_path / "well"))
    monkeypatch.setattr(story_of, "first_tripped", lambda *_, **__: None)
    assert {"I5"} == broken(lived(one, tmp_path / "ill"))


def test_a_folder_of_an_earlier_run_that_is_not_closed_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Spools, "close", lambda _: None)
    assert {"I19"} == broken(lived(calm(faults=DEAF), tmp_path))
