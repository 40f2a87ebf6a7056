"""The sender against the sandbox over real sockets: nothing lost, nothing twice, and said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.phases import Phase
from sandbox.server import Sandbox
from schemas.errors import GuardError
from schemas.profile import GuardsSection
from tests.delivery.harness import Bench, creates, locations, resources, users

PLAN = {Phase.CREATE_USERS: users(250), Phase.CREATE_LOCATIONS: locations(250)}
ALL_DONE = {("create_users", "acknowledged"): 250, ("create_locations", "acknowledged"): 250}


def once_each(sandbox: Sandbox, n: int) -> bool:
    counts = creates(sandbox)
    return len(counts) == n and set(counts.values()) == {1}


def test_a_plan_is_delivered_in_chunks(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        done = Bench(sandbox, tmp_path).deliver(PLAN)
        assert ALL_DONE == done.accounted
        assert once_each(sandbox, 500)


def test_resources_and_vehicles_follow_their_parents(tmp_path: Path) -> None:
    plan = PLAN | {Phase.CREATE_RESOURCES: resources(250), Phase.CREATE_VEHICLES: users(0)}
    with Sandbox() as sandbox:
        done = Bench(sandbox, tmp_path).deliver(plan)
        assert 250 == done.accounted["create_resources", "acknowledged"]
        assert once_each(sandbox, 750)


FAULTS = [
    "applied-then-dropped",
    "applied-then-reset",
    "applied-then-503",
    "applied-then-cut",
    "dropped",
    "reset",
    "unavailable-503",
    "rate-limited",
    "prefix-then-400",
    "subset-then-400",
    "subset-then-201",
    "short-list",
    "gappy-list",
    "shuffled-list",
    "doubled-list",
    "empty-200",
    "multi-status-207",
    "login-page",
    "garbled",
    "wrong-content-type",
    "unauthorized-401",
    "bad-request",
]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_now_and_then_loses_nothing_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    faults = {"fault": [{"kind": kind, "on": "batch", "every": 3, "times": 2}]}
    with Sandbox(faults=faults) as sandbox:
        bench = Bench(sandbox, tmp_path)
        done = bench.deliver(PLAN)
        if kind == "garbled" and isinstance(done.error, GuardError):
            # A damaged id is an id nobody sent: a person is to look, and then it goes on.
            done = bench.deliver(PLAN, resume=True)
        assert done.error is None
        assert ALL_DONE == done.accounted
        assert once_each(sandbox, 500)


@pytest.mark.parametrize("poison", [1, 5])
def test_poison_is_found_within_the_bound(tmp_path: Path, poison: int) -> None:
    bad = {f"loc-{number * 197 + 3:05d}" for number in range(poison)}
    plan = {Phase.CREATE_USERS: users(1000), Phase.CREATE_LOCATIONS: locations(1000)}
    with Sandbox(rules={"reject_ids": bad}) as sandbox:
        bench = Bench(sandbox, tmp_path, chunk=1000)
        bench.guards = bench.guards.model_copy(update={"canary": 1000})
        done = bench.deliver(plan)
        assert {"acknowledged": 1000 - poison, "rejected": poison} == {
            state: n for (phase, state), n in done.accounted.items() if phase == "create_locations"
        }
        posts = done.requests[0] - 1
        assert posts <= {1: 21, 5: 86}[poison], posts


def test_a_run_stops_when_too_many_are_refused(tmp_path: Path) -> None:
    with Sandbox(rules={"reject_users_fraction": 0.2}) as sandbox:
        done = Bench(sandbox, tmp_path, guards=GuardsSection()).deliver({Phase.CREATE_USERS: users(2000)})
        assert isinstance(done.error, GuardError)
        assert sum(done.accounted.values()) < 2000


def test_a_run_stops_when_one_after_the_other_is_refused_for_the_same_reason(tmp_path: Path) -> None:
    with Sandbox(rules={"reject_users_fraction": 0.5}) as sandbox:
        guards = GuardsSection(rejected=1.0, rejected_alike=4)
        done = Bench(sandbox, tmp_path, chunk=20, guards=guards).deliver({Phase.CREATE_USERS: users(400)})
        assert isinstance(done.error, GuardError)
        assert ("rejected", True) == (done.error.guard, "raise [guards] rejected_alike" in done.error.cure)
        assert sum(done.accounted.values()) < 400
