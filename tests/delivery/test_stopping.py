"""How a delivery comes to an end before its time; in virtual time, with nothing left behind that is not mended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.delivery import traffic
from tests.campaign import quick
from tests.campaign.checker import Evidence, violations
from tests.campaign.schedules import Schedule
from tests.campaign.simulator import simulate
from tests.campaign.test_twins import SIZES, calm

ONLY_USERS = dict.fromkeys(SIZES, 0) | {"create_users": 6}


@pytest.fixture(autouse=True)
def looked_at_as_often_as_in_a_real_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules look at the clock in larger steps; how soon a run ends is what is asked here."""
    monkeypatch.setattr(quick, "PAUSE_STEP_SECONDS", traffic.PAUSE_STEP_SECONDS)


def ended(folder: Path, *faults: dict[str, Any], **changes: Any) -> Evidence:
    """What is left of a delivery with these faults in its first life; every invariant holds at the end."""
    one: Schedule = replace(calm(**changes), faults=list(faults))
    evidence = simulate(one, folder)
    assert [] == violations(evidence)
    return evidence


def test_an_answer_with_foreign_ids_stops_the_run_with_the_chunk_in_doubt(tmp_path: Path) -> None:
    first = ended(tmp_path, {"kind": "foreign-id", "on": "batch", "at": [1]}).lives[0]
    assert ("foreign_ids", 11) == (first.guard, first.exit_code)
    assert 6 == first.states["in_doubt"]


def test_two_web_pages_in_a_row_stop_the_run(tmp_path: Path) -> None:
    evidence = ended(tmp_path, {"kind": "login-page", "on": "api"}, sizes=ONLY_USERS)
    assert ("ApiUnavailable", 15) == (evidence.lives[0].error, evidence.lives[0].exit_code)
    assert 3 >= evidence.lives[0].sent  # a token and two pages


def test_one_web_page_does_not(tmp_path: Path) -> None:
    evidence = ended(tmp_path, {"kind": "login-page", "on": "batch", "at": [1]}, sizes=ONLY_USERS)
    assert 0 == evidence.lives[0].exit_code


def test_a_request_that_is_never_answered_is_waited_for_ten_seconds_once_told_to_stop(tmp_path: Path) -> None:
    evidence = ended(tmp_path, {"kind": "silence", "on": "batch"}, sizes=ONLY_USERS, stop_after=2.0)
    assert 12.0 <= evidence.lives[0].seconds < 14.0
    assert {"acknowledged": 1, "in_doubt": 5} == evidence.lives[0].states


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate-limited", "on": "batch", "seconds": 60},
        {"kind": "unavailable-503", "on": "batch", "retry_after": 50},
        {"kind": "dropped", "on": "api"},
    ],
)
def test_no_wait_outlasts_the_wish_to_stop(tmp_path: Path, fault: dict[str, Any]) -> None:
    evidence = ended(tmp_path, fault, sizes=ONLY_USERS, stop_after=2.0)
    assert evidence.lives[0].seconds < 4.0


def test_a_chunk_that_is_never_answered_stays_in_doubt_in_the_end(tmp_path: Path) -> None:
    evidence = ended(tmp_path, {"kind": "dropped", "on": "batch"}, sizes=ONLY_USERS)
    first = evidence.lives[0]
    assert (12, None) == (first.exit_code, first.error)
    batches = [sent for sent in evidence.sent if sent.life == 0 and sent.path.endswith("/batch")]
    assert 4 == len(batches)
