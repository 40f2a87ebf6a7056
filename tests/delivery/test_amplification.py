"""A failing server is not hit harder for failing: requests are counted, in virtual time.

Amplification is requests sent for each one needed. Where a tenth of what is needed fails once, it is 1.1 at most. Where
every tenth request fails, those that are sent again among them, nobody delivers everything with fewer than 1 / 0.9.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.delivery.budget import ALWAYS_ALLOWED
from pipeline.phases import Phase
from schemas.errors import ApiUnavailable
from tests.delivery.harness import users
from tests.delivery.virtual import Ended, VirtualBench

N = 3_000
FAILING = ["unavailable-503", "applied-then-503", "dropped", "applied-then-dropped", "reset"]


def night(folder: Path, fault: dict) -> Ended:
    bench = VirtualBench(folder, {Phase.CREATE_USERS: users(N)}, {"fault": [fault]}, concurrency=4)
    try:
        return bench.start()
    finally:
        bench.close()


def needed(ended: Ended) -> int:
    """How many requests it would have taken without failures: one for each chunk."""
    return len({line["trace"].rpartition("-")[0] for line in ended.changing})


def amplification(ended: Ended) -> float:
    """Requests that change something, for each one needed."""
    return len(ended.changing) / needed(ended)


@pytest.mark.parametrize("kind", FAILING)
def test_with_a_tenth_of_what_is_needed_failing_a_tenth_more_is_sent_at_most(kind, tmp_path):
    every = 10 if kind.startswith("applied") else 11  # of what is sent: of what is needed, a tenth
    ended = night(tmp_path, {"kind": kind, "on": "mutating", "every": every})
    failed = sum(line["fault"] is not None for line in ended.changing)
    assert N == sum(ended.account.values())
    assert 0.09 < failed / needed(ended) <= 0.1
    assert kind.startswith("applied") == (amplification(ended) == 1.0), (
        "what was applied is read, not sent again"
    )
    assert amplification(ended) <= 1.1


@pytest.mark.parametrize("kind", ["applied-then-dropped", "reset"])
def test_with_a_tenth_of_all_requests_failing_no_more_are_sent_than_must_be(kind, tmp_path):
    ended = night(tmp_path, {"kind": kind, "on": "mutating", "every": 10})
    assert sum(line["fault"] is not None for line in ended.changing) == len(ended.changing) // 10 > 25
    assert N == sum(ended.account.values())
    assert kind.startswith("applied") == (amplification(ended) == 1.0)
    assert amplification(ended) <= 1 / (1 - 0.1)


def test_with_a_tenth_throttled_no_more_are_repeated_either(tmp_path):
    ended = night(tmp_path, {"kind": "rate-limited", "on": "mutating", "every": 10, "form": "seconds"})
    assert N == sum(ended.account.values())
    assert 1.05 < amplification(ended) <= 1 / (1 - 0.1)


def test_without_failures_nothing_is_sent_twice(tmp_path):
    assert amplification(night(tmp_path, {"kind": "reset", "on": "mutating", "at": [10**6]})) == 1.0


@pytest.mark.parametrize("kind", [*FAILING, "rate-limited"])
def test_a_server_that_is_down_gets_few_requests_and_soon_none(kind, tmp_path):
    ended = night(tmp_path, {"kind": kind, "on": "api"})
    assert isinstance(ended.error, ApiUnavailable)
    assert len(ended.requests) <= max(ALWAYS_ALLOWED, 20 * ended.seconds / 60)
