"""Statements of the way every chunk takes, built once: building one costs ten times what SQLite needs for it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from connectors.ledger.tables import attempt, chunk
from schemas.ledger import State

CURSOR = sa.select(sa.func.coalesce(sa.func.max(chunk.c.cursor_to), 0)).where(
    chunk.c.run_seq == sa.bindparam("of_run"),
    chunk.c.phase == sa.bindparam("of_phase"),
    chunk.c.lane == sa.bindparam("of_lane"),
)
"""How far a phase was cut: `of_run`, `of_phase`, `of_lane`."""

INSERT_CHUNK = chunk.insert().returning(chunk.c.chunk_seq)
"""A new chunk; every column but its number."""

INSERT_ATTEMPT = attempt.insert()
"""A new attempt: `chunk_seq`, `attempt`, `requests`, `started_at`."""

_ENDED: dict[str, sa.BindParameter[Any]] = {
    "reason": sa.bindparam("why"),
    "message": sa.bindparam("said"),
    "attempt_ended_at": sa.bindparam("at"),
}

SETTLE_CHUNK = (
    chunk.update()
    .where(chunk.c.chunk_seq == sa.bindparam("of_chunk"))
    .values(state=sa.bindparam("becomes"), fence=sa.bindparam("by"), **_ENDED)
)
"""All records of a chunk end alike: `of_chunk`, `becomes`, `why`, `said`, `at`, `by` (the fence)."""

SPLIT_CHUNK = (
    chunk.update()
    .where(chunk.c.chunk_seq == sa.bindparam("of_chunk"))
    .values(state=State.SPLIT, attempt_ended_at=sa.bindparam("at"), manifest=b"", fence=sa.bindparam("by"))
)
"""A chunk gives way to its children: `of_chunk`, `at`, `by`."""

END_ATTEMPT = (
    attempt.update()
    .where(
        attempt.c.chunk_seq == sa.bindparam("of_chunk"),
        attempt.c.attempt
        == sa.select(chunk.c.attempt).where(chunk.c.chunk_seq == sa.bindparam("of_chunk")).scalar_subquery(),
    )
    .values(
        ended_at=sa.bindparam("at"),
        status=sa.bindparam("answered"),
        verdict=sa.bindparam("judged"),
        requests=sa.func.coalesce(sa.bindparam("sent", type_=sa.Integer), attempt.c.requests),
    )
)
"""The newest attempt of a chunk ended: `of_chunk`, `at`, `answered`, `judged`, `sent` (None: as was meant)."""

TRY_AGAIN = (
    chunk.update()
    .where(chunk.c.chunk_seq == sa.bindparam("of_chunk"))
    .values(state=State.IN_FLIGHT, attempt=chunk.c.attempt + 1, fence=sa.bindparam("by"))
)
"""A planned chunk goes out once more: `of_chunk`, `by`."""

CHUNK = sa.select(chunk).where(chunk.c.chunk_seq == sa.bindparam("of_chunk"))
"""One chunk: `of_chunk`."""
