"""What a clock that is set back while nothing runs may cost: no wait longer than the settle time."""

from __future__ import annotations

from pathlib import Path

from pipeline.phases import Phase
from tests.delivery import harness
from tests.delivery.virtual import VirtualBench

HOUR = 3600.0


def test_a_clock_set_back_by_an_hour_makes_nobody_wait_for_an_hour(tmp_path: Path) -> None:
    lost = {"kind": "dropped", "on": "batch", "at": [2]}
    unreadable = {"kind": "unavailable-503", "on": "read", "after": 1.25}
    bench = VirtualBench(tmp_path, {Phase.CREATE_USERS: harness.users(40)}, {"fault": [lost, unreadable]})
    try:
        assert {"in_doubt"} < {state for _, state, _ in bench.start().account}
        bench.set_back = HOUR
        bench.core.set_faults({})
        ended = bench.start()
        assert {("create_users", "acknowledged", None): 40} == ended.account
        assert 2 * bench.settle > ended.seconds
    finally:
        bench.close()
