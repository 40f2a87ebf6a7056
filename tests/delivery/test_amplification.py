"""A failing server is not hit harder for failing: requests are counted, in virtual time.

Amplification is requests sent for each one needed. Where every tenth request fails, those that are sent again among
them, nobody delivers everything with fewer than 1 / 0.9 = 1.11. Reads do not strain what fails, but they are requests
as well: what they come to is counted beside it, and written into the report of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.delivery.budget import ALWAYS_ALLOWED
from pipeline.phases import Phase
from schemas.errors import ApiUnavailable
from tests.delivery.harness import users
from tests.delivery.virtual import Ended, VirtualBench

N = 3_000
CHUNK = 10
SENT_AGAIN = ["unavailable-503", "dropped", "reset", "rate-limited"]
APPLIED = ["applied-then-503", "applied-then-dropped"]
LOOKS_BACK = {"rate-limited": 0, "applied-then-503": 1, "applied-then-dropped": 1}
"""How often a record of a failed request is looked for: what is there once, what is not there twice."""


def night(folder: Path, fault: dict) -> Ended:
    bench = VirtualBench(
        folder, {Phase.CREATE_USERS: users(N)}, {"fault": [fault]}, concurrency=4, chunk=CHUNK
    )
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


def reads(ended: Ended) -> int:
    return len(ended.requests) - len(ended.changing)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The same night when nothing fails."""
    never = {"kind": "reset", "on": "mutating", "at": [10**6]}
    return night(tmp_path_factory.mktemp("quiet"), never)


def test_without_failures_nothing_is_sent_twice(quiet):
    assert amplification(quiet) == 1.0
    assert reads(quiet) < CHUNK * 2, "one look whether reads are up to date"


@pytest.mark.parametrize("kind", SENT_AGAIN + APPLIED)
def test_with_a_tenth_of_all_requests_failing_no_more_are_sent_than_must_be(
    kind: str, quiet: Ended, tmp_path: Path, record_property: Callable[[str, object], None]
):
    fault = {"kind": kind, "on": "mutating", "every": 10}
    ended = night(tmp_path, fault | ({"form": "seconds"} if kind == "rate-limited" else {}))
    failed = sum(line["fault"] is not None for line in ended.changing)
    assert N == sum(ended.account.values())
    assert needed(quiet) == needed(ended)
    assert len(ended.changing) // 10 == failed > 25
    again = len(ended.changing) - needed(ended)
    assert (0 if kind in APPLIED else failed) == again, "what was applied is read, not sent again"
    assert again <= 0.1 * len(ended.changing), "a tenth of what is sent, as SRE has it"
    assert amplification(ended) <= 1 / (1 - 0.1)
    looked = reads(ended) - reads(quiet)
    assert looked <= failed * CHUNK * LOOKS_BACK.get(kind, 2), "only what is in doubt is looked for"
    of_all = len(ended.requests) / len(quiet.requests)
    record_property("amplification", f"{amplification(ended):.2f}, reads included {of_all:.2f}")
    print(
        f"{kind}: {len(ended.changing)} for {needed(ended)}, {amplification(ended):.2f};"
        f" reads included {len(ended.requests)} for {len(quiet.requests)}, {of_all:.2f}"
    )


def test_with_a_tenth_of_what_is_needed_failing_a_tenth_more_is_sent(tmp_path):
    ended = night(tmp_path, {"kind": "reset", "on": "mutating", "every": 11})
    failed = sum(line["fault"] is not None for line in ended.changing)
    assert 0.09 < failed / needed(ended) <= 0.1
    assert 1.09 < amplification(ended) <= 1.1


@pytest.mark.parametrize("kind", SENT_AGAIN + APPLIED)
def test_a_server_that_is_down_gets_few_requests_and_soon_none(kind, tmp_path):
    ended = night(tmp_path, {"kind": kind, "on": "api"})
    assert isinstance(ended.error, ApiUnavailable)
    assert len(ended.requests) <= max(ALWAYS_ALLOWED, 20 * ended.seconds / 60)
