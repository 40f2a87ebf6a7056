"""Any sequence of nights ends well: exports change, runs die, the API changes its ways, an old ledger is put back."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

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
CELL = st.integers(0, 1349)
AT = st.integers(1, 8)
"""A night with new customers makes at least so many requests, and is killed at one of them."""


class Nights(RuleBasedStateMachine):
    """What may happen to a tenant, night after night.

    A story ends well only if something happened in it: what chance left out comes at its end.
    """

    stories: ClassVar[list[Counter[str]]] = []
    """What came about in each story."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="nights-"))
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.tenant = self.stack.enter_context(tenant(self.folder))
        self.came: Counter[str] = Counter()
        self.stories.append(self.came)

    @initialize(places=st.integers(1, 3), cell=CELL, kind=st.sampled_from(FAULTS[:-1]), at=AT)
    def first(self, places: int, cell: int, kind: str, at: int) -> None:
        self.tenant.add(places)
        self.tenant.add(1)
        self.fate = cell, kind, at

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
    @rule(cell=CELL, kind=st.sampled_from(FAULTS), every=st.integers(2, 5), times=st.integers(1, 4))
    def the_api_behaves_otherwise(self, cell: int, kind: str, every: int, times: int) -> None:
        axes: dict[str, Any] = axes_of(cell)
        if axes["b"] == "duplicate":
            axes["e"] = "none"  # with late requests nobody can exclude duplicates
        self.tenant.api.set_faults(
            {
                "seed": cell,
                "semantics": axes
                | {"lag_seconds": 0.1, "late_seconds": 0.1, "limit_items": 3, "limit_bytes": 900},
                "fault": [
                    {"kind": kind, "every": every, "times": times}
                ],  # more of it is a matter of waiting
            }
        )
        self.came["changed"] += 1

    # ------------------------------------------------------ nights
    @rule()
    def a_night(self) -> None:
        self.end(self.tenant.sync().code, {0, 10} | UNDONE)

    @rule(at=AT)
    def a_night_that_dies(self, at: int) -> None:
        self.tenant.add(2)
        self.tenant.add(1)
        self.end(self.tenant.sync(kill_at=at).code, {0, 10, -9} | UNDONE)

    @rule()
    def somebody_resumes(self) -> None:
        self.end(self.tenant.run("resume").code, {0, 10} | UNDONE)

    @rule()
    def a_backup_is_taken(self) -> None:
        self.tenant.keep()

    @precondition(lambda self: self.tenant.kept is not None)
    @rule()
    def the_backup_is_put_back(self) -> None:
        """A ledger that forgot is refused, with nothing sent, until it was rebuilt from what is there."""
        self.tenant.put_back()
        self.came["put back"] += 1
        before = self.tenant.changes
        code = self.tenant.sync().code
        self.end(code, {0, 10} | UNDONE)
        if code == 16:
            assert before == self.tenant.changes
            self.tenant.api.set_faults(None)
            self.tenant.api.settle()
            assert 0 == self.tenant.adopt()
            self.came["rebuilt"] += 1

    def end(self, code: int, among: set[int]) -> None:
        assert code in among
        self.came[f"ended with {code}"] += 1

    # ------------------------------------------------------ what holds
    @invariant()
    def nothing_is_made_twice_and_nobody_is_deleted(self) -> None:
        self.tenant.check_effects()

    @property
    def struck(self) -> int:
        return sum(one["fault"] is not None for one in self.tenant.api.requests())

    def what_has_not_come_yet(self) -> None:
        cell, kind, at = self.fate
        if not self.struck:
            self.the_api_behaves_otherwise(cell, kind, every=2, times=2)
            self.a_customer_comes(2)
            self.a_night()
        if not self.came["put back"]:
            self.a_backup_is_taken()
        if not self.came["ended with -9"]:
            self.a_night_that_dies(at)
        if not self.came["put back"]:
            self.the_backup_is_put_back()

    def teardown(self) -> None:
        try:
            self.what_has_not_come_yet()
            self.came["struck"] = self.struck
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


CAME = ("changed", "struck", "ended with -9", "put back", "ended with 16", "rebuilt")
"""What happens in every story."""


def tell(examples: int, steps: int, **how: bool) -> list[Counter[str]]:
    """Tell stories, and give back what came about in each."""
    Nights.stories.clear()
    run_state_machine_as_test(
        Nights, settings=settings(max_examples=examples, stateful_step_count=steps, **QUIET, **how)
    )
    for came in Nights.stories:
        print(", ".join(f"{what}: {times}" for what, times in sorted(came.items())))
    return Nights.stories


@pytest.mark.timeout(900)
def test_any_few_nights_end_well() -> None:
    stories = tell(2, 5, derandomize=True)
    assert 2 == len(stories)
    assert [] == [what for what in CAME if not any(came[what] for came in stories)], "it did not happen"


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_any_nights_end_well() -> None:
    stories = tell(40, 12)
    for what in CAME:
        assert sum(bool(came[what]) for came in stories) > len(stories) / 2, what


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
