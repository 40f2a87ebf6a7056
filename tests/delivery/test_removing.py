"""Removals and circles of meter points against the sandbox: faults of every kind, kills at every step.

A removal is done when the thing is gone; a circle of locations that trade meter points is broken by letting go first.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from pipeline import account
from pipeline.phases import Phase
from pipeline.plan import KindPlan, Plan
from sandbox.semantics import Semantics
from sandbox.server import Sandbox
from schemas.errors import AccountError
from schemas.outcomes import Exit, Kind
from tests.campaign.life import ending_of
from tests.delivery.harness import Bench, locations, resources, users
from tests.delivery.killing import Job, deliver, has_run
from tests.faults import held_up

N = 6
SETUP = {
    Phase.CREATE_USERS: users(N),
    Phase.CREATE_LOCATIONS: locations(N),
    Phase.CREATE_RESOURCES: resources(N),
}


def removal(records: pl.DataFrame) -> pl.DataFrame:
    return records.with_columns(pl.lit("deleted").alias("digest"), pl.lit(None, pl.String).alias("body"))


def removals(last: int = N) -> dict[Phase, pl.DataFrame]:
    """Remove the last customers."""
    return {
        Phase.DELETE_RESOURCES: removal(resources(N).tail(last)),
        Phase.DELETE_LOCATIONS: removal(locations(N).tail(last)),
        Phase.DELETE_USERS: removal(users(N).tail(last)),
    }


REMOVED = {(phase, "acknowledged"): N for phase in ("delete_resources", "delete_locations", "delete_users")}


def deleted(sandbox: Sandbox) -> dict[str, int]:
    """How often each id was removed, by the effect log."""
    counts: dict[str, int] = {}
    for effect in sandbox.effects():
        if effect["effect"] == "delete":
            counts[effect["id"]] = counts.get(effect["id"], 0) + 1
    return counts


def creates_after(sandbox: Sandbox) -> int:
    """Creations after the first removal."""
    effects = [effect["effect"] for effect in sandbox.effects()]
    return effects[effects.index("delete") :].count("create") if "delete" in effects else 0


FAULTS = [
    "applied-then-dropped",
    "applied-then-reset",
    "applied-then-503",
    "dropped",
    "reset",
    "unavailable-503",
    "rate-limited",
    "unauthorized-401",
]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_removal_whose_answer_was_lost_is_read_back(tmp_path: Path, kind: str) -> None:
    """DE7: gone is done, still there is sent again, and nothing is ever created by it."""
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver(SETUP)
        sandbox.set_faults({"fault": [{"kind": kind, "on": "any", "at": [2, 3, 7, 11, 16, 21]}]})
        done = Bench(sandbox, tmp_path).deliver(removals())
        assert done.error is None
        assert REMOVED == done.accounted
        assert (3 * N, {1}, 0) == (
            len(deleted(sandbox)),
            set(deleted(sandbox).values()),
            creates_after(sandbox),
        )
        assert [] == sandbox.state()["users"]


def test_a_404_to_a_removal_is_done_only_when_reading_agrees(tmp_path: Path) -> None:
    """DE7: somebody else was faster."""
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver(SETUP)
        Bench(sandbox, tmp_path).deliver(removals())
        again = Bench(sandbox, tmp_path).deliver(removals())
        assert REMOVED == again.accounted
        assert {1} == set(deleted(sandbox).values())


@pytest.mark.parametrize("of", ["another user", "another kind", "no vehicle any more"])
def test_what_has_its_id_by_now_and_is_not_it_stays(tmp_path: Path, of: str) -> None:
    """A resource is removed by its id alone: with ids as they come, that of a sold heat pump is its new owner's."""
    sold = removal(resources(N))
    if of == "another user":
        sold = sold.with_columns(pl.col("user_id").shift(1, fill_value=f"user-{N - 1:05d}"))
    with Sandbox() as sandbox:
        cars = {phase: SETUP[phase] for phase in (Phase.CREATE_USERS, Phase.CREATE_LOCATIONS)}
        cars |= {Phase.CREATE_VEHICLES: resources(N, "Vehicle")}
        Bench(sandbox, tmp_path).deliver(cars if of == "another kind" else SETUP)
        phase = Phase.DELETE_VEHICLES if of == "no vehicle any more" else Phase.DELETE_RESOURCES
        done = Bench(sandbox, tmp_path).deliver({phase: sold})
        assert {(phase.value, "acknowledged"): N} == done.accounted
        assert ({}, N) == (deleted(sandbox), len(sandbox.state()["resources"]))


