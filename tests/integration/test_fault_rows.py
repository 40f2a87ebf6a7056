"""Rows of the fault catalogue that need a whole command: lists that misbehave, clocks that jump, and the like."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.phases import Phase
from sandbox.server import Sandbox
from tests.delivery.harness import Bench, locations, resources, users
from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import mutating, portfolio, write  # noqa: F401
from tests.integration.test_vanished import Clock, by_hand, clock  # noqa: F401


@pytest.mark.parametrize("kind", ["page-clamped", "page-shuffled", "page-shift", "page-total", "page-loop"])
def test_a_list_that_misbehaves_hides_nobody_or_says_so(meterfeed: Any, write: Any, kind: str) -> None:  # noqa: F811
    """RE20: pages smaller than asked for, in another order, shifting, with a wrong total, or without an end."""
    with Sandbox() as api:
        arguments = write("a.csv", portfolio(30))
        meterfeed("sync", *arguments, "--json", **settings_for(api))
        options = {"size": 7} if kind == "page-clamped" else {}
        api.set_faults({"fault": [{"kind": kind, "on": "GET /users", **options}]})
        before = mutating(api)
        ended = meterfeed("adopt", *arguments[1:], "--json")
        if ended.code == 0:
            assert 30 == ended.document["adopted"]["user"]
        else:
            assert 15 == ended.code
        told = meterfeed("reconcile", "--users", "all", "--json")
        assert told.code in (0, 15)
        assert before == mutating(api)


def test_an_empty_tenant_is_read_back_too(meterfeed: Any, api: Sandbox) -> None:
    """RE20: an empty page is an answer."""
    told = meterfeed("reconcile", "--users", "all", "--json", **settings_for(api)).document
    assert (0, 0) == (told["exit_code"], told["users_read"])


def test_a_clock_that_goes_back_neither_confuses_runs_nor_ages_what_is_missing(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    clock: Clock,  # noqa: F811
) -> None:
    """CL1, CL2: runs are ordered by number, and a negative time is no day."""
    first = meterfeed("sync", *write("a.csv", portfolio(30)), "--json", **settings_for(api)).document
    clock.go_on(-72)
    second = meterfeed("sync", *write("b.csv", portfolio(29)), "--json").document
    clock.go_on(-72)
    plan = meterfeed("plan", *write("c.csv", portfolio(29)[::-1]), "--delete-vanished", "--json").document
    assert (0, 0, 0) == (first["exit_code"], second["exit_code"], plan["plan"]["user"]["delete"])
    numbers = [int(one["run_id"].split("-")[1]) for one in (first, second, plan)]
    assert sorted(numbers) == numbers
    clock.go_on(144 + 24)
    assert 0 == meterfeed("resume", "--json").code


def test_a_child_whose_parent_somebody_removed_is_blocked_not_failed(tmp_path: Any) -> None:
    """RE10, CH4: a 404 to a child says that the parent is gone, not that the child is bad."""
    with Sandbox() as api:
        Bench(api, tmp_path).deliver({Phase.CREATE_USERS: users(4), Phase.CREATE_LOCATIONS: locations(4)})
        by_hand(api, "DELETE", "/users/user-00002/locations/loc-00002")
        done = Bench(api, tmp_path).deliver({Phase.CREATE_RESOURCES: resources(4)})
        assert {("create_resources", "acknowledged"): 3, ("create_resources", "blocked"): 1} == done.accounted
