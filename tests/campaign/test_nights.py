"""Any sequence of nights ends well: exports change, runs die, the API changes its ways, an old ledger is put back."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.campaign.nights import UNDONE, tenant
from tests.campaign.schedules import axes_of

FAULTS = (
    "applied-then-dropped",
    "applied-then-503",
    "dropped",
    "unavailable-503",
    "prefix-then-400",
    "empty-200",
    "short-list",
    "garbled",
    "token-error",
)
ANY = st.integers(0, 10**6)


class Nights(RuleBasedStateMachine):
    """What may happen to a tenant, night after night."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="nights-"))
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.tenant = self.stack.enter_context(tenant(self.folder))

    @initialize(places=st.integers(1, 3))
    def first(self, places: int) -> None:
        self.tenant.add(places)
        self.tenant.add(1)

    # ------------------------------------------------------ the export changes
    @rule(places=st.integers(1, 3))
    def a_customer_comes(self, places: int) -> None:
        self.tenant.add(places)

    @rule(which=ANY)
    def a_location_changes(self, which: int) -> None:
        places = self.tenant.places()
        place = places[which % len(places)][2]
        place.kind, place.north = ("N" if place.kind == "H" else "H"), place.north + 0.01

    @rule(which=ANY)
    def a_meter_point_is_added(self, which: int) -> None:
        places = self.tenant.places()
        places[which % len(places)][2].points.append(f"70705759{self.tenant.number():010d}")

    @rule(from_=ANY, to=ANY)
    def a_meter_point_passes_to_another_customer(self, from_: int, to: int) -> None:
        places = self.tenant.places()
        user, name, giver = places[from_ % len(places)]
        others = [place for other, _, place in places if other != user]
        if others:
            others[to % len(others)].points.append(giver.points.pop())
            if not giver.points:
                del self.tenant.customers[user][name]
            if not self.tenant.customers[user]:
                del self.tenant.customers[user]

    # ------------------------------------------------------ the world changes
    @rule(cell=st.integers(0, 1349), kind=st.sampled_from(FAULTS), every=st.integers(2, 5))
    def the_api_behaves_otherwise(self, cell: int, kind: str, every: int) -> None:
        axes: dict[str, Any] = axes_of(cell)
        if axes["b"] == "duplicate":
            axes["e"] = "none"  # with late requests nobody can exclude duplicates
        self.tenant.api.set_faults(
            {
                "seed": cell,
                "semantics": axes
                | {"lag_seconds": 0.1, "late_seconds": 0.1, "limit_items": 3, "limit_bytes": 900},
                "fault": [{"kind": kind, "every": every}],
            }
        )

    # ------------------------------------------------------ nights
    @rule()
    def a_night(self) -> None:
        assert self.tenant.sync().code in {0, 10} | UNDONE

    @rule(at=st.integers(1, 25))
    def a_night_that_dies(self, at: int) -> None:
        assert self.tenant.sync(kill_at=at).code in {0, 10, -9} | UNDONE

    @rule()
    def somebody_resumes(self) -> None:
        assert self.tenant.run("resume").code in {0, 10} | UNDONE

    @rule()
    def a_backup_is_taken(self) -> None:
        self.tenant.keep()

    @precondition(lambda self: self.tenant.kept is not None)
    @rule()
    def the_backup_is_put_back(self) -> None:
        """A ledger that forgot is refused, with nothing sent, until it was rebuilt from what is there."""
        self.tenant.put_back()
        before = self.tenant.changes
        code = self.tenant.sync().code
        if code == 16:
            assert before == self.tenant.changes
            self.tenant.api.set_faults(None)
            self.tenant.api.settle()
            assert 0 == self.tenant.adopt()

    # ------------------------------------------------------ what holds
    @invariant()
    def nothing_is_made_twice_and_nobody_is_deleted(self) -> None:
        self.tenant.check_effects()

    def teardown(self) -> None:
        try:
            self.tenant.finish()
        finally:
            self.stack.close()


QUIET = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
    "phases": [Phase.explicit, Phase.generate],  # a story is short as it is; telling it again takes minutes
    "print_blob": True,
}


@pytest.mark.timeout(900)
class TestNights(Nights.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=4, stateful_step_count=5, derandomize=True, **QUIET)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
class TestManyNights(Nights.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=40, stateful_step_count=12, **QUIET)


def test_a_ledger_that_forgot_is_refused_until_it_was_rebuilt(tmp_path: Path) -> None:
    with tenant(tmp_path) as one:
        one.add(2)
        assert 0 == one.sync().code
        one.keep()
        one.add(1)
        assert 0 == one.sync().code
        one.put_back()
        before = one.changes
        assert (16, before) == (one.sync().code, one.changes)
        assert 0 == one.adopt()
        one.finish()


# ------------------------------------------------------------------ each of these can fail
def test_what_a_night_lost_doubled_or_miscounted_is_seen(tmp_path: Path) -> None:
    with tenant(tmp_path) as one:
        one.add(2)
        told = one.sync()
        assert (0, []) == (told.code, one.wrong())
        export = tmp_path / "kunder-001.csv"
        [user] = one.customers
        name = next(iter(one.customers[user]))

        lost = dict(told.document, rows=dict(told.document["rows"], mapped=1))
        with pytest.raises(AssertionError, match="I1"):
            one.check_rows(lost, export)

        backwards = tmp_path / "backwards.csv"
        head, *lines = export.read_text().split()
        backwards.write_text("\n".join([head, *reversed(lines)]) + "\n")
        with pytest.raises(AssertionError, match="I2"):
            one.check_provenance(told.document, backwards)

        ask = f"{one.api.base_url}/users/{user}/locations/{name}"
        token = json.loads(one.api.core.tokens.issue(60.0).body)["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        assert 204 == httpx.delete(ask, headers=bearer, timeout=60.0).status_code
        assert [f"{user} {name} is missing"] == one.wrong()

        one.api.set_faults({"semantics": {"b": "duplicate"}})
        url = f"{one.api.base_url}/users"
        again = httpx.post(url, json={"userId": user}, headers=bearer, timeout=60.0)
        assert 201 == again.status_code
        with pytest.raises(AssertionError, match="I6"):
            one.check_effects()
