"""What must not grow with the number of records: work in Python, statements, connections. Counted, not timed."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.customers import write_export
from benchmarks.records import ours
from pipeline.delivery.calls import batch_call
from pipeline.delivery.classifier import Ruling, classify
from pipeline.phases import Phase
from sandbox.server import Sandbox
from schemas.exchange import Answer
from tests.delivery.harness import Bench, locations, users


def calls(work: Callable[[], object]) -> int:
    """Python functions called by `work`, in this thread and in those it starts."""
    count = 0

    def seen(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event == "call"

    gc.collect()
    gc.disable()  # what it calls when it happens to run is not the work's
    threading.setprofile(seen)
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        gc.enable()
    return count


def test_rows_cost_no_python_call_each_from_file_to_record(tmp_path: Path) -> None:
    """A fifth of a call a row would be seen: 20,000 rows against 2,000.

    Each is counted twice: a thread that waits for its turn looks again and again, which only adds.
    """

    def fewest(rows: int) -> int:
        export = tmp_path / f"{rows}.csv"
        write_export(export, rows)
        counted = []
        for number in range(2):
            out = tmp_path / f"out-{rows}-{number}"
            out.mkdir()
            counted.append(calls(lambda out=out: ours(export, out, partitions=1)))
        return min(counted)

    few, many = fewest(2_000), fewest(20_000)
    assert many - few < 0.2 * 18_000, (few, many)


@pytest.mark.parametrize("phase", [Phase.CREATE_USERS, Phase.CREATE_LOCATIONS])
def test_a_batch_is_written_and_its_answer_is_proven_without_a_call_per_record(phase: Phase) -> None:
    def round_trip(n: int) -> int:
        records = users(n) if phase is Phase.CREATE_USERS else locations(n)

        def work() -> None:
            call, expectation = batch_call(phase, records, "")
            answer = Answer(201, {"content-type": "application/json"}, call.body or b"", 0.1)
            assert Ruling.APPLIED is classify(expectation, answer, 0.0).ruling

        return calls(work)

    round_trip(10)
    assert round_trip(1000) == round_trip(10)


def test_a_chunk_costs_five_statements_however_many_records(tmp_path: Path) -> None:
    """Intent: how far it is, the chunk, its attempt; ending: attempt and chunk; the rest of the run is shared.

    How many of them share a transaction is a matter of timing: its BEGIN is not counted.
    """
    counted = {}
    with Sandbox() as sandbox:
        for chunks in (10, 30):
            bench = Bench(sandbox, tmp_path / str(chunks), chunk=100)
            statements = 0

            def seen(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
                nonlocal statements
                of_a_ledger_here = str(connection.engine.url.database).startswith(str(tmp_path))
                statements += of_a_ledger_here and not statement.startswith("BEGIN")

            sa.event.listen(sa.Engine, "before_cursor_execute", seen)
            try:
                delivery = bench.deliver({Phase.CREATE_USERS: users(chunks * 100, start=chunks * 10_000)})
            finally:
                sa.event.remove(sa.Engine, "before_cursor_execute", seen)
            assert delivery.error is None
            counted[chunks] = statements
    assert 5 * 20 == counted[30] - counted[10], counted
