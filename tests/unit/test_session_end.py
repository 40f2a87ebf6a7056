"""When a run counts as settled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.ledger import open_ledger
from pipeline.delivery.books import MANIFEST
from pipeline.session import SENDING, SETTLED, Session
from schemas.ledger import Draft, Identity, State
from schemas.outcomes import Exit
from schemas.summary import Summary
from tests.delivery.harness import locations


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("release_in_doubt", SENDING),
        ("parent_planned", SENDING),
        ("release_rejected", SETTLED),
        ("parent_absent", SETTLED),
        (None, SETTLED),
    ],
)
def test_a_run_is_not_settled_while_what_it_holds_back_may_go_yet(
    tmp_path: Path, reason: str | None, state: str
) -> None:
    """Another lane may have settled what a record waits for, after its own turn."""
    with open_ledger(f"sqlite:///{tmp_path}/l.sqlite", identity=Identity("t", "b", "k"), now=1.0) as ledger:
        run = ledger.begin_run(
            command="sync", environment="sandbox", profiles="p", job_digest="j", stamp="20260101", now=1.0
        )
        ledger.change_run(run.run_seq, state=SENDING, plan="{}")
        manifest = (
            locations(2).with_columns(partition=0, position=0).select(MANIFEST).cast({"partition": int})
        )
        draft = Draft(run.run_seq, "create_locations", 0, 0, 2, manifest)
        if reason is not None:
            ledger.hold([draft], state=State.BLOCKED, reason=reason)

        async def durable(operation: Any, *arguments: Any) -> Any:
            return operation(*arguments)

        ports: Any = SimpleNamespace(world=SimpleNamespace(now=lambda: 2.0))
        session = Session("sandbox", ports, ledger, durable, None, "k")  # type: ignore[arg-type]
        summary = Summary(run.run_id, "sync", "sandbox", Exit.DONE_WITH_REJECTS, "", "2026-01-01T00:00:00Z")
        asyncio.run(session.finish(run, summary))
        [now] = ledger.runs()
        assert state == now.state