def test_whose_it_is_by_now_must_be_known_before_it_is_removed(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver(SETUP)
        unread = held_up("GET /resources/{resourceId}")
        sandbox.set_faults({"fault": [unread]})
        Bench(sandbox, tmp_path).deliver({Phase.DELETE_RESOURCES: removals()[Phase.DELETE_RESOURCES]})
        assert {} == deleted(sandbox)


def test_a_user_stays_while_something_of_it_could_not_be_removed(tmp_path: Path) -> None:
    """DE5: a refused removal keeps everything above it."""
    with Sandbox(
        faults={"fault": [{"kind": "bad-request", "on": "DELETE /resources/{resourceId}", "at": [1]}]}
    ) as (sandbox):
        Bench(sandbox, tmp_path).deliver(SETUP)
        done = Bench(sandbox, tmp_path, concurrency=1).deliver(removals())
        assert {
            ("delete_resources", "rejected"): 1,
            ("delete_locations", "blocked"): 1,
            ("delete_users", "blocked"): 1,
        } == {key: n for key, n in done.accounted.items() if key[1] != "acknowledged"}
        assert 1 == len(sandbox.state()["users"])


def test_nothing_is_removed_below_which_something_unknown_hangs(tmp_path: Path) -> None:
    """DE5: a cascade would take along what nobody asked to remove."""
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver(SETUP)
        only_users = {Phase.DELETE_USERS: removals()[Phase.DELETE_USERS]}
        done = Bench(sandbox, tmp_path).deliver(only_users)
        assert ({("delete_users", "rejected"): N}, {}) == (done.accounted, deleted(sandbox))


def test_reads_that_lag_do_not_keep_an_empty_user(tmp_path: Path) -> None:
    """DE7, axis D: what was just removed may still be shown."""
    with Sandbox(semantics=Semantics(d="reads-lag", lag_seconds=0.3)) as sandbox:
        bench = Bench(sandbox, tmp_path, settle=0.5)
        bench.deliver(SETUP)
        done = bench.deliver(removals())
        while done.accounted.get(("delete_users", "acknowledged"), 0) < N and done.error is None:
            done = bench.deliver(removals(), resume=True)
        assert {1} == set(deleted(sandbox).values())
        assert [] == sandbox.state()["users"]


# ------------------------------------------------------------------ circles
def point(number: int) -> str:
    return f"70705759999{number:07d}"


def traded(n: int) -> dict[Phase, pl.DataFrame]:
    """Locations 0 … n-1 each get the meter point of the next one."""
    held = locations(n)
    bodies = [
        body.replace(point(number), point((number + 1) % n))
        for number, body in enumerate(held["body"].to_list())
    ]
    changed = held.with_columns(pl.Series("body", bodies))
    return {
        Phase.FREE_LOCATIONS: changed.with_columns(pl.lit("released").alias("digest")),
        Phase.UPDATE_LOCATIONS: changed,
    }


def without_coordinates(plan: dict[Phase, pl.DataFrame]) -> dict[Phase, pl.DataFrame]:
    bare = pl.col("body").str.replace(r'"coordinates":\{[^}]*\},', "")
    return {phase: records.with_columns(bare) for phase, records in plan.items()}


def holders(sandbox: Sandbox) -> dict[str, list[str]]:
    return {one["locationId"]: one.get("meterPointIds") or [] for one in sandbox.state()["locations"]}


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("kind", [None, "applied-then-dropped", "applied-then-503", "dropped"])
def test_a_circle_of_meter_points_is_traded(tmp_path: Path, n: int, kind: str | None) -> None:
    """A server that demands uniqueness takes it, whichever answers are lost."""
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver({Phase.CREATE_USERS: users(n), Phase.CREATE_LOCATIONS: locations(n)})
        if kind:
            sandbox.set_faults({"fault": [{"kind": kind, "on": "any", "at": [2, 4, 7, 10]}]})
        done = Bench(sandbox, tmp_path).deliver(traded(n))
        assert n == done.accounted["update_locations", "acknowledged"]
        assert {f"loc-{one:05d}": [point((one + 1) % n)] for one in range(n)} == holders(sandbox)
        assert {} == deleted(sandbox)


def test_an_update_alone_would_be_refused(tmp_path: Path) -> None:
    """Why there is a first step: without it the sandbox refuses, as a server that demands uniqueness does."""
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver({Phase.CREATE_USERS: users(2), Phase.CREATE_LOCATIONS: locations(2)})
        done = Bench(sandbox, tmp_path).deliver({Phase.UPDATE_LOCATIONS: traded(2)[Phase.UPDATE_LOCATIONS]})
        assert {("update_locations", "rejected"): 2} == done.accounted


def test_locations_that_are_nothing_but_a_meter_point_trade_it_too(tmp_path: Path) -> None:
    """One that would be empty in between is put back right after; its user and others never go."""
    setup = {Phase.CREATE_USERS: users(2), Phase.CREATE_LOCATIONS: locations(2)}
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver(without_coordinates(setup))
        done = Bench(sandbox, tmp_path).deliver(without_coordinates(traded(2)))
        assert 2 == done.accounted["update_locations", "acknowledged"]
        assert {"loc-00000": [point(1)], "loc-00001": [point(0)]} == holders(sandbox)


def test_a_location_with_resources_is_never_removed_to_free_a_meter_point(tmp_path: Path) -> None:
    """Its heat pump would go with it: it is refused and shown instead."""
    setup = without_coordinates({Phase.CREATE_USERS: users(2), Phase.CREATE_LOCATIONS: locations(2)})
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver({**setup, Phase.CREATE_RESOURCES: resources(2)})
        done = Bench(sandbox, tmp_path).deliver(without_coordinates(traded(2)))
        assert {("free_locations", "rejected"): 2, ("update_locations", "blocked"): 2} == done.accounted
        assert {} == deleted(sandbox)


def test_new_coordinates_keep_a_location_from_being_empty(tmp_path: Path) -> None:
    setup = without_coordinates({Phase.CREATE_USERS: users(2), Phase.CREATE_LOCATIONS: locations(2)})
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver({**setup, Phase.CREATE_RESOURCES: resources(2)})
        done = Bench(sandbox, tmp_path).deliver(traded(2))
        assert 2 == done.accounted["update_locations", "acknowledged"]
        assert {"loc-00000": [point(1)], "loc-00001": [point(0)]} == holders(sandbox)


def test_a_first_step_in_doubt_is_told_with_its_update_and_the_schedules_would_see_it_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision 41: the update is in doubt; sums that say so beside reasons that say it is blocked are a bug."""
    with Sandbox() as sandbox:
        Bench(sandbox, tmp_path).deliver({Phase.CREATE_USERS: users(2), Phase.CREATE_LOCATIONS: locations(2)})
        sandbox.set_faults({"fault": [{"kind": "dropped", "on": "update", "every": 1}]})
        done = Bench(sandbox, tmp_path, settle=0.01).deliver(traded(2))
    assert {("free_locations", "in_doubt"): 2, ("update_locations", "blocked"): 2} == done.accounted
    assert Exit.IN_DOUBT == ending_of(traded(2), done.lines, None).exit_code
    told = account.reason_counts
    monkeypatch.setattr(account, "HALF_DONE", {})
    blocked = told(done.lines, Plan("d", {Kind.LOCATION: KindPlan(update=2)}, {}, 1, 2))
    monkeypatch.undo()
    monkeypatch.setattr(account, "reason_counts", lambda *_: blocked)
    with pytest.raises(AccountError, match="blocked location records 2"):
        ending_of(traded(2), done.lines, None)


# ------------------------------------------------------------------ kills
CIRCLE = 3


def killed() -> Job:
    return Job({**traded(CIRCLE), **removals(2)})


@contextmanager
def filled(folder: Path):
    """A sandbox with customers in it; the ledger that made them is not the one under test."""
    with Sandbox() as sandbox:
        (folder / "setup").mkdir(parents=True)
        Bench(sandbox, folder / "setup").deliver(SETUP)
        yield sandbox


def assert_all_is_done_once(sandbox: Sandbox) -> None:
    circle = {f"loc-{one:05d}": [point((one + 1) % CIRCLE)] for one in range(CIRCLE)}
    rest = {f"loc-{one:05d}": [point(one)] for one in range(CIRCLE, N - 2)}
    assert {**circle, **rest} == holders(sandbox)
    assert (N - 2, 6, {1}) == (
        len(sandbox.state()["users"]),
        len(deleted(sandbox)),
        set(deleted(sandbox).values()),
    )


@pytest.fixture(scope="module")
def steps_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> int:
    folder = tmp_path_factory.mktemp("reference")
    with filled(folder) as sandbox:
        code, steps = deliver(killed(), sandbox, folder)
        assert 0 == code
        assert_all_is_done_once(sandbox)
    return steps


@pytest.mark.parametrize("share", [number / 10 for number in range(10)])
def test_a_kill_leaves_no_circle_open_and_removes_nothing_twice(
    tmp_path: Path, steps_of_a_run: int, share: float
) -> None:
    """KI1, DE7: killed anywhere, also between applied and answer read, and again while it recovers."""
    kill_at = 2 + int(share * (steps_of_a_run - 2))
    with filled(tmp_path) as sandbox:
        assert -signal.SIGKILL == deliver(killed(), sandbox, tmp_path, kill_at=kill_at)[0]
        deliver(killed(), sandbox, tmp_path, kill_at=7, resume=has_run(tmp_path))
        assert 0 == deliver(killed(), sandbox, tmp_path, resume=has_run(tmp_path))[0]
        assert_all_is_done_once(sandbox)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_every_kill_point_of_a_removal(tmp_path: Path, steps_of_a_run: int) -> None:
    for kill_at in range(2, steps_of_a_run + 1):
        folder = tmp_path / str(kill_at)
        with filled(folder) as sandbox:
            deliver(killed(), sandbox, folder, kill_at=kill_at)
            assert 0 == deliver(killed(), sandbox, folder, resume=has_run(folder))[0]
            assert_all_is_done_once(sandbox)
