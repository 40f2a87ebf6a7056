"""A failing server is not hit harder for failing: requests are counted, in virtual time.

With a tenth of all requests failing, those that are sent again among them, nobody delivers everything with fewer than
1 / 0.9 requests for each one needed. So the measure is how many requests are repetitions: one in ten at most.
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


def repeated(ended: Ended) -> float:
    """The share of requests that change something and were sent before."""
    chunks = {line["trace"].rpartition("-")[0] for line in ended.changing}
    return 1 - len(chunks) / len(ended.changing)


@pytest.mark.parametrize("kind", FAILING)
def test_with_a_tenth_failing_one_request_in_ten_is_a_repetition_at_most(kind, tmp_path):
    ended = night(tmp_path, {"kind": kind, "on": "mutating", "every": 10})
    assert sum(line["fault"] is not None for line in ended.changing) == len(ended.changing) // 10 > 25
    assert N == sum(ended.account.values())
    assert kind.startswith("applied") == (repeated(ended) == 0.0), "what was applied is read, not sent again"
    assert repeated(ended) <= 0.1


def test_with_a_tenth_throttled_no_more_are_repeated_either(tmp_path):
    ended = night(tmp_path, {"kind": "rate-limited", "on": "mutating", "every": 10, "form": "seconds"})
    assert N == sum(ended.account.values())
    assert 0.05 < repeated(ended) <= 0.1


def test_without_failures_nothing_is_sent_twice(tmp_path):
    assert repeated(night(tmp_path, {"kind": "reset", "on": "mutating", "at": [10**6]})) == 0.0


@pytest.mark.parametrize("kind", [*FAILING, "rate-limited"])
def test_a_server_that_is_down_gets_few_requests_and_soon_none(kind, tmp_path):
    ended = night(tmp_path, {"kind": kind, "on": "api"})
    assert isinstance(ended.error, ApiUnavailable)
    assert len(ended.requests) <= max(ALWAYS_ALLOWED, 20 * ended.seconds / 60)
