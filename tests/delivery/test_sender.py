"""The sender against the sandbox over real sockets: nothing lost, nothing twice, and said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.phases import Phase
from sandbox.server import Sandbox
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
