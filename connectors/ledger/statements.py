"""Statements of the way every chunk takes, built once: building one costs ten times what SQLite needs for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from connectors.ledger.tables import UNABSORBED, attempt, chunk, claim, meta, run
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
    .values(state=State.IN_FLIGHT, attempt=chunk.c.attempt + 1, absorbed=0, fence=sa.bindparam("by"))
)
"""A planned chunk goes out once more: `of_chunk`, `by`."""

SEVERAL = 64
"""Chunks read at a time: memory stays bounded."""


@cache
def chunks(*, of_run: bool, of_phase: bool, of_lane: bool) -> sa.Select[Any]:
    """Chunks in one of `states` after `last`, oldest first: `of_run`, `of_phase`, `of_lane` where asked for."""
    query = sa.select(chunk).where(
        chunk.c.state.in_(sa.bindparam("states", expanding=True)), chunk.c.chunk_seq > sa.bindparam("last")
    )
    if of_run:
        query = query.where(chunk.c.run_seq == sa.bindparam("of_run"))
    if of_phase:
        query = query.where(chunk.c.phase == sa.bindparam("of_phase"))
    if of_lane:
        query = query.where(chunk.c.lane == sa.bindparam("of_lane"))
    return query.order_by(chunk.c.chunk_seq).limit(SEVERAL)


ACCOUNT = (
    sa.select(chunk.c.phase, chunk.c.state, chunk.c.reason, sa.func.sum(chunk.c.n))
    .where(chunk.c.run_seq == sa.bindparam("of_run"), chunk.c.state != State.SPLIT)
    .group_by(chunk.c.phase, chunk.c.state, chunk.c.reason)
    .order_by(chunk.c.phase, chunk.c.state, chunk.c.reason)
)
"""Records of `of_run` by phase, state and reason, over leaf chunks only."""

META = sa.select(meta.c.value).where(meta.c.key == sa.bindparam("of_key"))
"""A value of the ledger: `of_key`."""

CHANGE_META = meta.update().where(meta.c.key == sa.bindparam("of_key")).values(value=sa.bindparam("to"))
"""Another value of the ledger: `of_key`, `to`."""

FENCE = sa.select(meta.c.value).where(meta.c.key == "fence").with_for_update(read=True)
"""The fence, which nobody may raise until the transaction has ended."""

END_CLAIMS = claim.delete()
"""Nobody has a partition any more."""

DOUBT_WHAT_WAS_IN_FLIGHT = (
    chunk.update()
    .where(chunk.c.state == State.IN_FLIGHT)
    .values(
        state=State.IN_DOUBT, reason="run_died", attempt_ended_at=sa.bindparam("at"), fence=sa.bindparam("by")
    )
)
"""Requests of a dead run may or may not have been applied: `at`, `by` (the fence)."""

STOP_RUNS = run.update().where(run.c.state == "running").values(state="stopped", fence=sa.bindparam("by"))
"""Whoever was running is not any more: `by` (the fence)."""

WAITING = sa.select(sa.func.coalesce(sa.func.sum(chunk.c.n), 0)).where(UNABSORBED)
"""How many acknowledged records are not among what is held yet."""

CHUNK = sa.select(chunk).where(chunk.c.chunk_seq == sa.bindparam("of_chunk"))
"""One chunk: `of_chunk`."""
