"""A slice of the campaign: seeded schedules in virtual time, every invariant after each."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.campaign import schedules
from tests.campaign.campaign import ON_POSTGRES, run_case
from tests.campaign.checker import Evidence, violations
from tests.campaign.postgres import served_in_memory
from tests.campaign.schedules import CELLS, PAGE_MENU, WIRE, Schedule, axes_of, schedule
from tests.campaign.simulator import simulate

BLOCKS = 30
CASES_PER_BLOCK = 100
WIRED_TOGETHER, PAGED_TOGETHER = 240, 70
SEED = 20261122
FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


@cache
def apart() -> tuple[list[int], list[int]]:
    """Cases of the slice that are run together, to count what is played: of the wire, and of lists that mislead."""
    every = [schedule(SEED, case) for case in range(BLOCKS * CASES_PER_BLOCK)]
    wired = [one.case for one in every if one.wired]
    paged = [one.case for one in every if one.reads_pages]
    return wired[:WIRED_TOGETHER], paged[:PAGED_TOGETHER]


def played_in(cases: list[int], prefix: str) -> dict[str, set[int]]:
    """Faults that were played in these cases, as the request log has it, each with its cells; all is well in them."""
    cells: dict[str, set[int]] = {}
    wrong: list[str] = []
    for case in cases:
        result = run_case(SEED, case)
        wrong += [f"SEED={SEED} CASE={case}: {violation}" for violation in result.violations]
        for kind in result.kinds:
            if kind.startswith(prefix):
                cells.setdefault(kind, set()).add(result.cell)
    assert not wrong, "\n".join(wrong[:10])
    return cells


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_invariant_holds_after_every_schedule(block: int) -> None:
    start = block * CASES_PER_BLOCK
    elsewhere = set().union(*apart())
    assert played_in([case for case in range(start, start + CASES_PER_BLOCK) if case not in elsewhere], "")


def test_every_invariant_holds_under_eighty_faults_of_the_wire_that_are_played_in_three_cells_each() -> None:
    cells = played_in(apart()[0], WIRE)
    assert 80 <= sum(len(visited) >= 3 for visited in cells.values())


def test_every_invariant_holds_under_every_fault_of_lists_played_in_three_cells() -> None:
    cells = played_in(apart()[1], "page-")
    assert {kind for kind, _, _ in PAGE_MENU} == {
        kind for kind, visited in cells.items() if len(visited) >= 3
    }


def test_a_fault_that_was_planned_and_never_played_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    never = {"kind": "dropped", "on": "api", "at": [10**6]}
    once = {"kind": "applied-then-dropped", "on": "mutating", "at": [1]}
    one = replace(schedule(SEED, 1), faults=[never, once], kills=[])
    monkeypatch.setattr(schedules, "schedule", lambda *_: one)
    assert ["applied-then-dropped"] == run_case(SEED, 1).kinds


@pytest.mark.xdist_group("campaign-postgres")
def test_every_invariant_holds_with_the_ledger_in_postgresql() -> None:
    with served_in_memory() as server:
        if server is None:
            pytest.skip("no PostgreSQL server to test against")
        results = [run_case(SEED, ON_POSTGRES // 2 + ON_POSTGRES * n) for n in range(24)]
    assert all(result.on_postgres for result in results)
    assert not [wrong for result in results for wrong in result.violations]


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(tmp_path: Path, path: Path) -> None:
    one = Schedule(**json.loads(path.read_text(encoding="utf-8"))["schedule"])
    assert [] == violations(simulate(one, tmp_path))


def test_any_1350_cases_in_a_row_visit_every_cell() -> None:
    assert CELLS == len({schedule(3, case).cell for case in range(5000, 5000 + CELLS)})


def test_cells_are_counted_as_the_sandbox_counts_them() -> None:
    from sandbox.semantics import Semantics

    assert all(
        axes_of(cell) == {axis: getattr(Semantics.of_cell(cell), axis).value for axis in "abcdef"}
        for cell in range(CELLS)
    )


def story(evidence: Evidence) -> list[object]:
    """Everything that happened, in order."""
    return [
        [(sent.life, sent.time, sent.method, sent.path, sent.trace, sent.body) for sent in evidence.sent],
        [(life.exit_code, life.killed, life.states) for life in evidence.lives],
        evidence.effects,
    ]


@pytest.mark.parametrize("case", [3, 33, 63, 93])
def test_a_seed_tells_the_same_story_again(tmp_path: Path, case: int) -> None:
    one = schedule(SEED, case)
    assert story(simulate(one, tmp_path / "a")) == story(simulate(one, tmp_path / "b"))


def held(evidence: Evidence) -> object:
    return {
        kind: sorted(evidence.after[kind], key=json.dumps) for kind in ("users", "locations", "resources")
    }


@pytest.mark.parametrize("case", range(200, 216))
def test_one_at_a_time_and_eight_at_once_leave_the_same_behind(tmp_path: Path, case: int) -> None:
    one = schedule(SEED, case)
    honest = [
        fault
        for fault in one.faults
        if fault["kind"] not in ("bad-request", "refused-with-status", "forbidden-403")
    ]
    one = replace(one, faults=honest)
    alone = simulate(replace(one, concurrency=1), tmp_path / "1")
    crowd = simulate(replace(one, concurrency=8), tmp_path / "8")
    assert held(alone) == held(crowd)
