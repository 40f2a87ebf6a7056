"""Rows of the fault catalogue that need a whole command: lists that misbehave, clocks that jump, and the like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connectors.api import ApiClient
from pipeline.phases import Phase
from sandbox.server import Sandbox
from schemas.exchange import Answer, Call
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


@pytest.fixture
def contract(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What becomes of the published contract on its way: `status`, and `instead` of its text."""
    said: dict[str, Any] = {}
    call = ApiClient.call

    async def changed(self: ApiClient, request: Call) -> Any:
        answer = await call(self, request)
        if request.segments[0] == "swagger" and isinstance(answer, Answer) and said:
            body = said["instead"](answer.body) if "instead" in said else answer.body
            return replace(answer, status=said.get("status", 200), body=body)
        return answer

    monkeypatch.setattr(ApiClient, "call", changed)
    return said


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({"status": 404}, "contract_not_published"),
        ({"status": 503}, "contract_not_published"),
        ({"instead": lambda _body: b"<html>"}, "contract_not_readable"),
    ],
)
def test_a_contract_that_cannot_be_had_is_noted_and_no_reason_to_stop(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    contract: dict[str, Any],
    said: dict[str, Any],
    note: str,
) -> None:
    """DR3: the pinned one holds, and the canary goes first."""
    contract.update(said)
    done = meterfeed("sync", *write("a.csv", portfolio(12)), "--json", **settings_for(api)).document
    assert (0, True) == (done["exit_code"], note in done["notes"])
    first = next(line for line in api.requests() if line["path"].endswith("/users/batch"))
    assert 5 == first["count"]


def test_a_contract_that_broke_stops_the_run_before_anything_is_sent(
    meterfeed: Any,
    api: Sandbox,
    write: Any,  # noqa: F811
    contract: dict[str, Any],
) -> None:
    """DR2: a path of ours in another case, as it happened in January 2025."""
    contract["instead"] = lambda body: body.replace(b"/users/locations/batch", b"/users/Locations/batch")
    ended = meterfeed("sync", *write("a.csv", portfolio(12)), "--json", **settings_for(api))
    assert (11, 0) == (ended.code, mutating(api))
    assert "contract changed" in ended.document["error"]["message"]
