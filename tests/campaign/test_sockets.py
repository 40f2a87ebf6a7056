"""A slice of the faults of the wire over real sockets, each in a cell; schedules play all of them in memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sandbox.wire import WIRE_FAULTS
from tests.campaign import processes as real
from tests.campaign.schedules import CELLS

SOME = random.Random(20261122).sample(sorted(WIRE_FAULTS), 24)


@pytest.mark.parametrize("kind", SOME)
def test_a_fault_of_the_wire_on_a_real_socket_loses_nothing(tmp_path: Path, kind: str) -> None:
    assert real.hears_wrongly(tmp_path, kind, 7 * SOME.index(kind) % CELLS)
